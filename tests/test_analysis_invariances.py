"""What must not change an analysis, and what may only make it worse, over random small frames."""

import numpy as np
import pytest
from analysis_frames import analysed, cell
from hypothesis import given, settings
from hypothesis import strategies as st

from lrbench.analysis.model import to_plain
from lrbench.analysis.statistics.terms import Unavailable

SCHEDULES = ("constant", "cosine", "linear")
STEPS = (0, 10, 20, 30, 40)
# Few values, so that ties come; 2.0 is where every run starts, NaN is divergence.
levels = st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.5, float("nan")])
curves = st.tuples(*[levels] * 4).map(lambda values: [2.0, *values])
quick = settings(max_examples=4, deadline=None, derandomize=True)


@st.composite
def frames(draw):
    """Rows of up to two workloads, three schedules and three seeds."""
    rows = []
    for workload in draw(st.sampled_from([("w0",), ("w0", "w1")])):
        for scheduler in SCHEDULES:
            for seed in range(draw(st.integers(1, 3))):
                rows += curve(workload, scheduler, seed, draw(curves))
    return rows


def curve(workload, scheduler, seed, values):
    """One run; it ends where it diverged."""
    ends = next((k for k, value in enumerate(values) if np.isnan(value)), len(values) - 1)
    base = {"run_id": f"{workload}-{scheduler}-{seed}", "workload": workload, "scheduler": scheduler, "seed": seed}
    base |= {"budget": 40, "state": "ok", "role": "final", "optimizer.lr": 0.1}
    return [base | {"step": STEPS[k], "val/loss": values[k]} for k in range(ends + 1)]


def result(rows, **options):
    return analysed(rows, num_resamples=30, target=0.75, **options)


def ranks(analysis, *, speed=False):
    """Place of every (workload, schedule) by final value, or by median time: larger is worse."""
    found = {}
    for c in analysis.sections[0].cells:
        place = c.rank
        if speed:
            time = c.steps if isinstance(c.steps, Unavailable) else c.steps.median
            place = np.inf if isinstance(time, Unavailable) else time
        found[c.workload, c.scheduler] = np.inf if isinstance(place, Unavailable) else place
    return found


def plain(analysis):
    return to_plain(analysis.sections)


@quick
@given(frames(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert plain(result(shuffled)) == plain(result(rows))


@quick
@given(frames())
def test_a_run_recorded_twice_counts_once(rows):
    again = [row | {"run_id": "z" + row["run_id"]} for row in rows]
    one, two = result(rows), result(rows + again)
    assert ranks(two) == ranks(one)
    for c in one.sections[0].cells:
        other = cell(two, c.scheduler, c.workload)
        assert (other.num_runs, other.final, other.steps) == (c.num_runs, c.final, c.steps)


@quick
@given(frames(), st.permutations(["cosine", "linear"]))
def test_names_decide_nothing(rows, names):
    """Constant keeps its name, which stands for something."""
    new = {"constant": "constant", **dict(zip(("cosine", "linear"), names, strict=True))}
    renamed = result([row | {"scheduler": new[row["scheduler"]]} for row in rows])
    one = result(rows)
    for speed in (False, True):
        assert {(w, new[s]): place for (w, s), place in ranks(one, speed=speed).items()} == ranks(renamed, speed=speed)
    on_front = {(p.workload, new[p.scheduler]): p.on_front for p in one.sections[0].front}
    assert {(p.workload, p.scheduler): p.on_front for p in renamed.sections[0].front} == on_front


@quick
@given(frames(), st.sampled_from([4.0, -1.0]))
def test_the_unit_and_the_direction_of_the_metric_decide_nothing(rows, factor):
    direction = "minimize" if factor > 0 else "maximize"
    # Under a name that says nothing.
    other = [{k: v for k, v in row.items() if k != "val/loss"} | {"val/x": factor * row["val/loss"]} for row in rows]
    scaled = analysed(other, metric="val/x", direction=direction, num_resamples=30, target=factor * 0.75)
    one = result(rows)
    for speed in (False, True):
        assert ranks(scaled, speed=speed) == ranks(one, speed=speed)
    states = [(row.ok, row.diverged, row.incomplete) for row in one.sections[0].states]
    assert [(row.ok, row.diverged, row.incomplete) for row in scaled.sections[0].states] == states
    relations = [(p.relation, p.reverse, p.improvement) for p in one.sections[0].pairs]
    assert [(p.relation, p.reverse, p.improvement) for p in scaled.sections[0].pairs] == relations


@quick
@given(frames())
def test_thinner_curves_keep_their_ends(rows):
    """Every second evaluation: finals stay, times are as fine as the evaluations and never earlier."""
    last = {}
    for row in rows:
        last[row["run_id"]] = max(row["step"], last.get(row["run_id"], 0))
    thin = [row for row in rows if row["step"] % 20 == 0 or row["step"] == last[row["run_id"]]]
    thinner, whole = result(thin), result(rows)
    assert ranks(thinner) == ranks(whole)
    late = ranks(thinner, speed=True)
    assert all(late[key] >= time for key, time in ranks(whole, speed=True).items())


@quick
@given(frames())
def test_a_workload_of_ties_reverses_no_order(rows):
    tied = [row for s in SCHEDULES for seed in range(3) for row in curve("ties", s, seed, [2.0, 1.5, 1.0, 0.5, 0.5])]
    one, two = result(rows), result(rows + tied)
    assert {key: place for key, place in ranks(two).items() if key[0] != "ties"} == ranks(one)
    if not isinstance(one.sections[0].across, Unavailable):
        before = {o.scheduler: o.mean_rank for o in one.sections[0].across.overall}
        after = {o.scheduler: o.mean_rank for o in two.sections[0].across.overall}
        for a in SCHEDULES:
            for b in SCHEDULES:
                assert np.sign(round(before[a] - before[b], 9)) == np.sign(round(after[a] - after[b], 9))


@quick
@given(frames(), st.data())
def test_a_schedule_gains_nothing_by_a_diverged_run(rows, data):
    run_id = data.draw(st.sampled_from(sorted({row["run_id"] for row in rows})))
    cut = data.draw(st.sampled_from(STEPS[1:]))
    twin = [row for row in rows if row["run_id"] != run_id or row["step"] < cut]
    own = next(row for row in rows if row["run_id"] == run_id)
    twin.append(own | {"step": cut, "val/loss": float("nan")})
    key = own["workload"], own["scheduler"]
    before, after = result(rows), result(twin)
    for speed in (False, True):
        assert ranks(after, speed=speed)[key] >= ranks(before, speed=speed)[key]
    front = {(p.workload, p.scheduler): p.on_front for p in before.sections[0].front}
    behind = {(p.workload, p.scheduler): p.on_front for p in after.sections[0].front}
    assert front[key] or not behind[key]
    if not isinstance(after.sections[0].across, Unavailable):
        places = [{o.scheduler: o.mean_rank for o in a.sections[0].across.overall} for a in (before, after)]
        assert places[1][own["scheduler"]] >= places[0][own["scheduler"]] - 1e-9
    for one, two in zip(before.sections[0].pairs, after.sections[0].pairs, strict=True):
        if one.workload == own["workload"] and own["scheduler"] in (one.first, one.second):
            shares = [own_share(pair, own["scheduler"]) for pair in (one, two)]
            assert shares[1] <= shares[0] + 1e-9


@quick
@given(frames(), st.data())
def test_a_schedule_gains_no_speed_by_a_kill_and_every_killed_run_is_counted(rows, data):
    run_id = data.draw(st.sampled_from(sorted({row["run_id"] for row in rows})))
    cut = data.draw(st.sampled_from(STEPS[:-1]))
    own = next(row for row in rows if row["run_id"] == run_id)
    killed = [
        row | {"state": "incomplete"} if row["run_id"] == run_id else row
        for row in rows
        if row["run_id"] != run_id or row["step"] <= cut
    ]
    key = own["workload"], own["scheduler"]
    before, after = result(rows), result(killed)
    assert ranks(after, speed=True)[key] >= ranks(before, speed=True)[key]
    was, now = cell(before, key[1], key[0]), cell(after, key[1], key[0])
    assert now.num_runs == was.num_runs == now.num_ok + now.num_diverged + now.num_incomplete
    if not isinstance(now.steps, Unavailable):
        assert now.steps.share.total == was.num_runs
        assert now.steps.share.count <= was.steps.share.count
    planned = [sum(row.planned for row in a.sections[0].states) for a in (before, after)]
    assert planned[0] == planned[1]


def own_share(pair, scheduler):
    """Probability that a run of the schedule beats one of the other."""
    if isinstance(pair.improvement, Unavailable):
        return 0.0
    return pair.improvement.value if pair.first == scheduler else 1 - pair.improvement.value


def test_the_diverged_twin_of_the_best_is_the_worst():
    rows = [row for s, v in zip(SCHEDULES, (1.0, 0.75, 0.5), strict=True) for row in curve("w0", s, 0, [2, 2, 2, 2, v])]
    assert ranks(result(rows)) == {("w0", "constant"): 3, ("w0", "cosine"): 2, ("w0", "linear"): 1}
    rows[-1]["val/loss"] = float("nan")
    assert ranks(result(rows)) == pytest.approx({("w0", "constant"): 2, ("w0", "cosine"): 1, ("w0", "linear"): 3})
