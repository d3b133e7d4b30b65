"""The database of the studies, SQLite or PostgreSQL: its address, its tables, and one process at a time.

Optuna's tables and those of `lrbench.search.claims` are made together. A SQLite file is built aside and moved in place;
on PostgreSQL an advisory lock keeps others out, and the server undoes what a killed process left half done.
"""

import functools
import importlib.util
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, Dialect, Engine, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from lrbench.addresses import split_sqlite
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
AWAY_SECONDS = 60.0  # a server that was there may be away
_PAUSE_SECONDS = 0.5  # between two attempts
_MOST_RECONNECTS = 3  # of one call

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)
# How long a writer waits for another one; only one at a time can write to a SQLite file.
_LOCKED_SECONDS = 60


def parse_url(url: str) -> URL:
    """Check the form of a database URL and choose its driver.

    Raises:
        ValueError: naming hydra.sweeper.storage, the rule and the value, without a password.
    """
    file = split_sqlite(url)
    if file is not None and file[1].startswith("/") and not file[2]:
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


class DatabaseAwayError(OSError):
    """The database cannot be used now: its server is away, its disk is full.

    Attributes:
        was_connected: whether the connection was lost, so that it is not known if the last transaction took effect.
    """

    was_connected = False


def make_engine(url: URL, *, patience: float = 0.0) -> Engine:
    """An engine that gives up on a dead server within seconds; see `watch`."""
    engine = sa.create_engine(url, **engine_options(url))
    watch(engine, patience=patience)
    return engine


def watch(engine: Engine, *, patience: float = AWAY_SECONDS) -> None:
    """Let an engine wait for a server that is away, and say in one sentence what is wrong with a database.

    Args:
        engine: from now on it raises DatabaseAwayError for what SQLAlchemy calls an operational error.
        patience: seconds for which the server may be away, in all its calls together, until it answers again.
    """
    place = place_of(engine.url)
    away_since: float | None = None

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        nonlocal away_since
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError:
                now = time.monotonic()
                if patience and away_since is None:
                    _log.info("%s does not answer; waiting for up to %d s", place, patience)
                away_since = away_since or now
                if now - away_since >= patience:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                away_since = None
                return connection

    @sa.event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> None:
        # A connection that is tried before its use is replaced by the pool, by itself.
        if not context.is_pre_ping and isinstance(context.sqlalchemy_exception, OperationalError | InterfaceError):
            waited = f" (for {patience:.0f} s)" if away_since is not None and patience else ""
            error = DatabaseAwayError(_cannot_use(place, context.original_exception, waited=waited))
            error.was_connected = context.is_disconnect
            raise error from None


def reconnecting(function: Callable[P, T]) -> Callable[P, T]:
    """Call again what a lost connection interrupted; for functions that may take effect twice."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_MOST_RECONNECTS):
            try:
                return function(*args, **kwargs)
            except DatabaseAwayError as error:
                if not error.was_connected:
                    raise
        return function(*args, **kwargs)

    return call


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
    except DatabaseAwayError as error:
        raise ValueError(str(error)) from None
    except DBAPIError as error:
        raise ValueError(f"{SETTING}: cannot use {place}: {' '.join(str(error.orig).split())}") from None
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
    """Make all tables.

    Raises:
        DatabaseAwayError: the disk is full, say.
    """
    engine = make_engine(url)
    try:
        with quiet_optuna():
            RDBStorage(full_text(url), engine_options(url), skip_compatibility_check=True).engine.dispose()
        _TABLES.create_all(engine)
    except OperationalError as error:  # of Optuna's engine, which is not watched
        raise DatabaseAwayError(_cannot_use(place_of(url), error.orig)) from error
    finally:
        engine.dispose()


def _cannot_use(place: str, error: BaseException | None, *, waited: str = "") -> str:
    reason = " ".join(str(error).split())
    return f"{SETTING}: cannot use {place}{waited}: {reason}; the same command goes on when that is mended"
