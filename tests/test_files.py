"""Any table in, the tidy frame out: nothing guessed, nothing lost, and each mistake named with its row."""

import gzip
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrbench.results.completion import judge_states
from lrbench.results.files import read_file, write_file
from lrbench.results.schema import COLUMNS, as_floats, check_frame, frame_from_rows

HEADER = "run_id,scheduler,workload,seed,budget,step,val/loss"


@pytest.fixture
def read(tmp_path):
    """Read CSV lines; warnings, which say what was assumed, are errors unless a test expects them."""

    def read_lines(*lines, columns=None, **file):
        path = tmp_path / "results.csv"
        path.write_text("\n".join(lines) + "\n", **file)
        return read_file(path, columns=columns or {})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield read_lines


def test_a_whole_table_is_read_and_ordered_as_it_is(read):
    frame = read(HEADER, "b,step,w,1,10,10,0.5", "a,cosine,w,0,10,10,0.1", "a,cosine,w,0,10,0,2.5")
    assert frame["run_id"].tolist() == ["a", "a", "b"]
    assert frame["step"].tolist() == [0, 10, 10]
    assert frame["val/loss"].tolist() == [2.5, 0.1, 0.5]
    assert frame["state"].tolist() == ["ok"] * 3
    assert list(frame.columns) == [column.name for column in COLUMNS]


def test_empty_is_missing_and_nan_is_nan(read):
    frame = read(HEADER, "a,c,w,0,3,0,1.0", "a,c,w,0,3,1,", "a,c,w,0,3,2,NA", "a,c,w,0,3,3,nan")
    values, missing = as_floats(frame["val/loss"])
    assert missing.tolist() == [False, True, True, False]
    assert math.isnan(values[3])
    assert frame["state"].tolist() == ["diverged"] * 4


def test_columns_of_other_names_are_mapped(read):
    lines = ["id,sched,w,s,T,iter,loss,step", "a,cosine,w,0,10,10,0.1,epoch one"]
    mapping = {"run_id": "id", "scheduler": "sched", "workload": "w", "seed": "s", "budget": "T", "step": "iter"}
    frame = read(*lines, columns={**mapping, "val/loss": "loss"})
    assert frame[["run_id", "scheduler", "step", "val/loss"]].iloc[0].tolist() == ["a", "cosine", 10, 0.1]
    assert "iter" not in frame.columns


@pytest.mark.parametrize(
    ("lines", "columns", "message"),
    [
        (["sched,step,val/loss", "c,0,1"], {}, r"no column 'scheduler' \(name of the schedule\); the nearest is "
         r"'sched': write column.scheduler=sched; it has \['sched', 'step', 'val/loss'\]"),
        (["scheduler,iter,val/loss", "c,0,1"], {}, r"no column 'step' .*; write column.step=NAME; it has"),
        (["scheduler,step,val_loss", "c,0,1"], {}, r"no metric, one of train/loss, .*; write column.val/loss=val_loss"),
        (["scheduler,step,val/loss", "c,0,1"], {"seed": "sead"}, r"column.seed=sead: .* has no column 'sead'; it has"),
        (["scheduler,step,step", "c,0,1"], {}, r"several columns named \['step'\]"),
        ([HEADER], {}, r"has no rows; its columns are"),
        ([HEADER, "a,c,w,0,10,0"], {}, r"results.csv: row 2 has 6 cells, the first row 7"),
        ([HEADER, "a,c,w,0,10,0,1", "a,c,w,0,10,1,low"], {}, r"val/loss must be a number, .* row 3 has 'low'"),
        ([HEADER, "a,c,w,0,10,0,1", 'a,c,w,0,10,1,"1,5"', "a,c,w,0,10,2,0.5"], {},
         r"val/loss must be a number, .* row 3 has '1,5'"),
        ([HEADER + ",val/accuracy", "a,c,w,0,10,0,1,85.2"], {}, r"val/accuracy must be a share from 0 to 1; "
         r"percentages need their sign, 85.2 %, or another name, .*row 2 has '85.2'"),
        ([HEADER, "a,c,w,0,10,0.5,1"], {}, r"step must be a whole number, row 2 has '0.5'"),
        ([HEADER, "a,c,w,1e300,10,0,1"], {}, r"seed must be a whole number, row 2 has '1e300'"),
        ([HEADER, "a,c,w,0,10,-1,1"], {}, r"step must be at least 0, row 2 has -1"),
        ([HEADER, "a,c,w,0,10,11,1"], {}, r"run 'a' has step 11, beyond its budget of 10 steps"),
        ([HEADER, "a,,w,0,10,0,1"], {}, r"scheduler \(name of the schedule\) must not be empty; .* first in row 2"),
        ([HEADER, "a,c,w,0,10,0,1", "a,d,w,0,10,1,1"], {}, r"run 'a' has more than one value of \['scheduler'\]"),
        ([HEADER + ",state", "a,c,w,0,10,0,1,fine"], {}, r"state must be one of ok, .*incomplete, got \['fine'\]"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_remedy(read, lines, columns, message):
    with pytest.raises(ValueError, match=message):
        read(*lines, columns=columns)


def test_files_of_no_known_kind_and_absent_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of .csv, .csv.gz, .parquet, got"):
        read_file(tmp_path / "results.xlsx")
    with pytest.raises(ValueError, match="no such file"):
        read_file(tmp_path / "results.csv")
    (tmp_path / "results.parquet").write_text("not parquet")
    with pytest.raises(ValueError, match=r"results.parquet cannot be read as .parquet"):
        read_file(tmp_path / "results.parquet")


def test_what_is_left_out_is_assumed_aloud(read):
    lines = ["scheduler,optimizer.lr,step,val/accuracy,batch_size"]
    lines += [f"{s},{lr},{t},0.5,4" for s in ("constant", "step") for lr in (0.1, 1) for t in (0, 20)]
    lines.append("killed,0.1,5,0.4,4")
    with pytest.warns(UserWarning, match="results.csv: ") as said:
        frame = read(*lines)
    assert frame["run_id"].nunique() == 5
    assert set(frame["workload"]) == {"b4"}
    assert set(frame["seed"]) == {0}
    # Not its own largest step: it would look like a short finished run.
    assert set(frame["budget"]) == {20}
    assert frame.drop_duplicates("run_id").set_index("scheduler")["state"]["killed"] == "incomplete"
    assert frame["samples"].tolist() == [4 * step for step in frame["step"]]
    words = " ".join(str(warning.message) for warning in said)
    assert "workload = batch_size, seed = 0, budget = largest step of the workload" in words
    assert "runs are told apart by scheduler, optimizer.lr" in words


def test_an_absent_workload_is_made_of_what_makes_one(read):
    lines = [
        "run_id,scheduler,seed,dataset,model,budget,step,val/loss",
        "a,c,0,mnist,mlp,10,0,1",
        "b,c,0,digits,,5,0,1",
    ]
    with pytest.warns(UserWarning, match="workload = dataset-model-budget"):
        frame = read(*lines)
    assert frame["workload"].tolist() == ["mnist-mlp-10steps", "digits--5steps"]


def test_rows_that_repeat_a_step_without_contradiction_are_merged_in_silence(read):
    lines = [
        HEADER + ",val/accuracy",
        "a,c,w,0,9,0,nan,",
        "a,c,w,0,9,9,2,0.5",
        "a,c,w,0,9,0,nan,0.1",
        "a,c,w,0,9,9,2.0,",
    ]
    frame = read(*lines)
    assert frame["step"].tolist() == [0, 9]
    assert as_floats(frame["val/accuracy"])[0].tolist() == [0.1, 0.5]


@pytest.mark.parametrize(("first", "second"), [("1.5", "2.5"), ("nan", "1.5"), ("1.5", "nan"), ("inf", "-inf")])
def test_contradicting_rows_are_refused_by_number(read, first, second):
    lines = [HEADER, "b,c,w,0,9,0,1", f"a,c,w,0,9,0,{first}", "a,c,w,0,9,9,1", f"a,c,w,0,9,0,{second}"]
    message = (
        rf"rows 3 and 5 contradict each other: run 'a', step 0 has val/loss = {first} and {second} \(1 such rows\)"
    )
    with pytest.raises(ValueError, match=message):
        read(*lines)


def states(*rows, budget, status=None):
    """State of one run with rows (step, val/loss, train/loss)."""
    more = {"run_id": "a", "workload": "w", "scheduler": "c", "state": None, "budget": budget, "status": status}
    frame = frame_from_rows([{**more, "step": s, "val/loss": v, "train/loss": t} for s, v, t in rows])
    return judge_states(frame).iloc[-1]


NAN = math.nan


@pytest.mark.parametrize(
    ("rows", "budget", "status", "state"),
    [
        ([(0, 2.0, None), (5, 1.5, None), (10, 1.0, None)], 10, None, "ok"),
        # Evaluated every 5 steps from 0 on, without a last evaluation at 15.
        ([(0, 2.0, None), (5, 1.5, None), (10, 1.0, None)], 15, None, "ok"),
        ([(0, 2.0, None), (5, 1.5, None), (10, 1.0, None)], 16, None, "incomplete"),
        ([(0, 2.0, None), (5, 1.5, None), (10, 1.0, None)], 15, "KILLED", "incomplete"),
        ([(0, 2.0, None), (10, 1.0, None)], 10, "RUNNING", "incomplete"),
        ([(10, 1.0, None)], 11, None, "incomplete"),
        ([(0, 2.0, None), (10, 2.1, None)], 10, None, "diverged"),
        ([(0, 2.0, None), (5, 9.0, None)], 100, None, "incomplete"),
        ([(0, 2.0, None), (5, NAN, None)], 100, None, "diverged"),
        ([(0, 2.0, None), (5, NAN, None)], 100, "FAILED", "diverged"),
        ([(0, 2.0, 2.0), (5, 1.0, 1.0), (6, None, math.inf)], 100, None, "diverged"),
        ([(0, 2.0, None), (5, NAN, None), (10, 1.0, None)], 10, None, "ok"),
        # Without an evaluation at step 0 there is no loss to have diverged from.
        ([(5, 1.0, None), (10, 1.5, None)], 10, None, "ok"),
        ([(0, None, 2.0), (5, 1.0, 1.0), (10, 1.5, 0.9)], 10, None, "ok"),
    ],
)  # fmt: skip
def test_how_a_run_ended_is_read_off_its_curve(rows, budget, status, state):
    assert states(*rows, budget=budget, status=status) == state


def test_without_a_loss_an_accuracy_that_is_nan_means_diverged():
    more = {"run_id": "a", "workload": "w", "scheduler": "c", "state": None, "budget": 2}
    frame = frame_from_rows([{**more, "step": s, "val/accuracy": v} for s, v in ((0, 0.9), (2, 0.1))])
    assert judge_states(frame).tolist() == ["ok", "ok"]  # whether 0.1 is worse than 0.9 is not guessed
    frame = frame_from_rows([{**more, "step": s, "val/accuracy": v} for s, v in ((0, 0.9), (2, NAN))])
    assert judge_states(frame).tolist() == ["diverged", "diverged"]


def test_quoted_cells_byte_order_mark_and_compression_are_read(read, tmp_path):
    text = '\ufeff"run_id","scheduler","workload","seed","budget","step","val/loss","val/accuracy","note"\r\n'
    text += '"a","c,1","w","0","10","10","0.5","","two\nlines"\r\n'
    (tmp_path / "results.csv.gz").write_bytes(gzip.compress(text.encode()))
    frame = read_file(tmp_path / "results.csv.gz")
    assert frame[["run_id", "scheduler", "seed", "note"]].iloc[0].tolist() == ["a", "c,1", 0, "two\nlines"]
    assert frame["val/accuracy"].isna().tolist() == [True]


def test_parquet_of_pandas_is_read_with_its_types(tmp_path):
    table = pd.DataFrame({"run_id": ["a", "a"], "scheduler": pd.Categorical(["c", "c"]), "workload": "w", "seed": 0,
                          "budget": 10.0, "step": np.array([0, 10], dtype=np.int32),
                          "val/loss": np.array([2, 1], dtype=np.float32), "amp": [True, True]})  # fmt: skip
    table.to_parquet(tmp_path / "results.parquet")
    frame = read_file(tmp_path / "results.parquet")
    assert frame[["scheduler", "budget", "step", "val/loss", "amp"]].iloc[1].tolist() == ["c", 10, 10, 1.0, True]


def test_a_spreadsheet_of_another_country_reads_to_the_same_frame(read):
    lines = [
        "# exported",
        HEADER.replace(",", ";") + ";val/accuracy;optimizer.lr",
        "a;50 %;w;0;10.000;0;2,5;85,2 %;0,1",
    ]
    row = read(*lines, ";;;;;;;;", "a;50 %;w;0;10.000;10.000;0,25;90 %;0,1", encoding="utf-16").iloc[-1]
    assert row[["scheduler", "budget", "step", "val/loss", "val/accuracy", "optimizer.lr"]].tolist() == [
        "50 %", 10000, 10000, 0.25, 0.9, 0.1,
    ]  # fmt: skip


def test_parquet_with_lists_and_structs_is_read_and_no_number_is_taken_from_them(tmp_path):
    more = {"run_id": "a", "scheduler": "c", "workload": "w", "seed": 0, "budget": 1, "step": [0, 1]}
    table = pd.DataFrame(
        {**more, "val/loss": [2.0, 1.0], "weights": [{"bins": [1, 2]}, None], "val/list": [[1.5], [2.5]]}
    )
    table.to_parquet(tmp_path / "results.parquet")
    frame = read_file(tmp_path / "results.parquet")
    assert frame["val/loss"].tolist() == [2.0, 1.0]
    assert frame["weights"].tolist()[0] == '{"bins": [1, 2]}'
    with pytest.raises(ValueError, match=r"val/loss must be a number, .*row 1 has '\[1.5\]'"):
        read_file(tmp_path / "results.parquet", columns={"val/loss": "val/list"})


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
shares = st.sampled_from([None, math.nan, 0.0, 1.0, 0.1 + 0.2])
floats = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@st.composite
def frames(draw):
    rows = []
    for run in draw(st.lists(texts.map("r{}".format), min_size=1, max_size=3, unique=True)):
        seed, note = draw(st.integers(-(2**63), 2**63 - 1)), draw(st.none() | texts.map("x{}".format))
        name = draw(st.sampled_from([None, "", "NA", '"']) | texts)
        for step in draw(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True)):
            rows.append({
                "run_id": run, "run_name": name, "workload": "w", "scheduler": run, "seed": seed, "budget": 99,
                "batch_size": 2, "samples": 2 * step, "state": "ok",
                "step": step, "val/loss": draw(floats), "val/accuracy": draw(shares), "scheduler.note": note,
                "optimizer.lr": draw(st.floats()),
            })  # fmt: skip
    return frame_from_rows(rows)


@given(frame=frames(), suffix=st.sampled_from([".csv", ".csv.gz", ".parquet"]))
@settings(max_examples=25, deadline=None)
def test_a_frame_survives_its_file_to_the_last_digit(frame, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("frame") / f"results{suffix}"
    write_file(frame, path)
    back = read_file(path)
    check_frame(back)
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    for name in ("val/loss", "val/accuracy", "optimizer.lr"):
        (values, missing), (others, others_missing) = as_floats(frame[name]), as_floats(back[name])
        assert missing.tolist() == others_missing.tolist()
        assert values[~missing].tobytes() == others[~missing].tobytes() or np.isnan(values).any()
        np.testing.assert_array_equal(values[~missing], others[~missing])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_workload_that_is_made_up_has_its_batch_size_in_its_name(read):
    lines = ["run_id,scheduler,seed,budget,step,val/loss,batch_size,dataset"]
    lines += ["a,cosine,0,10,10,1.0,50,d", "b,constant,0,10,10,1.0,400,d"]
    with pytest.warns(UserWarning, match="workload = dataset-batch_size-budget"):
        frame = read(*lines)
    assert frame["workload"].tolist() == ["d-b50-10steps", "d-b400-10steps"]
