"""One fixed colour, dash and marker a schedule, the same in every picture and table of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Okabe and Ito's palette (2008), safe for the colour blind, without its yellow, which is too light on white;
# the brown is Tol's.
# The second column is the same hue, lightened until it stands out on the dark page.
PALETTE: tuple[tuple[str, str], ...] = (
    ("#0072b2", "#3a9ae0"),
    ("#d55e00", "#f0824a"),
    ("#009e73", "#2cc29a"),
    ("#cc79a7", "#e59cc3"),
    ("#222226", "#f2f2f4"),
    ("#e69f00", "#f4bd42"),
    ("#56b4e9", "#a3d8f8"),
    ("#7a5230", "#c69c78"),
)
PANEL = len(PALETTE)  # schedules a panel, where there are several: no colour twice in one
ONE_PANEL = 10  # up to here one panel shows all: a colour that comes twice has another dash and marker
# matplotlib's dash patterns in widths of the line; None is a solid line.
_DASHES: tuple[tuple[float, ...] | None, ...] = (None, (5, 2), (1, 1.4), (7, 2, 1, 2), (9, 3))
# Ten of matplotlib's markers and eight colours: a pair repeats only after forty schedules, with another dash.
_OUTLINES = {
    "o": "M10 5a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "s": "M10.4 1.4h7.2v7.2h-7.2z",
    "^": "M14 .8L18.4 8.8H9.6z",
    "D": "M14 .3L18.7 5L14 9.7L9.3 5z",
    "v": "M14 9.2L18.4 1.2H9.6z",
    "P": "M12.6 .8h2.8v2.8h2.8v2.8h-2.8v2.8h-2.8v-2.8h-2.8v-2.8h2.8z",
    "X": "M11.4 1L14 3.4L16.6 1L18 2.4L15.6 5L18 7.6L16.6 9L14 6.6L11.4 9L10 7.6L12.4 5L10 2.4z",
    "<": "M9.8 5L17.8 .6V9.4z",
    "p": "M14 .6L18.4 3.8L16.7 9H11.3L9.6 3.8z",
    ">": "M18.2 5L10.2 .6V9.4z",
}
_MARKERS = tuple(_OUTLINES)
LONGEST_NAME = 26  # characters of a name inside a picture; the page has the whole


@dataclass(frozen=True)
class Style:
    """How one schedule looks.

    Attributes:
        name: of the schedule, as the user wrote it: escape it wherever it enters markup.
        label: the name, shortened in the middle to `LONGEST_NAME` characters.
        key: class of everything that belongs to the schedule in the page, e.g. "s3".
        color: hex, in light pictures.
        dash: lengths of dashes and gaps in line widths; None = solid.
        marker: matplotlib's letter.
        panel: number of the panel it is drawn in, where there are more schedules than colours.
    """

    name: str
    label: str
    key: str
    color: str
    dash: tuple[float, ...] | None
    marker: str
    panel: int

    @property
    def variable(self) -> str:
        """The CSS variable of the color, which follows light and dark."""
        return f"--c{int(self.key[1:]) % PANEL}"

    @property
    def outline(self) -> str:
        """The marker as an SVG path round (14, 5), for the legend of the page."""
        return _OUTLINES[self.marker]

    @property
    def line(self) -> str | tuple[float, tuple[float, ...]]:
        """The dash in matplotlib's notation."""
        return "-" if self.dash is None else (0.0, self.dash)


Styles = Mapping[str, Style]


def styles_of(names: Sequence[str]) -> dict[str, Style]:
    """Give every schedule its look by its place in alphabetical order, so that no ranking or filter moves it."""
    styles = {}
    taken: set[str] = set()
    for index, name in enumerate(sorted(set(names))):
        label = shortened(name)
        if label in taken:  # two long names may differ only where they were cut
            label = f"{shortened(name, LONGEST_NAME - 5)} ({index})"
        taken.add(label)
        styles[name] = Style(
            name=name,
            label=label,
            key=f"s{index}",
            color=PALETTE[index % PANEL][0],
            dash=_DASHES[index // PANEL % len(_DASHES)],
            marker=_MARKERS[index % len(_MARKERS)],
            panel=index // PANEL,
        )
    return styles


def panels_of(styles: Sequence[Style]) -> list[list[Style]]:
    """Split many schedules into panels of at most `PANEL`; a few stay together."""
    if len(styles) <= ONE_PANEL:
        return [list(styles)]
    panels: dict[int, list[Style]] = {}
    for style in styles:
        panels.setdefault(style.panel, []).append(style)
    return list(panels.values())


def distinct_labels(names: Sequence[str], longest: int, limit: int = 44) -> list[str]:
    """Shorten names, but never so far that two become one; numbered where even `limit` characters do not do."""
    labels = [shortened(name, longest) for name in names]
    if len(set(labels)) == len(set(names)):
        return labels
    if longest < limit:
        return distinct_labels(names, longest + 4, limit)
    return [f"{number} {label}" for number, label in enumerate(labels, 1)]


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Cut a long name in the middle: its beginning names the family, its end the variant.

    What cannot be printed becomes a space: a control character would break the SVG.
    """
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"
