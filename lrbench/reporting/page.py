"""Write the page: parts become markup, everything a user named is escaped, nothing is loaded from elsewhere."""

import re
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from lrbench.analysis.model import Analysis
from lrbench.analysis.prediction import Prediction
from lrbench.analysis.verdict.screen_text import main_section
from lrbench.analysis.verdict.verdict import Verdict
from lrbench.analysis.verdict.wording import noun_of
from lrbench.reporting.figure_screen import screen_picture
from lrbench.reporting.items import Drawn, Item, Part
from lrbench.reporting.parts import budgets_of, parts_of
from lrbench.reporting.pictures import Picture, drawing_rules, markup
from lrbench.reporting.predicted import predicted_part
from lrbench.reporting.screen_view import view_of
from lrbench.reporting.styles import PALETTE, shortened, styles_of

HERE = Path(__file__).parent
_TITLE = "<title>lrbench report"  # of every page of ours
_LONGEST_WORD = 48  # characters of a word, such as the id of a run, beyond which it is shortened


def write_html(analysis: Analysis, verdict: Verdict, directory: Path, *, prediction: Prediction | None = None) -> Path:
    """Write `report.html` and `figures/*.svg` into a directory, made if it is not there.

    Pictures of an earlier report in the same directory are removed first, so that none is left of a schedule or a
    budget that no longer takes part; other files in `figures` stay.

    Returns:
        The path of the page.
    """
    styles = styles_of(analysis.schedulers)
    figures = directory / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for old in pictures_of(directory / "report.html"):
        old.unlink(missing_ok=True)
    index = main_section(analysis.sections)
    screen = verdict.sections[index].screen
    with drawing_rules():
        marks: dict[str, list[tuple[float, float, str, list[str]]]] = {}
        picture = screen_picture(screen, styles, analysis.question, margin=analysis.question.margin)
        first = None if picture is None else _drawn(picture, figures, marks)
        parts = parts_of(analysis, verdict, styles, main=index)
        if prediction is not None:
            parts.append(predicted_part(prediction))
        shown = [_drawn_part(part, figures, marks) for part in parts]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["legible"] = legible
    page = environment.get_template("page.html.j2").render(
        headlines=[(section.title, section.headline) for section in verdict.sections],
        main=index,
        screen=view_of(verdict.sections[index].title, screen, styles, analysis.question),
        picture=first,
        question=analysis.question,
        noun=noun_of(analysis.question.endpoint, analysis.question.direction),
        workloads=sorted({facts.name for section in analysis.sections for facts in section.workloads}),
        budgets=budgets_of(analysis),
        parts=shown,
        styles=styles.values(),
        marks=marks,
        css=Markup(_css()),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
    )
    path = directory / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def pictures_of(page: Path) -> list[Path]:
    """The files of the pictures on a page of `write_html` that are there; none when it is no such page."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.exists() else ""
    if _TITLE not in text:
        return []
    names = re.findall(r'<figure data-picture="([^"/]+)">', text)
    # Older reports have each picture as PNG too.
    files = [page.parent / "figures" / f"{name}{ending}" for name in names for ending in (".svg", ".png")]
    return [file for file in files if file.is_file()]


def legible(text: str) -> Markup:
    """Escape a text, and shorten words in it that no line can hold; the whole word shows on hover and in print."""
    parts = []
    for part in re.split(r"(\s+)", text):
        if len(part) > _LONGEST_WORD:
            parts.append(Markup('<abbr title="{}"><span>{}</span></abbr>').format(part, shortened(part, _LONGEST_WORD)))
        else:
            parts.append(escape(part))
    return Markup("").join(parts)


def _drawn_part(part: Part, figures: Path, marks: dict[str, list[tuple[float, float, str, list[str]]]]) -> Part:
    """Replace the pictures of a part by their markup, write their files and collect what can be hovered over."""
    shown = Part(part.title, part.lead)
    for group in part.groups:
        items: list[Item] = []
        for item in group.items:
            items.append(_drawn(item, figures, marks) if isinstance(item, Picture) else item)
        shown.groups.append(replace(group, items=items))
    return shown


def _drawn(item: Picture, figures: Path, marks: dict[str, list[tuple[float, float, str, list[str]]]]) -> Drawn:
    """Turn a picture into markup, write its file and collect what can be hovered over."""
    drawing = markup(item)
    (figures / f"{item.name}.svg").write_text(drawing.file_svg, encoding="utf-8")
    marks[item.name] = drawing.hover
    return Drawn(item.name, item.title, item.note, Markup(drawing.page_svg))


def _css() -> str:
    light = " ".join(f"--c{index}: {color};" for index, (color, _) in enumerate(PALETTE))
    dark = " ".join(f"--c{index}: {color};" for index, (_, color) in enumerate(PALETTE))
    text = (HERE / "page.css").read_text(encoding="utf-8")
    return text.replace("LIGHT", light).replace("DARK", dark)
