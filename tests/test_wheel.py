"""A wheel built from the repository carries its configuration and runs from anywhere."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_a_wheel_finds_its_own_conf(tmp_path):
    pytest.importorskip("build", reason="the package `build` is not installed")
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPO)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("lr_schedule_bench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    expected = {f"lrbench/conf/{path.relative_to(REPO / 'conf')}" for path in (REPO / "conf").rglob("*.yaml")}
    assert expected | {"lrbench/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/", "conf/"))]
    done = subprocess.run(
        [sys.executable, "-m", "lrbench", "scheduler=rex", "tracking=none", "budget.epochs=1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "LRBENCH_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "state\tok" in done.stdout
    assert "lrbench" not in done.stderr
