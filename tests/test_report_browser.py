"""The HTML report in a real browser: it opens offline without errors, shows values, and hides a schedule everywhere.

Needs a Chromium on the PATH with its chromedriver (Debian: `chromium`, `chromium-driver`) and selenium; skips
without them, saying which one is absent.
"""

import shutil
import subprocess

import pytest
from test_report_html import SETTINGS, example_frame

from lrbench.analysis.analyse import analyse
from lrbench.analysis.verdict.verdict import verdict
from lrbench.reporting.page import write_html

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1200,900",
)  # fmt: skip
VISIBLE = """
return [...document.querySelectorAll('main .' + arguments[0] + ':not(.key)')]
  .filter((element) => element.getClientRects().length > 0).length
"""


@pytest.fixture(scope="module")
def program():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser on the PATH; looked for {', '.join(BROWSERS)}")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    analysis = analyse(example_frame(workloads=("digits-mlp", "mnist1d-cnn")), settings=SETTINGS)
    return write_html(analysis, verdict(analysis), tmp_path_factory.mktemp("page"))


@pytest.fixture
def browser(program, page, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("no chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the path given selenium asks no server for a driver.
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        session.set_network_conditions(offline=True, latency=0, download_throughput=0, upload_throughput=0)
        session.get(page.as_uri())
        session.execute_script("for (const part of document.querySelectorAll('.part')) part.open = true")
        yield session
    finally:
        session.quit()


def test_it_opens_offline_without_errors_or_requests(browser, page):
    assert browser.get_log("browser") == []
    sent = [entry["message"] for entry in browser.get_log("performance") if "requestWillBeSent" in entry["message"]]
    assert sent
    assert not any("http://" in message.replace("http://www.w3.org", "") for message in sent)
    assert not any("https://" in message for message in sent)
    assert len(browser.find_elements("css selector", "main > section")) == 11


def test_the_pointer_on_a_point_shows_its_value(browser):
    tip = browser.find_element("id", "tip")
    assert not tip.is_displayed()
    _point_at(browser, "05-rates", 0)
    assert tip.is_displayed()
    assert "rate 0.003: val/loss" in tip.text
    assert "n = 1" in tip.text


def test_a_click_on_a_legend_entry_hides_the_schedule_everywhere_and_shows_it_again(browser):
    before = browser.execute_script(VISIBLE, "s1")
    others = browser.execute_script(VISIBLE, "s0")
    assert before > 50
    entry = browser.find_element("css selector", ".entries .key.s1")
    entry.click()
    assert browser.execute_script(VISIBLE, "s1") == 0
    # Rows and fields of pairs belong to two schedules, so that some of another's go too, but not all.
    assert 0 < browser.execute_script(VISIBLE, "s0") <= others
    assert entry.get_attribute("aria-pressed") == "false"
    assert browser.find_element("id", "hidden-count").text == "1 hidden"
    entry.click()
    assert browser.execute_script(VISIBLE, "s1") == before


def test_a_key_inside_a_picture_hides_too_and_stays_clickable(browser):
    key = browser.find_element("css selector", "figure[data-picture='06-curves'] .key.s2 text")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", key)
    key.click()
    assert browser.execute_script(VISIBLE, "s2") == 0
    assert key.is_displayed()
    browser.find_element("id", "show-all").click()
    assert browser.execute_script(VISIBLE, "s2") > 0


def test_a_hidden_schedule_shows_no_value(browser):
    browser.find_element("id", "hide-all").click()
    _point_at(browser, "05-rates", 0)
    assert not browser.find_element("id", "tip").is_displayed()


def test_light_and_dark_follow_the_reader(browser):
    colors = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colors[scheme] = browser.execute_script(
            "const of = (s) => getComputedStyle(document.querySelector(s));"
            "return [of('body').backgroundColor, of('figure svg .s0 path').stroke]"
        )
    assert colors["light"][0] == "rgb(255, 255, 255)"
    assert colors["light"][0] != colors["dark"][0]
    assert colors["light"][1] != colors["dark"][1]


def test_nothing_is_wider_than_the_page_on_a_small_screen(browser):
    browser.set_window_size(700, 900)
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_screen_one_fits_the_screen(browser, width, height):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    bottom = browser.execute_script("return document.querySelector('header').getBoundingClientRect().bottom + scrollY")
    assert bottom <= height
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_tables_sort_filter_and_copy(browser):
    table = "document.querySelector('.verdict')"
    names = f"return [...{table}.tBodies[0].rows].map((row) => row.cells[0].textContent.trim())"
    before = browser.execute_script(names)
    browser.execute_script(f"{table}.tHead.rows[0].cells[0].click()")
    assert browser.execute_script(names) == sorted(before)
    browser.execute_script(f"{table}.tHead.rows[0].cells[0].click()")
    assert browser.execute_script(names) == sorted(before, reverse=True)
    copied = browser.execute_script(
        "return [...document.querySelectorAll('.halves .table-tools button')].map((b) => (b.click(), b.dataset.copied))"
    )
    assert copied[0].startswith("| schedule | state |")
    assert copied[1].startswith("\\begin{tabular}")
    shown = (
        "return [...document.querySelectorAll('caption')]"
        ".filter((item) => item.getClientRects().length).map((item) => item.textContent)"
    )
    browser.execute_script(
        "const box = document.getElementById('workload');"
        "box.value = 'mnist1d-cnn'; box.dispatchEvent(new Event('change'))"
    )
    captions = browser.execute_script(shown)
    assert "Ranking on mnist1d-cnn" in captions
    assert "Ranking on digits-mlp" not in captions


def test_it_reads_without_javascript(program, page, tmp_path):
    """The pictures are in the markup itself; the legend buttons for hiding all stay away."""
    still = tmp_path / "still.html"
    still.write_text(page.read_text().replace("script-src 'unsafe-inline'", "script-src 'none'"))
    command = [program, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", still.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert 'class="tools" hidden' in done.stdout
    closed = done.stdout.count("</svg>\n<figcaption") + done.stdout.count("</svg></figure>")  # the first has no note
    assert done.stdout.count("<figure") == closed


def _point_at(browser, picture, mark):
    """Move the pointer onto a mark, by its place in the view box of its picture."""
    from selenium.webdriver import ActionChains

    x, y = browser.execute_script(
        "const figure = document.querySelector(`figure[data-picture='${arguments[0]}']`);"
        "const svg = figure.querySelector('svg');"
        "const [x, y] = JSON.parse(document.getElementById('marks').textContent)[arguments[0]][arguments[1]];"
        "svg.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());"
        "return [at.x, at.y]",
        picture,
        mark,
    )
    actions = ActionChains(browser, duration=0)
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    actions.perform()
