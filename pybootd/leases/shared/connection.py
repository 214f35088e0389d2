"""How the lease database is reached: URL, driver, time limits, and which tables it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybootd.config import values
from pybootd.leases.shared import schema
from pybootd.leases.store import StoreError

if TYPE_CHECKING:
    import psycopg

CHANNEL = "pybootd"  # what NOTIFY is sent on
_HOW_TO_INSTALL = (
    "on Debian apt install python3-psycopg, elsewhere pip install 'pybootd[postgresql]'"
)
# seconds; what the URL says goes before
_CONNECT_DEFAULTS = {
    "connect_timeout": "3",
    "application_name": "pybootd",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
_STATEMENT_TIMEOUT = "5s"  # of the database with one statement
READ_CLOCK = "SELECT pybootd.now(), drift FROM pybootd.clock"


class SchemaError(StoreError):
    """The database is there, but has no tables that this pybootd knows."""


def is_database_url(where: str) -> bool:
    """Tell whether ``[bootp] leases`` names a database."""
    return where.startswith(values.DATABASES)


def load_library() -> Any:
    """Return psycopg; raises StoreError that says how to install it."""
    try:
        import psycopg
    except ImportError as error:  # where libpq is missing, it has several lines
        reason = str(error).partition("\n")[0]
        raise StoreError(f"a lease database needs psycopg: {_HOW_TO_INSTALL} ({reason})") from error
    return psycopg


def parse_url(url: str) -> dict[str, Any]:
    """Read a connection URL as libpq does; raises SchemaError."""
    psycopg = load_library()
    try:
        return dict(psycopg.conninfo.conninfo_to_dict(url))
    except psycopg.Error:  # its message may quote a part of the password
        raise SchemaError(
            "postgresql://...: not a connection URL that libpq reads: write a special character of "
            "a user name or password as %XX"
        ) from None


def connect_database(url: str) -> psycopg.Connection[Any]:
    """Connect, with statements that commit by themselves; raises psycopg.Error."""
    import psycopg

    given = parse_url(url)
    more: Any = {name: value for name, value in _CONNECT_DEFAULTS.items() if name not in given}
    connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True, **more)
    try:
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false)", (_STATEMENT_TIMEOUT,)
        )
    except psycopg.Error:
        connection.close()
        raise
    return connection


def read_version(connection: psycopg.Connection[Any]) -> int:
    """Return the version of the tables; 0: there are none."""
    row = connection.execute("SELECT to_regclass('pybootd.schema') IS NOT NULL").fetchone()
    if not row or not row[0]:
        return 0
    row = connection.execute("SELECT version FROM pybootd.schema").fetchone()
    return int(row[0]) if row else 0


def check_tables(connection: psycopg.Connection[Any], name: str) -> None:
    """See that the tables are those that this pybootd knows; raises SchemaError."""
    version = read_version(connection)
    if version > schema.VERSION:
        raise SchemaError(f"{name}: {explain_newer_tables(version)}")
    if version < schema.VERSION:
        what = "holds no tables" if version == 0 else f"has tables of an older schema, {version}"
        raise SchemaError(f"{name} {what}: run pybootd leases --migrate")


def explain_newer_tables(version: int) -> str:
    """Say that only a newer pybootd knows these tables."""
    return f"made by a newer pybootd (schema {version}, this one knows {schema.VERSION})"


def describe_database(url: str) -> str:
    """Name a database without its secrets."""
    given = parse_url(url)
    service = given.get("service")
    host = given.get("host") or given.get("hostaddr") or ("" if service else "localhost")
    words = [str(given.get("dbname") or given.get("user") or "")]
    words += [f"on {host}"] if host else []
    words += [f"of service {service}"] if service else []
    return " ".join(word for word in words if word)


def explain_database_error(error: Exception) -> str:
    """Say in one line what a database's message of several says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
