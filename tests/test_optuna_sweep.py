"""The Optuna sweeper as a person uses it: real processes, real kills, real databases."""

import json
import os
import random
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import optuna
import pytest
from shell import finish

from lrbench.cli import main
from lrbench.tracking.facts import read_facts
from lrbench.tracking.journal import Ended, read_all

SEVERAL = ["-m", "hydra/sweeper=optuna", "tracking=none", "model.hidden=[16]", "hydra.sweeper.report=false"]
LONG = [*SEVERAL, "seed=0"]
SWEEP = [*LONG, "budget.epochs=2"]


def environment(folder, cache=None):
    return {**os.environ, "LRBENCH_CACHE_DIR": str(cache or folder.parent / "cache"), "OMP_NUM_THREADS": "1"}


def start(folder, *words, cache=None):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "lrbench", *words],
        cwd=folder,
        env=environment(folder, cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder, *words, check=True, cache=None):
    process = start(folder, *words, cache=cache)
    out, err = finish(process, 280)
    done = subprocess.CompletedProcess(words, process.returncode, out, err)
    assert not check or done.returncode == 0, err
    return done


def studies(folder):
    """Everything that a sweep found, by study: number -> state, params, values, curve."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/results/studies.db")
    found = {}
    for study in optuna.get_all_study_names(storage):
        trials = optuna.load_study(study_name=study, storage=storage).get_trials()
        found[study] = {
            t.number: (t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs["num_diverged"])
            for t in trials
        }
    storage.engine.dispose()
    return found


def records(folder, role):
    """Records of runs of a role, by (study, trial, seed)."""
    found = {}
    for path in sorted((folder / "results" / "runs").iterdir()):
        facts = read_facts(path)
        if facts.tags["role"] == role:
            key = (facts.tags["study"], facts.tags.get("trial"), facts.tags.get("seed"))
            assert key not in found, f"{key} was trained twice"
            found[key] = path
    return found


def finals(folder):
    """Last validation and test loss of every final."""
    return {
        key: {
            name: value
            for name, value in json.loads((path / "artifacts" / "outcome.json").read_text()).items()
            if not name.startswith("time/")
        }
        for key, path in records(folder, "final").items()
    }


@pytest.mark.slow
def test_every_contestant_gets_equal_trials_and_its_best_point_is_measured_on_fresh_seeds(tmp_path):
    words = [*SEVERAL, "budget.epochs=2", "scheduler=cosine,step", "seed=0,1"]
    words += ["hydra.sweeper.num_trials=3", "hydra.sweeper.final_seeds=3"]
    done = run(tmp_path, *words)
    found = studies(tmp_path)
    assert [name.rpartition("/")[2] for name in sorted(found)] == ["cosine", "step"]
    assert len({name.rpartition("/")[0] for name in found}) == 1, "one workload"
    for name, trials in found.items():
        assert sorted(trials) == [0, 1, 2]
        assert all(state == "COMPLETE" for state, *_ in trials.values())
        best = max(trials, key=lambda number: trials[number][2][0])
        measured = {key: path for key, path in records(tmp_path, "final").items() if key[0] == name}
        assert {(trial, seed) for _, trial, seed in measured} == {(str(best), str(1000 + i)) for i in range(3)}
        (summary,) = (path for key, path in records(tmp_path, "study").items() if key[0] == name)
        chosen = json.loads((summary / "artifacts" / "study.json").read_text())["chosen"]
        assert chosen["optimizer.lr"] == pytest.approx(trials[best][1]["optimizer.lr"], rel=0.8)
        for path in measured.values():
            assert read_facts(path).params["optimizer.lr"] == chosen["optimizer.lr"]
    tuning = records(tmp_path, "tuning")
    assert len(tuning) == 2 * 3 * 2
    for (study, trial, _), path in tuning.items():
        assert "test/loss" not in (path / "artifacts" / "curve.csv").read_text(), "tuning never reads the test split"
        assert read_facts(path).params["optimizer.lr"] == found[study][int(trial)][1]["optimizer.lr"]
    for study, trials in found.items():
        for number, (_, _, (value,), _, _) in trials.items():
            paths = [tuning[study, str(number), seed] for seed in ("0", "1")]
            values = [json.loads((p / "artifacts" / "outcome.json").read_text())["val/accuracy"] for p in paths]
            assert value == pytest.approx(sum(values) / 2)
    assert len(done.stdout.splitlines()) == 3, "a head and one line a study"

    again = run(tmp_path, *words)
    assert again.stdout == done.stdout
    assert len(records(tmp_path, "tuning")) == 12, "nothing is trained twice"

    more = [word.replace("num_trials=3", "num_trials=4") for word in words]
    run(tmp_path, *more)
    extended = studies(tmp_path)
    for name, trials in found.items():
        assert {n: extended[name][n] for n in trials} == trials
        assert sorted(extended[name]) == [0, 1, 2, 3], "the number of trials is a total"


TWENTY_EPOCHS = [*LONG, "scheduler=cosine,step", "hydra.sweeper.num_trials=6", "hydra.sweeper.final_seeds=2"]
TWENTY_EPOCHS += ["hydra.sweeper.sampler=tpe", "hydra.sweeper.at_once=2", "budget.epochs=20"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What a sweep ends with that nobody disturbs: its studies, finals and tuning runs; and its cache.

    The cache of the machine holds what was measured of learners, which round otherwise.
    """
    folder = tmp_path_factory.mktemp("unbroken") / "sweep"
    run(folder, *TWENTY_EPOCHS)
    return (studies(folder), finals(folder), records(folder, "tuning").keys()), folder.parent / "cache"


def progress_of(folder):
    """A number that grows with each thing that a sweep has done: its database, records begun and ended."""
    return len([*folder.glob("results/studies.db"), *folder.glob("results/runs/*/artifacts/*")])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("kills")
@pytest.mark.parametrize("repetition", range(2))
def test_a_sweep_killed_again_and_again_ends_as_an_unbroken_one(tmp_path, unbroken, repetition):
    (expected, cache), broken = unbroken, tmp_path / "broken"
    moments = random.Random(repetition)
    num_kills = 0
    while num_kills < 4:
        # From before the database exists to the middle of the finals: the sweep's own progress sets the clock.
        num_files = progress_of(broken) + moments.randint(0, 12)
        process = start(broken, *TWENTY_EPOCHS, cache=cache)
        while progress_of(broken) < num_files and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.2))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL) if moments.random() < 0.5 else process.kill()
        process.communicate()
        num_kills += 1
    run(broken, *TWENTY_EPOCHS, cache=cache)
    assert (studies(broken), finals(broken), records(broken, "tuning").keys()) == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("kills")
def test_processes_that_share_a_study_finish_exactly_the_number_asked_for(tmp_path):
    words = [*LONG, "scheduler=cosine,step", "hydra.sweeper.num_trials=6", "hydra.sweeper.final_seeds=2"]
    words += ["hydra.sweeper.shared=true", "hydra.sweeper.stale_seconds=3", "budget.epochs=40"]
    processes = [start(tmp_path / "shared", *words) for _ in range(3)]
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("shared/results/runs/*/artifacts/outcome.json")):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), [p.communicate()[1] for p in processes]
        time.sleep(0.05)
    for process in processes[:2]:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    restarted = [start(tmp_path / "shared", *words) for _ in range(2)]
    for process in [processes[2], *restarted]:
        _, err = finish(process, 280)
        assert process.returncode == 0, err
    for trials in studies(tmp_path / "shared").values():
        assert [state for state, *_ in trials.values()] == ["COMPLETE"] * 6
        points = [json.dumps(params, sort_keys=True) for _, params, *_ in trials.values()]
        assert len(set(points)) == 6
    assert len(records(tmp_path / "shared", "tuning")) == 12
    assert len(records(tmp_path / "shared", "final")) == 4
    assert len(records(tmp_path / "shared", "study")) == 2
    for path in (tmp_path / "shared" / "results" / "runs").iterdir():
        last = read_all(path / "journal.jsonl")[-1]
        assert isinstance(last, Ended)
        assert last.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_processes_share_studies_in_postgresql(tmp_path, postgres_url):
    words = [*SWEEP, "scheduler=cosine,step", "hydra.sweeper.num_trials=4", "hydra.sweeper.final_seeds=2"]
    words += ["hydra.sweeper.shared=true", f"hydra.sweeper.storage='{postgres_url}'"]
    processes = [start(tmp_path, *words) for _ in range(2)]
    for process in processes:
        _, err = finish(process, 400)
        assert process.returncode == 0, err
    storage = optuna.storages.RDBStorage(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    names = optuna.get_all_study_names(storage)
    assert len(names) == 2
    for name in names:
        trials = optuna.load_study(study_name=name, storage=storage).get_trials()
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
        assert sorted(trial.user_attrs["slot"] for trial in trials) == [0, 1, 2, 3]
    storage.engine.dispose()
    assert len(records(tmp_path, "tuning")) == 8
    assert len(records(tmp_path, "final")) == 4
    assert not (tmp_path / "results" / "studies.db").exists()


@pytest.mark.slow
@pytest.mark.xdist_group("kills")
def test_a_second_sweep_on_the_same_study_is_refused_while_the_first_runs(tmp_path):
    words = [*LONG, "scheduler=cosine", "hydra.sweeper.num_trials=2", "budget.epochs=5000"]
    first = start(tmp_path, *words)
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob("results/runs/*/journal.jsonl")):
        assert time.monotonic() < deadline
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.05)
    second = run(tmp_path, *words, check=False)
    first.terminate()
    _, err = finish(first, 60)
    assert second.returncode == 1
    assert "another sweep is running in" in second.stderr
    assert first.returncode == 143
    assert "the same command continues" in err
    (trials,) = studies_of_states(tmp_path)
    assert "RUNNING" in trials, "the trial in hand waits for the same command"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_report_of_a_sweep_is_about_all_of_it_and_only_it_whichever_call_trained_what(tmp_path, empty_database):
    (tmp_path / "results").mkdir()
    shutil.copy(empty_database, tmp_path / "results" / "mlflow.db")
    run(tmp_path, "scheduler=linear", "model.hidden=[4]", "budget.epochs=2")
    run(tmp_path, "range-test", "num_steps=20", "seeds=1")
    words = [
        "-m",
        "hydra/sweeper=optuna",
        "model.hidden=[16]",
        "budget.epochs=30",
        "scheduler=constant,cosine",
        "seed=0",
    ]
    words += ["hydra.sweeper.num_trials=3", "hydra.sweeper.final_seeds=4", "training.learner=sequential"]
    for role in ("tuning", "final"):
        killed = start(tmp_path, *words)
        deadline = time.monotonic() + 240
        while not begun(tmp_path, role):
            assert killed.poll() is None, killed.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    assert not list(tmp_path.rglob("verdict.json"))

    verdicts = []
    for _ in range(2):
        done = run(tmp_path, *words)
        (path,) = tmp_path.glob("results/reports/*/verdict.json")
        verdicts.append(path.read_bytes())
        assert f"wrote\t{path.with_name('report.html')}" in done.stdout
    assert verdicts[0] == verdicts[1]
    (section,) = json.loads(verdicts[0])["sections"]
    assert [workload["name"] for workload in section["workloads"]] == [next(iter(studies(tmp_path))).rpartition("/")[0]]
    reports = [read_facts(path) for path in (tmp_path / "results" / "runs").glob("report-*")]
    assert [facts.params["report.num_runs"] for facts in reports] == [2 * (3 + 4)] * 2, "tuning trials and finals"
    # The report of everything does not fail, and names what it mixes.
    everything = run(tmp_path, "report")
    assert "All runs of this store are taken, of 2 experiments" in everything.stdout
    assert "range_test" not in everything.stdout


def begun(folder, role):
    """Records of runs of a role that have begun, and the file that says so is written."""
    return [path for path in folder.glob("results/runs/*/run.json") if read_facts(path.parent).tags["role"] == role]


def studies_of_states(folder):
    with sqlite3.connect(folder / "results" / "studies.db") as database:
        rows = database.execute("select study_id, state from trials").fetchall()
    states = {}
    for study, state in rows:
        states.setdefault(study, []).append(state)
    return list(states.values())


@pytest.mark.slow
@pytest.mark.parametrize("words", [["-m", "hydra/sweeper=optuna"], ["-m", "seed=0,1"], []])
def test_too_little_memory_is_one_sentence(tmp_path, words):
    limited = f"ulimit -v 500000; exec {shlex.join([sys.executable, '-m', 'lrbench', *words])} tracking=none"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "too little memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("results/runs/*"))


@pytest.mark.slow
def test_diverged_trials_are_the_worst_and_the_sweep_goes_on(tmp_path):
    run(
        tmp_path,
        *SWEEP,
        "scheduler=constant",
        "optimizer.lr=tag(log,interval(0.01,1e8))",
        "hydra.sweeper.sampler=qmc",
        "hydra.sweeper.num_trials=6",
        "hydra.sweeper.final_seeds=1",
    )
    (trials,) = studies(tmp_path).values()
    diverged = [values for _, _, values, _, num_diverged in trials.values() if num_diverged]
    assert diverged
    assert all(values == [0.0] for values in diverged)
    assert max(values[0] for _, _, values, *_ in trials.values()) > 0.1


@pytest.mark.slow
def test_pruning_cuts_runs_at_equal_fractions_and_says_so(tmp_path):
    words = ["scheduler=constant", "optimizer.lr=tag(log,interval(1e-4,0.3))", "hydra.sweeper.num_trials=12"]
    words += [
        "hydra.sweeper.sampler=qmc",
        "hydra.sweeper.at_once=4",
        "hydra.sweeper.prune_share=0.5",
        "hydra.sweeper.final_seeds=0",
    ]
    run(tmp_path, *SWEEP, *words)
    (trials,) = studies(tmp_path).values()
    states = [state for state, *_ in trials.values()]
    assert states[:4] == ["COMPLETE"] * 4, "there is no line before some have finished"
    assert "PRUNED" in states
    total = max(max(curve) for *_, curve, _ in trials.values())
    for state, _, _, curve, _ in trials.values():
        assert (max(curve) < total) == (state == "PRUNED")
        assert max(curve) >= total / 2
    (study,) = records(tmp_path, "study").values()
    said = json.loads((study / "artifacts" / "study.json").read_text())
    assert said["states"]["PRUNED"] == states.count("PRUNED") == len(said["pruned_at_step"])


@pytest.mark.slow
def test_a_changed_space_is_refused_with_a_diff_and_a_new_study_can_be_forced(tmp_path):
    words = [*SWEEP, "scheduler=step", "hydra.sweeper.num_trials=1", "hydra.sweeper.final_seeds=1"]
    run(tmp_path, *words)
    changed = run(tmp_path, *words, "scheduler.search.gamma.high=0.5", check=False)
    assert changed.returncode == 1
    assert "scheduler.gamma" in changed.stderr
    assert "0.9" in changed.stderr
    assert "0.5" in changed.stderr
    assert "hydra.sweeper.force_new_study=true" in changed.stderr
    run(tmp_path, *words, "scheduler.search.gamma.high=0.5", "hydra.sweeper.force_new_study=true")
    assert len(studies(tmp_path)) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scheduler.search.gama={low: 0.1, high: 0.9}"], "gama"),
        (["+scheduler.search.gama={low: 0.1, high: 0.9}"], "scheduler.search.gama"),
        (["scheduler.search.gamma.low=0.95"], "scheduler.search.gamma"),
        (["optimizer.search.lr.low=0"], "optimizer.search.lr.low"),
        (["optimizer.lr=tag(log,interval(0,1))"], "optimizer.lr"),
        (["scheduler.search.gamma={choices: []}"], "scheduler.search.gamma"),
        (["scheduler=step", "optimizer.lr=0.1", "optimizer.lr=0.1,0.2"], "optimizer.lr is given twice"),
        (["hydra.sweeper.num_trials=0"], "hydra.sweeper.num_trials should be greater than or equal to 1, got 0"),
        (["hydra.sweeper.sampler=tpee"], "hydra.sweeper.sampler"),
        (
            ["+hydra.sweeper.num_trails=3"],
            "no setting 'num_trails'; did you mean num_trials?",
        ),
        (["warmup.fraction=0.1,0.2"], "warmup.fraction"),
    ],
)
def test_what_is_wrong_is_refused_before_the_first_trial(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRBENCH_CACHE_DIR", str(tmp_path / "cache"))
    words = words if any(word.startswith("scheduler=") for word in words) else ["scheduler=step", *words]
    assert main([*SWEEP, *words]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("results/runs/*"))
