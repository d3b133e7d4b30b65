"""The page of pitfalls says what was measured, and what was measured still happens."""

import importlib.util
import json
import sys
import warnings
from pathlib import Path
from statistics import mean

import pytest

from lrbench.lint.code import lint_code

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))
spec = importlib.util.spec_from_file_location("pitfalls", SCRIPTS / "pitfalls.py")
pitfalls = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pitfalls)
sys.path.remove(str(SCRIPTS))

MEASURED = json.loads((pitfalls.DOCS / "pitfalls" / "measured.json").read_text())


def test_the_page_is_not_stale():
    assert (pitfalls.DOCS / "pitfalls.md").read_text() == pitfalls.page(MEASURED), "run: python scripts/pitfalls.py"


def test_every_mistake_was_measured_and_drawn():
    names = {case.name for case in pitfalls.CASES}
    assert set(MEASURED) == names
    assert {path.stem for path in (pitfalls.DOCS / "pitfalls").glob("*.svg")} == names


@pytest.mark.parametrize("case", pitfalls.CASES, ids=lambda case: case.name)
def test_the_linter_has_nothing_against_the_right_form(case):
    assert lint_code(case.right, "train.py") == []


@pytest.mark.parametrize("case", pitfalls.CASES, ids=lambda case: case.name)
def test_the_page_says_what_finds_a_mistake_or_that_nothing_does(case):
    found = bool(lint_code(case.mistake, "train.py"))
    assert found + bool(case.check) + bool(case.unseen) == 1


@pytest.mark.slow
@pytest.mark.parametrize("case", pitfalls.CASES, ids=lambda case: case.name)
def test_a_training_repeats_what_the_page_says(case, monkeypatch):
    monkeypatch.setattr(pitfalls, "SEEDS", range(2))
    losses = {}
    for form, code in (("mistake", case.mistake), ("right", case.right)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of some of these mistakes
            outcome = pitfalls.outcome_of(pitfalls.train_all(case, code))
        said = MEASURED[case.name][form]
        assert (outcome.steps, outcome.error) == (said["steps"], said["error"])
        if case.name != "plateau-per-batch":  # whose rates follow the losses, which differ between machines
            assert outcome.last_rate == pytest.approx(said["last_rate"], rel=1e-6)
        losses[form] = mean(outcome.losses)
    once = {form: mean(found["losses"]) for form, found in MEASURED[case.name].items()}
    if once["mistake"] > 1.2 * once["right"]:
        assert losses["mistake"] > losses["right"]
