"""Every command and every piece of Python in README.md and docs/*.md runs; the site builds without a broken link.

Convention: blocks marked `bash` and `python` are executed, in order, in one folder a page, so that a page reads like
a session. A block with `title="NAME"` is a file that the reader writes. Blocks marked otherwise (`console`, `text`,
`py`, `shell`) are for reading. Files that a page takes for granted are in tests/pages/PAGE/.
"""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from shell import REPO, environment, run_shell

DOCS = REPO / "docs"
PAGES = [REPO / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "reference" not in path.parts)]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def label(path):
    return path.relative_to(REPO).as_posix()


def blocks_of(page):
    """(language, file name or "", text) of every block."""
    return BLOCK.findall(page.read_text())


def is_executed(page):
    return any(language in ("bash", "python") for language, _, _ in blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_block_says_what_it_is(page):
    known = {"bash", "python", "console", "text", "py", "shell", "yaml"}
    assert {language for language, _, _ in blocks_of(page)} <= known
    assert page.read_text().count("\n```") == 2 * len(blocks_of(page)), "a block without a language is not executed"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if is_executed(page)], ids=label)
def test_the_page_runs_from_top_to_bottom(page, tmp_path, empty_database):
    folder = tmp_path / "work"
    given = Path(__file__).parent / "pages" / page.stem
    if given.is_dir():
        shutil.copytree(given, folder)
    (folder / "results").mkdir(parents=True, exist_ok=True)
    if page.stem != "README":  # one page that makes its database, for seconds, will do
        shutil.copy(empty_database, folder / "results" / "mlflow.db")
    env = environment(tmp_path)
    for script in session_of(page, folder):
        run_shell(script, cwd=folder, env=env, timeout=600)


def session_of(page, folder):
    """The scripts of a page, in order; files are written on the way.

    Python between two commands is one process, so that a name lives on from block to block.
    """
    python = []
    for language, name, text in [*blocks_of(page), ("end", "", "")]:
        if python and (language != "python" or name):
            yield "python - <<'END_OF_PYTHON'\n" + "".join(python) + "\nEND_OF_PYTHON"
            python = []
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        elif language == "bash":
            yield text
        elif language == "python":
            python.append(text)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, made as `make docs` makes it, in a folder of its own."""
    pytest.importorskip("zensical", reason="zensical is not installed")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("reference"))
    shutil.copy(REPO / "mkdocs.yml", folder)
    env = environment(folder)
    reference = [sys.executable, str(REPO / "scripts" / "reference.py"), str(folder / "docs" / "reference")]
    subprocess.run(reference, env=env, check=True)
    build = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(build, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


class _Page(HTMLParser):
    """Ids, links and sources of one page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.add(values.get("id"))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("img", "script") and values.get("src"):
            self.sources.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon") and values.get("href"):
            self.sources.append(values["href"])


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_no_link_is_broken_and_every_picture_exists(site):
    pages = {path: _Page(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 20
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.sources]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (
                parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids
            ):
                broken.append((path.name, link))
    assert broken == []


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_the_site_asks_nobody_else_for_anything(site):
    for path in site.rglob("*.html"):
        for source in _Page(path.read_text()).sources:
            assert not urlsplit(source).netloc, f"{path.name} loads {source}"


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_every_config_and_every_room_has_its_reference(site):
    schedulers = _Page((site / "reference" / "conf-scheduler.html").read_text())
    assert {path.stem for path in (REPO / "conf" / "scheduler").glob("*.yaml")} <= schedulers.ids
    python = (site / "reference" / "python.html").read_text()
    paths = [path for path in (REPO / "lrbench").iterdir() if path.suffix in ("", ".py")]
    packages = {path.stem for path in paths if not path.name.startswith("_")} - {"cli", "conf"}
    assert not [package for package in packages if f"lrbench.{package}" not in python]


def test_every_page_is_in_the_navigation():
    navigation = (REPO / "mkdocs.yml").read_text()
    for page in PAGES[1:]:
        assert f": {page.relative_to(DOCS).as_posix()}\n" in navigation


def test_every_picture_is_small_and_shown():
    shown = "".join(page.read_text() for page in PAGES)
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size < 300_000
        assert f"images/{picture.name}" in shown, f"{picture.name} is on no page"
