"""`python -m lrbench` as a person runs it: real processes, real data, real kills."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lrbench.cli import main
from lrbench.tracking.facts import read_facts
from lrbench.tracking.record import Record

QUICK = ["tracking=none", "budget.epochs=2"]


@pytest.fixture
def command(tmp_path):
    """Run the command line in an empty working directory; returns the finished process."""

    def run(*words, check=True, **kwargs):
        done = subprocess.run(
            [sys.executable, "-m", "lrbench", *words],
            cwd=tmp_path,
            env={**os.environ, "LRBENCH_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            **kwargs,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def in_process(tmp_path, monkeypatch, capsys):
    """The same without the seconds in which a process imports torch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRBENCH_CACHE_DIR", str(tmp_path / "cache"))

    def run(*words, check=True):
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr()
        assert not check or code == 0, said.err
        return subprocess.CompletedProcess(words, code, said.out, said.err)

    return run


def start(tmp_path, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "lrbench", *words],
        cwd=tmp_path,
        env={**os.environ, "LRBENCH_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def found(done):
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())


def records(tmp_path):
    return sorted((tmp_path / "results" / "runs").iterdir())


def outcome(record):
    return json.loads((record / "artifacts" / "outcome.json").read_text())


def metrics(record):
    """The curve without its clock."""
    with (record / "artifacts" / "curve.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


def test_a_run_reports_what_it_found_and_leaves_a_whole_record(command, tmp_path):
    said = found(command("scheduler=one_cycle", *QUICK))
    assert {path.name for path in tmp_path.iterdir()} == {"results", "cache"}  # Hydra would add a log
    (record,) = records(tmp_path)
    assert said["record"] == str(record)
    assert said["state"] == "ok"
    assert float(said["test/accuracy"]) > 0.5
    seconds = float(said["time/seconds"])
    assert float(said["time/samples_per_second"]) == pytest.approx(int(said["steps"]) * 64 / seconds)
    assert {path.name for path in (record / "artifacts").iterdir()} == {
        "config.yaml",
        "environment.json",
        "rates.csv",
        "curve.csv",
        "outcome.json",
    }
    with (record / "artifacts" / "rates.csv").open() as file:
        rates = list(csv.DictReader(file))
    assert list(rates[0]) == ["step", "lr", "momentum"]
    assert len(rates) == int(said["steps"])
    curve = metrics(record)
    assert curve[0]["test/loss"] == ""
    assert repr(float(curve[-1]["val/accuracy"])) == said["val/accuracy"]


def test_the_same_command_twice_gives_the_same_curve_and_weights(in_process, tmp_path):
    in_process(*QUICK)
    in_process(*QUICK)
    first, second = records(tmp_path)
    assert metrics(first) == metrics(second)
    assert outcome(first)["weights_sha256"] == outcome(second)["weights_sha256"]


def test_a_diverged_run_is_a_result(in_process, tmp_path):
    said = found(in_process("optimizer.lr=1e6", *QUICK))
    assert said["state"] == "diverged"
    assert said["val/accuracy"] == said["test/accuracy"] == said["val/loss"] == "nan"
    (record,) = records(tmp_path)
    assert outcome(record)["val/loss"] == "nan"


@pytest.mark.slow
def test_a_grid_goes_on_after_a_failing_job_and_lists_the_failure(command, tmp_path):
    done = command("-m", "scheduler=constant,step", "model=mlp,lenet", *QUICK, check=False)
    assert done.returncode == 1
    assert len(records(tmp_path)) == 2
    assert done.stderr.count("lrbench: failed: ") == 2
    assert "model=lenet needs images of at least" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_lint_warns_and_stops_when_strict(in_process, tmp_path):
    plateau = ["scheduler=plateau", "scheduler.patience_fraction=1.0", *QUICK]
    assert "lrbench: warning: " in in_process(*plateau).stderr
    stopped = in_process(*plateau, "strict=true", check=False)
    assert stopped.returncode == 1
    assert "scheduler=plateau is set up wrongly" in stopped.stderr
    assert len(records(tmp_path)) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scheduler=cosin"], "scheduler=cosin: no such option; did you mean cosine?"),
        (["optimizer.lr=-1"], "optimizer.lr should be greater than 0, got -1"),
        (["device=cuda:7"], "device must be auto or one of this machine's cpu"),
        (["model=lenet"], "model=lenet needs images of at least"),
        (["results_dir=/dev/null/x"], "results_dir must be a writable directory, got /dev/null/x"),
        (["tracking.uri=http://127.0.0.1:9"], "no MLflow server answers at http://127.0.0.1:9"),
        (["dataset=mnist", "dataset.root=nowhere"], "dataset.root must hold MNIST/raw/train-images"),
    ],
)
def test_bad_input_ends_with_one_message_before_any_training(in_process, tmp_path, words, message):
    done = in_process(*words, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("results/runs/*"))


def test_a_mistyped_flag_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--multirn"])
    assert "unrecognized arguments: --multirn" in capsys.readouterr().err


def test_the_traceback_of_a_process_is_shown_when_asked_for(command, monkeypatch):
    done = command("optimizer.lr=-1", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert "Traceback" in command("optimizer.lr=-1", check=False).stderr


@pytest.mark.slow
def test_a_users_own_model_in_the_working_directory(command, in_process, tmp_path):
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, num_outputs, width=8):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_outputs))\n"
    )
    words = ["model=own/custom", "model._target_=my_models.Net", "+model.width=16", *QUICK]
    assert "must lie in a trusted module" in in_process(*words, check=False).stderr
    assert found(command(*words, "trusted_modules=[my_models]"))["state"] == "ok"


@pytest.mark.slow
def test_a_closed_loop_schedule_that_goes_wrong_fails_its_own_run_only(command, tmp_path):
    (tmp_path / "my_schedules.py").write_text(
        "from torch.optim.lr_scheduler import ReduceLROnPlateau\n"
        "class Explode(ReduceLROnPlateau):\n"
        "    def step(self, metrics, epoch=None):\n"
        "        self.optimizer.param_groups[0]['lr'] = float('inf')\n"
    )
    words = ["scheduler=own/custom", "scheduler._target_=my_schedules.Explode", "trusted_modules=[my_schedules]"]
    single = command(*words, *QUICK, check=False)
    assert single.returncode == 1
    assert "scheduler=custom gives the rate inf at step 2" in single.stderr
    (record,) = records(tmp_path)
    with Record.open(record) as opened:
        assert opened.last_step == 2
    grid = command("-m", *words, "seed=1,2", *QUICK, check=False)
    assert grid.returncode == 1
    assert grid.stderr.count("gives the rate inf") == 2


LONG = ["tracking=none", "budget=steps", "budget.steps=6000", "training.checkpoint_seconds=0.2", "scheduler=plateau"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The record of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("unbroken")
    process = start(folder, *LONG)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    (record,) = records(folder)
    return record


def wait_for_checkpoint(tmp_path, process):
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob("results/runs/*/checkpoints/*.pt")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.xdist_group("kills")
@pytest.mark.parametrize(
    ("how", "code", "status"),
    [(signal.SIGKILL, -9, None), (signal.SIGINT, 130, "KILLED"), (signal.SIGTERM, 143, "KILLED")],
)
def test_an_interrupted_run_continues_bit_for_bit_with_the_same_command(command, tmp_path, unbroken, how, code, status):
    process = start(tmp_path, *LONG)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    (record,) = records(tmp_path)
    if status:
        assert "the same command continues" in errors
        with Record.open(record) as opened:
            assert opened.last_step < 6000
    command(*LONG)
    assert records(tmp_path) == [record], "resumed, not started anew"
    assert not (record / "checkpoints").exists()
    assert metrics(record) == metrics(unbroken)
    assert outcome(record)["weights_sha256"] == outcome(unbroken)["weights_sha256"]


@pytest.mark.slow
def test_the_record_reaches_mlflow_and_comes_back_as_the_frame(command, tmp_path):
    from lrbench.tracking.read import read_runs

    command("scheduler=one_cycle", "budget.epochs=2")
    (record,) = records(tmp_path)
    frame = read_runs(f"sqlite:///{tmp_path}/results/mlflow.db")
    assert set(frame["scheduler"]) == {"one_cycle"}
    assert set(frame["status"]) == {"FINISHED"}
    assert set(frame["state"]) == {"ok"}
    assert frame["step"].tolist() == [int(row["step"]) for row in metrics(record)]
    assert frame["val/loss"].tolist() == [float(row["val/loss"]) for row in metrics(record)]
    assert frame["test/loss"].isna().sum() == len(frame) - 1
    assert set(frame["optimizer.lr"]) == {0.02}
    assert read_facts(record).experiment == frame["experiment"].iloc[0]


@pytest.mark.slow
def test_budgets_of_one_point_share_their_first_steps_and_end_as_alone(command, in_process, tmp_path):
    words = ["scheduler=wsd", "model.dropout=0.2", "tracking=none"]
    grid = command("-m", *words, "budget.epochs=2,4,8")
    assert "steps (" in grid.stderr, "the steps saved are shown"
    together = {read_facts(path).tags["budget"]: outcome(path) for path in records(tmp_path)}
    assert sum(run.get("steps_shared", 0) for run in together.values()) > 0
    for epochs in (2, 4, 8):
        in_process(*words, f"budget.epochs={epochs}", f"results_dir=alone{epochs}")
        (alone,) = (tmp_path / f"alone{epochs}" / "runs").iterdir()
        same = together[read_facts(alone).tags["budget"]]
        assert outcome(alone)["weights_sha256"] == same["weights_sha256"]
        assert outcome(alone)["train/loss"] == same["train/loss"]


@pytest.mark.slow
@pytest.mark.xdist_group("kills")
def test_a_worker_that_is_killed_loses_nothing(command, tmp_path):
    words = ["-m", "scheduler=cosine,step", "budget.epochs=60", "tracking=none", "training.checkpoint_seconds=0"]
    process = start(tmp_path, *words)
    deadline = time.monotonic() + 180
    while not (checkpoints := list(tmp_path.glob("results/runs/*/checkpoints/*.pt"))):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(read_facts(checkpoints[0].parents[1]).pid, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("state\tok") == 2
    assert len(records(tmp_path)) == 2, "the killed one was taken up, not begun again"


@pytest.mark.slow
@pytest.mark.xdist_group("kills")
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_grid_that_is_stopped_goes_on_with_the_same_command(command, tmp_path, how, code):
    words = ["-m", "scheduler=cosine,step,constant", "budget.epochs=60", "tracking=none"]
    process = start(tmp_path, *words)
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob("results/runs/*/journal.jsonl")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "the same command continues" in err
    assert command(*words).stdout.count("state\tok") == 3
    assert len(records(tmp_path)) == 3


@pytest.mark.slow
def test_a_grid_trains_nothing_twice(command, tmp_path):
    words = ["-m", "scheduler=cosine,step", *QUICK]
    first = command(*words)
    before = {path: (path / "journal.jsonl").stat().st_mtime_ns for path in records(tmp_path)}
    assert command(*words).stdout == first.stdout
    command("-m", "scheduler=cosine,step,constant", *QUICK)
    assert len(records(tmp_path)) == 3
    assert all((path / "journal.jsonl").stat().st_mtime_ns == written for path, written in before.items())


def test_a_reader_that_has_read_enough_is_no_error(tmp_path):
    """Like `lrbench --help | head -1`."""
    process = start(tmp_path, "--help")
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 0
