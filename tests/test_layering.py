"""Imports go downwards only, and each heavy library stays at its edge."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lrbench

PACKAGE = Path(lrbench.__file__).parent
# Lowest layer first. Packages of one layer do not import each other.
LAYERS = [
    {"spec", "typos", "delimited", "addresses"},
    {"integrations", "schedules", "models", "data", "optimizers", "results", "databases"},
    {"training", "analysis", "lint"},
    {"checkpoints"},
    {"trials", "codegen"},
    {"lr_range", "dry_run"},
    {"config", "search", "launch", "tracking", "reporting"},
    {"runs"},
    {"studies"},
    {"api"},
    {"cli"},
]
LAYER_OF = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}
EDGES = {  # library -> the packages that may import it
    "hydra": {"config", "search", "launch", "runs", "studies", "cli"},
    "omegaconf": {"config", "search", "launch", "runs", "studies", "cli"},
    "optuna": {"search"},
    "mlflow": {"tracking"},
    "rich": {"runs", "cli"},
    "pandas": {"results", "analysis", "tracking", "reporting", "runs", "studies", "api", "cli"},
    "matplotlib": {"reporting"},
}
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name not in ("__main__.py",) and path.parent != PACKAGE / "conf"
)


def package_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path):
    """Every module that a file imports, lazily or not, type-checking blocks included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which layer they go to"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "lrbench")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards_and_libraries_stay_at_their_edges(path):
    package = package_of(path)
    if package == "__init__":
        return
    assert package in LAYER_OF, f"{path}: give lrbench/{package} a layer"
    for module in imports_of(path):
        library, *rest = module.split(".")
        if library == "lrbench" and rest and rest[0] in LAYER_OF:
            assert rest[0] == package or LAYER_OF[rest[0]] < LAYER_OF[package], (
                f"{path} imports {module}, which is not below"
            )
        elif library in EDGES:
            assert package in EDGES[library], f"{path} imports {library}, whose place is {EDGES[library]}"


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("lrbench.analysis", ["torch", "hydra", "mlflow", "optuna"]),
        ("lrbench.training", ["pandas", "hydra", "optuna", "mlflow"]),
        ("lrbench.config", ["torch", "torchvision", "mlflow", "optuna", "matplotlib", "sklearn", "pandas"]),
        ("lrbench.cli.run", ["torch", "mlflow", "optuna", "matplotlib", "sklearn", "pandas"]),
        ("lrbench.tracking.record", ["torch", "mlflow"]),
        ("lrbench.search.suggest", ["torch", "hydra", "omegaconf", "mlflow", "pandas"]),
        ("lrbench.search.storage", ["torch", "hydra", "omegaconf", "mlflow", "pandas"]),
        ("lrbench.search.claims", ["torch", "hydra", "omegaconf", "mlflow", "pandas"]),
    ],
)
def test_a_light_import_stays_light(imported, absent):
    program = f"import {imported}, sys; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_map_for_contributors_shows_every_package_in_its_layer():
    lines = (PACKAGE.parent / "CONTRIBUTING.md").read_text().splitlines()
    rows = [line.split("|")[1:3] for line in lines if re.match(r"\| *\d* *\| `", line)]
    mapped, layer = {}, 0
    for number, packages in rows:
        layer = int(number) if number.strip() else layer
        mapped |= dict.fromkeys(re.findall(r"`(\w+)`", packages), layer - 1)
    assert mapped == LAYER_OF


@pytest.mark.slow
@pytest.mark.parametrize("words", [["hydra/sweeper=optuna", "hydra.sweeper.num_trials=1"], []], ids=["search", "grid"])
def test_a_process_that_only_hands_out_work_does_without_torch(words, tmp_path):
    """Its import takes seconds, before the first worker has anything to do."""
    sweep = ["-m", *words, "scheduler=constant,cosine", "model.hidden=[4]", "budget.epochs=1", "tracking=none"]
    code = f"import sys; from lrbench.cli import main; print(main({sweep!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
