"""`lrbench check [overrides]`: lint schedules without training; `lrbench check --code FILE...`: lint training code.

    lrbench check scheduler=cosine,step optimizer=adamw
    lrbench check strict=true 'scheduler=glob(*)'
    lrbench check --code train.py notebook.ipynb
    lrbench check dataset=table dataset.file=data.csv dataset.target=kind

Of a dataset made of your files it prints what was understood. Every finding says what is wrong and how to fix it. The
exit code is 1 when one is an error, with strict=true when one is a warning, and when a file cannot be read, which does
not keep the others from being checked; otherwise 0. Of a notebook the code cells are read.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrbench.lint import Finding
from lrbench.lint.code import lint_code
from lrbench.lint.source import read_source
from lrbench.runs.lint import fails, findings_of

if TYPE_CHECKING:
    from lrbench.config import Plan

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def main(arguments: list[str]) -> int:
    """Print what there is to say about configurations or files.

    Raises:
        ValueError: wrong words.
    """
    chosen = [word.removeprefix("strict=") for word in arguments if word.startswith("strict=")]
    strict = chosen[-1] if chosen else "false"
    if strict not in ("true", "false"):
        raise ValueError(f"strict must be true or false, got {strict!r}")
    words = [word for word in arguments if not word.startswith("strict=")]
    findings, unread = _check_files(words) if "--code" in words else (_check_plans(words), 0)
    return 1 if unread or fails(findings, strict=strict == "true") else 0


def _check_plans(words: list[str]) -> list[Finding]:
    flags = [word for word in words if word.startswith("-")]
    if flags:
        raise ValueError(f"lrbench check takes config overrides, strict=true or --code FILE..., got {flags[0]!r}")
    from rich.console import Console

    from lrbench.data.splits import Described
    from lrbench.runs.compose import compose_plans

    plans = compose_plans(words)
    console = Console()
    for dataset in {id(plan.dataset): plan.dataset for plan in plans}.values():
        if isinstance(dataset, Described):
            sys.stdout.writelines(f"dataset\t{what}\t{found}\n" for what, found in dataset.describe().items())
    everything: list[Finding] = []
    for label, plan in zip(_labels(plans), plans, strict=True):
        findings = findings_of(plan)
        everything += findings
        if not console.is_terminal:
            sys.stdout.writelines(f"{label}\t{f.severity}\t{f.rule}\t{f.message}\n" for f in findings)
            continue
        console.print(f"[bold]{label}[/]{'' if findings else ': nothing found'}", highlight=False)
        for f in findings:
            console.print(f"  [{_STYLES[f.severity]}]{f.severity}[/] [dim]{f.rule}[/]", highlight=False)
            # Overrides such as milestones=[30,60] look like rich's markup.
            console.print(f"    {f.message}", markup=False, highlight=False, soft_wrap=True)
    _summarize(f"{len(plans)} schedule{'s' * (len(plans) != 1)}", everything)
    return everything


def _check_files(words: list[str]) -> tuple[list[Finding], int]:
    """Print findings file by file; returns them and the number of files that could not be read."""
    files = [word for word in words if word != "--code"]
    flags = [word for word in files if word.startswith("-")]
    if not files or flags:
        raise ValueError(f"lrbench check --code takes the files to look at, got {' '.join(files) or 'none'}")
    everything = []
    unread = 0
    for name in files:
        try:
            source = read_source(Path(name))
            findings = lint_code(source.text, name)
        except (OSError, ValueError) as error:
            print(f"lrbench: {error}", file=sys.stderr)
            unread += 1
            continue
        everything += findings
        # The shape that editors and CI turn into links.
        sys.stdout.writelines(f"{source.place(f.line)}: {f.severity}: {f.rule}: {f.message}\n" for f in findings)
    checked = len(files) - unread
    _summarize(f"{checked} file{'s' * (checked != 1)}", everything)
    return everything, unread


def _summarize(what: str, findings: Sequence[Finding]) -> None:
    counts = Counter(f.severity for f in findings)
    found = ", ".join(f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in ("error", "warning", "note") if counts[s])
    print(f"lrbench: {what} checked: {found or 'nothing found'}", file=sys.stderr)


def _labels(plans: Sequence["Plan"]) -> list[str]:
    """Name plans by their schedules, and by whatever else differs between them."""
    from lrbench.config.plan import flat_values

    flat = [flat_values(plan.values) for plan in plans]
    paths = {path: None for values in flat for path in values if path != "scheduler.name"}
    names = [plan.values["scheduler"]["name"] for plan in plans]
    labels = []
    for name, values in zip(names, flat, strict=True):
        shown = []
        for path in paths:
            component = f"{path.partition('.')[0]}.name"
            # `optimizer=adam,sgd` changes a dozen values; the name says it.
            peers = [
                other
                for other in flat
                if other["scheduler.name"] == name
                and (path == component or other.get(component) == values.get(component))
            ]
            if any(other.get(path) != values.get(path) for other in peers):
                shown.append(f"{path.removesuffix('.name')}={values.get(path)}")
        labels.append(" ".join([name, *shown]))
    return labels
