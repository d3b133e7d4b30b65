"""The database of the studies, SQLite or PostgreSQL: its address, its tables, and one process at a time.

Optuna's tables and those of `lrbench.search.claims` are made together. A SQLite file is built aside and moved in place;
on PostgreSQL an advisory lock keeps others out, and the server undoes what a killed process left half done.
"""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from lrbench.databases import check_place, create_database, is_made, lock_beside
from lrbench.search.quiet import quiet_optuna
from lrbench.spec import derived_seed

SETTING = "hydra.sweeper.storage"
_TABLES = sa.MetaData()
CLAIMS = sa.Table(
    "lrbench_claims",
    _TABLES,
    sa.Column("study", sa.String, primary_key=True),
    sa.Column("slot", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("beat", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
)
_CONNECT_SECONDS = 3
# How long a writer waits for another one; only one at a time can write to a SQLite file.
_LOCKED_SECONDS = 60


def parse_url(url: str) -> URL:
    """Check the form of a database URL and choose its driver.

    Raises:
        ValueError: naming hydra.sweeper.storage, the rule and the value, without a password.
    """
    file = re.fullmatch(r"sqlite(?:\+pysqlite)?:///(/[^?]+)", url)
    if file is not None:
        # Not through make_url, which would decode a % in the path.
        return URL.create("sqlite", database=file[1])
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(f"{SETTING} must be a URL such as sqlite:////path/to/studies.db, got {url!r}") from None
    scheme, _, driver = parsed.drivername.partition("+")
    if scheme == "sqlite":
        raise ValueError(f"{SETTING} must be sqlite:/// and an absolute path, got {url!r}")
    if scheme == "postgresql" and driver in ("", "psycopg"):
        if importlib.util.find_spec("psycopg") is None:
            raise ValueError(
                f"{SETTING}=postgresql://... needs the package psycopg: pip install 'lr-schedule-bench[postgres]'"
            )
        return parsed.set(drivername="postgresql+psycopg")
    raise ValueError(
        f"{SETTING} must start with sqlite:/// or postgresql://, got {parsed.drivername}:// "
        "(several machines share a study through PostgreSQL)"
    )


def make_engine(url: URL) -> Engine:
    """An engine that gives up on a dead server within seconds."""
    return sa.create_engine(url, **engine_options(url))


def engine_options(url: URL) -> dict[str, Any]:
    """Arguments of sqlalchemy.create_engine."""
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _LOCKED_SECONDS}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": _CONNECT_SECONDS}}


def full_text(url: URL) -> str:
    """The URL as Optuna takes it: with the password, and braces doubled, which it would fill in."""
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


def place_of(url: URL) -> str:
    """The database in words, without user and password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or url.query.get("host", "localhost")
    return f"postgresql://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


@contextmanager
def exclusively(url: URL) -> Iterator[None]:
    """Keep out every other process that creates or extends; a killed holder lets go."""
    if url.database and url.get_backend_name() == "sqlite":
        with lock_beside(Path(url.database)):
            yield
        return
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(derived_seed("lrbench studies"))))
            yield
    finally:
        engine.dispose()


def ensure_tables(url: URL) -> None:
    """Make the database and its tables, unless they are there.

    Raises:
        ValueError: the place cannot be written, the server does not answer, or the database is something else.
    """
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        path = Path(url.database)
        check_place(path, SETTING)
        if not is_made(path):
            create_database(path, lambda temporary: _build(url.set(database=str(temporary))))
    if not _has_tables(url):
        with exclusively(url):
            _build(url)


def _has_tables(url: URL) -> bool:
    """Whether nothing is left to make; refuses a database of something else."""
    engine = make_engine(url)
    place = place_of(url)
    try:
        with engine.connect() as connection:
            names = set(sa.inspect(connection).get_table_names())
            version = sa.select(sa.text("version_num")).select_from(sa.text("alembic_version"))
            is_stamped = "alembic_version" in names and connection.execute(version).first() is not None
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise ValueError(f"{SETTING}: cannot use {place}: {reason}") from None
    finally:
        engine.dispose()
    if "version_info" in names:
        return CLAIMS.name in names and is_stamped
    # MLflow keeps its version in the table of the same name as Optuna's, so the two cannot share a database.
    if "alembic_version" in names or (names and url.get_backend_name() == "sqlite"):
        raise ValueError(
            f"{SETTING}: {place} is a database of something else (it has the table {min(names)}); "
            "give the studies one of their own"
        )
    return False


def _build(url: URL) -> None:
    with quiet_optuna():
        RDBStorage(full_text(url), engine_options(url), skip_compatibility_check=True).engine.dispose()
    engine = make_engine(url)
    _TABLES.create_all(engine)
    engine.dispose()
