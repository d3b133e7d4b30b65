"""Write the reference pages of the documentation from docstrings and conf/: `python scripts/reference.py FOLDER`.

`make docs` calls it with docs/reference, which git ignores: the pages are made when the site is built, so they cannot
go stale. Docstrings are read with ast, nothing is imported for them.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lrbench.cli import COMMANDS, module_of
from lrbench.cli.help import page as help_page
from lrbench.config import CONFIG_DIR

PACKAGE = Path(__file__).resolve().parent.parent / "lrbench"
COMPONENTS = ("scheduler", "warmup", "optimizer", "model", "dataset")
NOT_PARAMETERS = {"name", "purpose", "formula", "source", "libraries", "search", "_target_"}
# Everything but the command line, which has a page of its own; the highest layer first.
PACKAGES = (
    "api", "studies", "runs", "tracking", "launch", "search", "config", "reporting", "lr_range", "integrations",
    "trials", "codegen", "dry_run", "checkpoints", "lint", "analysis", "training", "databases", "results", "optimizers",
    "data", "models", "schedules", "delimited", "addresses", "typos", "spec",
)  # fmt: skip
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def main() -> int:
    """Write every page into the folder that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


def pages() -> dict[str, str]:
    """Text of every page, by its file name."""
    found = {"commands.md": commands(), "configuration.md": configuration(), "python.md": python_index()}
    found |= {f"conf-{group}.md": components(group) for group in COMPONENTS}
    return found | {f"python-{package}.md": "\n".join(package_page(package)) + "\n" for package in PACKAGES}


def commands() -> str:
    """What `lrbench --help` and every `lrbench COMMAND --help` say."""
    lines = ["# Commands", "", "`lrbench --help`:", "", "```text", help_page(COMMANDS, width=100).rstrip(), "```"]
    for name, purpose in COMMANDS.items():
        lines += ["", f"## {name}", "", escape(purpose.capitalize()) + "."]
        lines += ["", "```text", docstring(ast.parse((PACKAGE / "cli" / f"{module_of(name)}.py").read_text())), "```"]
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """conf/config.yaml, and the groups without a `_target_`, as they are."""
    lines = [
        "# Configuration",
        "",
        "`conf/` is a Hydra configuration: a folder is a group and a word of the command line, a file is its value.",
        "Every value can be overridden by its dotted name, and has the same name in MLflow and in the results. Groups",
        "with a page of their own: " + ", ".join(f"[{group}](conf-{group}.md)" for group in COMPONENTS) + ".",
    ]
    files = [CONFIG_DIR / "config.yaml"]
    files += [
        path for path in sorted(CONFIG_DIR.rglob("*/*.yaml")) if path.relative_to(CONFIG_DIR).parts[0] not in COMPONENTS
    ]
    for path in files:
        lines += ["", f"## {path.relative_to(CONFIG_DIR)}", "", "```yaml", path.read_text().rstrip(), "```"]
    return "\n".join(lines) + "\n"


def components(group: str) -> str:
    """Every file of a group: purpose, formula, defaults, search space, source."""
    folder = CONFIG_DIR / group
    words = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    lines = [f"# {group.capitalize()}", "", f"Chosen by `{group}=NAME`; made from the files of `conf/{group}/`."]
    for word in sorted(words, key=lambda word: ("/" in word, word)):
        text = words[word].read_text()
        node = yaml.safe_load(text)
        lines += ["", f"## {word}", "", escape(node["purpose"]), ""]
        if node.get("formula"):
            lines.append(f"- formula: `{node['formula']}`")
        lines.append(f"- source: {escape(node['source'])}")
        if node["_target_"]:
            lines.append(f"- code: `{node['_target_']}`")
        lines.append(f"- use: `lrbench {group}={word}`")
        if group == "scheduler" and "/" not in word:
            lines.append(f"- picture: [in the gallery](../gallery.md#{word})")
        parameters = {k: v for k, v in node.items() if k not in NOT_PARAMETERS}
        if parameters:
            lines += ["", "| parameter | default | meaning | search |", "|---|---|---|---|"]
            searched = node.get("search") or {}
            for name, value in parameters.items():
                cells = (
                    f"`{group}.{name}`",
                    f"`{plain(value)}`",
                    escape(comment_of(text, name)),
                    space(searched.get(name)),
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def comment_of(text: str, name: str) -> str:
    """The comment behind a top-level key of a YAML file."""
    match = re.search(rf"^{re.escape(name)}:[^#\n]*#\s*(.*)$", text, re.MULTILINE)
    return match[1] if match else ""


def space(searched: dict[str, Any] | None) -> str:
    """A search space in words."""
    if searched is None:
        return ""
    if "choices" in searched:
        words = f"one of `{plain(searched['choices'])}`"
    else:
        words = f"{searched['low']:g} to {searched['high']:g}"
        words += ", log" * bool(searched.get("log")) + ", whole" * bool(searched.get("int"))
    return words + (f", when `{plain(searched['when'])}`" if "when" in searched else "")


def plain(value: object) -> str:
    """A YAML value on one line, safe inside a table."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    return text.replace("|", "\\|")


def python_index() -> str:
    """The packages with their purposes."""
    lines = ["# Python", "", "The package from the top layer down; imports go downwards only.", ""]
    for package in PACKAGES:
        path = PACKAGE / package / "__init__.py"
        purpose = docstring(ast.parse((path if path.exists() else PACKAGE / f"{package}.py").read_text()))
        first = re.split(r"(?<=\.)\s|\n\n", purpose)[0].replace("\n", " ")
        lines.append(f"- [`lrbench.{package}`](python-{package}.md): {escape(first)}")
    return "\n".join(lines) + "\n"


def package_page(package: str) -> Iterator[str]:
    """Every public function and class of a package, module by module."""
    yield f"# lrbench.{package}"
    folder = PACKAGE / package
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{package}.py"]
    for path in files:
        tree = ast.parse(path.read_text())
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        public = [node for node in tree.body if isinstance(node, Definition) and not node.name.startswith("_")]
        if name != f"lrbench.{package}":
            if not public:
                continue
            yield from ("", f"## {name.removeprefix(f'lrbench.{package}.')}")
        yield from ("", *rendered(docstring(tree)))
        for node in public:
            yield from ("", f"### {node.name}", "", "```python", signature(node), "```", "", *rendered(docstring(node)))


def signature(node: Definition) -> str:
    """The head of a definition; of a class, that of its `__init__` if it has one."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        head = f"class {node.name}({bases})" if bases else f"class {node.name}"
        made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        return head if made is None else f"{head}\n    {signature(made)}"
    result = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    whole = f"def {node.name}({ast.unparse(node.args)}){result}"
    if len(whole) <= 100:
        return whole
    # One argument a line, as the formatter has it.
    arguments = re.split(r", (?![^\[(]*[\])])", ast.unparse(node.args))
    return "\n".join([f"def {node.name}(", *(f"    {argument}," for argument in arguments), f"){result}"])


def docstring(node: Definition | ast.Module) -> str:
    """The docstring, "" where there is none."""
    return ast.get_docstring(node) or ""


def rendered(text: str) -> Iterator[str]:
    """A Google docstring as markdown: sections become headed lists, indented blocks code."""
    section = ""
    for block in re.split(r"\n{2,}", text):
        head = re.match(rf"({'|'.join(SECTIONS)})s?:\n", block)
        if head:
            section = head[1]
            yield f"**{section}**"
            yield ""
            yield from items(block[head.end() :])
        elif block.startswith("    ") and not section:
            yield from ("```text", *(line.removeprefix("    ") for line in block.splitlines()), "```")
        else:
            yield escape(block)
        yield ""


def items(body: str) -> Iterator[str]:
    """`name: meaning` entries of a section, each with its continuation lines, as a list."""
    entries = re.split(r"\n(?=    \S)", body)
    for entry in entries:
        words = " ".join(line.strip() for line in entry.splitlines())
        match = re.match(r"([\w*, .]+): (.*)$", words)
        yield f"- `{match[1]}`: {escape(match[2])}" if match else f"- {escape(words)}"


def escape(text: str) -> str:
    """Keep markdown from reading formulas as emphasis, tags or links; code in backticks stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\[\]|])", r"\\\1", part) for part in parts)


if __name__ == "__main__":
    sys.exit(main())
