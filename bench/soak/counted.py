"""The daemon, and on SIGUSR2 a count of what it holds: ``python counted.py INI COUNTS``."""

import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path

from pybootd.daemon import Daemon
from pybootd.observe.log import handlers


def count(daemon: Daemon) -> dict[str, float]:
    """Count what the daemon holds now; ``rss`` in MB (10^6 octets)."""
    gc.collect()
    # workers stay, below their limit, for the next call
    workers = sum(pool._threads for pool in daemon.loop._pools.values())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "descriptors": len(list(Path("/proc/self/fd").iterdir()))
        - 1,  # less the one that lists them
        "watched": daemon.loop.watched,
        "timers": sum(timer.callback is not None for _, _, timer in daemon.loop._timers),
        "threads": threading.active_count() - workers,
    }


def main(ini: Path, counts: Path) -> None:
    """Serve until it is ended."""
    daemon = Daemon.from_file(ini, ("bootp", "tftp", "httpd"))

    def told(number: int, frame: object) -> None:
        written = counts.with_suffix(".new")
        written.write_text(json.dumps(count(daemon)))
        written.rename(counts)

    signal.signal(signal.SIGUSR2, told)
    handlers.open_log(daemon.config.logger, False)
    daemon.run(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
