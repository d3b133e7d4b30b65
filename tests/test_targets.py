"""What a `_target_` may name, and how wrong parameters are refused."""

import math
import sys

import pytest

from lrbench.config.targets import bind, check_value, locate
from lrbench.spec import Count, Fractions, Positive

COSINE = {"_target_": "lrbench.schedules.cosine", "min_ratio": 0.1, "name": "cosine", "search": {}}
GIVEN = ("optimizer", "total_steps", "num_evaluations", "step")


def test_parameters_are_bound_and_documentation_is_left_out():
    bound = bind("scheduler", COSINE, given=GIVEN)
    assert bound.keywords == {"min_ratio": 0.1}
    assert bound.func.__name__ == "cosine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_ratio": -0.1}, r"scheduler.min_ratio should be greater than or equal to 0, got -0.1"),
        ({"min_ratio": 1.5}, r"scheduler.min_ratio should be less than or equal to 1, got 1.5"),
        ({"min_ratio": math.nan}, r"scheduler.min_ratio should be a finite number, got nan"),
        ({"min_ratio": "0.1"}, r"scheduler.min_ratio should be a valid number, got '0.1'"),
        ({"min_ratio": True}, r"scheduler.min_ratio should be a valid number, got True"),
        (
            {"min_ration": 0.1},
            r"scheduler.min_ration: no parameter 'min_ration'; did you mean min_ratio\? There are: min_ratio",
        ),
        ({"_target_": None}, r"scheduler._target_ must be a dotted name"),
        (
            {"_target_": "lrbench.schedules.cosin"},
            r"no name in lrbench.schedules 'cosin'; did you mean cosine\?",
        ),
        (
            {"_target_": "torch.optim.lr_scheduler.StepLR", "min_ratio": 0.5},
            r"scheduler.min_ratio: no parameter",
        ),
    ],
)
def test_wrong_nodes_are_refused_naming_path_rule_and_value(change, message):
    with pytest.raises(ValueError, match=message):
        bind("scheduler", COSINE | change, given=GIVEN)


def test_a_needed_parameter_that_is_absent_is_named():
    with pytest.raises(ValueError, match=r"scheduler needs scheduler.step_size; write \+scheduler.step_size=VALUE"):
        bind("scheduler", {"_target_": "torch.optim.lr_scheduler.StepLR"}, given=GIVEN)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (0, Positive, "x should be greater than 0, got 0"),
        (2.0, Count, "x should be a valid integer, got 2.0"),
        (math.inf, Positive, "x should be a finite number, got inf"),
        ([0.5, 2.0], Fractions, r"x\[1\] should be less than or equal to 1"),
        ([], Fractions, "x List should have at least 1 item"),
        (-1, Count | None, "x should be greater than or equal to 1, got -1"),
    ],
)
def test_values_outside_their_domain_are_refused(value, annotation, message):
    with pytest.raises(ValueError, match=message):
        check_value("x", value, annotation)


def test_integers_pass_as_floats_but_not_the_other_way():
    assert check_value("x", 1, Positive) == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "joblib.load",
        "pandas.read_pickle",
        "torch.load",
        "torch.hub.load",
        "torch.utils.cpp_extension.load",
        "numpy.load",
        "multiprocessing.Process",
        "lrbench.data.os.system",
        "lrbench.config.targets.importlib.import_module",
        "torch.optim.lr_scheduler.types.FunctionType",
        "torchvision.models.os.system",
        "torch.nn.functional.importlib.import_module",
        "lrbenchmark.evil",
    ],
)
def test_targets_outside_trusted_modules_are_refused(name):
    with pytest.raises(ValueError, match=r"trusted|no name"):
        locate("model._target_", name)


def test_an_untrusted_module_is_not_even_imported_until_it_is_trusted(tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    (tmp_path / "strangers_model.py").write_text(
        f"open({str(canary)!r}, 'w').close()\nclass Net:\n    def __init__(self, width: int = 1): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "strangers_model.Net", "width": 3}
    with pytest.raises(ValueError, match=r"model._target_ must lie in a trusted module, got 'strangers_model.Net'"):
        bind("model", node)
    assert not canary.exists()
    assert "strangers_model" not in sys.modules
    bound = bind("model", node, trusted_modules=["strangers_model"])
    assert canary.exists()
    assert bound.keywords == {"width": 3}
    sys.modules.pop("strangers_model")


def test_a_trusted_module_with_a_missing_import_says_which(tmp_path, monkeypatch):
    (tmp_path / "half_model.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="importing half_model needs 'no_such_library', which is missing"):
        locate("model._target_", "half_model.Net", trusted_modules=["half_model"])
