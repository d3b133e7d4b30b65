"""What is known of a run before it starts: `run.json`, the file that makes a directory a record."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lrbench.addresses import masked
from lrbench.tracking.database import absolute_uri, relative_uri
from lrbench.tracking.received import check_names


@dataclass(frozen=True)
class DatasetFacts:
    """The data of a run: name, content digest (MLflow keeps 36 characters of it), and what to show."""

    name: str
    digest: str
    profile: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What is known of a run before it starts; the content of `run.json`.

    Attributes:
        record_id: unique, 32 hex digits; the tag by which MLflow's copy is found again.
        name: readable, e.g. `cosine-s0`.
        experiment: name of the MLflow experiment.
        tracking_uri: absolute MLflow tracking URI, without what is secret in it. In the file, that of a database in the
            results folder is relative to it, so that the folder can be moved.
        fingerprint: digest of everything in the config that shapes the curve, >= 8 hex digits.
        tags: short strings to group and filter by.
        params: config values under their dotted names.
        dataset: the data, if any.
        note: markdown shown at the top of the run.
        created: epoch milliseconds.
        host, pid, boot_id: the process that made it.
        parent: directory name of the record that this one is a part of, beside it; "" for none.
        replaces: the ids that this record had before it was restarted; MLflow's runs of those are to go.
    """

    record_id: str
    name: str
    experiment: str
    tracking_uri: str
    fingerprint: str
    tags: Mapping[str, str]
    params: Mapping[str, object]
    dataset: DatasetFacts | None
    note: str
    created: int
    host: str
    pid: int
    boot_id: str
    parent: str = ""
    replaces: tuple[str, ...] = ()


def read_facts(path: Path) -> Facts:
    """Read `run.json` of a record.

    Raises:
        ValueError: there is none, or it is damaged; names the file.
    """
    file = path / "run.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["dataset"] is not None:
            document["dataset"] = DatasetFacts(**document["dataset"])
        replaces = tuple(document.get("replaces", ()))
        check_names([document["record_id"], *replaces], document.get("parent", ""))
        uri = absolute_uri(document["tracking_uri"], path.absolute().parents[1])
        return Facts(**{**document, "tracking_uri": uri, "replaces": replaces})
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not the description of a run: {error}") from error


def write_facts(path: Path, facts: Facts) -> None:
    """Write or replace `run.json` of a record."""
    # Not `asdict`: its deep copies take longer than the writing.
    document = {**vars(facts), "dataset": facts.dataset and vars(facts.dataset)}
    document["tracking_uri"] = relative_uri(facts.tracking_uri, path.absolute().parents[1])
    write_json(path / "run.json", document)


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Replace a JSON file in one step, so that a reader or a kill never meets half of it; passwords are left out."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # one that is a link would be written through
    text = masked(json.dumps(document, indent=1, ensure_ascii=False, default=str))
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
