"""Config names and values as MLflow can hold them, and back."""

import functools
import hashlib
import json
import posixpath
import re

RECORD_TAG = "lrbench.record_id"  # marks the runs that lrbench made, and finds them again
PARENT_TAG = "mlflow.parentRunId"  # MLflow's: shows a run inside another
NOTE_TAG = "mlflow.note.content"  # MLflow's: the markdown on top of a run

MAX_KEY_LENGTH = 250
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 8000

_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
_ESCAPED = re.compile(r"_x([0-9A-F]{4,6})_")


@functools.lru_cache(maxsize=10_000)  # the runs of a sweep share their names
def escape_key(key: str) -> str:
    """Make a name that MLflow accepts on every platform; `unescape_key` gives the original back.

    Characters other than letters, digits, `_ - . / space` become `_xHHHH_` (hexadecimal code point, as in
    Office Open XML): `betas[0]` -> `betas_x005B_0_x005D_`. Names longer than MLflow's 250 characters are cut
    and end in `:` and a digest; those stay as they are when read back.
    """
    # An underscore that could be read as the start of an escape is escaped itself.
    escaped = re.sub(r"_(?=x[0-9A-F]{4})", "_x005F_", key)
    escaped = re.sub(r"[^\w.\- /]", _escape_character, escaped)
    # MLflow takes names for paths and refuses those that would resolve to another one.
    normal = posixpath.normpath(escaped)
    if normal != escaped or normal.startswith((".", "/")):
        escaped = re.sub(r"[./]", _escape_character, escaped)
    if len(escaped) > MAX_KEY_LENGTH:
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        escaped = f"{escaped[: MAX_KEY_LENGTH - 9]}:{digest}"
    return escaped


def unescape_key(key: str) -> str:
    """Give back the name that `escape_key` was given, unless it was cut."""
    if ":" in key:
        return key
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), key)


def format_param(value: object) -> str:
    """Write a config value as YAML would: `0.1`, `true`, `null`, `[1, 2]`; strings as they are.

    Values longer than MLflow keeps are cut and say so; the config is an artifact of the run, in full.
    """
    text = value if isinstance(value, str) and value else _encode(value)
    return cut(text, MAX_PARAM_LENGTH)


def cut(text: str, length: int) -> str:
    """Shorten a text to a length with a visible mark; MLflow would do it silently."""
    if len(text) <= length:
        return text
    mark = f"... [cut, {len(text)} characters]"
    return text[: length - len(mark)] + mark


def _escape_character(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):04X}_"
