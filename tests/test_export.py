"""Exported snippets, executed without lrbench, against the table of rates."""

import importlib.util
import math
import re
import sys
import types
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from lrbench import schedules
from lrbench.cli.export import main
from lrbench.codegen import optax_snippet, torch_snippet, transformers_snippet
from lrbench.codegen.source import Source
from lrbench.config import CONFIG_DIR
from lrbench.config.targets import bind
from lrbench.schedules import Warmup
from lrbench.schedules.rates import make_rates
from lrbench.spec import evaluation_steps

LR = 0.37
NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONFIG_DIR.glob("scheduler/*.yaml"))}
# A file that needs the user's own function or file has nothing to be compared with.
COMPLETE = [name for name, node in NODES.items() if "???" not in node.values()]
LINEAR = Warmup(partial(schedules.linear_warmup, start_ratio=0.02), fraction=0.1)
POLYNOMIAL = Warmup(partial(schedules.polynomial_warmup, power=1.7, start_ratio=0.0), steps=7)
EXPONENTIAL = Warmup(schedules.exponential_warmup, fraction=0.2)


def sgd(params):
    return torch.optim.SGD(params, lr=LR, momentum=0.9)


def bound(name, **changed):
    known = ("optimizer", "step", "total_steps", "num_evaluations")
    return bind("scheduler", NODES[name] | changed, given=known)


def one_parameter():
    return [torch.nn.Parameter(torch.zeros(1))]


def executed(snippet):
    assert not re.search(r"^\s*(import|from) lrbench", snippet, re.MULTILINE), "a snippet must not need lrbench"
    namespace = {}
    exec(compile(snippet, "<snippet>", "exec"), namespace)
    return namespace


def driven(snippet, total_steps, *, make_optimizer=sgd, validate=lambda step: None):
    """Rates and momenta of a loop as the snippet's comments show it."""
    optimizer = make_optimizer(one_parameter())
    made = executed(snippet)["make_scheduler"](optimizer)
    warmup, scheduler = made if isinstance(made, tuple) else (None, made)
    warmup_steps = snippet.count("warmup.step()") and int(snippet.partition("    if step < ")[2].partition(":")[0])
    rates, momenta = [], []
    for step in range(total_steps):
        group = optimizer.param_groups[0]
        rates.append(group["lr"])
        momenta.append(group["momentum"] if "momentum" in group else group["betas"][0])
        optimizer.step()
        loss = validate(step + 1)
        if warmup is not None and step < warmup_steps:
            warmup.step()
        elif "val_loss" not in snippet:
            scheduler.step()
        elif loss is not None:
            scheduler.step(loss)
    return np.array(rates), np.array(momenta)


@pytest.mark.parametrize("warmup", [None, LINEAR, POLYNOMIAL, EXPONENTIAL], ids=["none", "linear", "poly", "exp"])
@pytest.mark.parametrize("total_steps", [40, 101])
@pytest.mark.parametrize("name", COMPLETE)
def test_a_snippet_reproduces_every_rate_and_momentum_bit_for_bit(name, total_steps, warmup):
    common = {"total_steps": total_steps, "num_evaluations": 20, "warmup": warmup}
    table = make_rates(bound(name), sgd, **common)
    # Falls, then rises: a closed-loop schedule has to act.
    losses = {step: abs(0.3 - step / total_steps) for step in evaluation_steps(total_steps, 0.05)[1:]}
    if table.closed_loop:
        for step, loss in losses.items():
            table.observe(step, loss)
        assert table.lr[-1] != table.lr[table.warmup_steps]
    rates, momenta = driven(torch_snippet(bound(name), sgd, **common, name=name), total_steps, validate=losses.get)
    np.testing.assert_array_equal(rates, table.lr)
    np.testing.assert_array_equal(momenta, np.full(total_steps, 0.9) if table.momentum is None else table.momentum)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("constant", {"initial_ratio": 0.3, "initial_fraction": 0.5}),
        ("linear", {"start_ratio": 0.3, "end_ratio": 0.1}),
        ("cosine", {"min_ratio": 0.1}),
        ("cyclic", {"cycle_momentum": True}),
        ("multistep", {"milestone_fractions": [0.2, 0.2, 0.9], "gamma": 0.5}),
    ],
)
def test_a_warmup_climbs_to_a_first_rate_that_is_not_the_base_rate(name, changed):
    common = {"total_steps": 60, "num_evaluations": 20, "warmup": LINEAR}
    table = make_rates(bound(name, **changed), sgd, **common)
    rates, _ = driven(torch_snippet(bound(name, **changed), sgd, **common), 60)
    np.testing.assert_array_equal(rates, table.lr)


def test_one_cycle_moves_the_first_beta_of_adam_in_the_snippet_too():
    def adam(params):
        return torch.optim.Adam(params, lr=LR, betas=(0.9, 0.99))

    common = {"total_steps": 60, "num_evaluations": 20}
    table = make_rates(schedules.one_cycle, adam, **common)
    snippet = torch_snippet(schedules.one_cycle, adam, **common)
    assert "torch.optim.Adam(model.parameters(), lr=0.37, betas=(0.9, 0.99))" in snippet
    rates, betas = driven(snippet, 60, make_optimizer=adam)
    np.testing.assert_array_equal(rates, table.lr)
    np.testing.assert_array_equal(betas, table.momentum)


def test_groups_keep_their_ratio_through_warmup_and_schedule():
    snippet = torch_snippet(schedules.linear, sgd, total_steps=50, num_evaluations=5, warmup=LINEAR)
    optimizer = torch.optim.SGD([{"params": one_parameter()}, {"params": one_parameter(), "lr": LR / 4}], lr=LR)
    scheduler = executed(snippet)["make_scheduler"](optimizer)
    for _ in range(50):
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == pytest.approx(first / 4, rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_snippet_resumes_from_its_saved_state():
    snippet = torch_snippet(schedules.one_cycle, sgd, total_steps=50, num_evaluations=5, warmup=LINEAR)
    whole, _ = driven(snippet, 50)
    optimizer = sgd(one_parameter())
    scheduler = executed(snippet)["make_scheduler"](optimizer)
    for _ in range(20):
        optimizer.step()
        scheduler.step()
    again = sgd(one_parameter())
    resumed = executed(snippet)["make_scheduler"](again)
    resumed.load_state_dict(scheduler.state_dict())
    again.load_state_dict(optimizer.state_dict())
    for step in range(20, 50):
        assert again.param_groups[0]["lr"] == whole[step]
        again.step()
        resumed.step()


def test_a_users_class_and_function_are_imported_not_copied(tmp_path, monkeypatch):
    code = "def cuts(step, total_steps, *, base=2.0):\n    return base ** -(step // 10.0)\n"
    (tmp_path / "own_schedules.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "own_schedules.cuts", "base": 3.0}
    cuts = bind("scheduler", node, given=("step", "total_steps"), trusted_modules=["own_schedules"])
    step_lr = partial(torch.optim.lr_scheduler.StepLR, step_size=9, gamma=0.5)
    lines = {cuts: "from own_schedules import cuts", step_lr: "StepLR(optimizer, step_size=9, gamma=0.5)"}
    for schedule, line in lines.items():
        common = {"total_steps": 40, "num_evaluations": 5, "warmup": LINEAR}
        snippet = torch_snippet(schedule, sgd, **common)
        assert line in snippet
        np.testing.assert_array_equal(driven(snippet, 40)[0], make_rates(schedule, sgd, **common).lr)


def test_the_same_family_with_other_numbers_keeps_both_in_a_sequence():
    parts = [partial(schedules.rex, beta=0.2), partial(schedules.rex, beta=2.0), schedules.one_cycle]
    schedule = partial(schedules.sequence, parts=parts, fractions=[0.3, 0.3, 0.4])
    common = {"total_steps": 50, "num_evaluations": 5, "warmup": LINEAR}
    rates, _ = driven(torch_snippet(schedule, sgd, **common), 50)
    np.testing.assert_array_equal(rates, make_rates(schedule, sgd, **common).lr)


def test_rates_from_a_file_are_numbers_in_the_snippet(tmp_path):
    (tmp_path / "lr.csv").write_text("step,lr\n0,0.1\n1,0.4\n2,0.2\n")
    schedule = partial(schedules.from_csv, file=str(tmp_path / "lr.csv"))
    common = {"total_steps": 10, "num_evaluations": 5}
    expected = make_rates(schedule, sgd, **common).lr
    snippet = torch_snippet(schedule, sgd, **common)
    (tmp_path / "lr.csv").unlink()
    np.testing.assert_array_equal(driven(snippet, 10)[0], expected)


def test_private_functions_of_the_same_name_are_kept_apart(tmp_path, monkeypatch):
    source, functions = Source(), []
    for name, value in (("one", 1), ("two", 2)):
        path = tmp_path / f"{name}.py"
        path.write_text(f"def _number():\n    return {value}\n\n\ndef {name}():\n    return _number()\n")
        spec = importlib.util.spec_from_file_location(f"lrbench.schedules.{name}", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        functions.append(source.add(getattr(module, name)))
    namespace = {}
    exec("\n".join(source.definitions.values()), namespace)
    assert [namespace[name]() for name in functions] == [1, 2]


def test_a_function_that_nobody_can_import_is_refused():
    with pytest.raises(ValueError, match="no importable name; define it at the top level of a module"):
        torch_snippet(lambda step, total_steps: 1.0, sgd, total_steps=10, num_evaluations=2)


TRANSFORMERS = [
    ("constant", {}, 0.0),
    ("linear", {}, 0.0),
    ("cosine", {}, 0.0),
    ("cosine", {"min_ratio": 0.1}, 0.0),
    ("cosine_wave", {"min_ratio": 0.1, "num_cycles": 2}, 0.0),
    ("polynomial", {"power": 2.0}, 0.0),
    ("polynomial_decay", {"power": 2.0, "min_ratio": 0.1}, 0.0),
    ("cosine_hard_restarts", {"num_cycles": 3}, 0.0),
    ("inverse_sqrt", {"start_ratio": 0.0}, None),
    ("cosine_to_min", {}, None),
    ("cosine_to_min", {"warmup_fraction": 0.2, "start_ratio": 0.3}, None),
    ("wsd", {}, None),
    ("wsd", {"shape": "cosine", "min_ratio": 0.1, "warmup_fraction": 0.1, "start_ratio": 0.1}, None),
    ("wsd", {"shape": "linear", "min_ratio": 0.1}, 0.1),
    ("trapezoid", {"start_ratio": 0.0}, None),
]


@pytest.mark.parametrize(("name", "changed", "start_ratio"), TRANSFORMERS)
def test_transformers_gives_the_same_rates_where_an_equal_is_offered(name, changed, start_ratio):
    pytest.importorskip("transformers")
    if name not in NODES:
        pytest.skip(f"no scheduler/{name}.yaml")
    straight = Warmup(partial(schedules.linear_warmup, start_ratio=start_ratio), fraction=0.1)
    for warmup in [None] if start_ratio is None else [None, straight]:
        for total_steps in (40, 101):
            common = {"total_steps": total_steps, "num_evaluations": 20, "warmup": warmup}
            snippet = transformers_snippet(bound(name, **changed), sgd, **common)
            expected = make_rates(bound(name, **changed), sgd, **common).lr
            np.testing.assert_allclose(driven(snippet, total_steps)[0], expected, rtol=1e-12, atol=1e-15)


def test_restarts_that_transformers_rounds_differently_are_refused():
    rounded = bound("cosine_hard_restarts", num_cycles=22)
    with pytest.raises(ValueError, match="no equal in transformers"):
        transformers_snippet(rounded, sgd, total_steps=22, num_evaluations=5)


def test_transformers_plateau_has_the_numbers_of_ours():
    pytest.importorskip("transformers")
    common = {"total_steps": 40, "num_evaluations": 20}
    table = make_rates(bound("plateau"), sgd, **common)
    for step in range(2, 41, 2):
        table.observe(step, 1.0)
    snippet = transformers_snippet(bound("plateau"), sgd, **common)
    rates, _ = driven(snippet, 40, validate=lambda step: None if step % 2 else 1.0)
    np.testing.assert_array_equal(rates, table.lr)


@pytest.mark.parametrize(
    ("name", "warmup", "message"),
    [
        ("one_cycle", None, "scheduler=it with these parameters has no equal in transformers"),
        ("cosine", LINEAR, "warmup.start_ratio=0, as transformers has it"),
        ("cosine", POLYNOMIAL, "warmup must be linear"),
        ("wsd", LINEAR, "scheduler=it with these parameters"),  # theirs would start at min_ratio, 0
    ],
)
def test_what_transformers_has_not_is_refused(name, warmup, message):
    with pytest.raises(ValueError, match=message):
        transformers_snippet(bound(name), sgd, total_steps=40, num_evaluations=5, warmup=warmup, name="it")


def documented_optax():
    """The schedules as optax documents them (optax/schedules/_schedule.py), in float64: optax is no dependency."""

    def polynomial_schedule(init_value, end_value, power, transition_steps):
        def schedule(count):
            fraction = 1 - min(max(count, 0), transition_steps) / transition_steps
            return (init_value - end_value) * fraction**power + end_value

        return schedule

    def cosine_decay_schedule(init_value, decay_steps, alpha=0.0, exponent=1.0):
        def schedule(count):
            cosine = 0.5 * (1 + math.cos(math.pi * min(count, decay_steps) / decay_steps))
            return init_value * ((1 - alpha) * cosine**exponent + alpha)

        return schedule

    def piecewise_constant_schedule(init_value, boundaries_and_scales):
        return lambda count: init_value * math.prod(f for b, f in boundaries_and_scales.items() if count >= b)

    def join_schedules(schedules, boundaries):
        def schedule(count):
            value = schedules[0](count)
            for boundary, later in zip(boundaries, schedules[1:], strict=True):
                value = value if count < boundary else later(count - boundary)
            return value

        return schedule

    optax = types.ModuleType("optax")
    optax.polynomial_schedule = polynomial_schedule
    optax.linear_schedule = lambda init_value, end_value, transition_steps: polynomial_schedule(
        init_value, end_value, 1, transition_steps
    )
    optax.constant_schedule = lambda value: lambda count: value
    optax.exponential_decay = lambda init_value, transition_steps, decay_rate: (
        lambda count: init_value * decay_rate ** (count / transition_steps)
    )
    optax.cosine_decay_schedule = cosine_decay_schedule
    optax.piecewise_constant_schedule = piecewise_constant_schedule
    optax.join_schedules = join_schedules
    return optax


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("constant", {}),
        ("linear", {"start_ratio": 0.9, "end_ratio": 0.1}),
        ("cosine", {"min_ratio": 0.1}),
        ("generalized_cosine", {"exponent": 0.3, "min_ratio": 0.2}),
        ("polynomial", {"power": 2.0}),
        ("polynomial_decay", {"power": 3.0, "min_ratio": 0.1}),
        ("exponential", {}),
        ("step", {"interval_fraction": 0.2}),
        ("multistep", {"milestone_fractions": [0.5, 0.2, 0.5]}),
    ],
)
def test_optax_as_documented_gives_the_same_rates(name, changed, monkeypatch):
    if name not in NODES:
        pytest.skip(f"no scheduler/{name}.yaml")
    monkeypatch.setitem(sys.modules, "optax", documented_optax())
    for warmup in (None, LINEAR):
        common = {"total_steps": 101, "num_evaluations": 20, "warmup": warmup}
        schedule = executed(optax_snippet(bound(name, **changed), sgd, **common))["schedule"]
        expected = make_rates(bound(name, **changed), sgd, **common).lr
        np.testing.assert_allclose([schedule(step) for step in range(101)], expected, rtol=1e-11, atol=1e-15)


def test_what_optax_has_not_is_refused():
    with pytest.raises(ValueError, match="no equal in optax; write to=torch"):
        optax_snippet(bound("one_cycle"), sgd, total_steps=40, num_evaluations=5)
    with pytest.raises(ValueError, match="warmup must be linear for to=optax"):
        optax_snippet(bound("cosine"), sgd, total_steps=40, num_evaluations=5, warmup=POLYNOMIAL)


def record_of_a_run(results, name, config, run_id):
    record = results / "runs" / name
    (record / "artifacts").mkdir(parents=True)
    (record / "artifacts" / "config.yaml").write_text(config)
    (record / "mlflow.json").write_text(f'{{"run_id": "{run_id}"}}')
    return record


def test_a_run_is_exported_by_its_record_its_name_and_its_mlflow_id(tmp_path, capsys):
    from lrbench.runs.compose import compose_plans

    words = ["scheduler=step", "scheduler.gamma=0.5", "optimizer.lr=0.2", "budget=steps", "budget.steps=60"]
    config = yaml.safe_dump(compose_plans(words)[0].values)
    record = record_of_a_run(tmp_path, "step-s0-1a2b", config, "ab" * 16)
    printed = []
    for run in (str(record), "step-s0-1a2b", "ab" * 16):
        assert main([run, f"results_dir={tmp_path}"]) == 0
        printed.append(capsys.readouterr().out.partition("\n")[2])
    assert main(words) == 0
    assert {*printed} == {capsys.readouterr().out.partition("\n")[2]}
    with pytest.raises(ValueError, match=r"no run 'cd'.* it has step-s0-1a2b"):
        main(["cd", f"results_dir={tmp_path}"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["to=keras"], "to must be one of torch, optax, transformers, got 'keras'"),
        (["scheduler=cosine,step"], "one schedule at a time, got 2 combinations"),
        (["some-run", "optimizer.lr=1"], "takes one run, or overrides, got some-run optimizer.lr=1"),
    ],
)
def test_words_that_make_no_sense_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        main(words)
