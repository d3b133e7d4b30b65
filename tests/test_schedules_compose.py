"""Sequences and products against torch's own composition, and rates from a file."""

import csv
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from lrbench import schedules
from lrbench.schedules.rates import make_rates

LR, T = 0.3, 100


def sgd(params):
    return torch.optim.SGD(params, lr=LR, momentum=0.9)


def rates_of(schedule, total_steps=T):
    return make_rates(schedule, sgd, total_steps=total_steps, num_evaluations=10).lr


def driven(make_scheduler):
    optimizer = sgd([torch.nn.Parameter(torch.zeros(1))])
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(T):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_a_sequence_equals_torchs_sequential():
    ours = partial(
        schedules.sequence,
        parts=[partial(schedules.linear, start_ratio=0.1, end_ratio=1.0), schedules.constant, schedules.cosine],
        fractions=[0.1, 0.4, 0.5],
    )

    def reference(optimizer):
        parts = [
            lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10),
            lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0),
            lr_scheduler.CosineAnnealingLR(optimizer, T_max=50),
        ]
        return lr_scheduler.SequentialLR(optimizer, parts, milestones=[10, 50])

    np.testing.assert_allclose(rates_of(ours), driven(reference), rtol=1e-9, atol=1e-15)


def test_a_product_equals_torchs_chain():
    ours = partial(
        schedules.product,
        parts=[
            partial(schedules.exponential, end_ratio=0.1),
            partial(schedules.step, gamma=0.5, interval_fraction=0.25),
        ],
    )

    def reference(optimizer):
        parts = [
            lr_scheduler.ExponentialLR(optimizer, gamma=0.1 ** (1 / T)),
            lr_scheduler.StepLR(optimizer, step_size=25, gamma=0.5),
        ]
        return lr_scheduler.ChainedScheduler(parts)

    np.testing.assert_allclose(rates_of(ours), driven(reference), rtol=1e-9)


def test_parts_may_be_factors_and_a_part_too_short_for_a_step_is_skipped():
    ours = partial(schedules.sequence, parts=[schedules.rex, schedules.constant], fractions=[0.999, 0.001])
    np.testing.assert_allclose(rates_of(ours), rates_of(schedules.rex))


@pytest.mark.parametrize("fractions", [[0.5], [0.5, 0.6], [0.5, 0.25, 0.25]])
def test_fractions_that_do_not_cover_the_budget_are_refused(fractions):
    ours = partial(schedules.sequence, parts=[schedules.rex, schedules.constant], fractions=fractions)
    with pytest.raises(ValueError, match=r"scheduler.fractions must have one entry for each of the 2 parts"):
        rates_of(ours)


def test_a_closed_loop_part_is_refused():
    with pytest.raises(ValueError, match=r"scheduler.parts must be open-loop"):
        rates_of(partial(schedules.product, parts=[schedules.plateau]))


def write(path, column, values):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["step", column], *enumerate(values)])
    return str(path)


def test_a_file_of_rates_is_followed_with_its_peak_as_the_base_rate(tmp_path):
    file = write(tmp_path / "lr.csv", "lr", [0.5 * f for f in rates_of(schedules.one_cycle)])
    np.testing.assert_allclose(
        rates_of(partial(schedules.from_csv, file=file)), rates_of(schedules.one_cycle), rtol=1e-12
    )


def test_a_file_of_another_length_is_stretched_and_a_reference_fixes_the_scale(tmp_path):
    file = write(tmp_path / "lr.csv", "lr", [0.0, 1.0, 0.5])
    rates = rates_of(partial(schedules.from_csv, file=file, reference=2.0), total_steps=5)
    assert rates == pytest.approx([LR * f for f in (0, 0.25, 0.5, 0.375, 0.25)])


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("rate", [1.0], "needs a column lr, it has step, rate"),
        ("lr", [], "must be a CSV of rates: lr.csv has no rows"),
        ("lr", [1.0, "nan"], "row 3: lr must be finite and not negative, got 'nan'"),
        ("lr", [1.0, -1], "row 3: lr must be finite"),
        ("lr", ["fast"], "row 2: lr must be finite and not negative, got 'fast'"),
        ("lr", [0.0], "every rate is zero"),
    ],
)
def test_a_bad_file_is_refused_naming_row_and_value(tmp_path, column, values, message):
    with pytest.raises(ValueError, match=message):
        rates_of(partial(schedules.from_csv, file=write(tmp_path / "lr.csv", column, values)))


@pytest.mark.parametrize(
    "text", ["step;lr\n0;1,0\n1;0,5\n2;0,25\n", "\ufeffstep\tlr\r\n0\t100 %\r\n\r\n1\t50 %\r\n2\t25 %"]
)
def test_rates_may_have_decimal_commas(tmp_path, text):
    (tmp_path / "lr.csv").write_bytes(text.encode())
    rates = rates_of(partial(schedules.from_csv, file=str(tmp_path / "lr.csv")), total_steps=3)
    assert rates == pytest.approx([LR, LR / 2, LR / 4])


def test_decimal_commas_between_commas_are_refused(tmp_path):
    (tmp_path / "lr.csv").write_text("step,lr\n0,1,0\n1,0,5\n")
    with pytest.raises(ValueError, match="row 2 has 3 cells, the first row 2: '0,1,0'"):
        rates_of(partial(schedules.from_csv, file=str(tmp_path / "lr.csv")))


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match=r"must be a CSV of rates: no such file: nowhere.csv"):
        rates_of(partial(schedules.from_csv, file="nowhere.csv"))
