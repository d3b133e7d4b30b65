import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lrbench.config import CONFIG_DIR
from lrbench.search.ranges import config_value, in_words, range_document, read_range, stored
from lrbench.search.space import GROUPS, Dimension, parents_first, read_space, space_diff, space_document

FILES = sorted(path for group in GROUPS for path in CONFIG_DIR.glob(f"{group}/**/*.yaml"))


def config(search=None, **parameters):
    """A config whose scheduler has the parameters gamma, shape, mode and end_ratio, and those given."""
    scheduler = {"gamma": 0.5, "shape": "linear", "mode": "a", "end_ratio": 0.1, "num_cycles": 3, **parameters}
    return {
        "optimizer": {
            "name": "sgd",
            "_target_": "lrbench.optimizers.sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "search": {"lr": {"low": 1e-4, "high": 1.0, "log": True}},
        },
        "scheduler": {"name": "own", "_target_": "lrbench.schedules.own", **scheduler, "search": search or {}},
        "warmup": {"name": "none", "_target_": None, "search": {}},
        "seed": 0,
    }


def read(search=None, *, fixed=None, ranges=None, **parameters):
    space = read_space(config(search, **parameters), fixed=fixed or {}, ranges=ranges or {})
    return {dimension.name.removeprefix("scheduler."): dimension for dimension in space}


def composed(path: Path):
    """A config with the file as its group; the other groups as shipped by default."""
    default = {"optimizer": "sgd", "scheduler": "cosine", "warmup": "none"}
    values = {
        group: yaml.safe_load((CONFIG_DIR / group / f"{name}.yaml").read_text()) for group, name in default.items()
    }
    values[path.relative_to(CONFIG_DIR).parts[0]] = yaml.safe_load(path.read_text())
    return values


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIG_DIR).with_suffix("")))
def test_every_shipped_space_can_be_read_and_matters_by_default(path):
    values = composed(path)
    names = [dimension.name for dimension in read_space(values, fixed={}, ranges={})]
    written = [f"{group}.{key}" for group in GROUPS for key in values[group]["search"]]
    assert sorted(names) == sorted(written)
    assert names[0] == "optimizer.lr"


def test_a_range_becomes_the_distribution_it_describes():
    space = read(
        {
            "gamma": {"low": 0.1, "high": 0.9},
            "end_ratio": {"low": 0.01, "high": 1, "log": True},
            "num_cycles": {"low": 1, "high": 4},
            "shape": {"choices": ["linear", "cosine"]},
        }
    )
    assert {name: d.distribution for name, d in space.items()} == {
        "optimizer.lr": FloatDistribution(1e-4, 1.0, log=True),
        "gamma": FloatDistribution(0.1, 0.9),
        "end_ratio": FloatDistribution(0.01, 1.0, log=True),
        "num_cycles": IntDistribution(1, 4),
        "shape": CategoricalDistribution(["linear", "cosine"]),
    }


@pytest.mark.parametrize(
    ("spec", "default", "distribution"),
    [
        ({"low": 5, "high": 50}, 25.0, FloatDistribution(5, 50)),  # a float parameter stays one
        ({"low": 5, "high": 50}, 25, IntDistribution(5, 50)),
        ({"low": 5, "high": 50}, None, IntDistribution(5, 50)),
        ({"low": 5, "high": 50, "int": False}, 25, FloatDistribution(5, 50)),
        ({"low": 5, "high": 50, "int": True}, 25.0, IntDistribution(5, 50)),
        ({"low": 1, "high": 64, "log": True}, 2, IntDistribution(1, 64, log=True)),
        ({"low": 2, "high": 10, "step": 4}, 2, IntDistribution(2, 10, step=4)),
        ({"low": 0, "high": 1, "step": 0.25}, 0, FloatDistribution(0, 1, step=0.25)),
        ({"low": 0.1, "high": 0.9, "step": 0.1}, 0.1, FloatDistribution(0.1, 0.9, step=0.1)),
    ],
)
def test_whole_bounds_mean_whole_numbers_unless_the_parameter_is_a_float(spec, default, distribution):
    assert read_range("x", spec, name="x", default=default) == distribution


def test_a_list_is_stored_as_its_text_and_comes_back_as_a_list():
    space = read({"milestones": {"choices": [[0.5, 0.75], [0.3, 0.6, 0.8]]}}, milestones=[0.5])
    choices = space["milestones"].distribution.choices
    assert choices == ("[0.5, 0.75]", "[0.3, 0.6, 0.8]")
    assert [config_value(choice) for choice in choices] == [[0.5, 0.75], [0.3, 0.6, 0.8]]
    for value in (0.5, 3, "linear", True, None):
        assert config_value(stored(value)) is value


BAD_RANGES = [
    ({"gama": {"low": 0, "high": 1}}, r"search\.gama: no parameter of own 'gama'; did you mean gamma\? .*mode"),
    ({"_target_": {"choices": [1, 2]}}, r"scheduler\.search\._target_: no parameter"),
    ({"name": {"choices": [1, 2]}}, r"scheduler\.search\.name: no parameter"),
    ({"gamma": {"low": 0.1, "hihg": 1}}, r"gamma\.hihg: no word 'hihg'; did you mean high\? There are: choices, high"),
    ({"gamma": {"low": 0.9, "high": 0.1}}, r"gamma\.low must be below .*gamma.high, got low=0.9 and high=0.1"),
    ({"gamma": {"low": 0.5, "high": 0.5}}, r"got 0.5 for both; to fix it, write scheduler\.gamma=0.5"),
    ({"gamma": {"low": 0, "high": 1, "log": True}}, r"gamma\.low must be above 0 with log: true, got 0"),
    ({"gamma": {"low": -1.0, "high": 1, "log": True}}, r"gamma\.low must be above 0 with log: true, got -1.0"),
    ({"gamma": {"low": 0.1, "high": 1, "log": "yes"}}, r"gamma\.log must be true or false, got 'yes'"),
    ({"gamma": {"low": 0.1, "high": 1.0, "log": True, "step": 0.1}}, r"either log: true or a step, got both"),
    ({"gamma": {"low": 0.1, "high": 1.0, "step": 0}}, r"gamma\.step must be above 0, got 0"),
    ({"gamma": {"low": 0.1, "high": 0.95, "step": 0.1}}, r"high=0.95, step=0.1; the last step ends at 0.9"),
    ({"gamma": {"low": 0.1}}, r"gamma needs high \(or choices\), got \{'low': 0.1\}"),
    ({"gamma": {"low": "1e-4", "high": 1}}, r"gamma\.low must be a finite number, got '1e-4'"),
    ({"gamma": {"low": float("nan"), "high": 1}}, r"gamma\.low must be a finite number, got nan"),
    ({"gamma": {"low": 0, "high": float("inf")}}, r"gamma\.high must be a finite number, got inf"),
    ({"gamma": {"low": False, "high": 1}}, r"gamma\.low must be a finite number, got False"),
    ({"num_cycles": {"low": 1, "high": 4.5, "int": True}}, r"whole low, high and step with int: true, got 4.5"),
    ({"gamma": {"choices": []}}, r"gamma\.choices must not be empty"),
    ({"gamma": {"choices": [0.5]}}, r"at least two values, got \[0.5\]; to fix it, write scheduler\.gamma=0.5"),
    ({"gamma": {"choices": [1, 0.5, 1.0]}}, r"gamma\.choices must not repeat a value, got 1.0 twice"),
    ({"gamma": {"choices": [0.5, {"a": 1}]}}, r"gamma\.choices\[1\] must be a number, string, .* got \{'a': 1\}"),
    ({"gamma": {"choices": [0.5, [[1]]]}}, r"gamma\.choices\[1\] must be a number, string, .* got \[\[1\]\]"),
    ({"gamma": {"choices": [0.5, float("nan")]}}, r"gamma\.choices\[1\] must be finite, got nan"),
    ({"gamma": {"choices": ["[1]", "b"]}}, r"gamma\.choices\[0\] must be a list itself, not the text of one"),
    ({"gamma": {"choices": "linear"}}, r"gamma\.choices must be a list, got 'linear'"),
    ({"gamma": {"choices": [1, 2], "log": True}}, r"either choices or low and high, got choices and log"),
    ({"gamma": [0.1, 0.9]}, r"gamma must be \{low: ..., high: ...\} or \{choices: \[...\]\}, got \[0.1, 0.9\]"),
    ({"gamma": None}, r"got None; to take scheduler\.gamma out of the search, write scheduler\.gamma=VALUE"),
    (["gamma"], r"scheduler\.search must map parameters to ranges, got \['gamma'\]"),
]  # fmt: skip


@pytest.mark.parametrize(("search", "message"), BAD_RANGES, ids=[str(search) for search, _ in BAD_RANGES])
def test_a_range_that_cannot_be_is_refused_with_its_place_rule_and_value(search, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(search)
    assert str(caught.value).startswith("scheduler.search")


MODES = {"choices": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"mod": "a"}, r"end_ratio\.when: no parameter in scheduler 'mod'; did you mean mode\?"),
        ({"optimizer.beta": 1}, r"end_ratio\.when: no parameter in optimizer 'beta'; There are: lr, momentum"),
        ({"nowhere.mode": "a"}, r"end_ratio\.when: no parameter in nowhere 'mode'"),
        ({"mode": "d"}, r"when: scheduler\.mode can never be 'd'; its range is a \| b \| c"),
        ({"mode": ["a", 1]}, r"when: scheduler\.mode can never be 1"),
        ({"num_cycles": 7}, r"when: scheduler\.num_cycles can never be 7; its range is 1 to 4, whole numbers"),
        ({"num_cycles": 1.5}, r"when: scheduler\.num_cycles can never be 1.5"),
        ({"mode": []}, r"end_ratio\.when\.mode must have at least one value, got \[\]"),
        ("mode", r"end_ratio\.when must map parameters to a value or a list of values, got 'mode'"),
        ({"end_ratio": 0.1}, r"when must not lead back to itself: scheduler.end_ratio <- scheduler.end_ratio"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_is_refused(when, message):
    search = {
        "mode": MODES,
        "num_cycles": {"low": 1, "high": 4},
        "end_ratio": {"low": 0.01, "high": 0.5, "when": when},
    }
    with pytest.raises(ValueError, match=message):
        read(search)


def test_conditions_may_not_go_in_a_circle():
    search = {"mode": {**MODES, "when": {"shape": "x"}}, "shape": {"choices": ["x", "y"], "when": {"mode": "a"}}}
    with pytest.raises(ValueError, match=r"when must not lead back to itself: scheduler\.\w+ <- scheduler\.\w+ <- "):
        read(search)


END = {"low": 0.01, "high": 0.5, "when": {"mode": ["b", "c"]}}


def test_a_dimension_waits_for_the_searched_parameter_it_depends_on():
    end = read({"mode": MODES, "end_ratio": END})["end_ratio"]
    assert end.when == {"scheduler.mode": ("b", "c")}
    assert end.is_active({"scheduler.mode": "b"})
    assert not end.is_active({"scheduler.mode": "a"})
    assert not end.is_active({})  # its parent is inactive


def test_what_is_fixed_is_not_searched_and_settles_what_depends_on_it():
    search = {"mode": MODES, "end_ratio": END}
    assert read(search, fixed={"scheduler.mode": "b"})["end_ratio"].when == {}
    assert set(read(search, fixed={"scheduler.mode": "a"})) == {"optimizer.lr"}
    assert set(read(search, fixed={"scheduler.end_ratio": 0.1, "seed": 3})) == {"optimizer.lr", "mode"}
    assert set(read(search, fixed={"optimizer.lr": 0.1})) == {"mode", "end_ratio"}


def test_a_parameter_that_is_not_searched_settles_conditions_by_its_value():
    search = {"end_ratio": {"low": 0.01, "high": 0.5, "when": {"mode": "b", "optimizer.name": "sgd"}}}
    assert "end_ratio" not in read(search)
    assert read(search, mode="b")["end_ratio"].when == {}
    assert "end_ratio" in read({"end_ratio": {**END, "when": {"mode": None}}}, mode=None)


def test_conditions_nest_and_fall_with_their_parents():
    search = {
        "mode": MODES,
        "shape": {"choices": ["x", "y"], "when": {"mode": "b"}},
        "gamma": {"low": 0.1, "high": 0.9, "when": {"shape": "x"}},
    }
    space = read(search)
    assert [d.name for d in parents_first(list(space.values()))][-3:] == [
        "scheduler.mode",
        "scheduler.shape",
        "scheduler.gamma",
    ]
    assert set(read(search, fixed={"scheduler.mode": "c"})) == {"optimizer.lr"}


def test_the_command_line_replaces_a_range_and_keeps_its_condition():
    search = {"mode": MODES, "end_ratio": END}
    new = {"low": 0.2, "high": 0.3}
    end = read(search, ranges={"scheduler.end_ratio": new})["end_ratio"]
    assert end.distribution == FloatDistribution(0.2, 0.3)
    assert end.when == {"scheduler.mode": ("b", "c")}
    own = {**new, "when": {"mode": "a"}}
    assert read(search, ranges={"scheduler.end_ratio": own})["end_ratio"].when == {"scheduler.mode": ("a",)}


def test_a_narrower_range_narrows_the_conditions_of_the_file():
    search = {"mode": MODES, "end_ratio": END}
    narrow = {"scheduler.mode": {"choices": ["a", "b"]}}
    assert read(search, ranges=narrow)["end_ratio"].when == {"scheduler.mode": ("b",)}
    never = {"scheduler.mode": {"choices": ["a", "x"]}}
    assert "end_ratio" not in read(search, ranges=never)


def test_the_command_line_adds_a_dimension():
    ranges = {"optimizer.momentum": {"low": 0.8, "high": 0.99}}
    assert list(read(ranges=ranges)) == ["optimizer.lr", "optimizer.momentum"]


@pytest.mark.parametrize(
    ("fixed", "ranges", "message"),
    [
        ({}, {"scheduler.gama": {"low": 0, "high": 1}}, r"gama: no parameter in scheduler .*; did you mean gamma"),
        ({}, {"scheduler": {"low": 0, "high": 1}}, r"scheduler: no parameter in the config that can be searched"),
        ({}, {"seed": {"low": 0, "high": 1}}, r"seed: no parameter in the config that can be searched"),
        ({}, {"scheduler.search": {"low": 0, "high": 1}}, r"scheduler\.search: no parameter"),
        ({}, {"warmup.fraction": {"low": 0, "high": 0.1}}, r"no parameter in warmup .* There are: none"),
        ({}, {"scheduler.gamma": {"low": 1, "high": 0}}, r"^scheduler\.gamma\.low must be below"),
        ({}, {"scheduler.gamma": [0, 1]}, r"^scheduler\.gamma must be \{low"),
        (
            {"scheduler.gamma": 0.1},
            {"scheduler.gamma": {"low": 0, "high": 1}},
            r"scheduler\.gamma is both fixed \(to 0.1\) and searched \(in \{'low': 0, 'high': 1\}\)",
        ),
        (
            {},
            {"scheduler.gamma": {"low": 0, "high": 1, "when": {"mode": "b"}}},
            r"scheduler\.gamma is searched but can never matter: scheduler\.mode must be one of \['b'\]",
        ),
    ],
)  # fmt: skip
def test_bad_ranges_and_contradictions_on_the_command_line_are_refused(fixed, ranges, message):
    with pytest.raises(ValueError, match=message):
        read(fixed=fixed, ranges=ranges)


def test_the_order_does_not_depend_on_the_order_in_the_files():
    search = {"mode": MODES, "gamma": {"low": 0.1, "high": 0.9}, "end_ratio": END}
    ranges = {"optimizer.momentum": {"low": 0.8, "high": 0.99}, "scheduler.num_cycles": {"low": 1, "high": 4}}
    space = read_space(config(search), fixed={}, ranges=ranges)
    backwards = read_space(config(dict(reversed(search.items()))), fixed={}, ranges=dict(reversed(ranges.items())))
    assert [d.name for d in space] == [
        "optimizer.lr",
        "optimizer.momentum",
        *(f"scheduler.{key}" for key in ("end_ratio", "gamma", "mode", "num_cycles")),
    ]
    assert space == backwards
    assert json.dumps(space_document(space)) == json.dumps(space_document(backwards))


def test_reading_changes_nothing():
    values = config({"mode": MODES, "end_ratio": END})
    before = copy.deepcopy(values)
    read_space(values, fixed={}, ranges={"scheduler.gamma": {"low": 0.1, "high": 0.9}})
    assert values == before


def test_a_document_survives_json_and_says_everything():
    search = {
        "mode": MODES,
        "end_ratio": {"low": 0.01, "high": 0.5, "log": True, "when": {"mode": ["c", "b"]}},
        "gamma": {"low": 0.1, "high": 0.9, "step": 0.2},
        "num_cycles": {"low": 1, "high": 4},
    }
    document = space_document(read_space(config(search), fixed={}, ranges={}))
    assert json.loads(json.dumps(document)) == document
    assert document == {
        "optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True},
        "scheduler.end_ratio": {"low": 0.01, "high": 0.5, "log": True, "when": {"scheduler.mode": ["c", "b"]}},
        "scheduler.gamma": {"low": 0.1, "high": 0.9, "step": 0.2},
        "scheduler.mode": {"choices": ["a", "b", "c"]},
        "scheduler.num_cycles": {"low": 1, "high": 4, "int": True},
    }


def test_a_diff_names_each_dimension_that_differs_in_words():
    old = space_document([
        Dimension("optimizer.lr", FloatDistribution(1e-4, 1.0, log=True), {}),
        Dimension("scheduler.gamma", FloatDistribution(0.1, 0.9, step=0.1), {}),
        Dimension("scheduler.shape", CategoricalDistribution([1, 2]), {}),
    ])  # fmt: skip
    new = space_document([
        Dimension("optimizer.lr", FloatDistribution(1e-3, 1.0, log=True), {}),
        Dimension("scheduler.num_cycles", IntDistribution(1, 4), {"scheduler.shape": ("1", "2")}),
        Dimension("scheduler.shape", CategoricalDistribution(["1", "2"]), {}),
    ])  # fmt: skip
    assert space_diff(old, old) == []
    assert space_diff(old, new) == [
        "optimizer.lr: 0.0001 to 1.0, log -> 0.001 to 1.0, log",
        "scheduler.gamma: 0.1 to 0.9, step 0.1 -> not searched",
        "scheduler.shape: 1 | 2 -> 1 | 2 (of another type)",
        "scheduler.num_cycles: not searched -> 1 to 4, whole numbers, when scheduler.shape is 1 or 2",
    ]


@given(
    low=st.integers(-50, 50),
    steps=st.integers(1, 40),
    step=st.sampled_from([1, 2, 7, 0.1, 0.25, 1e-3]),
    log=st.booleans(),
)
def test_a_document_is_the_spec_of_the_same_distribution(low, steps, step, log):
    spec = (
        {"low": low, "high": float(low) + 1}
        if log
        else {"low": low, "high": round(low + steps * step, 6), "step": step}
    )
    if log:
        spec = {"low": abs(low) + 0.5, "high": abs(low) + 1.5, "log": True}
    distribution = read_range("x", spec, name="x", default=None)
    document = range_document(distribution)
    assert read_range("x", document, name="x", default=None) == distribution
    assert in_words(document).startswith(f"{distribution.low} to {distribution.high}")
