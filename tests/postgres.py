"""A PostgreSQL cluster for tests: in a folder that goes with it, on a Unix socket alone."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

_PROGRAMS = Path("/usr/lib/postgresql")  # where Debian keeps them, by version


def _programs() -> Path | None:
    """Find the folder of initdb and pg_ctl, the newest version's."""
    found = sorted(_PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


def missing() -> str:
    """Say why there can be no cluster; "" if it can."""
    return "" if _programs() else "not installed: postgresql"


def running() -> Iterator["Cluster"]:
    """Run a cluster for a fixture; where there can be none, its tests are left out."""
    if reason := missing():
        pytest.skip(reason)
    with Cluster() as made:
        yield made


class Cluster:
    """A context manager; ``url`` is for the databases that ``create`` makes.

    It runs as postgres, or nobody, where we are root, which initdb refuses to be. ``settings``:
    more lines of its configuration; ``access``: lines before those of ``pg_hba.conf``.
    """

    def __init__(
        self,
        parent: str = "/tmp",
        *,
        durable: bool = False,
        port: int = 5432,
        settings: str = "",
        access: str = "",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pybootd-db-", dir=parent))
        self._durable = durable
        self._databases = 0
        self._port = port
        self._settings = settings
        self._access = access
        self._user: list[str] = []
        if os.geteuid() == 0:
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                owner = pwd.getpwnam("nobody")
            uid, gid = owner.pw_uid, owner.pw_gid
            os.chown(self.folder, uid, gid)
            self._user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        self.folder.chmod(0o755)

    def run(self, program: str, *words: str, check: bool = True) -> str:
        programs = _programs()
        assert programs is not None
        log = self.folder / f"{program}.log"  # pg_ctl's server keeps its output open
        with log.open("a") as said:
            done = subprocess.run(
                [*self._user, programs / program, *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                timeout=90,
            )
        text = log.read_text()
        assert done.returncode == 0 or not check, text
        return text

    def __enter__(self) -> Self:
        self.run("initdb", "--pgdata=data", "--auth=trust", "--username=postgres", "--no-sync")
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n"
                f"fsync = {'on' if self._durable else 'off'}\nmax_connections = 50\n"
                f"port = {self._port}\n{self._settings}"
            )
        access = self.folder / "data" / "pg_hba.conf"
        access.write_text(f"{self._access}{access.read_text()}")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate", check=False)
        shutil.rmtree(self.folder)

    def start(self) -> None:
        self.run("pg_ctl", "--pgdata=data", "--log=log", "--wait", "start")

    def stop(self, mode: str = "fast", check: bool = True) -> None:
        self.run("pg_ctl", "--pgdata=data", "--wait", f"--mode={mode}", "stop", check=check)

    @property
    def pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}&port={self._port}"

    def create(self) -> str:
        """Make an empty database and return its URL."""
        self._databases += 1
        name = f"leases{self._databases}"
        where = (f"--host={self.folder}", f"--port={self._port}")
        self.run("createdb", *where, "--username=postgres", name)
        return self.url(name)
