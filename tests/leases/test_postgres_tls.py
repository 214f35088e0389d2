"""A lease database behind TLS and a password, as libpq does them."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from pybootd.leases.shared import admin
from pybootd.leases.shared.postgres import PostgresStore
from pybootd.leases.store import StoreError
from tests.postgres import Cluster, missing

pytestmark = pytest.mark.net
CERTIFY = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    " -subj /CN=db -addext subjectAltName=IP:127.0.0.1"
)


def certify(folder: Path) -> None:
    """Make ``key`` and ``certificate`` there."""
    words = [*CERTIFY.split(), "-keyout", folder / "key", "-out", folder / "certificate"]
    subprocess.run(words, check=True, capture_output=True, timeout=30)


@dataclass
class Site:
    """A database that takes TLS and a password alone, and the files of who may use it."""

    port: int
    name: str
    local: str  # the URL of who needs neither
    folder: Path

    def url(self, certificate: Path, passwords: Path) -> str:
        return (
            f"postgresql://boot@127.0.0.1:{self.port}/{self.name}?sslmode=verify-full"
            f"&sslrootcert={certificate}&passfile={passwords}"
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := missing() or (shutil.which("openssl") is None and "not installed: openssl"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("site")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = Cluster(
        port=port,
        settings=(
            "listen_addresses = '127.0.0.1'\nssl = on\n"
            "ssl_cert_file = '../certificate'\nssl_key_file = '../key'\n"
        ),
        access="hostssl all boot 127.0.0.1/32 scram-sha-256\n",
    )
    certify(cluster.folder)
    owner = cluster.folder.stat()
    os.chown(cluster.folder / "key", owner.st_uid, owner.st_gid)
    shutil.copy(cluster.folder / "certificate", folder / "certificate")
    with cluster:
        local = cluster.create()
        name = local.split("@/")[1].split("?")[0]
        with psycopg.connect(local, autocommit=True) as file:
            file.execute("CREATE ROLE boot LOGIN PASSWORD 'sesame'")
            file.execute(f"ALTER DATABASE {name} OWNER TO boot")
        for secret, kept in (("sesame", "right"), ("mustard", "wrong")):
            (folder / kept).write_text(f"127.0.0.1:{port}:*:boot:{secret}\n")
            (folder / kept).chmod(0o600)
        yield Site(port, name, local, folder)


def test_tls_and_a_password_file_are_used(site: Site) -> None:
    url = site.url(site.folder / "certificate", site.folder / "right")
    assert admin.migrate_database(url)[0] == 0
    store = PostgresStore(url)
    store.open()
    try:
        with psycopg.connect(site.local) as file:
            found = file.execute(
                "SELECT usename, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                " WHERE application_name = 'pybootd'"
            ).fetchall()
        assert found
        assert set(found) == {("boot", True)}
    finally:
        store.close()


def test_a_certificate_that_is_not_trusted_is_told(site: Site, tmp_path: Path) -> None:
    certify(tmp_path)
    with pytest.raises(StoreError, match="certificate verify failed") as caught:
        PostgresStore(site.url(tmp_path / "certificate", site.folder / "right")).open()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("passwords", ["wrong", "none"])
def test_a_password_that_is_wrong_or_missing_is_told(site: Site, passwords: str) -> None:
    url = site.url(site.folder / "certificate", site.folder / passwords)
    with pytest.raises(StoreError, match="password") as caught:
        PostgresStore(url).open()
    assert "mustard" not in str(caught.value)
    assert "\n" not in str(caught.value)
