"""What a results folder from somebody else must not do: name other folders, other people's files, other servers.

Any folder may be one, so every record is looked at before it is written, continued or sent.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lrbench.addresses import masked
from lrbench.tracking.database import database_path

_ID = re.compile(r"[0-9a-f]{32}")
_FILE_NAME = re.compile(r"[^/\\\0\n]*")


def check_names(ids: Iterable[str], parent: str) -> None:
    """Refuse ids that are none, and a parent that is not beside the record.

    Raises:
        ValueError: naming the value.
    """
    for text in ids:
        if not isinstance(text, str) or not _ID.fullmatch(text):
            raise ValueError(f"an id must be 32 hexadecimal digits, got {text!r}")
    if not isinstance(parent, str) or not _FILE_NAME.fullmatch(parent) or parent in (".", ".."):
        raise ValueError(f"the parent must be the name of a folder beside the record, got {parent!r}")


def refuse_links(record: Path) -> None:
    """Refuse a record that holds links: what they lead to would be read, sent or overwritten.

    Raises:
        ValueError: naming the link.
        OSError: the folder cannot be read.
    """
    for folder, folders, files in os.walk(record):
        for name in (".", *folders, *files):
            path = Path(folder) / name
            if path.is_symlink():
                raise ValueError(f"{path} is a link, and a record holds files only")


def is_inside(uri: str, results_dir: Path) -> bool:
    """Whether an address is that of a database in the results folder itself."""
    path = database_path(uri)
    return path is not None and path.resolve().is_relative_to(results_dir.resolve())


def foreign(uri: str) -> str:
    """Word the refusal of an address that only the record names."""
    return (
        f"it is to be sent to {masked(uri)}, which its own folder says and nobody here; if that is yours, give "
        f"tracking.uri={masked(uri)}"
    )


def puts_inside(uri: str, database: Path, record: Path) -> bool:
    """Whether artifacts of a record go where they may: those of a database in its results folder not out of that.

    Args:
        uri: of the run's artifacts, as the database says.
        database: file.
        record: whose files are to be put there.
    """
    results_dir, place = record.resolve().parents[1], local_path(uri)
    is_theirs = database.resolve().is_relative_to(results_dir)
    return place is None or not is_theirs or place.resolve().is_relative_to(results_dir)


def local_path(uri: str) -> Path | None:
    """The folder that a URI of artifacts stands for; None where it is not on this machine."""
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path)) if parts.scheme else Path(uri)
