"""Files of this host that must be what ``[pins]`` says."""

import hashlib
import os
from pathlib import Path

import pytest

from pybootd.config.loader import examine
from pybootd.config.values import parse_checksum
from pybootd.core.workers import Later
from pybootd.files.resolver import Files
from pybootd.files.source import Body, FileRequest, Forbidden, StaticBody

GOOD, BAD = b"as it was built", b"as it was b\xf5ilt"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def opened(files: Files, name: str) -> Body:
    found = files.open(FileRequest(name, "192.0.2.9", "192.0.2.1"))
    return (found.call() if isinstance(found, Later) else found).body


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "linux").write_bytes(GOOD)
    (tmp_path / "outside").write_bytes(GOOD)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(
        f"[tftp]\nroot = ./boot\n[filters]\nalias = linux\nother = {tmp_path}/outside\n[pins]\n"
        f"lin* = sha256:{digest(GOOD)}\n*/outside = sha256:{digest(BAD).upper()}\n"
        f"made = sha256:{digest(GOOD)}\n"
    )
    config, faults = examine(ini, ("tftp",))
    assert (faults, config.warnings) == ([], ())
    return Files.from_config(config)


@pytest.mark.parametrize("name", ["linux", "alias", "LINUX"])
def test_one_that_differs_is_refused_whatever_it_was_asked_for_as(
    files: Files, tmp_path: Path, name: str
) -> None:
    body = opened(files, name)
    assert isinstance(body, StaticBody)
    assert body.pread(100, 0) == GOOD
    path = tmp_path / "boot" / "linux"
    times = path.stat()
    path.write_bytes(BAD)  # of the same size, and of the same time
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(Forbidden) as caught:
        opened(files, name)
    expected = f"it has sha256:{digest(BAD)}, not sha256:{digest(GOOD)}"
    assert expected in str(caught.value)


def test_a_path_that_a_filter_leads_to_is_compared_too(files: Files) -> None:
    with pytest.raises(Forbidden, match="outside is not what"):
        opened(files, "other")


def test_a_file_is_summed_up_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(files, "linux").close()
    monkeypatch.setattr("hashlib.sha256", None)
    opened(files, "linux").close()


def test_what_a_template_makes_is_compared_too(files: Files, tmp_path: Path) -> None:
    template = tmp_path / "boot" / "made.j2"
    template.write_bytes(GOOD)
    opened(files, "made").close()
    template.write_bytes(BAD[:5])
    with pytest.raises(Forbidden, match="made is not what"):
        opened(files, "made")


def test_a_template_that_is_rendered_or_included_is_compared(files: Files, tmp_path: Path) -> None:
    """A pin of the template itself was passed over when another name led to it."""
    root = tmp_path / "boot"
    (root / "menu.j2").write_text("{% include 'linux' %}!")
    body = opened(files, "menu")
    assert isinstance(body, StaticBody)
    assert body.pread(100, 0) == GOOD + b"!"
    (root / "linux").write_bytes(b"something else")
    with pytest.raises(Forbidden, match="linux is not what"):
        opened(files, "menu")


@pytest.mark.parametrize("text", ["", "sha256:abc", "md5:" + 32 * "0", 64 * "0"])
def test_what_is_no_checksum_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match="write sha256: and 64 hexadecimal digits"):
        parse_checksum(text)


def test_pins_of_a_remote_root_need_a_cache(tmp_path: Path) -> None:
    ini = tmp_path / "pybootd.ini"
    text = f"[tftp]\nroot = http://example.com/\n[pins]\nx = sha256:{digest(GOOD)}\n[cache]\n"
    ini.write_text(f"{text}size = 1G\n")
    told = [str(fault) for fault in examine(ini, ("tftp",))[1]]
    assert any("required with size" in line for line in told)
    assert any("required for pins of a remote root" in line for line in told)
    ini.write_text(f"{text}dir = ./kept\nsize = 1G\n")
    config, faults = examine(ini, ("tftp",))
    assert faults == []
    assert config.cache.dir == tmp_path / "kept"
    assert config.cache.size == 1 << 30
