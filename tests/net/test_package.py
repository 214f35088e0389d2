"""What is built installs elsewhere and runs there: wheel, source archive, Debian package."""

import contextlib
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from pybootd import __version__
from pybootd.lab.network import PATH

TOP = Path(__file__).parents[2]
INI = "[bootp]\nmode = proxy\n[tftp]\nroot = .\n"
# another system on top of this one: nothing of this one is written
OVER = """
mount -t tmpfs tmpfs {folder}
cd {folder}
mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root || exit 33
mount -t proc proc root/proc
mount --rbind /dev root/dev
cp {deb} root/pybootd.deb  # it may lie on another file system, which the overlay does not show
exec chroot root sh -c {script}
"""


def run(*words, cwd=None):
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source():
    """Copy what git knows: pip writes into the folder that it builds from."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        names = run("git", "ls-files", "-coz", "--exclude-standard", cwd=TOP).split("\0")[:-1]
        for name in names:
            there = folder / "source" / name
            there.parent.mkdir(parents=True, exist_ok=True)
            if (TOP / name).exists():  # else it is taken away, but not yet committed
                there.write_bytes((TOP / name).read_bytes())
                there.chmod((TOP / name).stat().st_mode)
        yield folder


@pytest.mark.timeout(300)
@pytest.mark.net("git")
def test_wheel_and_source_archive(source):
    """The wheel is made of the source archive, and has every file of the package."""
    build = "from setuptools import build_meta as b; print(b.build_sdist('..'))"
    sdist = run(sys.executable, "-c", build, cwd=source / "source").split()[-1]
    run("tar", "-xf", sdist, cwd=source)
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    unpacked = source / f"pybootd-{__version__}"
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", source, unpacked)
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("pybootd/")}
    package = source / "source" / "pybootd"
    files = (path for path in package.rglob("*.*") if path.suffix != ".pyc" and path.is_file())
    assert packed == {str(path.relative_to(source / "source")) for path in files}

    run(sys.executable, "-m", "venv", "--without-pip", source / "venv")
    bin_ = source / "venv" / "bin"
    (site,) = (source / "venv").glob("lib/*/site-packages")
    run(*pip, "--python", bin_ / "python", "install", "--no-deps", wheel)
    # there is no network here: what else it needs comes from the tests' environment
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    assert run(bin_ / "pybootd", "--version", cwd="/") == f"pybootd {__version__}\n"
    assert run(bin_ / "pybootd", "--sample", cwd="/") == (package / "etc/pybootd.ini").read_text()
    (source / "pybootd.ini").write_text(INI)
    said = run(bin_ / "python", "-m", "pybootd", "--check", cwd=source)
    assert said == "pybootd.ini: no fault found\n"


@pytest.mark.timeout(300)
@pytest.mark.net("git", "dpkg-deb", "curl")
def test_the_debian_package_is_installed_and_serves(source, lan):
    """As it comes: the service isn't started where policy-rc.d says no; by hand it serves."""
    if not Path("/usr/bin/python3").exists():
        pytest.skip("this system has no python3 of Debian's")
    server, client = lan
    run("sh", source / "source/packaging/deb.sh", sys.executable, source, cwd=source / "source")
    (deb,) = source.glob("*.deb")
    script = """'
        printf "#!/bin/sh\\nexit 101\\n" >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
        dpkg --force-depends -i /pybootd.deb && pybootd --version && pybootd --check || exit 34
        ls /lib/systemd/system/pybootd.service /usr/share/man/man8/pybootd.8.gz || exit 35
        echo "boot me" >/srv/tftp/pxelinux.0
        exec pybootd -c /etc/pybootd.ini
    '"""
    with tempfile.TemporaryDirectory() as folder:
        over = OVER.format(folder=folder, deb=deb, script=script)
        log = source / "deb.log"
        with log.open("w") as said:
            process = server.popen("unshare", "-m", "sh", "-c", over, stdout=said, stderr=said)
        deadline = time.monotonic() + 150
        while 69 not in server.udp_ports():
            if process.poll() == 33:
                pytest.skip("this system has no overlays")
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        client.ip("address", "add", "192.168.1.9/24", "dev", "eth0")
        got = client.run("curl", "-s", "--max-time", "9", "tftp://192.168.1.1/pxelinux.0")
        assert got.stdout == "boot me\n"
        process.terminate()
        assert process.wait(10) == 0, log.read_text()
    assert f"pybootd {__version__}\n" in log.read_text()


# what people are helped with


def spoken():
    """Every option of the command line, and every command."""
    from pybootd import cli

    options = {word for action in cli._parser()._actions for word in action.option_strings}
    return options, set(cli.COMMANDS)


def complete(*words):
    """Ask bash what it would offer for the last word."""
    asked = " ".join(f"'{word}'" for word in words)
    script = f"""
        . etc/pybootd.bash
        COMP_WORDS=({asked}); COMP_CWORD={len(words) - 1}
        _pybootd; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = {"PATH": f"{Path(sys.executable).parent}:{PATH}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=TOP, env=path, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return set(done.stdout.split())


@pytest.mark.net("bash")
def test_bash_completes_options_and_commands(tmp_path):
    options, commands = spoken()
    assert complete("pybootd", "") == options | commands
    assert complete("pybootd", "dem") == {"demo"}
    assert complete("pybootd", "-d", "--c") == {"--config", "--check"}
    assert {"-c", "--config", "--json", "--release"} <= complete("pybootd", "leases", "")
    (tmp_path / "my.ini").touch()
    assert complete("pybootd", "-c", f"{tmp_path}/m") == {f"{tmp_path}/my.ini"}


def test_the_manual_page_names_every_option_and_command():
    pytest.importorskip("docutils")
    with contextlib.ExitStack() as undone:
        sys.path.insert(0, str(TOP / "packaging"))
        undone.callback(sys.path.remove, str(TOP / "packaging"))
        import man
    page = man.page().replace(r"\-", "-")
    options, commands = spoken()
    assert not {word for word in options - {"-h", "--help"} | commands if word not in page}
    assert '.TH "pybootd" "8"' in page.replace("PYBOOTD", "pybootd")
    assert f'"pybootd {__version__}"' in page
    # every table has one column that takes the room left, so that none is wider than a terminal
    assert page.count("\n.TS\n") == len(re.findall(r"^(?:lw.*\|)?lx(?:\|lw.*)?\.$", page, re.M))
    assert "pool_start" in page
