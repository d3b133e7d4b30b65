"""What holds for every pure family in conf/scheduler, with its defaults and anywhere in its search space."""

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import lrbench.schedules

FOLDER = Path(__file__).resolve().parent.parent / "conf" / "scheduler"
ABOUT = {"name", "purpose", "formula", "source", "_target_", "search", "libraries"}


def _target(config: dict[str, Any]) -> Any:
    module, _, name = config["_target_"].rpartition(".")
    return getattr(lrbench.schedules, name) if module == "lrbench.schedules" else None


def _is_pure(config: dict[str, Any]) -> bool:
    family = _target(config)
    return family is not None and next(iter(inspect.signature(family).parameters)) == "step"


def _stands_alone(config: dict[str, Any]) -> bool:
    """Whether its values are plain: a composition holds other configs, a table of rates needs a file ("???")."""
    values = [value for key, value in config.items() if key not in ABOUT]
    return "???" not in values and "_target_" not in str(values)


CONFIGS = {
    path.stem: config
    for path in sorted(FOLDER.glob("*.yaml"))
    if _is_pure(config := yaml.safe_load(path.read_text())) and _stands_alone(config)
}
every_family = pytest.mark.parametrize("name", CONFIGS)

# In absolute steps by definition, or (Chebyshev) in an order that is another one for each budget.
NOT_STRETCHING = {"sklearn_invscaling", "sklearn_optimal", "noam", "fractal_chebyshev"}

HYPERBOLA = math.sqrt(0.96)  # f(0) of the hyperbolas at upper_bound_ratio 1.25
TO_ZERO = [
    "rex",
    "polynomial_decay",
    "quarter_circle",
    "generalized_cosine",
    "k_decay",
    "flat_cosine",
    "hold_cosine",
    "cosine_hard_restarts",
    "cosine_cycles",
    "coslog",
    "cosine_echo",
    "warm_cosine_cycles",
    "wsd",
    "trapezoid",
    "knee",
    "rsqrt_cooldown",
    "two_point_linear",
    "two_point_spline",
    "free_spline",
]
TO_THE_FOOT = [
    "triangle",
    "triangle2",
    "triangle_exp",
    "sine",
    "sine2",
    "sine_exp",
    "cosine_wave_up",
    "cosine_wave2_up",
    "cosine_wave_exp_up",
    "sawtooth",
    "sawtooth2",
    "sawtooth_exp",
    "sine_sawtooth",
    "sine_sawtooth2",
    "sine_sawtooth_exp",
    "cosine_sawtooth",
    "cosine_sawtooth2",
    "cosine_sawtooth_exp",
]
# Value at T = 1000 with the defaults, from the formulas.
END = {
    **dict.fromkeys(TO_ZERO, 0.0),
    **dict.fromkeys(TO_THE_FOOT, 0.1),
    **dict.fromkeys(["triangle_down", "sine_down", "cosine_wave"], 1.0),
    **dict.fromkeys(["triangle2_down", "sine2_down", "cosine_wave2"], 0.1 + 0.9 / 2**4),
    **dict.fromkeys(["triangle_exp_down", "sine_exp_down", "cosine_wave_exp"], 0.1 + 0.9 * 0.1),
    "tanh": 1 / (1 + math.exp(6)),
    "sigmoid": 1 / (1 + math.exp(5)),
    "hyperbolic": 1 - 0.9999 * HYPERBOLA,
    "exp_hyperbolic": 1e-4**HYPERBOLA,
    "inverse_time": 101**-0.75,
    "sklearn_invscaling": 1001**-0.5,
    "sklearn_optimal": 0.5,
    "squashed_rsqrt": math.sqrt(100 / 1100),
    "power_law": math.sqrt(0.05),
    "inverse_sqrt": math.sqrt(0.05),
    "noam": (512 * 1001) ** -0.5,
    "cosine_to_min": 0.1,
    "cosine_infinite": 0.1,
    "wsd_exponential": 0.01,
    "slanted_triangular": 1 / 32,
    "piecewise_constant": 0.008,
    "deepseek_multistep": 0.1,
    "piecewise_linear": 0.01,
}


def parameters(name: str) -> dict[str, Any]:
    return {key: value for key, value in CONFIGS[name].items() if key not in ABOUT}


def factors(name: str, step: Any, total_steps: int, **changed: Any) -> Any:
    return _target(CONFIGS[name])(step, total_steps, **{**parameters(name), **changed})


@st.composite
def searched(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A point of the family's search space; its edges are as likely as everything else."""
    point = {}
    for key, space in CONFIGS[name]["search"].items():
        if "choices" in space:
            point[key] = draw(st.sampled_from(space["choices"]))
        elif space.get("int"):
            point[key] = draw(st.integers(space["low"], space["high"]))
        else:
            point[key] = draw(st.floats(space["low"], space["high"]))
    return point


@every_family
def test_config_names_every_parameter_with_a_valid_value(name: str) -> None:
    hyperparameters = dict(list(inspect.signature(_target(CONFIGS[name])).parameters.items())[2:])
    assert parameters(name).keys() == hyperparameters.keys()
    for key, parameter in hyperparameters.items():
        assert parameter.kind is parameter.KEYWORD_ONLY
        TypeAdapter(parameter.annotation).validate_python(parameters(name)[key], strict=True)


@every_family
def test_search_space_lies_in_the_domains(name: str) -> None:
    signature = inspect.signature(_target(CONFIGS[name])).parameters
    for key, space in CONFIGS[name]["search"].items():
        domain = TypeAdapter(signature[key].annotation)
        for value in space.get("choices") or [space["low"], space["high"]]:
            domain.validate_python(value, strict=True)
        assert space.get("choices") or space["low"] < space["high"]


@every_family
@pytest.mark.parametrize("total_steps", [1, 2, 3, 5, 97, 1000])
def test_rates_are_finite_and_never_negative(name: str, total_steps: int) -> None:
    rates = factors(name, np.arange(total_steps + 3), total_steps)
    assert rates.dtype == np.float64
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()


@every_family
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_point_of_the_search_space_is_usable(name: str, data: st.DataObject) -> None:
    total_steps = data.draw(st.integers(1, 60))
    rates = factors(name, np.arange(total_steps + 3), total_steps, **data.draw(searched(name)))
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    # A cosine that is at its minimum for the last of one update has nothing else.
    assert total_steps == 1 or rates.max() > 0
    assert (rates[total_steps:] == rates[total_steps]).all()


@every_family
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_a_rate_depends_on_its_step_alone(name: str, data: st.DataObject) -> None:
    total_steps = data.draw(st.integers(1, 30))
    point = data.draw(searched(name))
    rates = factors(name, np.arange(total_steps + 2), total_steps, **point)
    order = data.draw(st.permutations(range(total_steps + 2)))
    alone = [factors(name, step, total_steps, **point) for step in order]
    assert {type(rate) for rate in alone} == {float}
    assert alone == rates[order].tolist()
    assert factors(name, np.array(order).reshape(1, -1), total_steps, **point).tolist() == [alone]


@every_family
def test_past_the_end_the_rate_stays(name: str) -> None:
    assert factors(name, 41, 40) == factors(name, 40, 40) == factors(name, 10**9, 40)


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - NOT_STRETCHING))
def test_a_schedule_stretches_with_the_budget(name: str) -> None:
    steps = np.arange(1001)
    short, long = factors(name, steps, 1000), factors(name, 2 * steps, 2000)
    # A jump may fall one step to the side; everywhere else the two are one curve.
    assert (np.abs(short - long) > 0.01).mean() < 0.01


@pytest.mark.parametrize("name", sorted(NOT_STRETCHING))
def test_exceptions_to_stretching_are_real(name: str) -> None:
    steps = np.arange(1001)
    assert (np.abs(factors(name, steps, 1000) / factors(name, 2 * steps, 2000) - 1) > 0.01).mean() > 0.1


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - {"fractal_chebyshev"}))
def test_a_schedule_ends_where_it_says(name: str) -> None:
    assert factors(name, 1000, 1000) == pytest.approx(END[name], rel=1e-9, abs=1e-12)
