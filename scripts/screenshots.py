"""Take the documentation's screenshots of MLflow and of the report: `python scripts/screenshots.py`.

Trains the grids of docs/tutorial.md and docs/report.md in a temporary folder, reports on the study of results/, starts
the server as `lrbench ui` does, drives a headless Chromium, and writes docs/images/*.png. Needs Debian's `chromium` and
`chromium-driver`, and selenium.
The browser test of MLflow (tests/test_mlflow_browser.py) goes through the same functions, so that a page that changes
shows there.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from lrbench.tracking.read import read_runs
from lrbench.tracking.read_sql import recorded_experiments
from lrbench.tracking.server import HOST, serving
from lrbench.tracking.view import chart_link

REPO = Path(__file__).resolve().parent.parent
IMAGES = REPO / "docs" / "images"
STUDY = REPO / "results" / "study" / "accuracy" / "evaluations.parquet"
GRID = ("scheduler=constant,cosine,one_cycle", "seed=0,1,2", "budget.epochs=10")
REPORTED = ("scheduler=constant,linear,cosine", "optimizer.lr=0.02,0.1", "seed=0,1,2", "budget.epochs=10")
FIGURES = {"03-front": "report-front", "05-rates": "report-rates", "06-curves": "report-curves"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1400,1250",
)  # fmt: skip
WAIT_SECONDS = 90
MOST_BYTES = 300_000

# Every chart that is drawn: its series as plotly holds them, the lines in the picture, and what the card says.
CHARTS = """
return [...document.querySelectorAll('.js-plotly-plot')].map((plot) => ({
  series: Object.fromEntries(plot.data.map((trace) => [trace.name, {x: [...trace.x], y: [...trace.y]}])),
  lines: [...plot.querySelectorAll('.scatterlayer .js-line')].filter((line) => line.getAttribute('d')).length,
  card: plot.closest('[data-testid="experiment-view-compare-runs-card"]')?.innerText ?? '',
}))
"""


def main() -> int:
    """Train, look, and save."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_grid(folder, GRID)
        write_report(folder)
        uri = f"sqlite:///{folder / 'results' / 'mlflow.db'}"
        port = free_port()
        ((experiment_id, _),) = recorded_experiments(uri)
        run_ids = read_runs(uri)["run_id"].unique().tolist()
        with serving(uri, port=port), open_browser(folder / "profile") as session:
            show_runs(session, experiment_id, port=port, names=["cosine-s0"])
            save(session, IMAGES / "mlflow-runs.png")
            show_charts(session, uri, experiment_id, port=port, metrics=["val/accuracy", "val/loss", "lr"])
            save(session, IMAGES / "mlflow-charts.png")
            show_comparison(session, experiment_id, run_ids, port=port)
            _show_differences(session)
            save(session, IMAGES / "mlflow-compare.png")
            session.get((folder / "results" / "report" / "report.html").as_uri())
            save(session, IMAGES / "report-top.png")
            write_report(folder, f"results={STUDY}", "metric=val/accuracy", "out=study")
            session.get((folder / "study" / "report.html").as_uri())
            save(session, IMAGES / "verdict.png")
        other = folder / "reported"
        other.mkdir()
        train_grid(other, REPORTED)
        write_report(other, "target=0.95")
        with open_browser(folder / "profile-of-figures") as session:
            session.get((other / "results" / "report" / "report.html").as_uri())
            session.execute_script("for (const part of document.querySelectorAll('.part')) part.open = true")
            for source, name in FIGURES.items():
                figure = session.find_element("css selector", f"figure[data-picture='{source}'] svg")
                Image.open(BytesIO(figure.screenshot_as_png)).convert("RGB").save(IMAGES / f"{name}.png", optimize=True)
    return 0


def train_grid(folder: Path, words: Sequence[str]) -> None:
    """Train a grid with its results in `folder/results`."""
    subprocess.run(
        [sys.executable, "-m", "lrbench", "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def write_report(folder: Path, *words: str) -> None:
    """Write the report on the runs in `folder/results`."""
    command = [sys.executable, "-m", "lrbench", "report", "log=false", *words]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def find_program(names: Sequence[str]) -> str | None:
    """Path of the first of these programs that is installed."""
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Run a headless Chromium while the context lasts.

    Raises:
        FileNotFoundError: it, or its chromedriver, is not installed.
    """
    program, driver = find_program(BROWSERS), find_program(["chromedriver"])
    if program is None or driver is None:
        raise FileNotFoundError(f"needs one of {', '.join(BROWSERS)}, and chromedriver, on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    # With the path given selenium asks no server for a driver.
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield session
    finally:
        session.quit()


def show_runs(session: webdriver.Chrome, experiment_id: str, *, port: int, names: Sequence[str]) -> str:
    """Open the list of an experiment's runs; returns its text once it has all of these names."""
    session.get(f"http://{HOST}:{port}/#/experiments/{experiment_id}/runs?workflowType=machine_learning")
    text = _when(session, lambda: _text(session), lambda text: all(name in text for name in names))
    _close_assistant(session)
    return text


def show_charts(
    session: webdriver.Chrome, uri: str, experiment_id: str, *, port: int, metrics: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Open the link that `lrbench ui` prints, and narrow the page to some metrics.

    Args:
        session: the browser.
        uri: tracking URI.
        experiment_id: MLflow's.
        port: of the server.
        metrics: their names, typed into the page's box as a regular expression.

    Returns:
        The chart of each metric once all of its lines are drawn, see `CHARTS`.
    """
    session.get(chart_link(uri, experiment_id, port=port))
    box = "input[placeholder='Search metric charts']"
    found = _when(session, lambda: session.find_elements("css selector", box), bool)[0]
    found.send_keys(Keys.CONTROL, "a", Keys.NULL, f"^({'|'.join(metrics)})$")  # it keeps what was typed before
    _close_assistant(session)

    def look() -> dict[str, dict[str, Any]]:
        charts = session.execute_script(CHARTS)
        return {name: chart for chart in charts for name in [chart["card"].split("\n")[0]] if chart["lines"]}

    def drawn(charts: dict[str, dict[str, Any]]) -> bool:
        whole = all(chart["lines"] >= len(chart["series"]) for chart in charts.values())
        return set(charts) == set(metrics) and whole

    return _when(session, look, drawn)


def show_comparison(session: webdriver.Chrome, experiment_id: str, run_ids: Sequence[str], *, port: int) -> str:
    """Open the page that compares runs; returns its text once it has parameters."""
    query = f"runs={json.dumps(list(run_ids))}&experiments={json.dumps([experiment_id])}"
    session.get(f"http://{HOST}:{port}/#/compare-runs?{query}")
    text = _when(session, lambda: _text(session), lambda text: "optimizer.lr" in text)
    _close_assistant(session)
    return text


def _show_differences(session: webdriver.Chrome) -> None:
    """Scroll to the parameters and leave those that are equal in all runs out."""
    switch = session.find_element("css selector", "button[aria-label='Parameters - Show diff only']")
    session.execute_script("arguments[0].scrollIntoView({block: 'start', behavior: 'instant'})", switch)
    switch.click()
    _when(session, lambda: _text(session), lambda text: "eval_batch_size" not in text)


def save(session: webdriver.Chrome, path: Path) -> None:
    """Write what the browser shows."""
    Image.open(BytesIO(session.get_screenshot_as_png())).convert("RGB").save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES, f"{path} has {path.stat().st_size} bytes"
    print(f"wrote {path} ({path.stat().st_size // 1000} kB)")


def _when(session: webdriver.Chrome, look: Any, is_there: Any) -> Any:
    """What `look` returns as soon as it is there."""

    def ready(_: webdriver.Chrome) -> Any:
        found = look()
        return (found,) if is_there(found) else False

    return WebDriverWait(session, WAIT_SECONDS).until(ready)[0]


def _text(session: webdriver.Chrome) -> str:
    return str(session.execute_script("return document.body.innerText"))


def _close_assistant(session: webdriver.Chrome) -> None:
    """Close the pane of MLflow's language-model assistant, which takes a quarter of the page, where there is one."""
    for button in session.find_elements("css selector", "[data-component-id='mlflow.assistant.chat_panel.close']"):
        button.click()


if __name__ == "__main__":
    sys.exit(main())
