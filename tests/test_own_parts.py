"""A user's own models, data and schedules, from a trusted module: what fits trains right, what does not is named."""

import math
import re
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lrbench.cli import main
from lrbench.data import Split, Splits
from lrbench.dry_run import check_resumable
from lrbench.schedules import cosine
from lrbench.schedules.factors import factors_of
from lrbench.spec import Budget, Task, derived_seed
from lrbench.training import batch_order
from lrbench.training.fused_step import losses_and_gradients
from lrbench.trials import Trial, Workload, build_model, build_training, run_training

PARTS = """
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from lrbench.data import Split, Splits
from lrbench.spec import Task

class Net(nn.Module):
    def __init__(self, num_outputs, input_shape=(1, 8, 8), kind="plain"):
        super().__init__()
        size = 1
        for length in input_shape: size *= length
        if kind == "reseeds": torch.manual_seed(0)
        self.kind, self.head = kind, nn.Linear(5 if kind == "narrow" else size, 3 if kind == "few" else num_outputs)
        if kind == "double": self.double()
        if kind == "frozen": self.requires_grad_(False)
        if kind == "many": self.head = nn.Linear(size, 1000)
    def forward(self, x):
        if self.kind == "late" and not hasattr(self, "tail"):
            self.tail = nn.Linear(2, 2)
        logits = self.head(x.flatten(1))
        return {"tuple": (logits, x), "dict": {"logits": logits}, "vector": logits[:, 0]}.get(self.kind, logits)

class State(Net):
    def get_extra_state(self): return {"hook": print}
    def set_extra_state(self, state): pass

def no_module(): return "a model"

class Data:
    task, input_shape, num_outputs, num_train, max_epochs = Task.CLASSIFICATION, (6,), 4, 64, None
    def __init__(self, kind="plain"): self.kind = kind
    def check(self): pass
    def load(self):
        generator = torch.Generator().manual_seed(0)
        changes = {
            "from one": lambda y: y + 1, "gaps": lambda y: 10 * y, "one-hot": lambda y: nn.functional.one_hot(y, 4),
            "int32": torch.Tensor.int, "floats": torch.Tensor.double,
        }
        change = changes.get(self.kind, lambda y: y)
        def split(n):
            x, y = torch.randn(n, 6, generator=generator), torch.randint(0, 4, (n,), generator=generator)
            return Split(x.double() if self.kind == "double" else x, change(y))
        train = split(32 if self.kind == "fewer" else 64)
        return Splits(train, split(0 if self.kind == "empty" else 8), split(8), None, "digest")

def kind_of(step, total_steps, *, kind):
    if kind == "raises" and step == 7: raise KeyError("boom")
    if kind == "text": return "fast"
    return float("nan") if kind == "hole" and step == 7 else 1.0

class Short(LRScheduler):
    def get_lr(self):
        if self.last_epoch == 5: raise RuntimeError("over")
        return self.base_lrs

class Watch:
    def __init__(self, optimizer, keeps="text"):
        self.optimizer, self.kept = optimizer, (lambda loss: loss) if keeps == "function" else "text"
    def step(self, metrics): pass
"""


@pytest.fixture
def lrbench(tmp_path, monkeypatch, capsys):
    """Run a command beside `my_parts.py`; returns its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LRBENCH_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "my_parts.py").write_text(PARTS)
    (tmp_path / "my_conf/dataset").mkdir(parents=True)
    (tmp_path / "my_conf/dataset/mine.yaml").write_text("name: mine\n_target_: my_parts.Data\nkind: plain\n")
    quick = ["tracking=none", "budget=steps", "trusted_modules=[my_parts]", "device=cpu"]

    def run(*words):
        code = main([*quick, "budget.steps=10", *words] if words[0][0] != "-" else [*words, *quick, "budget.steps=10"])
        return code, capsys.readouterr().err

    yield run
    sys.modules.pop("my_parts", None)


def model_words(kind):
    return ["model=own/custom", "model._target_=my_parts.Net", f"+model.kind={kind}"]


def data_words(kind):
    return [
        "--config-dir",
        "my_conf",
        "dataset=mine",
        f"dataset.kind={kind}",
        *model_words("plain"),
        "training.batch_size=16",
    ]


def schedule_words(target, **parameters):
    return [
        "scheduler=own/custom",
        f"scheduler._target_={target}",
        *(f"+scheduler.{k}={v}" for k, v in parameters.items()),
    ]


TORCH = "torch.optim.lr_scheduler"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (model_words("few"), "the dataset has 10 classes, the model gives 3 outputs"),
        (model_words("tuple"), "the model must give one tensor, the logits, and gives a tuple"),
        (model_words("dict"), "gives a dict"),
        (model_words("vector"), "outputs of shape (8,) for targets of shape (8,); they must have shape (8, classes)"),
        (model_words("double"), "the model has weights of torch.float64"),
        (model_words("frozen"), "has no parameters to train"),
        (model_words("narrow"), "the model fails on a batch of shape (8, 1, 8, 8), torch.float32: RuntimeError: mat1"),
        (model_words("late"), "the model makes its parameter tail.weight when it is first called"),
        (["model=own/custom", "model._target_=my_parts.State"], "the model's state._extra_state.hook holds a builtin"),
        (["model=own/custom", "model._target_=my_parts.no_module"], "must give a torch.nn.Module, got str"),
        (data_words("'from one'"), "from 0 to 3 (dataset.num_outputs=4), the train split has 1 to 4"),
        (data_words("gaps"), "the train split has 0 to 30"),
        (data_words("int32"), "targets that are classes must be int64, the train split has torch.int32"),
        (data_words("floats"), "targets that are classes must be int64, the train split has torch.float64"),
        (data_words("double"), "inputs must be float32, or int64 for tokens; the train split has torch.float64"),
        (data_words("one-hot"), "outputs of shape (8, 4) for targets of shape (8, 4)"),
        (data_words("fewer"), "dataset.num_train says 64 training examples, load() gives 32"),
        (data_words("empty"), "the validation split of the dataset is empty"),
        (schedule_words("my_parts.kind_of", kind="raises"), "scheduler=custom raises at step 7: KeyError: 'boom'"),
        (schedule_words("my_parts.kind_of", kind="hole"), "scheduler=custom gives the rate nan at step 7"),
        (schedule_words("my_parts.kind_of", kind="text"), "raises at step 0: ValueError: could not convert string"),
        (schedule_words("my_parts.Short"), "scheduler=custom raises at step 5: RuntimeError: over"),
        (schedule_words("my_parts.Watch", keeps="function"), "scheduler=custom: state.kept holds a function"),
        (schedule_words(f"{TORCH}.StepLR", step_size=0), "integer modulo by zero; scheduler.step_size=0 may be why"),
        (schedule_words(f"{TORCH}.CosineAnnealingLR", T_max=0), "scheduler.T_max=0 may be why"),
        (schedule_words(f"{TORCH}.ConstantLR", factor=0), "scheduler.factor=0.0 may be why"),
        (schedule_words(f"{TORCH}.OneCycleLR", max_lr=0.1, total_steps=5), "is made for 5 steps, and the run takes 10"),
        (["~warmup"], "~warmup: a run needs a warmup; write warmup=NAME (warmup=none for none)"),
        (["~model"], "~model: a run needs a model"),
        (["budget.steps=1000000000"], "a budget must be at most 100,000,000 steps"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_before_anything_is_trained(lrbench, tmp_path, words, message):
    code, said = lrbench(*words)
    assert code == 1
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "results" / "runs").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("many", "the model gives 1000 outputs for the 10 classes"), ("reseeds", "the model seeds torch itself")],
)  # fmt: skip
def test_what_may_be_a_mistake_trains_with_a_warning(lrbench, kind, message):
    code, said = lrbench(*model_words(kind))
    assert code == 0
    assert message in said


def test_a_yaml_with_a_tab_is_named_with_its_line(lrbench, tmp_path):
    (tmp_path / "my_conf/scheduler").mkdir()
    (tmp_path / "my_conf/scheduler/tab.yaml").write_text("name: tab\n\tpurpose: none\n")
    code, said = lrbench("--config-dir", "my_conf", "scheduler=tab")
    assert code == 1
    assert re.search(r"tab\.yaml, line 2: found character '\\t' .*; YAML is indented with spaces", said)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.momentum=interval(0.5,1.5)", "optimizer.momentum should be less than 1, got 1.5"),
        ("optimizer.momentum=choice(a,b)", "optimizer.momentum should be a valid number, got 'a'"),
    ],
)
def test_a_range_that_leaves_its_domain_is_refused_before_the_first_trial(lrbench, tmp_path, word, message):
    code, said = lrbench("-m", "hydra/sweeper=optuna", word)
    assert code == 1
    assert message in said
    assert not list(tmp_path.glob("results/runs/*"))


@pytest.mark.parametrize("family", ["LinearLR", "PolynomialLR", "ConstantLR"])
def test_a_torch_length_of_zero_is_found(lrbench, capsys, family):
    main(["check", *schedule_words(f"{TORCH}.{family}", total_iters=0)])
    assert f"{family} has total_iters=0, so torch leaves the rate at " in capsys.readouterr().out


@pytest.mark.parametrize(
    "function",
    [
        lambda step, total: (1 + math.cos(math.pi * step / total)) / 2,
        lambda step, total: 1.0 if step < 10 else 0.1,
        lambda step, total: 0.5 if step in (3, 4) else 1.0,
        lambda step, total: 0.1 if isinstance(step, int) and step > 5 else 1.0,
        lambda step, total: {0: 1.0}.get(step, 0.2),
        lambda step, total: 0.25,
    ],
)
def test_functions_of_one_step_are_called_step_by_step(function):
    table = factors_of(function, 30, name="own")
    np.testing.assert_array_equal(table, [function(step, 30) for step in range(30)])


SEED, STEPS = 3, 60
sgd_05 = lambda parameters: torch.optim.SGD(parameters, lr=0.05)  # noqa: E731


def workload_of(make_model, targets_of=lambda x: (x[:, 0] > 0).long(), **changes):
    generator = torch.Generator().manual_seed(0)

    def split(n):
        inputs = torch.randn(n, 6, generator=generator)
        return Split(inputs, targets_of(inputs))

    settings = {
        "data": Splits(split(64), split(30), split(20), None, "digest"),
        "task": Task.CLASSIFICATION,
        "make_model": make_model,
        "input_shape": (6,),
        "num_outputs": 2,
        "budget": Budget(total_steps=STEPS, steps_per_epoch=8),
        "batch_size": 8,
        "eval_every": 0.1,
        "eval_batch_size": 7,
        "device": torch.device("cpu"),
    }
    return Workload(**(settings | changes))


def curve(progress):
    return [(p.step, p.evaluations[0].metrics) for p in progress if p.evaluations]


def unbroken_and_resumed(workload, trial, folder):
    """The evaluations of a run, and of one that is stopped after some steps and goes on in a new training."""
    unbroken = curve(build_training(workload, [trial], seed=SEED))
    first = run_training(
        build_training(workload, [trial], seed=SEED), checkpoints=folder, stop_requested=stop_at(4)
    )  # fmt: skip
    begun = curve(first)
    np.random.seed(99)  # noqa: NPY002  # another process
    second = curve(run_training(build_training(workload, [trial], seed=SEED), checkpoints=folder))
    assert begun
    assert second
    return unbroken, begun + second


def stop_at(num_evaluations):
    seen = iter(range(10**6))
    return lambda: next(seen) >= num_evaluations


class HostDropout(nn.Module):
    """Weights and masks from numpy, a scale from Python's generator."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(np.random.randn(2, 6)))  # noqa: NPY002

    def forward(self, inputs):
        if self.training:
            inputs = inputs * torch.from_numpy(np.random.rand(*inputs.shape) > 0.5)  # noqa: NPY002
        return self.head(inputs)


def test_a_model_that_draws_from_numpy_is_repeated_and_resumed_bit_for_bit(tmp_path):
    workload, trial = workload_of(HostDropout), Trial("cosine", cosine, sgd_05)
    unbroken, resumed = unbroken_and_resumed(workload, trial, tmp_path)
    assert unbroken == resumed
    assert unbroken == curve(build_training(workload, [trial], seed=SEED))
    assert unbroken != curve(build_training(workload, [trial], seed=SEED + 1))
    both = build_training(workload, [trial, trial], seed=SEED)
    assert [p.evaluations[1].metrics for p in both if p.evaluations] == [metrics for _, metrics in unbroken]
    with pytest.raises(ValueError, match="draws random numbers from Python's or numpy's generator"):
        build_training(workload, [trial, trial], seed=SEED, learner="fused")


class Remembers:
    """A closed-loop schedule as people write them: a deque, a number of numpy and the optimizer in its state."""

    def __init__(self, optimizer):
        from collections import deque

        self.optimizer, self.recent, self.scale = optimizer, deque(maxlen=3), np.float32(1)

    def step(self, metrics):
        self.recent.append(metrics)
        self.scale *= np.float32(0.9 if len(self.recent) == self.recent.maxlen else 0.99)
        self.optimizer.param_groups[0]["lr"] = 0.05 * float(self.scale) * (1 + len(self.recent))


class SavesAll(Remembers):
    def state_dict(self):
        return vars(self)

    def load_state_dict(self, state):
        vars(self).update(state)


class Forgets(Remembers):
    def state_dict(self):
        return {"recent": self.recent}

    def load_state_dict(self, state):
        vars(self).update(state)


@pytest.mark.parametrize("schedule", [Remembers, SavesAll])
def test_a_closed_loop_schedule_is_resumed_with_all_that_it_remembers(schedule, tmp_path):
    trial = Trial("own", schedule, sgd_05)
    check_resumable(trial, budget=Budget(STEPS, 8), eval_every=0.1)
    unbroken, resumed = unbroken_and_resumed(workload_of(lambda: nn.Linear(6, 2)), trial, tmp_path)
    assert unbroken == resumed


def test_a_state_dict_that_leaves_something_out_is_found_before_the_first_step():
    with pytest.raises(ValueError, match=r"scheduler=own: not all of its state is in state_dict\(\)"):
        check_resumable(Trial("own", Forgets, sgd_05), budget=Budget(STEPS, 8), eval_every=0.1)


def test_a_closed_loop_schedule_that_raises_ends_its_own_trial_only():
    class Raises(Remembers):
        def step(self, metrics):
            raise ZeroDivisionError("no loss yet")

    trials = [Trial("own", Raises, sgd_05), Trial("cosine", cosine, sgd_05)]
    progress = list(build_training(workload_of(lambda: nn.Linear(6, 2)), trials, seed=SEED))
    (failure,) = [p.failures for p in progress if p.failures]
    assert str(failure[0]) == "scheduler=own raises at step 6: ZeroDivisionError: no loss yet"
    assert progress[-1].step == STEPS


def test_a_lazy_model_trains_as_the_one_it_becomes():
    def lazy():
        return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(2))

    trial = Trial("cosine", cosine, sgd_05)
    built = build_model(workload_of(lazy), seed=SEED)
    assert [tuple(p.shape) for p in built.parameters()] == [(5, 6), (5,), (2, 5), (2,)]
    for learner in ("sequential", "fused"):
        first, *_, last = curve(build_training(workload_of(lazy), [trial], seed=SEED, learner=learner))
        assert last[1]["val/loss"] < first[1]["val/loss"]
    torch.manual_seed(derived_seed("weights", SEED))
    plain = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), plain.parameters(), strict=True))


class Tagger(nn.Module):
    """A class for each of T tokens: (n, 6) -> (n, 3, T)."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3 * 4)

    def forward(self, inputs):
        return self.head(inputs).view(-1, 3, 4)


def tokens_of(inputs):
    return (inputs[:, :4] > 0).long() + (inputs[:, 2:] > 1).long()


def test_numbers_beyond_an_embedding_are_found_wherever_they_are(lrbench, tmp_path):
    """A relation that only the last facts have: no first batch shows it."""
    names = "abcdefghijklmnopqrstuvwxyz"
    facts = [f"{head}\tlikes\t{tail}\n" for head in names for tail in names[:3]]
    (tmp_path / "train.tsv").write_text("".join([*facts, "a\tzzz\tb\n"]))
    for name in ("valid", "test"):
        (tmp_path / f"{name}.tsv").write_text(facts[0])
    words = ["dataset=triples", f"dataset.root={tmp_path}", "model=distmult", "training.batch_size=16"]
    code, said = lrbench(*words, "model.num_relations=1")
    assert code == 1
    assert "the model fails on a batch of shape (10, 2), torch.int64: IndexError: index out of range" in said
    assert lrbench(*words, "model.num_relations=2")[0] == 0


@pytest.mark.parametrize("learner", ["sequential", "fused"])
def test_losses_and_accuracies_of_sequences_are_means_over_tokens(learner):
    workload = workload_of(Tagger, tokens_of, num_outputs=3)
    training = build_training(workload, [Trial("cosine", cosine, sgd_05)], seed=SEED, learner=learner)
    found = dict(curve(training))
    model = Tagger()
    for step, name in [(0, "initial"), (STEPS, "final")]:
        if name == "initial":
            model.load_state_dict(build_model(workload, seed=SEED).state_dict())
            (first,) = batch_order(seed=SEED, num_train=64, batch_size=8, begin=0, end=1)
            outputs = model(workload.data.train.inputs[first])
            expected = F.cross_entropy(outputs, workload.data.train.targets[first]).item()
            assert found[step]["train/loss"] == pytest.approx(expected, rel=1e-5)
        else:
            model.load_state_dict(training.learner.state_dict()["models"][0])
        outputs, targets = model(workload.data.validation.inputs), workload.data.validation.targets
        assert found[step]["val/loss"] == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-5)
        accuracy = (outputs.argmax(1) == targets).double().mean().item()
        assert found[step]["val/accuracy"] == pytest.approx(accuracy, rel=1e-9)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_written_out_gradient_of_sequences_is_that_of_autograd(label_smoothing):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 5, 3, 4, 2, generator=generator)
    targets = torch.randint(0, 3, (5, 4, 2), generator=generator)
    losses, gradients = losses_and_gradients(Task.CLASSIFICATION, outputs, targets, label_smoothing)
    for k in range(2):
        alone = outputs[k].clone().requires_grad_()
        loss = F.cross_entropy(alone, targets, label_smoothing=label_smoothing)
        loss.backward()
        torch.testing.assert_close(losses[k], loss.detach())
        torch.testing.assert_close(gradients[k], alone.grad)
