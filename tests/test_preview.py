"""Text, CSV and pictures of rates against the tables they show."""

import csv
import io
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from lrbench import schedules
from lrbench.cli.preview import chart, main, write_csv
from lrbench.runs.compose import compose_plans
from lrbench.runs.labels import labels_of
from lrbench.schedules.rates import make_rates

SHORT = ["budget=steps", "budget.steps=40", "optimizer.lr=0.2"]


def table(schedule, total_steps=40, momentum=0.9):
    def sgd(params):
        return torch.optim.SGD(params, lr=0.2, momentum=momentum)

    return make_rates(schedule, sgd, total_steps=total_steps, num_evaluations=20)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_of_one_schedule_reads_back_exactly(tmp_path):
    rates = table(schedules.one_cycle)
    write_csv(tmp_path / "lr.csv", {"one_cycle": rates})
    rows = read(tmp_path / "lr.csv")
    assert list(rows[0]) == ["step", "lr", "momentum"]
    assert [int(row["step"]) for row in rows] == list(range(40))
    assert [float(row["lr"]) for row in rows] == rates.lr.tolist()
    assert [float(row["momentum"]) for row in rows] == rates.momentum.tolist()


def test_momentum_that_a_schedule_leaves_alone_is_an_empty_column(tmp_path):
    write_csv(tmp_path / "lr.csv", {"cosine": table(schedules.cosine)})
    assert {row["momentum"] for row in read(tmp_path / "lr.csv")} == {""}


def test_the_csv_of_several_schedules_has_columns_for_each(tmp_path):
    tables = {"cosine": table(schedules.cosine, 5), "one_cycle": table(schedules.one_cycle, 7)}
    write_csv(tmp_path / "lr.csv", tables)
    rows = read(tmp_path / "lr.csv")
    assert list(rows[0]) == ["step", "lr[cosine]", "momentum[cosine]", "lr[one_cycle]", "momentum[one_cycle]"]
    assert [row["lr[cosine]"] for row in rows[5:]] == ["", ""], "beyond a shorter budget"
    assert float(rows[6]["lr[one_cycle]"]) == tables["one_cycle"].lr[6]


def test_the_chart_says_where_the_rate_is_highest_and_lowest():
    lines = chart(
        "wave",
        table(lambda step, total_steps: np.where(step == 7, 2.0, np.where(step == 30, 0.25, 1.0))),
        width=80,
        height=4,
    )
    assert lines[0] == "wave"
    assert lines[-1] == "lr: first 0.2, last 0.2 (step 39), max 0.4 (step 7), min 0.05 (step 30)"


def test_the_height_of_the_blocks_is_the_rate():
    lines = chart("line", table(lambda step, total_steps: 1 - step / 8, 8), width=80, height=2)
    assert lines[1:3] == ["0.2 ┤█▆▄▂", "  0 ┤█████▆▄▂"]


def test_a_chart_fits_its_width_and_a_column_shows_the_largest_of_its_steps():
    def peak(step, total_steps):
        return np.where(step == 500, 1.0, 0.0)

    lines = chart("peak", table(peak, 1000), width=40, height=1)
    assert max(map(len, lines[1:2])) <= 40
    assert lines[1].count("█") == 1


def test_a_small_rate_is_not_drawn_as_none_and_zero_is():
    lines = chart("tail", table(lambda step, total_steps: np.array([1.0, 1e-6, 0.0, 1.0]), 4), width=80, height=1)
    assert lines[1].endswith("┤█▁ █")


def test_momentum_that_moves_gets_its_own_curve():
    lines = chart("one_cycle", table(schedules.one_cycle), width=80, height=3)
    assert lines[-1] == "momentum: first 0.95, last 0.95 (step 39), max 0.95 (step 0), min 0.85 (step 11)"
    assert not any("momentum" in line for line in chart("cosine", table(schedules.cosine), width=80, height=3))


def test_plans_of_one_schedule_are_told_apart_by_what_differs():
    plans = compose_plans([*SHORT[:2], "scheduler=step,cosine", "optimizer.lr=0.1,0.2"])
    assert labels_of(plans) == [
        "step optimizer.lr=0.1",
        "step optimizer.lr=0.2",
        "cosine optimizer.lr=0.1",
        "cosine optimizer.lr=0.2",
    ]
    assert labels_of(plans[1:3]) == ["step", "cosine"]
    assert labels_of([plans[0], plans[0]]) == ["step #1", "step #2"]


def test_the_command_draws_and_writes_what_training_would_use(tmp_path, capsys):
    words = ["scheduler=cosine,plateau", *SHORT, "scheduler.min_ratio=0.1"]
    assert main([*words, f"out={tmp_path / 'lr.csv'}", f"out={tmp_path / 'lr.svg'}", f"out={tmp_path / 'lr.png'}"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("cosine\n")
    assert "closed loop: drawn for a validation loss that never improves" in printed
    rows = read(tmp_path / "lr.csv")
    expected = table(partial(schedules.cosine, min_ratio=0.1)).lr
    assert [float(row["lr[cosine]"]) for row in rows] == expected.tolist()
    # The first evaluation counts as a gain, two without one are tolerated, the next cuts: 4 evaluations of 2 steps.
    assert [float(row["lr[plateau]"]) for row in rows[6:9]] == pytest.approx([0.2, 0.2, 0.02])
    svg = (tmp_path / "lr.svg").read_text()
    for words in ("cosine", "plateau", "learning rate", "step (parameter updates)", "never improves"):
        assert words in svg
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_picture_has_the_same_bytes(tmp_path):
    from lrbench.reporting.rate_pictures import draw_rates, save_figure

    for name in ("a.svg", "b.svg"):
        save_figure(draw_rates({"cosine": table(schedules.cosine)}), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("num_schedules", [1, 7, 8, 30])
def test_every_schedule_is_drawn_and_named(num_schedules):
    from lrbench.reporting.rate_pictures import OVERLAID, draw_rates

    labels = [f"schedule {i}" for i in range(num_schedules)]
    figure = draw_rates({label: table(schedules.cosine, 10) for label in labels})
    assert sum(len(axes.lines) for axes in figure.axes) == num_schedules
    if num_schedules > OVERLAID:
        named = [axes.get_title() for axes in figure.axes]
    elif num_schedules > 1:
        named = [text.get_text() for text in figure.legends[0].get_texts()]
        styles = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
        assert len({color for color, _ in styles}) == len({marker for _, marker in styles}) == num_schedules
    else:
        named = [figure.axes[0].get_title()]
    assert named == labels


def test_momentum_is_drawn_below_on_the_same_steps():
    from lrbench.reporting.rate_pictures import draw_rates

    tables = {"one_cycle": table(schedules.one_cycle), "cosine": table(schedules.cosine)}
    upper, lower = draw_rates(tables).axes
    assert (len(upper.lines), len(lower.lines)) == (2, 1)
    assert lower.get_ylabel() == "momentum"
    assert upper.get_shared_x_axes().joined(upper, lower)
    np.testing.assert_array_equal(lower.lines[0].get_ydata(), tables["one_cycle"].momentum)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("out=lr.pdf", r"out must end in .csv, .png, .svg, got 'lr.pdf'"),
        ("out=nowhere/lr.csv", "there is no directory"),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_anything_is_computed(word, message):
    with pytest.raises(ValueError, match=message):
        main([word, "scheduler=no_such_schedule"])


def test_output_that_cannot_show_blocks_is_plain_ascii(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    main(["scheduler=cosine", *SHORT])
    output.flush()
    assert b"0.2 |##" in output.buffer.getvalue()


@pytest.mark.slow
def test_matplotlib_is_loaded_for_pictures_only():
    program = (
        f"import sys; from lrbench.cli import main; main(['preview', 'scheduler=cosine', *{SHORT}]);"
        "print([m for m in ('matplotlib', 'sklearn', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
