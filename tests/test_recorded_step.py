"""Steps that are recorded and replayed, against those that are taken one by one.

Most machines that run these tests have no GPU, so the recorder of most of them replays on the CPU: it keeps the step,
holds it to the addresses that it was recorded with, as a CUDA graph does, and does it again. What a graph cannot hold,
a value on the host, is looked for with tensors that have no values. The tests of the graphs themselves need a GPU.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_fused import (
    IMAGES,
    SEED,
    WORKLOADS,
    _one_thread,  # noqa: F401  # a fixture
    assert_close,
    make_trials,
    make_workload,
    metrics_of,
    mlp,
    sgd,
)

from lrbench import models, optimizers, schedules
from lrbench.spec import Task
from lrbench.training import StepOptions
from lrbench.training.fused_step import make_step
from lrbench.training.recorded_step import WARM_UP_STEPS, RecordedStep
from lrbench.training.stack import make_stack
from lrbench.training.stacked_updates import make_updates, merged
from lrbench.training.stacking import layered_forward, vmap_forward
from lrbench.trials import build_training

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Replays:
    """Replays Python on the CPU, at the recorded addresses."""

    def __init__(self):
        self.num_aside = self.num_recorded = self.num_replayed = 0

    def aside(self, work):
        self.num_aside += 1
        work()

    def record(self, work):
        self.num_recorded += 1
        recorded = addresses(work.__self__)

        def replay():
            self.num_replayed += 1
            assert addresses(work.__self__) == recorded
            work()

        return replay


def addresses(step: RecordedStep):
    """Where everything lies that a step reads or writes."""
    named = {"parameters": step.parameters, "buffers": step.buffers, **step.state}
    places = {(kind, name): t.data_ptr() for kind, tensors in named.items() for name, t in tensors.items()}
    return places | {index: tensor.data_ptr() for index, tensor in enumerate([*step._batch, step._losses])}


@pytest.fixture
def recorder(monkeypatch):
    found = Replays()
    monkeypatch.setattr("lrbench.training.fused.recorder_of", lambda device: found)
    return found


def recorded_and_not(workload, trials, monkeypatch, recorder):
    """Metrics of the same training with recorded steps and without."""
    with monkeypatch.context() as patch:
        patch.setattr("lrbench.training.fused.recorder_of", lambda device: None)
        expected = metrics_of(build_training(workload, trials, seed=SEED, learner="fused"))
    return metrics_of(build_training(workload, trials, seed=SEED, learner="fused")), expected


@pytest.mark.parametrize("name", WORKLOADS)
def test_recorded_steps_are_bit_for_bit_the_others(name, monkeypatch, recorder):
    make_model, input_shape, task = WORKLOADS[name]
    workload = make_workload(make_model, input_shape, task)
    found, expected = recorded_and_not(workload, make_trials(rates=(0.003, 0.01, 0.03)), monkeypatch, recorder)
    assert found == expected
    assert recorder.num_aside == WARM_UP_STEPS
    assert recorder.num_recorded == 1
    assert recorder.num_replayed == workload.budget.total_steps - WARM_UP_STEPS


@pytest.mark.parametrize("make_optimizer", [partial(optimizers.sgd, momentum=0.0), sgd, optimizers.adamw])
@pytest.mark.parametrize("schedule", [schedules.one_cycle, partial(schedules.plateau, patience_fraction=0.0)])
def test_rates_and_momenta_that_move_reach_a_recorded_step(make_optimizer, schedule, monkeypatch, recorder):
    workload = make_workload(options=StepOptions(grad_clip=0.5, label_smoothing=0.1))
    found, expected = recorded_and_not(workload, make_trials(make_optimizer, schedule=schedule), monkeypatch, recorder)
    assert found == expected


def test_momentum_that_comes_later_is_recorded_anew(monkeypatch, recorder):
    trials = make_trials(partial(optimizers.sgd, momentum=0.0))
    ways = []
    for one in (recorder, None):
        monkeypatch.setattr("lrbench.training.fused.recorder_of", lambda device, one=one: one)
        training = build_training(make_workload(), trials, seed=SEED, learner="fused")
        batches, lr = list(training.train_batches())[:8], np.full((3, 8), 0.05)
        for momentum in ([None] * 3, [np.full(8, 0.9)] * 3):
            losses = training.learner.advance(batches, range(3), lr, momentum)
        ways.append(losses)
    assert torch.equal(*ways)
    assert recorder.num_recorded == 2


def exploding(step, total_steps):
    return np.where(step < 30, 1.0, 1e30)


@pytest.mark.parametrize("max_stack", [None, 2])
def test_trials_that_end_and_stacks_that_are_cut_are_recorded_anew(max_stack, monkeypatch, recorder):
    if max_stack:
        monkeypatch.setattr("lrbench.trials.bytes_per_trial", lambda *_: 1)
    workload = make_workload(mlp(batch_norm=True, dropout=0.3), stack_bytes=max_stack)
    trials = make_trials(rates=(0.01, 0.02, 0.03, 0.1))
    trials[1] = replace(trials[1], schedule=exploding)
    found, expected = recorded_and_not(workload, trials, monkeypatch, recorder)
    assert len(expected[1]) < len(expected[0])
    assert_close(found, expected, rel=0)
    assert recorder.num_recorded > 1


def test_a_recorded_training_is_resumed_bit_for_bit(monkeypatch, recorder):
    workload, trials = make_workload(mlp(batch_norm=True, dropout=0.3)), make_trials()
    whole = metrics_of(build_training(workload, trials, seed=SEED, learner="fused"))
    broken = build_training(workload, trials, seed=SEED, learner="fused")
    first = {k: [] for k in range(3)}
    for progress in broken:
        for k, evaluation in progress.evaluations.items():
            first[k].append((evaluation.step, evaluation.metrics))
        if progress.step >= 50:
            break
    saved = broken.state_dict()
    resumed = build_training(workload, trials, seed=SEED, learner="fused")
    for progress in resumed:  # recorded before it is told to go on elsewhere
        if progress.step >= 20:
            break
    resumed.load_state_dict(saved)
    rest = metrics_of(resumed)
    assert {k: first[k] + rest[k] for k in first} == whole


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is(monkeypatch, recorder):
    def refuse(work):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(recorder, "record", refuse)
    with pytest.warns(UserWarning, match="cannot be recorded.*not permitted when stream is capturing$"):
        found, expected = recorded_and_not(make_workload(), make_trials(), monkeypatch, recorder)
    assert found == expected


def test_out_of_memory_while_recording_halves_the_stack(monkeypatch, recorder):
    record, sizes = recorder.record, []

    def limited(work):
        sizes.append(len(work.__self__._losses))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return record(work)

    monkeypatch.setattr(recorder, "record", limited)
    trials = make_trials(rates=(0.01, 0.02, 0.03, 0.1))
    found, expected = recorded_and_not(make_workload(mlp(dropout=0.3)), trials, monkeypatch, recorder)
    assert sizes == [4, 2, 2]
    assert_close(found, expected, rel=1e-6)


MODELS = {
    "mlp": (layered_forward, mlp(hidden=[300, 100], batch_norm=True, dropout=0.3), IMAGES),
    "mlp vmap": (vmap_forward, mlp(batch_norm=True, dropout=0.3), IMAGES),
    "cnn": (layered_forward, partial(models.CNN, channels=[4, 8], batch_norm=True), IMAGES),
    "resnet20": (vmap_forward, partial(models.CifarResNet, blocks_per_stage=3, channels=16), (3, 32, 32)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("make_optimizer", [sgd, partial(optimizers.adamw, lr=0.1, weight_decay=0.1)])
def test_a_step_off_the_cpu_needs_no_value_on_the_host(name, make_optimizer):
    """Meta tensors have shapes and no values: whatever would wait for the device raises."""
    make_forward, make_model, input_shape = MODELS[name]
    model = make_model(input_shape=input_shape, num_outputs=3)
    optimizer = make_optimizer(model.parameters())
    names = {id(tensor): key for key, tensor in [*model.named_parameters(), *model.named_buffers()]}
    updates = merged([make_updates(optimizer, names)] * 2)
    stack = make_stack(model.to("meta"), [0, 1], updates)
    with torch.device("meta"):
        batch = torch.empty(16, *input_shape), torch.empty(16, dtype=torch.int64)
        coefficients = torch.empty(sum(update.num_coefficients for update in updates), 2)
    options = StepOptions(grad_clip=1.0, label_smoothing=0.1)
    step = make_step(make_forward(model), updates, task=Task.CLASSIFICATION, options=options)
    losses, _ = step(stack.parameters, stack.buffers, stack.state, *batch, coefficients)
    assert losses.device.type == "meta"
    with pytest.raises(RuntimeError, match="meta"):
        losses.sum().item()


# On a GPU


@needs_cuda
@pytest.mark.parametrize("num_trials", [1, 3])
@pytest.mark.parametrize("name", ["mlp", "cnn", "vmap"])
def test_a_graph_trains_what_the_cpu_does(name, num_trials, monkeypatch):
    make_model, input_shape, task = WORKLOADS[name]
    trials = make_trials(rates=(0.003, 0.01, 0.03)[:num_trials])
    if name == "vmap":
        make_model = partial(models.MLP, hidden=[16], activation="relu", dropout=0.0, batch_norm=True)
    on_cpu, on_gpu = (
        metrics_of(
            build_training(
                make_workload(make_model, input_shape, task, device=torch.device(device)),
                trials,
                seed=SEED,
                learner="fused",
            )
        )
        for device in ("cpu", "cuda")
    )
    assert_close(on_gpu, on_cpu, rel=1e-2)


@needs_cuda
def test_no_step_waits_for_the_gpu():
    training = build_training(
        make_workload(mlp(hidden=[64], dropout=0.2), device=torch.device("cuda")),
        make_trials(),
        seed=SEED,
        learner="fused",
    )
    batches = list(training.train_batches())
    lr = torch.full((3, len(batches)), 0.01).double().numpy()
    training.learner.advance(batches, range(3), lr, [None] * 3)  # recorded by now
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.learner.advance(batches, range(3), lr, [None] * 3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_a_graph_is_replayed(monkeypatch):
    replays = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (replays.append(os.getpid()), replay(graph)))
    workload = make_workload(device=torch.device("cuda"))
    metrics_of(build_training(workload, make_trials(), seed=SEED, learner="fused"))
    assert len(replays) == workload.budget.total_steps - WARM_UP_STEPS


@pytest.mark.slow
def test_the_benchmark_for_gpus_rehearses_on_the_cpu(tmp_path):
    script = Path(__file__).parent.parent / "scripts" / "bench_gpu.py"
    words = ["--device", "cpu", "--rounds", "1", "--only", "digits mlp", "--out", str(tmp_path / "figures.json")]
    subprocess.run([sys.executable, str(script), *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    fused, single = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert fused["ratio"] > 1
    assert single["us_per_step_by_hand"] > 0
