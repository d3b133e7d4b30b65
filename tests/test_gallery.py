"""The committed gallery is what scripts/gallery.py gives for the configs as they are."""

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gallery", REPO / "scripts" / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def points(svg):
    """Corners of each curve of a picture, shape (num_points, 2)."""
    return [
        np.array([point.split(",") for point in element.get("points").split()], dtype=float)
        for element in ET.fromstring(svg)
        if element.tag.endswith("polyline")
    ]


def test_the_gallery_is_not_stale(script):
    files = script.gallery()
    stale = [
        name
        for name, text in files.items()
        if not (script.DOCS / name).is_file() or (script.DOCS / name).read_text() != text
    ]
    gone = [path.name for path in (script.DOCS / "gallery").glob("*.svg") if f"gallery/{path.name}" not in files]
    assert (stale, gone) == ([], []), "run: python scripts/gallery.py"


def test_every_schedule_has_its_section_and_stays_small(script):
    text = (script.DOCS / "gallery.md").read_text()
    folder = REPO / "conf" / "scheduler"
    for path in folder.rglob("*.yaml"):
        assert f"## {path.relative_to(folder).with_suffix('').as_posix()}\n" in text
    assert sum(path.stat().st_size for path in (script.DOCS / "gallery").iterdir()) < 1_000_000


def test_a_picture_shows_the_peak_at_the_top_and_zero_on_the_axis(script):
    (curve,) = points(script.picture(script.table_of(script.node_of(REPO / "conf" / "scheduler" / "linear.yaml"))))
    top, axis = script.MARGIN + 8, script.RATE_HEIGHT - script.MARGIN
    assert curve[0].tolist() == [script.MARGIN, top]
    assert curve[-1].tolist() == [script.WIDTH - script.MARGIN, pytest.approx(axis - (axis - top) / 300, abs=0.1)]
    assert len(curve) == 2, "a straight line needs its ends only"


def test_momentum_has_a_curve_of_its_own_where_it_moves(script):
    rate, momentum = points(
        script.picture(script.table_of(script.node_of(REPO / "conf" / "scheduler" / "one_cycle.yaml")))
    )
    assert momentum[:, 1].min() > rate[:, 1].max()
    assert np.argmax(momentum[:, 1]) == pytest.approx(np.argmin(rate[:, 1]), abs=2)
