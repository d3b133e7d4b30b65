"""The words of a sweep, sorted."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lrbench.search.arguments import read_arguments


def read(*words):
    return read_arguments(OverridesParser.create().parse_overrides(list(words)))


def test_choices_of_groups_and_of_other_values_are_axes():
    found = read("scheduler=cosine,step", "budget.epochs=5,20", "model=mlp", "results_dir=x")
    assert found.words == ("model=mlp", "results_dir=x")
    assert found.combinations == [
        ("model=mlp", "results_dir=x", "scheduler=cosine", "budget.epochs=5"),
        ("model=mlp", "results_dir=x", "scheduler=cosine", "budget.epochs=20"),
        ("model=mlp", "results_dir=x", "scheduler=step", "budget.epochs=5"),
        ("model=mlp", "results_dir=x", "scheduler=step", "budget.epochs=20"),
    ]


@pytest.mark.parametrize(
    ("word", "spec"),
    [
        ("optimizer.lr=interval(0.001,1)", {"low": 0.001, "high": 1}),
        ("optimizer.lr=tag(log,interval(0.001,1))", {"low": 0.001, "high": 1, "log": True}),
        ("scheduler.gamma=0.1,0.5", {"choices": [0.1, 0.5]}),
        ("scheduler.gamma=choice(0.1,0.5)", {"choices": [0.1, 0.5]}),
        ("scheduler.num_cycles=range(1,4)", {"low": 1, "high": 3}),
        ("scheduler.num_cycles=range(1,9,3)", {"choices": [1, 4, 7]}),
        ("scheduler.shape=linear,cosine", {"choices": ["linear", "cosine"]}),
    ],
)
def test_sweeps_of_searched_parameters_are_ranges_and_no_axes(word, spec):
    found = read("scheduler=step", word)
    assert found.ranges == {word.partition("=")[0]: spec}
    assert found.combinations == [("scheduler=step",)]


def test_fixed_parameters_are_no_longer_searched_but_stay_words():
    found = read("optimizer.lr=0.1", "scheduler.search.gamma.low=0.2", "training.batch_size=32")
    assert found.fixed == {"optimizer.lr": 0.1}
    assert found.words == ("optimizer.lr=0.1", "scheduler.search.gamma.low=0.2", "training.batch_size=32")


@pytest.mark.parametrize(("word", "seeds"), [("seed=3", (3,)), ("seed=0,1", (0, 1)), ("seed=range(3)", (0, 1, 2))])
def test_seeds_are_for_tuning(word, seeds):
    found = read(word, "scheduler=cosine")
    assert found.seeds == seeds
    assert found.combinations == [("scheduler=cosine",)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scheduler=cosine", "scheduler=cosine,step"], "scheduler is given twice"),
        (["optimizer.lr=0.1", "optimizer.lr=interval(0.1,1)"], "either fixed or swept"),
        (["seed=-1"], "seed must be different whole numbers >= 0"),
        (["seed=1,1"], "seed must be different whole numbers >= 0"),
        (["seed=0.5"], "seed must be different whole numbers >= 0"),
        (["training.batch_size=interval(1,9)"], "an interval can be searched for parameters of optimizer"),
    ],
)
def test_what_cannot_be_meant_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        read(*words)
