"""Fresh seeds at planned looks: who gets more of them, when it ends, and that nothing fixed before can be changed."""

import json

import numpy as np
import pytest
from scipy import stats

import lrbench
from lrbench.analysis.statistics.looks import planned_looks
from lrbench.analysis.statistics.settling import Design, check_design, seeds_at_looks, settle
from lrbench.cli import main
from lrbench.runs.compose import compose_plans
from lrbench.runs.result import Result
from lrbench.search.space import read_space
from lrbench.spec import RunState
from lrbench.studies.contestants import Contestant
from lrbench.studies.protocol import Surroundings, run_sweep
from lrbench.studies.settle import looks_before
from lrbench.studies.sweeper import read_settings

SETTINGS = {
    "num_trials": 2, "sampler": "random", "seed": 0, "at_once": None, "final_seeds": "settle", "budgets": [1.0],
    "retune": False, "objectives": ["final"], "prune_share": None, "prune_from": 0.5, "storage": None,
    "force_new_study": False, "shared": False, "stale_seconds": 60.0, "report": True,
    "looks": [3, 6, 9], "alpha": 0.05, "margin": 0.1, "reference": None,
}  # fmt: skip
WIGGLE = 0.01 * np.random.default_rng(0).standard_normal((9, 3))


def costs(*means, noise=WIGGLE):
    return {name: np.exp(mean + noise[:, i]) for i, (name, mean) in enumerate(zip("abc", means, strict=True))}


def states(said):
    return {(pair.first, pair.second): pair.state for pair in said.pairs}


def test_one_look_at_all_pairs_is_bonferroni_over_paired_t_tests():
    design = Design(("a", "b", "c"), (9,), 0.05, 0.1)
    table = costs(0.0, 0.03, 0.0, noise=3 * WIGGLE)
    said = settle(table, design, num_looks=1)
    for pair in said.pairs:
        truth = stats.ttest_rel(np.log(table[pair.first]), np.log(table[pair.second])).confidence_interval(1 - 0.05 / 3)
        assert (pair.interval.low, pair.interval.high) == pytest.approx((truth.low, truth.high), rel=1e-3)
    against = settle(table, Design(("a", "b", "c"), (9,), 0.05, 0.1, "a"), num_looks=1)
    assert [{p.first, p.second} for p in against.pairs] == [{"a", "b"}, {"a", "c"}]
    assert against.pairs[0].interval.level == pytest.approx(1 - 0.05 / 2)


def test_who_is_out_gets_no_more_seeds_and_who_is_open_does():
    design = Design(("a", "b", "c"), (3, 6, 9), 0.05, 0.1)
    wide = WIGGLE * [20, 20, 1]
    table = costs(0.0, 0.0, 2.0, noise=wide)
    first = settle({name: values[:3] for name, values in table.items()}, design, num_looks=1)
    assert (first.state, first.best, dict(first.more_seeds)) == ("continue", ("a", "b", "c"), {"a": 3, "b": 3, "c": 3})
    second = settle({name: values[:6] for name, values in table.items()}, design, num_looks=2)
    assert states(second) == {("a", "b"): "undecided", ("a", "c"): "better", ("b", "c"): "better"}
    assert dict(second.more_seeds) == {"a": 3, "b": 3}
    seeds = seeds_at_looks(design, [first.more_seeds, second.more_seeds])
    assert seeds == {"a": 9, "b": 9, "c": 6}
    last = settle({name: values[: seeds[name]] for name, values in table.items()}, design, num_looks=3)
    assert (last.state, states(last)["a", "b"], dict(last.more_seeds)) == ("exhausted", "exhausted", {})
    assert {p.second: p.num_seeds for p in last.pairs if p.state == "better"} == {"c": 6}
    with pytest.raises(ValueError, match="a look at 9 seeds needs as many runs of a, got 6"):
        settle({name: values[:6] for name, values in table.items()}, design, num_looks=3)


def test_equivalent_pairs_settle_and_a_decision_is_kept_whatever_comes_later():
    design = Design(("a", "b"), (3, 6, 9), 0.05, 0.1)
    table = {name: values for name, values in costs(0.0, 0.0, 0.0, noise=WIGGLE / 10).items() if name != "c"}
    assert settle(table, design, num_looks=1).state == "settled"
    table["b"][3:] *= 100
    assert states(settle(table, design, num_looks=3)) == {("a", "b"): "equivalent"}


def test_the_choice_of_the_rate_widens_every_interval():
    design = Design(("a", "b", "c"), (9,), 0.05, 0.1)
    before, after = (settle(costs(0, 0, 0), design, num_looks=1, selection=v).pairs[0].interval for v in (0.0, 0.02))
    threshold = planned_looks((9,), level=0.05 / 6)[0].threshold
    added = (after.high - after.low) ** 2 - (before.high - before.low) ** 2
    assert added == pytest.approx(4 * threshold**2 * 2 * 0.02)


@pytest.mark.parametrize(
    ("design", "words"),
    [
        (Design(("a",), (3,), 0.05, 0.1), "two schedules or more, got a"),
        (Design(("a", "b"), (3,), 0.05, 0.1, "c"), "reference=c is none of the schedules; they are a, b"),
        (Design(("a", "b"), (5, 3), 0.05, 0.1), "ascending"),
        (Design(("a", "b"), (3,), 1.5, 0.1), "alpha"),
    ],
)
def test_designs_that_cannot_be_carried_out_are_refused(design, words):
    with pytest.raises(ValueError, match=words):
        check_design(design)


def test_looks_at_equal_schedules_keep_their_level():
    rng = np.random.default_rng(1)
    for names, reference in (("ab", None), ("abcd", None), ("abcd", "a")):
        design = Design(tuple(names), (3, 5, 8), 0.05, 0.1, reference)
        found = [
            settle(dict(zip(names, np.exp(study).T, strict=True)), design, num_looks=3)
            for study in rng.standard_normal((600, 8, len(names)))
        ]
        share = np.mean([any(pair.state == "better" for pair in said.pairs) for said in found])
        assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Take looks at two schedules whose trainings are made up: test accuracy by (name, seed)."""
    monkeypatch.chdir(tmp_path)
    (plan,) = compose_plans(["scheduler=constant", "tracking=none", "budget=steps", "budget.steps=4"])
    space = read_space(plan.values, fixed={}, ranges={})

    def run(accuracy, *, one_look=True, names=("good", "bad"), **settings):
        made = [Contestant(f"{plan.workload}/{n}", (), plan.values, {}, plan, space, seeds=(0,)) for n in names]
        run.trained = []

        def train(jobs):
            run.trained.append([(j.values["study"]["name"].rpartition("/")[2], j.values["seed"]) for j in jobs])
            return [result(j.values) for j in jobs]

        def result(values):
            name, seed = values["study"]["name"].rpartition("/")[2], values["seed"]
            value = 0.5 if values["study"]["role"] == "tuning" else accuracy(name, seed - 1000)
            state = RunState.OK if value is not None else RunState.DIVERGED
            found = {"test/accuracy": value, "time/seconds": 2.0} if value is not None else {}
            return Result(name, state=state, curve={0: 0.1, 4: value or 0.1}, found=found)

        world = Surroundings(train, lambda _: None, "", lambda: dict.fromkeys([None], "") | Anything(), lambda _: None)
        return run_sweep(made, read_settings(SETTINGS | settings), world, one_look=one_look)

    run.ledger = lambda: json.loads(next((tmp_path / "results" / "studies").glob("*.settle.json")).read_text())
    run.artifacts = lambda: sorted((tmp_path / "results" / "runs").glob("*/artifacts/settle.json"))
    return run


class Anything(dict):
    def __missing__(self, key):
        return "digest"

    def __ror__(self, other):
        return self


def close(name, seed):
    return 0.8 + 0.04 * ((seed + (name == "good")) % 3)


def far(name, seed):
    return (0.9 if name == "good" else 0.5) + 0.001 * ((7 * seed + len(name)) % 5)


def test_every_call_takes_one_look_until_no_more_is_planned(look):
    said = look(close)
    assert (said.state, said.workloads[0].num_runs, said.workloads[0].seconds) == ("continue", 6, 12.0)
    assert look.trained[-1] == [(n, 1000 + s) for n in ("good", "bad") for s in range(3)]
    assert json.loads(look.artifacts()[0].read_text()) == look.ledger()
    assert look(close).state == "continue"
    last = look(close)
    assert (last.state, last.document["num_runs"], len(look.trained[-1])) == ("exhausted", 0, 18)
    again = look(close)
    assert again.document == last.document
    assert len(look.ledger()["looks"]) == 3, "nothing was spent again"


def test_a_report_beside_a_ledger_says_that_there_were_looks(look, tmp_path):
    assert looks_before(tmp_path / "results", ["w"]) == []
    workload = look(close).workloads[0].workload
    (finding,) = looks_before(tmp_path / "results", ["w", workload])
    assert finding.sentence.startswith(f"Seeds of {workload} were added at planned looks")


def test_a_killed_look_is_the_same_look_when_it_is_given_again(look):
    look(close)
    before = look.ledger()

    def killed(name, seed):
        if seed == 4:
            raise KeyboardInterrupt
        return close(name, seed)

    with pytest.raises(KeyboardInterrupt):
        look(killed)
    assert look.ledger() == before
    said = look(close)
    assert (said.workloads[0].said.num_looks, len(look.trained[-1])) == (2, 12)


def test_all_looks_in_one_go_say_what_one_at_a_time_says(look, tmp_path):
    said = look(far, one_look=False)
    assert said.state == "settled"
    (pair,) = said.workloads[0].said.pairs
    assert (pair.first, pair.state, pair.second, pair.num_seeds) == ("good", "better", "bad", 3)
    assert look(far).document == said.document


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alpha": 0.1}, "alpha was 0.05 and is 0.1"),
        ({"margin": 0.2}, "margin was 0.1 and is 0.2"),
        ({"looks": [3, 6, 9, 12]}, r"looks was \[3, 6, 9\] and is \[3, 6, 9, 12\]"),
        ({"reference": "good"}, "reference was None and is good"),
        ({"names": ("good", "bad", "third")}, "schedules was"),
    ],
)
def test_what_is_fixed_before_the_first_look_cannot_be_changed_and_the_attempt_is_recorded(look, change, words):
    look(close)
    before = look.ledger()
    with pytest.raises(ValueError, match=f"fixed before its first look.*{words}"):
        look(close, **change)
    after = look.ledger()
    (attempt,) = after.pop("refused")
    assert after == {name: value for name, value in before.items() if name != "refused"}
    assert attempt["asked"] != after["design"]
    assert look(close).workloads[0].said.num_looks == 2


def test_a_diverged_run_counts_as_it_was_at_step_0(look):
    said = look(lambda name, seed: None if name == "bad" else far(name, seed))
    (pair,) = said.workloads[0].said.pairs
    assert (pair.first, pair.state) == ("good", "better")
    assert pair.estimate == pytest.approx(np.mean([np.log(1 - far("good", s)) for s in range(3)]) - np.log(0.9))


def test_settings_that_cannot_be_looked_at_are_refused_before_anything_trains():
    with pytest.raises(ValueError, match="shared=true cannot be given with final_seeds=settle"):
        read_settings(SETTINGS | {"shared": True})
    with pytest.raises(ValueError, match="looks must be ascending numbers of seeds from 3 on"):
        read_settings(SETTINGS | {"looks": [2, 5]})
    with pytest.raises(ValueError, match=r"hydra.sweeper.final_seeds .*'soon'"):
        read_settings(SETTINGS | {"final_seeds": "soon"})


@pytest.mark.parametrize(("accuracy", "codes"), [(far, [0, 0]), (close, [4, 4, 5, 5])])
def test_the_command_says_the_state_by_its_exit_code(look, monkeypatch, capsys, accuracy, codes):
    monkeypatch.setattr("lrbench.api.next_look", lambda words, session: look(accuracy))
    for i, code in enumerate(codes):
        as_json = ["--json"] * (i % 2)
        assert main(["settle", "scheduler=constant,cosine", *as_json]) == code
        said = capsys.readouterr().out
        state = {0: "settled", 4: "continue", 5: "exhausted"}[code]
        assert json.loads(said)["state"] == state if as_json else f" seeds): {state}" in said


@pytest.mark.slow  # trains, in worker processes
def test_settle_trains_only_what_the_next_look_needs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = {
        "scheduler": ["constant", "cosine"], "dataset": "digits", "budget": {"epochs": 1},
        "model": {"name": "mlp", "hidden": [16]}, "tracking": "none", "search": {"num_trials": 5, "looks": [3, 5]},
    }  # fmt: skip
    said = lrbench.settle(**words)
    finals = [p.name for p in (tmp_path / "results" / "runs").iterdir() if "-s100" in p.name]
    assert len(finals) == 6
    while said.state == "continue":
        assert said.document["seconds"] > 0
        said = lrbench.settle(**words)
    assert said.state in ("settled", "exhausted")
