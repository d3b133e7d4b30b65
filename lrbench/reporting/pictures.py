"""Pictures: one matplotlib figure becomes the SVG in the page, and the SVG beside it.

The page's SVG differs from the file's only in its colours, which are CSS variables so that dark mode can change
them, and in having classes instead of ids. What can be hovered over travels next to it as numbers.
"""

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrbench.reporting.styles import PALETTE

INK, FAINT, GRID, PAPER = "#1b1b20", "#6b6b74", "#e2e2e6", "#ffffff"
POINTS_PER_INCH = 72
# Colours that follow light and dark; a heatmap's fills are not here, and keep their own ink in both.
_VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--grid", PAPER: "--paper"} | {
    light: f"--c{index}" for index, (light, _) in enumerate(PALETTE)
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_OURS = re.compile(r"^((?:key|mark|band|s\d+)(?:_(?:s\d+))*)$")
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    # The first two have the same widths, so that text keeps its place where the first is not installed.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 8.0,
    # A schedule may be called "$x$": names are text, never formulas.
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "hatch.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.0,
}


@dataclass(frozen=True)
class Mark:
    """A point of a picture that says something when the pointer is near it.

    Attributes:
        axes: where it is.
        x: in data units of the axes.
        y: in data units of the axes.
        text: what it says; lines are separated by line breaks.
        keys: keys of the schedules that it belongs to; hidden with any of them.
    """

    axes: Axes
    x: float
    y: float
    text: str
    keys: tuple[str, ...] = ()


@dataclass
class Picture:
    """A figure with its file name, a title that says what it shows, a note on how to read it, and its marks."""

    name: str
    title: str
    figure: Figure
    note: str = ""
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class Drawing:
    """A picture as markup.

    Attributes:
        file_svg: a whole SVG document.
        page_svg: an <svg> element to put into a page.
        hover: [x, y, text, keys] a mark, in units of the SVG's view box.
    """

    file_svg: str
    page_svg: str
    hover: list[tuple[float, float, str, list[str]]]


@contextmanager
def drawing_rules() -> Iterator[None]:
    """Draw and save inside of this: it sets fonts, colours, and that names are never formulas."""
    with mpl.rc_context(_RC):
        yield


def markup(picture: Picture) -> Drawing:
    """Turn a picture into SVG, the same bytes for the same picture."""
    buffer = io.BytesIO()
    # The salt makes ids that no other picture of the page has.
    with mpl.rc_context({"svg.hashsalt": picture.name, "svg.id": None}):
        picture.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(buffer.getvalue())
    _tidy(root, picture.title)
    file_svg = ElementTree.tostring(root, encoding="unicode")
    _follow_the_page(root)
    return Drawing(
        file_svg=f'<?xml version="1.0" encoding="utf-8"?>\n{file_svg}\n',
        page_svg=ElementTree.tostring(root, encoding="unicode"),
        hover=_hover(picture),
    )


def _tidy(root: ElementTree.Element, title: str) -> None:
    """Drop what only matplotlib needs, shorten numbers, and turn our ids into classes."""
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    referenced = set()
    for element in root.iter():
        referenced |= {value[1:] for name, value in element.attrib.items() if name.endswith("href")}
        referenced |= set(re.findall(r"url\(#([^)]+)\)", " ".join(element.attrib.values())))
    for element in root.iter():
        name = element.get("id")
        if name is not None and name not in referenced:
            del element.attrib["id"]
            if _OURS.match(name):
                element.set("class", name.replace("_", " "))
        if "d" in element.attrib:
            element.set("d", _fewer_digits(element.attrib["d"]))
    root.set("role", "img")
    label = ElementTree.Element(f"{{{_SVG}}}title")
    label.text = title
    root.insert(0, label)


def _follow_the_page(root: ElementTree.Element) -> None:
    """Colours become variables of the page, and the size that of its column."""
    for defs in root.findall(f"{{{_SVG}}}defs"):
        for style in defs.findall(f"{{{_SVG}}}style"):
            defs.remove(style)  # its selector is *, which would style the page
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    # A <title> would pop up beside the values that the page shows under the pointer.
    for title in root.findall(f"{{{_SVG}}}title"):
        root.set("aria-label", title.text or "")
        root.remove(title)
    root.set("style", f"max-width: {float(root.attrib['viewBox'].split()[2]) * 4 / 3:.0f}px")
    for element in root.iter():
        for name in {"style", "fill"} & element.attrib.keys():
            element.set(name, re.sub(r"#[0-9a-f]{6}\b", lambda color: _variable(color.group()), element.attrib[name]))


def _variable(color: str) -> str:
    return f"var({_VARIABLES[color]})" if color in _VARIABLES else color


def _fewer_digits(path: str) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number.group()):.2f}", path).replace("\n", "")


def _hover(picture: Picture) -> list[tuple[float, float, str, list[str]]]:
    height = picture.figure.get_figheight() * POINTS_PER_INCH
    scale = POINTS_PER_INCH / picture.figure.dpi
    found = []
    for mark in picture.marks:
        x, y = mark.axes.transData.transform((mark.x, mark.y)) * scale
        if math.isfinite(x) and math.isfinite(y):
            found.append((round(float(x), 1), round(height - float(y), 1), mark.text, list(mark.keys)))
    return found
