"""The HTML report: complete, self-contained, escaped, and the same look for the same schedule everywhere."""

import itertools
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from lrbench.analysis.analyse import Settings, analyse
from lrbench.analysis.model import Across, Overall
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.screen import Screen, ScreenRow
from lrbench.analysis.verdict.verdict import verdict
from lrbench.reporting.figure_pairs import cd_diagram
from lrbench.reporting.figure_rates import value_limits
from lrbench.reporting.figure_screen import screen_picture
from lrbench.reporting.layout import sheets_of
from lrbench.reporting.page import legible, pictures_of, write_html
from lrbench.reporting.pictures import Mark, Picture, drawing_rules, markup
from lrbench.reporting.screen_view import view_of
from lrbench.reporting.styles import LONGEST_NAME, distinct_labels, panels_of, shortened, styles_of
from lrbench.reporting.words import number, p_value
from lrbench.results.schema import frame_from_rows

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
SETTINGS = Settings("val/loss", "minimize", num_resamples=200)


def example_frame(*, schedulers=("constant", "cosine", "linear"), workloads=("digits-mlp",), seeds=4, budgets=(200,)):
    """A made-up comparison with tuning runs and final runs; rate 0.3 diverges, and so does a last seed of the last."""
    rows = []
    for w, workload in enumerate(workloads):
        for budget in budgets:
            name = workload if len(budgets) == 1 else f"{workload}-{budget}"
            for s, scheduler in enumerate(schedulers):
                best = 0.3 - 0.1 * ((s * 7 + w) % len(schedulers)) / len(schedulers)
                for trial, rate in enumerate(RATES):
                    rows += _run(name, scheduler, "tuning", 1000 + trial, budget, rate, best, rate == RATES[-1])
                for seed in range(seeds):
                    diverges = seed == seeds - 1 and s == len(schedulers) - 1 and seeds > 1
                    rows += _run(name, scheduler, "final", seed, budget, 0.03, best, diverges)
    return frame_from_rows(rows)


def _run(workload, scheduler, role, seed, budget, rate, best, diverges):
    noise = np.random.default_rng([seed, *map(ord, workload + scheduler)])
    worse = 0.15 * abs(math.log10(rate / 0.03))
    rows = []
    steps = range(0, budget + 1, budget // 20)
    for step in steps:
        u = step / budget
        loss = best + worse + (2.3 - best) * math.exp(-6 * u) + 0.01 * noise.standard_normal()
        if diverges and u > 0.5:
            loss = math.nan
        rows.append(
            {
                "run_id": f"{workload}/{scheduler}/{role}/{seed}", "workload": workload, "scheduler": scheduler,
                "budget": budget, "seed": seed, "role": role, "study": f"{workload}/{scheduler}",
                "trial": seed - 1000 if role == "tuning" else None, "status": "FINISHED", "batch_size": 32,
                "state": "diverged" if diverges else "ok", "step": step, "samples": 32 * step,
                "time/seconds": 0.01 * step, "lr": rate * (1 - u) + 1e-5, "val/loss": loss, "optimizer.lr": rate,
                "commit": "abc", "device": "cpu",
            }
        )  # fmt: skip
        if diverges and u > 0.5:
            break
    return rows


def report(directory, **example):
    analysis = analyse(example_frame(**example), settings=SETTINGS)
    return write_html(analysis, verdict(analysis), directory).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Three schedules on two workloads."""
    return report(tmp_path_factory.mktemp("page"), workloads=("digits-mlp", "mnist1d-cnn"))


class Outline(HTMLParser):
    """Collects headings, tables, addresses, and elements with their classes."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.addresses, self.tags, self.rows = [], [], [], []
        self._inside = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        self.addresses += [v for k, v in values.items() if k in ("src", "href", "xlink:href", "action") and v]
        if tag == "h2":
            self.headings.append("")
            self._inside = "h2"
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._inside = "cell"

    def handle_endtag(self, tag):
        if tag in ("h2", "td", "th"):
            self._inside = None

    def handle_data(self, data):
        if self._inside == "h2":
            self.headings[-1] += data
        elif self._inside == "cell":
            self.rows[-1][-1] += data


def marks_of(text):
    block = re.search(r'<script type="application/json" id="marks">(.*?)</script>', text, re.S)
    return json.loads(block.group(1))


def test_the_eleven_parts_stand_in_the_order_of_the_contract(page):
    titles = [" ".join(heading.split()) for heading in Outline(page).headings]
    assert titles == [
        "1 Question, protocol, states",
        "2 Verdict",
        "3 Speed against final value",
        "4 Schedule by workload",
        "5 Rate against final value",
        "6 Learning curves",
        "7 Targets reached, performance profile",
        "8 Pairs",
        "9 Seeds",
        "10 Robustness",
        "11 Methods and costs",
    ]


def test_the_page_loads_nothing_from_anywhere_else(page):
    addresses = Outline(page).addresses
    assert addresses
    assert all(a.startswith(("#", "figures/", "data:,")) for a in addresses), addresses
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_picture_stands_beside_the_page_as_svg(page, tmp_path):
    report(tmp_path)
    names = re.findall(r'data-picture="([^"]+)"', (tmp_path / "report.html").read_text())
    assert len(names) == len(set(names)) >= 9
    on_disk = {path.name for path in (tmp_path / "figures").iterdir()}
    assert on_disk == {f"{name}.svg" for name in names}


def test_pictures_of_an_earlier_report_are_removed_and_those_of_the_user_are_not(tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("mine.svg", "03-front-7.png"):
        (tmp_path / "figures" / name).write_text("mine")
    report(tmp_path)
    page = tmp_path / "report.html"
    # As an earlier report with one picture more would have left it.
    page.write_text(page.read_text() + '<figure data-picture="99-gone">')
    assert all(path.is_file() for path in pictures_of(page))
    gone = [tmp_path / "figures" / name for name in ("99-gone.svg", "99-gone.png")]
    for file in gone:
        file.write_text("old")
    assert set(pictures_of(page)) > set(gone)
    report(tmp_path)
    assert not any(file.exists() for file in gone)
    assert [(tmp_path / "figures" / name).read_text() for name in ("mine.svg", "03-front-7.png")] == ["mine"] * 2
    page.write_text('my own page <figure data-picture="mine">')
    assert pictures_of(page) == []


def test_names_from_users_are_text_never_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    odd = 'a & b "quoted" $x^2$ \x07'
    page = report(tmp_path, schedulers=("constant", evil, odd), workloads=("</style><img src=x onerror=alert(2)>",))
    outline = Outline(page)
    scripts = [attributes for tag, attributes in outline.tags if tag == "script"]
    assert len(scripts) == 2  # the marks and the code of the page
    assert not any(tag == "img" for tag, _ in outline.tags)
    assert not any(name.startswith("on") for _, attributes in outline.tags for name in attributes)
    assert any(evil in cell for row in outline.rows for cell in row)
    assert any(evil in words for _, _, words, _ in itertools.chain(*marks_of(page).values()))
    for path in (tmp_path / "figures").glob("*.svg"):
        assert "<script" not in path.read_text()


def test_the_numbers_in_the_ranking_are_those_of_the_analysis(page):
    analysis = analyse(example_frame(workloads=("digits-mlp", "mnist1d-cnn")), settings=SETTINGS)
    rows = [[" ".join(cell.split()) for cell in row] for row in Outline(page).rows]
    for cell in analysis.sections[0].cells:
        mean, interval = cell.final.mean, cell.final.interval
        words = f"{number(mean)} [{number(interval.low)}, {number(interval.high)}]"
        words += (
            f" (n = {cell.num_runs})" if cell.num_ok == cell.num_runs else f" (over {cell.num_ok} of {cell.num_runs})"
        )
        assert any(row[0] == cell.scheduler and words in row for row in rows), (cell.scheduler, words)


def test_a_schedule_has_one_colour_in_every_picture(page):
    for name, style in styles_of(("constant", "cosine", "linear")).items():
        colors = set()
        for svg in re.findall(r"<figure.*?</figure>", page, re.S):
            for group in re.findall(rf'<g class="{style.key}">(.*?)</g>', svg, re.S):
                colors |= set(re.findall(r"stroke: var\((--c\d)\)", group))
        assert colors == {style.variable}, name


def test_styles_do_not_depend_on_the_order_or_on_repetition():
    assert styles_of(("b", "a", "c")) == styles_of(("c", "c", "b", "a"))


def test_thirty_schedules_are_all_told_apart():
    styles = styles_of([f"schedule_{i:02}" for i in range(30)])
    assert len({(s.color, s.dash) for s in styles.values()}) == 30
    assert len({(s.color, s.marker) for s in styles.values()}) == 30
    panels = panels_of([*styles.values()])
    assert sum(map(len, panels)) == 30
    assert all(len({s.color for s in panel}) == len(panel) for panel in panels)


def test_long_names_are_cut_in_the_middle_and_stay_different():
    names = [f"one_cycle_with_a_really_long_name_{i}_and_a_long_end" for i in range(3)]
    labels = [style.label for style in styles_of(names).values()]
    assert len(set(labels)) == 3
    assert all(len(label) <= LONGEST_NAME for label in labels)
    assert shortened("cosine") == "cosine"


def test_workloads_that_differ_in_the_middle_are_told_apart():
    names = [f"mnist1d-resnet{i}-adamw-b128" for i in range(12)]
    assert len({shortened(name, 20) for name in names}) < 12
    assert len(set(distinct_labels(names, 20))) == 12
    assert len(set(distinct_labels(["x" * 60 + "1" + "y" * 60, "x" * 60 + "2" + "y" * 60], 20))) == 2


def test_diverged_runs_are_hatched_and_a_missing_cell_stays_blank(tmp_path):
    frame = example_frame(workloads=("digits-mlp", "mnist1d-cnn"))
    gone = frame[(frame["workload"] == "mnist1d-cnn") & (frame["scheduler"] == "cosine")].index
    analysis = analyse(frame.drop(gone).reset_index(drop=True), settings=SETTINGS)
    page = write_html(analysis, verdict(analysis), tmp_path).read_text()
    svg = re.search(r'data-picture="04-heatmap-final".*?</figure>', page, re.S).group()
    keys = {name: style.key for name, style in styles_of(analysis.schedulers).items()}
    drawn = {name: len(re.findall(rf'<g class="{key}">', svg)) for name, key in keys.items()}
    # A cell is a field and its number; linear diverged on both workloads, which adds a hatch and a plate to each.
    assert drawn["constant"] == 2 * drawn["cosine"]
    assert drawn["linear"] > drawn["constant"]
    assert "hatch" in svg.lower() or "<pattern" in svg


def test_a_missed_target_stands_in_the_column_of_misses(tmp_path):
    frame = example_frame()
    analysis = analyse(frame, settings=Settings("val/loss", "minimize", target=-1.0, num_resamples=200))
    page = write_html(analysis, verdict(analysis), tmp_path).read_text()
    front = marks_of(page)["03-front"]
    assert len(front) == 3
    assert all("not reached" in words for _, _, words, _ in front)
    xs = sorted(x for x, *_ in front)
    assert xs[0] > 0.8 * xs[-1]
    assert len(set(xs)) == 3  # side by side


def test_diverged_rates_are_above_every_value_in_the_picture_of_rates(page):
    marks = marks_of(page)["05-rates"]
    diverged = [y for _, y, words, _ in marks if "runs diverged" in words]
    values = [y for _, y, words, _ in marks if "runs diverged" not in words]
    assert diverged
    assert values
    assert max(diverged) < min(values)  # the y axis of SVG points down


def test_the_learning_rate_shares_the_step_axis_of_its_curve(page):
    marks = marks_of(page)["06-curves"]
    by_words = {}
    for x, y, words, _ in marks:
        by_words.setdefault(words, []).append((x, y))
    both = [places for places in by_words.values() if len(places) == 2]
    assert both
    assert all(upper[0] == lower[0] and upper[1] < lower[1] for upper, lower in both)


def test_without_enough_workloads_the_page_says_so_instead_of_a_diagram(page):
    assert "No critical-difference diagram: not enough workloads to test" in page
    assert "critical-difference" not in "".join(marks_of(page))


def test_the_critical_difference_diagram_places_schedules_at_their_mean_ranks():
    none = Unavailable("not needed here")
    ranks = {"a": 1.5, "b": 2.0, "c": 2.5}
    across = Across(
        workloads=tuple(f"w{i}" for i in range(9)), left_out=(), no_headroom=(),
        overall=tuple(Overall(name, rank, none, none, none, none) for name, rank in ranks.items()),
        friedman=none, critical_difference=0.7, cliques=(("a", "b"), ("b", "c")), tests=none, improvements=(),
    )  # fmt: skip
    with drawing_rules():
        hover = markup(cd_diagram(across, styles_of("abc"), name="cd")).hover
    left = {words.split("\n")[0]: x for x, _, words, _ in hover}
    # Rank 1 is on the right, as Demsar draws it, and distances are in proportion.
    assert left["a"] > left["b"] > left["c"]
    assert left["a"] - left["b"] == pytest.approx(left["b"] - left["c"], abs=0.2)


def test_marks_are_where_the_svg_draws_the_points():
    with drawing_rules():
        figure = Figure(figsize=(4, 3))
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.plot([2.0], [5.0], "o", gid="s0")
        axes.set(xlim=(0, 4), ylim=(0, 10))
        drawing = markup(Picture("one", "one point", figure, marks=[Mark(axes, 2.0, 5.0, "here", ("s0",))]))
    x, y, words, keys = drawing.hover[0]
    placed = re.search(r'<g class="s0">.*?<use [^>]*x="([\d.]+)" y="([\d.]+)"', drawing.page_svg, re.S)
    assert (x, y) == pytest.approx((float(placed.group(1)), float(placed.group(2))), abs=0.1)
    assert (x, y) == pytest.approx((144, 108), abs=0.1)
    assert (words, keys) == ("here", ["s0"])


def test_two_pictures_in_one_page_share_no_id(page):
    ids = [attributes["id"] for _, attributes in Outline(page).tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    referenced = re.findall(r'(?:href="|url\()#([^")]+)', page)
    assert set(referenced) <= set(ids)


def test_the_same_analysis_gives_the_same_bytes(tmp_path):
    assert report(tmp_path / "a") == report(tmp_path / "b")
    for first in (tmp_path / "a" / "figures").iterdir():
        assert first.read_bytes() == (tmp_path / "b" / "figures" / first.name).read_bytes(), first.name


@pytest.mark.parametrize(
    "example",
    [
        {"seeds": 1},
        {"schedulers": ("cosine",)},
        {"schedulers": ("cosine", "linear")},  # no constant: no default target
        {"budgets": (40, 200), "seeds": 2},
    ],
    ids=["one seed", "one schedule", "no constant", "two budgets"],
)
def test_what_cannot_be_said_leaves_words_and_no_gap(tmp_path, example):
    page = report(tmp_path, **example)
    outline = Outline(page)
    assert len(outline.headings) == 11
    assert not re.search(
        r"\b(nan|None|Unavailable|inf)\b", re.sub(r"<style.*?</style>|<script>.*?</script>", "", page, flags=re.S)
    )


def test_pictures_that_would_say_nothing_are_words(tmp_path):
    page = report(tmp_path, schedulers=("cosine", "linear"), seeds=1)
    assert set(marks_of(page)) == {"04-heatmap-final", "05-rates", "06-curves", "07-targets-ecdf"}
    words = re.findall(r'<p class="reason">(.*?)</p>', page)
    assert any("Not drawn: the schedule &#39;constant&#39; was not run" in line for line in words)
    assert "Not drawn: one run a schedule, so there is no spread over seeds." in words
    assert any("Not drawn: no pair was tested: a test needs 3 seeds each, got 1 and 1." in line for line in words)


def test_few_budgets_are_unfolded_of_many_the_largest_and_what_is_the_same_at_each_is_said_once(tmp_path):
    few = report(tmp_path, schedulers=("cosine",), budgets=(40, 80), seeds=1)
    assert len(re.findall(r'<details class="part">', few)) == 11  # all parts are folded at first
    assert len(re.findall(r'<details data-budget="\d+" open>', few)) == few.count("<details data-budget") > 0
    many = report(tmp_path, schedulers=("cosine",), budgets=(40, 60, 80, 100, 200), seeds=1)
    folds = re.findall(r'<details data-budget="(\d)"( open)?>', many)
    assert {number for number, opened in folds if opened} == {"4"}  # all have as many runs, so the longest
    assert {number for number, opened in folds if not opened} == {"0", "1", "2", "3"}
    assert many.count("Not drawn: one run a schedule") == 1
    assert re.search(r"<h3>Budget: 40 steps</h3> <span class=\"about\">1 workload, 1 schedule, 6 runs</span>", many)


def test_screen_one_has_a_sentence_a_table_with_bars_and_a_picture_and_no_p_value(page):
    header = re.search(r"<header.*?</header>", page, re.S).group()
    analysis = analyse(example_frame(workloads=("digits-mlp", "mnist1d-cnn")), settings=SETTINGS)
    screen = verdict(analysis).sections[0].screen
    assert screen.sentence in header
    assert header.count("<figure") == 1
    assert header.count('class="bar"') == len(screen.rows) == 3
    assert header.count("<li>") == len(screen.against) <= 3
    assert not re.search(r"p =|p &lt;|resampled|place \d", re.sub(r"<svg.*?</svg>", "", header, flags=re.S))


def test_bars_are_on_one_axis_on_which_no_difference_and_the_margin_are_marked():
    row = ScreenRow("a", "worse", "", 1.5, 1.2, 1.8, None, 0, 3)
    best = ScreenRow("b", "best", "", 1.0, 1.0, 1.0, None, 0, 3)
    question = analyse(example_frame(), settings=SETTINGS).question
    view = view_of("", Screen("", "", (best, row), ()), styles_of(("a", "b")), question)
    # From the lower end of the margin, 1 / 1.1, to 1.8 on a logarithmic axis.
    place = [100 * np.log(ratio * 1.1) / np.log(1.8 * 1.1) for ratio in (1.0, 1.1, 1.2, 1.5)]
    assert (view.zero, view.margin) == pytest.approx(place[:2], abs=0.06)
    bar = view.rows[1].bar
    assert (bar.left, bar.dot, bar.left + bar.width) == pytest.approx((*place[2:], 100), abs=0.06)


def test_names_in_the_first_picture_do_not_cover_each_other():
    rows = tuple(ScreenRow(f"s{i}", "may be best", "", 1 + i / 1000, 1, 1.1, 1 + i / 50, 0, 3) for i in range(12))
    question = analyse(example_frame(), settings=SETTINGS).question
    styles = styles_of([row.scheduler for row in rows])
    picture = screen_picture(Screen("", "", rows, ()), styles, question, margin=0.1)
    (axes,) = picture.figure.axes
    heights = sorted(text.xyann[1] * axes.get_window_extent().height / picture.figure.dpi for text in axes.texts)
    assert len(heights) == 12
    assert min(np.diff(heights)) > 0.14  # inches; a name of 7.5 points is .104 high
    assert 0 <= heights[0] < heights[-1] <= axes.get_window_extent().height / picture.figure.dpi + 1e-9


def test_a_word_that_no_line_can_hold_is_shortened_and_whole_on_hover():
    name = "<b>" + "x" * 80
    assert legible(f"see {name}, <i>") == (
        f'see <abbr title="&lt;b&gt;{"x" * 80},"><span>&lt;b&gt;{"x" * 21}…{"x" * 22},</span></abbr> &lt;i&gt;'
    )
    assert legible("a short & plain line") == "a short &amp; plain line"


def test_workloads_of_few_schedules_share_a_sheet_and_one_of_many_has_its_own():
    styles = [*styles_of([f"s{i:02}" for i in range(12)]).values()]
    sheets = sheets_of([("a", styles[:2]), ("b", styles[3:4]), ("many", styles), ("c", styles[:1])])
    assert [(sheet.suffix, sheet.heading, [block.workload for block in sheet.blocks]) for sheet in sheets] == [
        ("-1", "", ["a", "b"]), ("-2", "many", ["many", "many"]), ("-3", "", ["c"]),
    ]  # fmt: skip
    assert [len(block.styles) for block in sheets[1].blocks] == [8, 4]


def test_all_runs_diverged_is_a_report_too(tmp_path):
    frame = example_frame(schedulers=("constant", "cosine"))
    frame["state"] = "diverged"
    analysis = analyse(frame, settings=SETTINGS)
    page = write_html(analysis, verdict(analysis), tmp_path).read_text()
    assert len(Outline(page).headings) == 11


def test_value_limits_show_the_good_end_and_cut_the_bad_one():
    low, high = value_limits([1.0, 1.1, 1.2, 50.0, 1.15], direction="minimize")
    assert low < 1.0
    assert 1.2 < high < 2.0
    low, high = value_limits([0.9, 0.8, 0.85, 0.0, 0.87], direction="maximize")
    assert high > 0.9
    assert 0.4 < low < 0.8
    assert value_limits([], direction="minimize") is None


@pytest.mark.parametrize(
    ("value", "words"), [(0.97312, "0.9731"), (12500.0, "12,500"), (3e-5, "3e-05"), (0.0, "0"), (-0.012346, "-0.01235")]
)
def test_numbers_keep_four_digits(value, words):
    assert number(value) == words


def test_a_p_value_is_never_zero():
    assert p_value(1e-9) == "<\u00a00.001"
    assert p_value(0.0499) == "0.0499"
