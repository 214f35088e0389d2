"""Credentials for web servers: read from a file, sent to no other, never logged."""

import logging
import threading
from base64 import b64encode
from pathlib import Path

import pytest

from pybootd.config.ini import ConfigError
from pybootd.config.loader import examine
from pybootd.core.loop import Loop
from pybootd.files.remote.credentials import CredentialsError, origin_of, read_credentials
from pybootd.files.remote.source import RemoteSource
from pybootd.files.resolver import Files
from pybootd.files.source import Forbidden, SourceSettings

from .origin import Site, octets
from .reading import fetch, start

SECRET = "correct:horse"  # noqa: S105


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "origins.ini"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_names_passwords_and_tokens(tmp_path: Path) -> None:
    text = f"""
; a comment
[https://files.example.com]
user = boot
password = {SECRET}
[http://PACKAGES.example.com:8080/]
token = abc.def=
"""
    basic = b64encode(f"boot:{SECRET}".encode()).decode()
    expected = {
        "https://files.example.com:443": f"Basic {basic}",
        "http://packages.example.com:8080": "Bearer abc.def=",
    }
    assert read_credentials(written(tmp_path, text)) == expected
    assert (
        read_credentials(written(tmp_path, f"\ufeff{text[1:]}")) == expected
    )  # an editor of Windows
    assert origin_of("https://Files.example.com/a/b?c") == "https://files.example.com:443"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{SECRET}", "line 1: write"),
        (f"[https://x]\n{SECRET}", "line 2: write"),
        (f"[https://x]\ntoken = {SECRET}\n[https://x]\n", "line 3: write"),
        (f"[x.example]\ntoken = {SECRET}", "a section's name must be a server's"),
        (f"[https://x/path]\ntoken = {SECRET}", "a section's name must be a server's"),
        (f"[https://a:b@x]\ntoken = {SECRET}", "a section's name must be a server's"),
        (f"[https://x]\ntokens = {SECRET}", "there are user, password and token"),
        (f"[https://x]\npassword = {SECRET}", "user = (without a colon) and password =, or token"),
        (f"[https://x]\nuser = a:b\npassword = {SECRET}", "without a colon"),
        (f"[https://x]\ntoken = {SECRET}\nuser = x", "or token ="),
        (f"[https://x]\ntoken = {SECRET}\x1b", "control character"),
    ],
)
def test_what_is_wrong_is_told_without_the_secret(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        read_credentials(written(tmp_path, text))
    assert problem in str(caught.value)
    assert "horse" not in str(caught.value)


def test_they_are_sent_to_their_web_server_and_not_to_where_it_redirects(
    loop: Loop, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    other = Site(site.root)
    threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
    source = RemoteSource(site.url)
    source.apply_settings(SourceSettings(credentials={origin_of(site.url): "Basic c2VjcmV0"}))
    source.start(loop)
    try:
        assert fetch(source, loop, "secret/octets/9") == octets(9)
        assert site.authorizations == ["Basic c2VjcmV0"]
        elsewhere = f"redirect/{other.url.replace('/', '+')}"
        assert fetch(source, loop, f"{elsewhere}/octets/9") == octets(9)
        assert fetch(source, loop, f"{other.url}/octets/8") == octets(8)
        assert other.authorizations == ["", ""]
        with pytest.raises(Forbidden, match="401 Unauthorized"):
            start(source, f"{other.url}/secret/octets/9")
    finally:
        source.close()
        other.kill()
    assert "c2VjcmV0" not in caplog.text


def configured(tmp_path: Path, *lines: str) -> tuple[Path, str]:
    ini = tmp_path / "pybootd.ini"
    ini.write_text("\n".join(("[tftp]", *lines)))
    return ini, str(ini)


def test_the_file_is_named_in_the_configuration(tmp_path: Path, site: Site, loop: Loop) -> None:
    path = written(tmp_path, f"[{site.url}]\ntoken = abc\n")
    ini, _ = configured(tmp_path, f"root = {site.url}", f"credentials = {path.name}")
    config, faults = examine(ini, ("tftp",))
    assert (faults, config.warnings) == ([], ())
    files = Files.from_config(config)
    files.start(loop)
    assert isinstance(files.root, RemoteSource)
    assert fetch(files.root, loop, "secret/octets/9") == octets(9)
    assert site.authorizations == ["Bearer abc"]
    files.close()
    path.chmod(0o644)
    (warning,) = examine(ini, ("tftp",))[0].warnings
    assert "every user of this host may read" in str(warning)
    path.unlink()
    with pytest.raises(
        ConfigError, match=r"ini:3: \[tftp\] credentials: .* can't be read: No such"
    ):
        Files.from_config(config)


def test_a_url_with_a_password_is_a_fault(tmp_path: Path) -> None:
    ini, _ = configured(tmp_path, "root = http://boot:horse@example.com/")
    with pytest.raises(ConfigError, match="into the file of"):
        Files.from_config(examine(ini, ("tftp",))[0])
