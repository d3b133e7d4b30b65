"""Sweeps on the launchers of other projects, by the commands that a person types; real processes throughout."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from mlflow import MlflowClient
from shell import REPO, finish

from lrbench.config import CONFIG_DIR, register_schema
from lrbench.launch import Done
from lrbench.runs.launch import default_num_workers, num_cores
from lrbench.runs.signals import SIGNALS_ELSEWHERE, StopRequest
from lrbench.tracking.facts import read_facts
from lrbench.tracking.journal import Ended, Evaluated, read_all

TINY = ["model.hidden=[16]", "budget.epochs=2"]
# The machine may have more cores than its users may have; and nothing here is for the network.
LAUNCHERS = {
    "submitit_local": ["hydra/launcher=submitit_local"],
    "ray_local": ["hydra/launcher=ray_local", "hydra.launcher.ray.init.num_cpus=2"],
}
needs = {
    "submitit_local": ("submitit", "hydra_plugins.hydra_submitit_launcher"),
    "ray_local": ("ray", "hydra_plugins.hydra_ray_launcher"),
}


@pytest.fixture(params=LAUNCHERS)
def launcher(request):
    for module in needs[request.param]:
        pytest.importorskip(module)
    return LAUNCHERS[request.param]


def start(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "lrbench", *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(REPO),
            "LRBENCH_CACHE_DIR": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "disabled",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder, *words):
    process = start(folder, "-m", *words)
    out, err = finish(process, 500)
    assert process.returncode in (0, 3), err
    if process.returncode == 3:  # on a busy machine the sender may not be done within its minute
        (results_dir,) = (word for word in words if word.startswith("results_dir="))
        sync = start(folder, "sync", results_dir.replace("'", ""))
        assert sync.wait(500) == 0
    return out, err


def records(results):
    return {path.name: path for path in sorted((results / "runs").iterdir())}


def outcome(record):
    return json.loads((record / "artifacts" / "outcome.json").read_text())


def curve(record):
    with (record / "artifacts" / "curve.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("launchers")
def test_a_grid_elsewhere_is_trained_once_and_arrives_in_mlflow(results, launcher):
    words = [*launcher, *TINY, f"results_dir='{results}'", "scheduler=cosine,step"]
    out, _ = run(results.parent, *words)
    assert out.count("\tok") == 2
    runs = MlflowClient(f"sqlite:///{results}/mlflow.db").search_runs(["1"])
    assert {(r.info.run_name, r.info.status) for r in runs} == {("cosine-s0", "FINISHED"), ("step-s0", "FINISHED")}
    for r in runs:
        (record,) = (path for path in records(results).values() if read_facts(path).name == r.info.run_name)
        assert r.data.metrics["val/accuracy"] == outcome(record)["val/accuracy"]
    before = {path: path.stat().st_mtime_ns for path in (results / "runs").rglob("*")}
    jobs = [*results.rglob("*_submitted.pkl")]
    again, err = run(results.parent, *words)
    assert again == out
    assert "Ray" not in err, "nothing is launched that is recorded"
    assert [*results.rglob("*_submitted.pkl")] == jobs
    assert {path: path.stat().st_mtime_ns for path in (results / "runs").rglob("*")} == before


def process_of(folder: Path) -> int:
    """The process in which submitit runs the only job under a folder."""
    found = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_job(entry, folder) and int(entry.name) != os.getpid()
    ]
    (process,) = found
    return process


def _is_job(process: Path, folder: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has just ended
        return False
    return b"submitit.core._submit" in words and any(word.startswith(os.fsencode(folder)) for word in words)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("launchers")
def test_a_preempted_job_queues_again_and_ends_as_an_unbroken_one(tmp_path):
    for module in needs["submitit_local"]:
        pytest.importorskip(module)
    words = ["scheduler=cosine", "model.hidden=[16]", "budget.epochs=300", "tracking=none"]
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    place = [f"results_dir={broken}", f"hydra.sweep.dir={broken}/jobs"]
    process = start(tmp_path, "-m", *words, "hydra/launcher=submitit_local", *place)
    (record,) = wait_for(lambda: [*broken.glob("runs/*")], process)
    wait_for(lambda: num_evaluations(record) > 5, process)
    job = process_of(broken / "jobs")
    os.kill(job, signal.SIGTERM)  # Slurm sends it along; submitit says that it means nothing
    os.kill(job, signal.SIGUSR2)
    _, err = finish(process, 500)
    assert process.returncode == 0, err
    entries = read_all(record / "journal.jsonl")
    ends = [entry.status for entry in entries if isinstance(entry, Ended)]
    assert ends[-1] == "FINISHED"
    (log,) = broken.glob("jobs/.submitit/*/*_log.err")
    assert "Bypassing signal SIGTERM" in log.read_text()
    assert "Requeued job" in log.read_text() + log.with_suffix(".out").read_text()
    assert [*records(broken)] == [record.name]

    run(tmp_path, *words, "hydra/launcher=basic", f"results_dir={unbroken}")
    (whole,) = records(unbroken).values()
    assert curve(record) == curve(whole)
    assert outcome(record)["weights_sha256"] == outcome(whole)["weights_sha256"]


def num_evaluations(record):
    return sum(isinstance(entry, Evaluated) for entry in read_all(record / "journal.jsonl"))


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while not (value := condition()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return value


def test_the_slurm_preset_asks_for_the_signal_and_the_threads(monkeypatch, tmp_path):
    """What is handed to sbatch; the machine has no Slurm."""
    submitit = pytest.importorskip("submitit")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    seen = []
    register_schema()
    monkeypatch.setattr(submitit.AutoExecutor, "map_array", lambda executor, *_: seen.append(executor) or [])
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        words = ["hydra/launcher=slurm", "threads=3", "hydra.launcher.partition=gpu", f"results_dir={tmp_path}"]
        config = compose("config", overrides=[*words, f"hydra.sweep.dir={tmp_path}"], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    launcher = instantiate(config.hydra.launcher)
    launcher.setup(hydra_context=None, task_function=None, config=config)
    launcher.launch([["seed=0"], ["seed=1"]], initial_job_idx=0)
    lines = seen[0]._executor._make_submission_file_text("command", "0").splitlines()
    wanted = {"--signal=USR2@60", "--time=60", "--cpus-per-task=3", "--partition=gpu", "--job-name=lrbench"}
    assert wanted <= {line.removeprefix("#SBATCH ") for line in lines}
    assert seen[0]._executor.max_num_timeout == 100


@pytest.mark.slow
def test_without_slurm_the_launcher_says_so(tmp_path):
    if shutil.which("srun"):
        pytest.skip("there is a Slurm")
    for module in needs["submitit_local"]:
        pytest.importorskip(module)
    process = start(tmp_path, "-m", *TINY, "tracking=none", "hydra/launcher=slurm")
    _, err = finish(process, 200)
    assert process.returncode == 1
    assert "srun" in err
    assert "Traceback" not in err


def test_a_job_elsewhere_leaves_sigterm_to_its_launcher_and_survives_a_repeated_signal():
    seen = []
    before = {s: signal.signal(s, lambda number, _: seen.append(number)) for s in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        with StopRequest(SIGNALS_ELSEWHERE) as stop:
            signal.raise_signal(signal.SIGTERM)
            assert not stop()
            signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR2)
            assert stop()
        assert seen == [signal.SIGTERM]
        signal.raise_signal(signal.SIGUSR2)
        assert seen == [signal.SIGTERM, signal.SIGUSR2], "its launcher's handler is back"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("path", sorted((REPO / "conf" / "hydra").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_launcher_and_sweeper_opens_with_the_command_that_uses_it(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# python -m lrbench -m ")
    assert f"hydra/{path.parent.name}={path.stem}" in first
    node = yaml.safe_load(path.read_text())
    assert "_target_" in node or len(node["defaults"]) == 2


class Answering:
    """A pool whose worker knows what device=auto is."""

    def __init__(self, found):
        self._found, self.num_asked = found, 0

    def submit(self, key, function, argument):
        self.num_asked += 1
        assert (function, argument) == ("lrbench.runs.worker.device_type", "auto")

    def events(self):
        yield None
        yield Done(None, self._found)


@pytest.mark.parametrize(
    ("device", "found", "num_workers", "num_asked"),
    [("auto", "cpu", 3, 1), ("auto", "cuda", 1, 1), ("cpu", "cuda", 3, 0), ("cuda:1", "cuda", 1, 0)],
)
def test_there_is_a_worker_a_core_but_one_for_a_gpu(monkeypatch, device, found, num_workers, num_asked):
    plan, pool = SimpleNamespace(values={"device": device, "threads": 2}), Answering(found)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    assert default_num_workers(plan, pool) == num_workers
    assert pool.num_asked == num_asked


def test_cores_are_counted_where_the_system_knows_no_affinity(monkeypatch):
    assert num_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    assert num_cores() == os.cpu_count()
