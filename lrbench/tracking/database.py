"""The tracking store: its address, and whether it can be used. Imports no mlflow."""

import base64
import configparser
import importlib.util
import os
import re
import shlex
import socket
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from lrbench.addresses import quoted_uri, split_sqlite
from lrbench.databases import check_place, is_made

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
_DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_TIMEOUT_SECONDS = 3.0


def scheme_of(uri: str) -> str:
    """The scheme of a tracking URI without its driver: `postgresql` of `postgresql+psycopg2://...`."""
    return urlsplit(uri).scheme.split("+")[0].lower()


def absolute_uri(uri: str, base: Path) -> str:
    """Make the path of a `sqlite:///` URI absolute, starting from `base`; other URIs stay as they are."""
    parts = split_sqlite(uri)
    return uri if parts is None else f"{parts[0]}{base / parts[1]}{parts[2]}"


def relative_uri(uri: str, base: Path) -> str:
    """The reverse of `absolute_uri`, for a file inside `base`; other URIs stay as they are."""
    parts = split_sqlite(uri)
    if parts is None or not parts[1].startswith(f"{base}/"):
        return uri
    return f"{parts[0]}{parts[1].removeprefix(f'{base}/')}{parts[2]}"


def database_path(uri: str) -> Path | None:
    """File of a sqlite URI, None for any other store.

    Raises:
        ValueError: a sqlite URI without an absolute path: it would mean another database in every directory.
    """
    if scheme_of(uri) != "sqlite":
        return None
    parts = split_sqlite(uri)
    if parts is None or not parts[1].startswith("/"):
        raise ValueError(f"tracking.uri must be sqlite:/// and an absolute path, got {uri!r}")
    return Path(parts[1])


def check_tracking(uri: str) -> None:
    """Refuse a tracking store that cannot be written to, within seconds.

    Raises:
        ValueError: names `tracking.uri`, the store and what is wrong: an unknown scheme, a directory that
            cannot be made or written, a file that is no MLflow database or one of another MLflow version, a
            server that does not answer.
    """
    scheme = scheme_of(uri)
    if scheme not in SCHEMES:
        raise ValueError(
            f"tracking.uri must start with one of {', '.join(f'{s}://' for s in SCHEMES)}, got {uri!r} "
            "(MLflow's file store is retired: use sqlite:////path/to/mlflow.db)"
        )
    if scheme in ("http", "https"):
        _check_server(uri)
    elif scheme == "sqlite":
        path = database_path(uri)
        assert path is not None
        _check_file(path)
    else:
        _check_port(uri, scheme)


def _check_file(path: Path) -> None:
    check_place(path, "tracking.uri")
    if not is_made(path):
        return
    try:
        # rw, not ro: SQLite must be allowed to roll back what a killed writer left.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=1)) as database:
            found = database.execute("select version_num from alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return  # in use, so it works
        raise ValueError(f"tracking.uri: {path} is not a complete MLflow database: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"tracking.uri: {path} is damaged or not a database: {error}") from error
    _check_schema(path, found[0] if found else None)


def _check_schema(path: Path, revision: str | None) -> None:
    """Compare the database's schema with the migrations that the installed MLflow brings along."""
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    migrations = Path(spec.origin).parent / "store" / "db_migrations" / "versions"
    sources = [file.read_text() for file in migrations.glob("*.py")]
    known = {match[1] for text in sources if (match := re.search(r'^revision = "(\w+)"', text, re.M))}
    replaced = {match[1] for text in sources if (match := re.search(r'^down_revision = "(\w+)"', text, re.M))}
    heads = known - replaced
    if not heads or revision in heads:
        return  # an MLflow that keeps its migrations elsewhere judges for itself when the sender connects
    if revision in known:
        raise ValueError(
            f"tracking.uri: {path} was made by an older MLflow (schema {revision}); "
            f"back it up, then run: mlflow db upgrade {shlex.quote(quoted_uri(path))}"
        )
    raise ValueError(
        f"tracking.uri: {path} has the schema {revision}, which the installed MLflow does not know; "
        "upgrade mlflow, or use another database"
    )


def _check_server(uri: str) -> None:
    parts = urlsplit(uri)
    # Without user and password: urllib cannot read them there, and a message must not show them.
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=_TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # it is there and asks for credentials
            raise ValueError(
                f"tracking.uri: {address} is not an MLflow server: GET /health answered {error.code}"
            ) from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(f"tracking.uri: no MLflow server answers at {address}: {reason}") from error
    _check_credentials(uri, address)


def _check_credentials(uri: str, address: str) -> None:
    """Ask a server for something that it gives to known users only, with the credentials that MLflow will use."""
    if os.environ.get("MLFLOW_TRACKING_AUTH") or os.environ.get("MLFLOW_TRACKING_AWS_SIGV4"):
        return  # those are found by code of MLflow's plugins
    import requests  # as MLflow does: it also knows ~/.netrc and the URI's user and password

    file = configparser.ConfigParser()
    file.read(os.path.expanduser("~/.mlflow/credentials"))
    name, password, token = (
        os.environ.get(key.upper(), file.get("mlflow", key, fallback="", raw=True))
        for key in ("mlflow_tracking_username", "mlflow_tracking_password", "mlflow_tracking_token")
    )
    headers = {}
    if name and password:
        headers["Authorization"] = f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        answer = requests.get(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search",
            params={"max_results": 1},
            headers=headers,
            timeout=_TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        raise ValueError(f"tracking.uri: {address} does not answer: {type(error).__name__}") from None
    if answer.status_code in (401, 403):
        raise ValueError(
            f"tracking.uri: {address} does not accept the user and password (it answers {answer.status_code}): give "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or a section [mlflow] in "
            "~/.mlflow/credentials"
        )


def _check_port(uri: str, scheme: str) -> None:
    parts = urlsplit(uri)
    host, port = parts.hostname or "localhost", parts.port or _DEFAULT_PORTS[scheme]
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        # Not the whole URI: it may hold a password.
        raise ValueError(f"tracking.uri: no {scheme} server answers at {host}:{port}: {error}") from error
