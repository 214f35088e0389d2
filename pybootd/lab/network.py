"""Private networks out of Linux namespaces: hosts, switches, the cables between them.

For the demo and for tests of real clients. Nothing is made outside the namespaces, and they have
no names: each is held by its own process, which ends with ours, so nothing stays behind, even
after SIGKILL. Needs root, or an unprivileged user inside ``unshare -Urnm`` (``user_namespace``).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

# a user's PATH often lacks the folders of ip, dhclient and dnsmasq
PATH = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")
)
_NEEDED = ("ip", "nsenter", "unshare", "setpriv", "mount")
CLONE_NEWNET = 0x40000000

# What a client or server writes (addresses of name servers, leases, pids) stays in the namespace,
# and /sys/class/net shows the namespace's interfaces. Each is done where it can be done.
_HOLD = """
mount -t sysfs -o ro sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lib /run/lib.work
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/lib,workdir=/run/lib.work /var/lib
for folder in /var/lib/dhcp /var/lib/dhcpcd; do
    [ -d $folder ] && mount -t tmpfs -o mode=755 tmpfs $folder
done
: > /run/resolv.conf && [ -e /etc/resolv.conf ] && mount --bind /run/resolv.conf /etc/resolv.conf
ip link set dev lo up
echo held
exec cat
"""


class NetworkError(Exception):
    """A private network can't be built, or a command in it failed; the text is one for people."""


def which(program: str) -> str | None:
    """Find a program on the PATH or where system programs are; None when it isn't installed."""
    return shutil.which(program, path=PATH)


@functools.cache
def missing(*programs: str) -> str:
    """Say in a few words why no private network with these programs can be built; "" if it can."""
    if sys.platform != "linux":
        return "needs Linux"
    lacking = [name for name in (*_NEEDED, *programs) if which(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if os.geteuid() != 0:
        return "needs root"
    tried = _output(["unshare", "--net", "--mount", "true"])
    return "" if tried.returncode == 0 else f"no right to make namespaces: {tried.stderr.strip()}"


def user_namespace(command: Sequence[str]) -> None:
    """Become ``command`` as root of a user namespace; raises NetworkError where that is refused."""
    if sys.platform != "linux" or which("unshare") is None:
        raise NetworkError("not root, and without user namespaces (Linux, util-linux) it must be")
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    tried = _output([*unshare, "true"])
    if tried.returncode != 0:
        reason = tried.stderr.strip()
        raise NetworkError(f"not root, and the system allows no user namespace: {reason}")
    os.execvpe(unshare[0], [*unshare, *command], {**os.environ, "PATH": PATH})  # noqa: S606


def _output(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False
    )


class Namespace:
    """A network and mount namespace: one machine on the private network, or a switch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._holder: subprocess.Popen[str] | None = None
        self._inside = ""
        self._started: list[subprocess.Popen[str]] = []

    def open(self) -> None:
        """Make it, with its loopback up. Raises NetworkError."""
        command = ["unshare", "--net", "--mount", "sh", "-c", _HOLD]
        self._holder = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end is the namespace's end
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": PATH},
            text=True,
            start_new_session=True,  # Ctrl-C is for us to handle, in order
        )
        if _pipe(self._holder.stdout).readline() != "held\n":
            self.close()
            raise NetworkError(f"no namespace for {self.name}: {missing() or 'unshare failed'}")
        self._inside = _identity(self._holder.pid)
        if self._inside == _identity("self"):  # close() ends whatever runs in it
            raise NetworkError(f"{self.name} is not a separate namespace")

    @property
    def pid(self) -> int:
        """The process that holds the namespace."""
        if self._holder is None:
            raise NetworkError(f"{self.name} is not open")
        return self._holder.pid

    def command(self, *words: str | Path, cwd: Path | None = None) -> list[str]:
        """Return the command line that runs ``words`` inside."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount"]
        # joining a mount namespace forgets the working directory
        return [*enter, "env", f"--chdir={cwd or Path.cwd()}", *map(str, words)]

    def run(
        self,
        *words: str | Path,
        timeout: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end, its output captured as text.

        ``timeout`` in seconds. Raises NetworkError when it hangs or, with ``check``, fails. What
        the command leaves running must not keep its output open.
        """
        shown = " ".join(map(str, words))
        try:
            with self.popen(
                *words, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process:
                try:
                    output, errors = process.communicate(timeout=timeout)
                finally:
                    process.kill()
        except subprocess.TimeoutExpired:
            raise NetworkError(f"{self.name}: {shown}: not done after {timeout:g} s") from None
        if check and process.returncode != 0:
            said = errors.strip() or output.strip() or f"exit {process.returncode}"
            raise NetworkError(f"{self.name}: {shown}: {said}")
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def popen(
        self,
        *words: str | Path,
        stdin: int | IO[str] | None = subprocess.DEVNULL,
        stdout: int | IO[str] | None = None,
        stderr: int | IO[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command inside; it ends with the namespace, or with the thread that started it.

        ``env`` is added to the environment. The process's id is the command's own.
        """
        self._started = [process for process in self._started if process.poll() is None]
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.command(*words, cwd=cwd)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "PATH": PATH, **(env or {})},
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def ip(self, *words: str) -> str:
        """Run ``ip`` inside and return its output. Raises NetworkError."""
        return self.run("ip", *words).stdout

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread's new sockets be the namespace's; those made before stay where they are.

        Only the network: files, /sys too, are those outside.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        here, there = Path("/proc/thread-self/ns/net"), Path(f"/proc/{self.pid}/ns/net")
        with here.open() as outer, there.open() as inner:
            if libc.setns(inner.fileno(), CLONE_NEWNET):
                raise NetworkError(f"can't enter {self.name}: {os.strerror(ctypes.get_errno())}")
            try:
                yield
            finally:
                libc.setns(outer.fileno(), CLONE_NEWNET)

    def processes(self) -> list[int]:
        """List the processes inside, the holder left out."""
        pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        holder = self._holder.pid if self._holder else 0
        return [pid for pid in pids if pid != holder and _identity(pid) == self._inside]

    def close(self) -> None:
        """End every process inside, those that became daemons too, and the namespace with them."""
        holder = self._holder
        if holder is None:
            return
        if self._inside:
            self._end_processes()
        _pipe(holder.stdin).close()
        _pipe(holder.stdout).close()
        holder.wait()
        self._holder, self._inside = None, ""

    def _end_processes(self) -> None:
        for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + patience
            for started in self._started:
                if started.poll() is None:
                    started.send_signal(number)
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while time.monotonic() < deadline:
                running = [process for process in self._started if process.poll() is None]
                if not running and not self.processes():
                    break
                time.sleep(0.01)
        self._started.clear()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def end_process(process: subprocess.Popen[str], timeout: float) -> int:
    """End a process with SIGTERM, ``timeout`` seconds later with SIGKILL; return its status."""
    process.terminate()
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _identity(pid: int | str) -> str:
    """Name the network namespace of a process; "" when it has ended or isn't ours to look at."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise TypeError("not a pipe")
    return pipe


class Host(Namespace):
    """A machine on the private network; its interfaces are called eth0, eth1 in order."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._plugs = itertools.count()

    def plug(self, switch: Switch, *addresses: str, mac: str = "", mtu: int = 1500) -> str:
        """Put a cable into a switch and return the interface's name.

        ``addresses`` as ``10.7.0.1/24``; there is no default route unless one is added by ``ip``.
        """
        name, port = f"eth{next(self._plugs)}", switch.next_port("port")
        own = ["address", mac] if mac else []
        size = ["mtu", str(mtu)]
        peer = ["peer", "name", port, *size, "netns", str(switch.pid)]
        self.ip("link", "add", name, *own, *size, "type", "veth", *peer)
        switch.attach(port)
        # no IPv6 address: its neighbour discovery would only be noise in captures
        self.ip("link", "set", "dev", name, "addrgenmode", "none", "up")
        for address in addresses:
            self.ip("address", "add", address, "broadcast", "+", "dev", name)
        return name

    def mac(self, interface: str = "eth0") -> str:
        """Return an interface's hardware address, as ``52:54:00:12:34:56``."""
        words = self.ip("-oneline", "link", "show", "dev", interface).split()
        return words[words.index("link/ether") + 1]

    def udp_ports(self) -> set[int]:
        """List the UDP ports (IPv4) that something on this host is bound to."""
        table = Path(f"/proc/{self.pid}/net/udp").read_text(encoding="ascii")
        # proc(5): the second column is ADDRESS:PORT in hexadecimal
        return {int(row.split()[1].partition(":")[2], 16) for row in table.splitlines()[1:]}


class Switch(Namespace):
    """An Ethernet switch: a bridge that forwards from the first frame on."""

    BRIDGE = "br0"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._ports = itertools.count()

    def open(self) -> None:
        """Make it, without a cable in it. Raises NetworkError."""
        super().open()
        try:
            bridge = ["type", "bridge", "forward_delay", "0", "mcast_snooping", "0"]
            self.ip("link", "add", self.BRIDGE, *bridge)
            self.ip("link", "set", "dev", self.BRIDGE, "addrgenmode", "none", "up")
        except BaseException:
            self.close()
            raise

    def next_port(self, kind: str) -> str:
        """Return a name for one more port."""
        return f"{kind}{next(self._ports)}"

    def attach(self, port: str) -> None:
        """Make an interface of this namespace a port of the switch, and open it."""
        self.ip("link", "set", "dev", port, "master", self.BRIDGE, "addrgenmode", "none", "up")

    def tap(self) -> str:
        """Add a port whose cable is a program that runs in this namespace (QEMU); its name."""
        name = self.next_port("tap")
        self.ip("tuntap", "add", "dev", name, "mode", "tap")
        self.attach(name)
        return name


class Network:
    """Hosts and switches that end together; a context manager.

    ::

        with Network() as network:
            lan = network.switch()
            server, client = network.host("server"), network.host("client")
            server.plug(lan, "10.7.0.1/24")
            client.plug(lan)
            client.run("udhcpc", "-i", "eth0", "-n", "-q", "-s", "/bin/true")
    """

    def __init__(self) -> None:
        self._all = contextlib.ExitStack()

    def host(self, name: str) -> Host:
        """Add a host. Raises NetworkError."""
        return self._all.enter_context(Host(name))

    def switch(self, name: str = "switch") -> Switch:
        """Add a switch. Raises NetworkError."""
        return self._all.enter_context(Switch(name))

    def close(self) -> None:
        """End every process in the network, and the network."""
        self._all.close()

    def __enter__(self) -> Self:
        if reason := missing():
            raise NetworkError(reason)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
