"""`lrbench check [overrides]`: lint schedules without training; `lrbench check --code FILE...`: lint training code.

    lrbench check scheduler=cosine,step optimizer=adamw
    lrbench check strict=true 'scheduler=glob(*)'
    lrbench check --code train.py notebook.ipynb
    lrbench check dataset=table dataset.file=data.csv dataset.target=kind

Of a dataset made of your files it prints what was understood. Every finding says what is wrong and how to fix it. The
exit code is 1 when one is an error, with strict=true when one is a warning, and when a file cannot be read, which does
not keep the others from being checked; otherwise 0. Of a notebook the code cells are read. `--json` prints the findings
as one object, with what was checked and what could not be read.
"""

import dataclasses
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrbench.cli.outputs import print_json, split_json
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
    as_json, rest = split_json(arguments)
    chosen = [word.removeprefix("strict=") for word in rest if word.startswith("strict=")]
    strict = chosen[-1] if chosen else "false"
    if strict not in ("true", "false"):
        raise ValueError(f"strict must be true or false, got {strict!r}")
    words = [word for word in rest if not word.startswith("strict=")]
    is_code = "--code" in words
    found, unread = (_check_files if is_code else _check_plans)(words, is_printed=not as_json)
    if as_json:
        where = "file" if is_code else "schedule"
        findings = [{where: name, **dataclasses.asdict(f)} for name, items in found.items() for f in items]
        print_json({f"{where}s": list(found), "findings": findings, "unread": unread})
    everything = [finding for items in found.values() for finding in items]
    return 1 if unread or fails(everything, strict=strict == "true") else 0


def _check_plans(words: list[str], *, is_printed: bool) -> tuple[dict[str, list[Finding]], list[str]]:
    """Findings by the label of a schedule, and no files that could not be read."""
    flags = [word for word in words if word.startswith("-")]
    if flags:
        raise ValueError(
            f"lrbench check takes config overrides, strict=true, --json or --code FILE..., got {flags[0]!r}"
        )
    from rich.console import Console

    from lrbench.data.splits import Described
    from lrbench.runs.compose import compose_plans

    plans = compose_plans(words)
    console = Console()
    for dataset in {id(plan.dataset): plan.dataset for plan in plans}.values():
        if is_printed and isinstance(dataset, Described):
            sys.stdout.writelines(f"dataset\t{what}\t{found}\n" for what, found in dataset.describe().items())
    everything: dict[str, list[Finding]] = {}
    for label, plan in zip(_labels(plans), plans, strict=True):
        findings = everything[label] = findings_of(plan)
        if is_printed and not console.is_terminal:
            sys.stdout.writelines(f"{label}\t{f.severity}\t{f.rule}\t{f.message}\n" for f in findings)
        elif is_printed:
            console.print(f"[bold]{label}[/]{'' if findings else ': nothing found'}", highlight=False)
            for f in findings:
                console.print(f"  [{_STYLES[f.severity]}]{f.severity}[/] [dim]{f.rule}[/]", highlight=False)
                # Overrides such as milestones=[30,60] look like rich's markup.
                console.print(f"    {f.message}", markup=False, highlight=False, soft_wrap=True)
    _summarize(f"{len(plans)} schedule{'s' * (len(plans) != 1)}", everything)
    return everything, []


def _check_files(words: list[str], *, is_printed: bool) -> tuple[dict[str, list[Finding]], list[str]]:
    """Findings by file, and the files that could not be read."""
    files = [word for word in words if word != "--code"]
    flags = [word for word in files if word.startswith("-")]
    if not files or flags:
        raise ValueError(f"lrbench check --code takes the files to look at, got {' '.join(files) or 'none'}")
    everything: dict[str, list[Finding]] = {}
    unread = []
    for name in files:
        try:
            source = read_source(Path(name))
            findings = everything[name] = lint_code(source.text, name)
        except (OSError, ValueError) as error:
            print(f"lrbench: {error}", file=sys.stderr)
            unread.append(name)
            continue
        if is_printed:
            # The shape that editors and CI turn into links.
            sys.stdout.writelines(f"{source.place(f.line)}: {f.severity}: {f.rule}: {f.message}\n" for f in findings)
    _summarize(f"{len(files) - len(unread)} file{'s' * (len(files) - len(unread) != 1)}", everything)
    return everything, unread


def _summarize(what: str, findings: Mapping[str, Sequence[Finding]]) -> None:
    counts = Counter(f.severity for items in findings.values() for f in items)
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
