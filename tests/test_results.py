import math

import numpy as np
import pytest

from lrbench.results.schema import as_floats, check_frame, float_column, frame_from_rows


def row(run_id="a", step=0, **more):
    return {"run_id": run_id, "workload": "w", "scheduler": "cosine", "budget": 10, "state": "ok", "step": step, **more}


def test_missing_nan_and_infinity_stay_three_things():
    frame = frame_from_rows([row(step=s, **{"val/loss": v}) for s, v in enumerate([1.5, math.nan, None, math.inf])])
    values, missing = as_floats(frame["val/loss"])
    assert missing.tolist() == [False, False, True, False]
    assert values[0] == 1.5
    assert math.isnan(values[1])
    assert values[3] == math.inf
    assert float_column([None, math.nan]).isna().tolist() == [True, False]


def test_plain_float_columns_of_others_have_nothing_missing():
    frame = frame_from_rows([row()]).assign(**{"val/loss": np.array([math.nan])})
    values, missing = as_floats(frame["val/loss"])
    assert math.isnan(values[0])
    assert not missing[0]


def test_parameters_follow_the_known_columns_with_a_type_of_their_own():
    rows = [row(step=0, **{"optimizer.lr": 1, "scheduler.mode": "up"}), row(step=1, **{"optimizer.lr": 0.5})]
    frame = frame_from_rows(rows)
    assert frame["optimizer.lr"].tolist() == [1.0, 0.5]
    assert frame["scheduler.mode"].isna().tolist() == [False, True]


def test_rows_are_ordered_by_run_and_step():
    frame = frame_from_rows([row("b", 1), row("a", 2), row("b", 0), row("a", 1)])
    assert list(zip(frame["run_id"], frame["step"], strict=True)) == [("a", 1), ("a", 2), ("b", 0), ("b", 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], r"\(run_id, step\) must be unique; 1 rows repeat one"),
        ([row(step=0), row(step=1, scheduler="step")], r"run 'a' has more than one value of \['scheduler'\]"),
    ],
)
def test_a_frame_that_breaks_the_schema_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        check_frame(frame_from_rows(rows))


def test_an_absent_column_is_named_with_those_present():
    with pytest.raises(ValueError, match=r"the frame needs the columns \['workload'\]; it has \['batch_size'"):
        check_frame(frame_from_rows([row()]).drop(columns="workload"))
