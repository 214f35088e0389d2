"""What a person types: options, commands, exit status.

0: a clean stop; 1: a configuration or start-up error, told in one clear line; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pybootd import __version__
from pybootd.config.ini import ConfigError, find_file

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "boot a virtual machine in a private network and show how it goes",
        "doctor": "look for what on this host and network would keep machines from booting",
        "leases": "list the addresses that clients have, or take one away",
        "probe": "ask the network as a machine's firmware would: would it boot, and why not?",
        "replay": "show a captured boot, why it stopped, and what pybootd would have answered",
        "status": "show what every machine does",
        "why": "show a machine's boot step by step, and why it stopped",
    }
)
"""Every command and what it does; each is a module of ``pybootd.commands`` with a ``main``."""


@dataclass(frozen=True, slots=True)
class CommandOption:
    """One option of the command line; ``value`` names what follows it, "" for a switch."""

    short: str
    long: str
    help: str
    value: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """Return how it is written, short and long."""
        return tuple(flag for flag in (self.short, self.long) if flag)


OPTIONS = (
    CommandOption(
        "-c",
        "--config",
        "configuration file (default: ./pybootd.ini, else /etc/pybootd.ini)",
        "FILE",
    ),
    CommandOption("-p", "--pxe", "BOOTP/DHCP/PXE server only"),
    CommandOption("-t", "--tftp", "TFTP server only"),
    CommandOption("-H", "--http", "also run the HTTP file server"),
    CommandOption("-d", "--debug", "log level debug, tracebacks shown"),
    CommandOption("", "--check", "check the configuration, print every fault, and end"),
    CommandOption("", "--sample", "print a commented sample configuration"),
    CommandOption("", "--version", "print the version"),
)
_EXCLUSIVE = ("--pxe", "--tftp")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon, or the command that the first argument names; return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in COMMANDS:
            return _run_command(arguments[0], arguments[1:])
        return _run_daemon_command(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        return 0


def _run_command(name: str, arguments: list[str]) -> int:
    import importlib

    from pybootd.commands.display import drop_output

    main: Callable[[list[str]], int] = importlib.import_module(f"pybootd.commands.{name}").main
    try:
        return main(arguments)
    except BrokenPipeError:  # the reader, such as head(1), has seen enough
        drop_output()
        return 0


def _parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="pybootd",
        usage="%(prog)s [options]\n       %(prog)s COMMAND ...",
        description="Network-boot machines: BOOTP, DHCP, PXE, TFTP and HTTP in one daemon.",
        epilog=f"commands (pybootd COMMAND --help tells more):\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    only = parser.add_mutually_exclusive_group()
    for one in OPTIONS:
        group = only if one.long in _EXCLUSIVE else parser
        if one.long == "--version":
            version = f"pybootd {__version__}"
            group.add_argument(*one.flags, action="version", version=version, help=one.help)
        elif one.value:
            group.add_argument(*one.flags, metavar=one.value, help=one.help)
        else:
            group.add_argument(*one.flags, action="store_true", help=one.help)
    return parser


def _run_daemon_command(options: argparse.Namespace) -> int:
    if options.sample:
        from pybootd.config.reference import render_sample

        print(render_sample(), end="")
        return 0
    services = ("bootp",) if options.pxe else ("tftp",) if options.tftp else ("bootp", "tftp")
    if options.http:
        services = (*services, "httpd")
    try:
        path = find_file(options.config)
        if options.check:
            return _check_file(path, services)
        return _run_daemon(path, services, options.debug)
    except ConfigError as error:
        for fault in error.faults:
            # with --check the faults are what was asked for, else they are an error
            print(fault, file=sys.stdout if options.check else sys.stderr)
        return 1


def _check_file(path: Path, services: Sequence[str]) -> int:
    from pybootd.daemon import Daemon

    for warning in Daemon.from_file(path, services).config.warnings:
        print(warning)
    print(f"{path}: no fault found")
    return 0


def _run_daemon(path: Path, services: Sequence[str], debug: bool) -> int:
    from pybootd.daemon import Daemon
    from pybootd.observe.log import handlers
    from pybootd.system.privileges import PrivilegeError
    from pybootd.system.sockets import BindError

    try:
        daemon = Daemon.from_file(path, services)
        handlers.hold_log(daemon.config.logger, debug)
        for warning in daemon.config.warnings:
            handlers.log.warning("%s", warning)
        daemon.run(debug)
    except (BindError, PrivilegeError, handlers.LogError, OSError) as error:
        if debug:
            raise
        handlers.close_log()
        problem = error.strerror if isinstance(error, OSError) else error
        print(f"pybootd: {problem}", file=sys.stderr)
        return 1
    return 0
