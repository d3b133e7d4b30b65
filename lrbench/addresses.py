"""Addresses of databases and servers as text: built, read, and shown without what is secret in them."""

import re
from pathlib import Path

# Between `://` and `@`: user and password, which may hold a slash where it is none of a path behind a port.
_USER = re.compile(r"""(?<=://)(?:[^/?#\s"<>]*|[^:/@\s"<>]+:(?!\d+(?:[/?#\s'"<>]|$))[^@\s"<>]*)@""")
_PASSWORD = re.compile(r"""(?<=[?&])((?:password|passwd|pwd|token|sslpassword)=)[^&#\s"'<>]+""", re.IGNORECASE)
# Nothing in it is quoted: the path is that of the folder as it is named. A `?` begins settings only in the file's name.
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)((?:.*/)?[^/?]+)(\?.*)?", re.DOTALL)


def masked(text: str) -> str:
    """Put `***` in the place of user, password and token in every address of a text."""
    return _PASSWORD.sub(r"\1***", _USER.sub("***@", text))


def sqlite_uri(path: Path) -> str:
    """The address of a local database, as `tracking.uri` and `hydra.sweeper.storage` take it."""
    return f"sqlite:///{path}"


def split_sqlite(uri: str) -> tuple[str, str, str] | None:
    """What stands before the path of a local database, the path, and its settings; None for any other address."""
    match = _SQLITE.fullmatch(uri)
    return None if match is None else (match[1], match[2], match[3] or "")


def quoted_uri(path: Path) -> str:
    """The address of a local database for SQLAlchemy and those who hand it on, which decode what is quoted.

    Raises:
        ValueError: the installed SQLAlchemy cannot write the name down.
    """
    from sqlalchemy.engine import URL, make_url  # it takes a while

    # With the driver where it must be quoted: MLflow makes the folder of a plain address, and takes it as it stands.
    plain = URL.create("sqlite", database=str(path)).render_as_string()
    uri = plain if plain == sqlite_uri(path) else plain.replace("sqlite:", "sqlite+pysqlite:", 1)
    if make_url(uri).database != str(path):
        raise ValueError(f"the database {path} cannot be addressed; rename its folder, or upgrade sqlalchemy to 2.1")
    return uri
