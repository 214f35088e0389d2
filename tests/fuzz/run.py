"""Fuzz the targets, keep what reaches new code, and print what was reached.

``python -m tests.fuzz.run --seconds 600``: every target, one after the other; names choose some.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
TOP = HERE.parents[1]
WORK = TOP / "build" / "fuzz"


def corpus_file(name: str) -> Path:
    """Name the archive that holds a target's kept inputs."""
    return HERE / "corpus" / f"{name}.zip"


def kept(name: str) -> Iterator[bytes]:
    """Yield a target's kept inputs."""
    path = corpus_file(name)
    if path.exists():
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                yield archive.read(entry)


def keep(name: str, folder: Path) -> None:
    """Put a folder's inputs into the archive: the same inputs, the same octets."""
    inputs = sorted(
        (file.read_bytes() for file in folder.iterdir()), key=lambda one: (len(one), one)
    )
    with zipfile.ZipFile(corpus_file(name), "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(inputs):
            entry = zipfile.ZipInfo(f"{number:04d}", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)


def fuzz_here(name: str, arguments: list[str]) -> None:
    """Hand one target of this process to the fuzzer, which ends the process."""
    import atheris

    sys.path.insert(0, str(TOP))
    with atheris.instrument_imports(include=["pybootd"]), contextlib.redirect_stdout(io.StringIO()):
        targets = importlib.import_module("tests.fuzz.targets")
    # what merges starts this program again, by its first argument
    atheris.Setup([str(WORK / name / "again"), *arguments], targets.BY_NAME[name].run)
    atheris.Fuzz()


def _child(name: str, *arguments: str) -> tuple[int, str]:
    """Run the fuzzer in its own process; return its exit status and what it said."""
    again = WORK / name / "again"
    command = [sys.executable, "-m", "tests.fuzz.run", "--one", name, "--"]
    again.write_text(f'#!/bin/sh\ncd {TOP}\nexec {shlex.join(command)} "$@"\n')
    again.chmod(0o755)
    done = subprocess.run([again, *arguments], text=True, capture_output=True, errors="replace")
    return done.returncode, done.stdout + done.stderr


def fuzz(name: str, seconds: int, longest: int, words: tuple[bytes, ...]) -> dict[str, object]:
    """Fuzz one target for so long, and keep the inputs that between them reach everything."""
    work = WORK / name
    found, merged = work / "found", work / "merged"
    for folder in (found, merged):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    seeds = importlib.import_module("tests.fuzz.seeds").SEEDS[name]
    for number, data in enumerate([*kept(name), *seeds]):
        (found / f"kept-{number:04d}").write_bytes(data[:longest])
    dictionary = work / "words"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words) + "\n")
    limits = [
        f"-max_len={longest}",
        "-timeout=20",
        "-rss_limit_mb=1500",
        f"-artifact_prefix={work}/",
    ]
    began = time.monotonic()
    status, said = _child(
        name, str(found), f"-max_total_time={seconds}", f"-dict={dictionary}", *limits
    )
    took = time.monotonic() - began
    (work / "log").write_text(said)
    last = re.findall(r"#(\d+)\s.*cov: (\d+) ft: (\d+)", said)
    result: dict[str, object] = {"target": name, "seconds": round(took), "crashed": status != 0}
    result["runs"] = int(last[-1][0]) if last else 0
    if status:
        print(said[said.find("=== Uncaught") :].partition("INFO:")[0])
        print(f"{name}: an input that breaks a promise is kept in {work}; see above")
        return result
    merge, said = _child(name, "-merge=1", *limits, str(merged), str(found))
    if merge or not any(merged.iterdir()):
        print(said[-2000:])
        raise SystemExit(f"{name}: the corpus could not be merged")
    keep(name, merged)
    last = re.findall(r"cov: (\d+) ft: (\d+)", said)
    if last:
        result["edges"], result["features"] = map(int, last[-1])
    return result


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)


def lines_reached(name: str) -> tuple[int, int]:
    """Replay the kept inputs; return how many lines of the target's files ran, and of how many."""
    command = [sys.executable, "-m", "tests.fuzz.run", "--lines", name]
    done = subprocess.run(command, cwd=TOP, text=True, capture_output=True, check=True)
    ran, there = json.loads(done.stdout.splitlines()[-1])
    return ran, there


def lines_here(name: str) -> None:
    """Print both numbers of ``lines_reached``."""
    import coverage

    sys.path.insert(0, str(TOP))
    measuring = coverage.Coverage(data_file=None, source=["pybootd"], config_file=False)
    measuring.start()
    target = importlib.import_module("tests.fuzz.targets").BY_NAME[name]
    for data in kept(name):
        target.run(data)
    measuring.stop()
    ran = there = 0
    for file in target.covers:
        _, statements, _, missing, _ = measuring.analysis2(str(TOP / "pybootd" / file))
        ran, there = ran + len(statements) - len(missing), there + len(statements)
    print(json.dumps([ran, there]))


def _log(name: str) -> Path:
    return WORK / name / "runs.json"


def _runs(name: str) -> list[dict[str, int]]:
    """Return the results of a target's runs since ``build/fuzz`` was made."""
    return json.loads(_log(name).read_text()) if _log(name).exists() else []


def table(names: list[str]) -> str:
    """Sum up all runs since ``build/fuzz`` was made, and the corpus as it is."""
    rows = [("target", "seconds", "runs", "crashes", "inputs", "octets", "edges", "lines reached")]
    for name in names:
        mine = _runs(name)
        ran, there = lines_reached(name)
        edges = [run["edges"] for run in mine if "edges" in run]
        rows.append(
            (
                name,
                str(sum(run["seconds"] for run in mine)),
                str(sum(run["runs"] for run in mine)),
                str(sum(run["crashed"] for run in mine)),
                str(sum(1 for _ in kept(name))),
                str(corpus_file(name).stat().st_size if corpus_file(name).exists() else 0),
                str(edges[-1] if edges else "-"),
                f"{ran} of {there}, {100 * ran // there} %",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def main() -> int:
    """Fuzz; 1 when an input broke a promise."""
    if "--one" in sys.argv:
        fuzz_here(sys.argv[sys.argv.index("--one") + 1], sys.argv[sys.argv.index("--") + 1 :])
    if "--lines" in sys.argv:
        lines_here(sys.argv[-1])
        return 0
    sys.path.insert(0, str(TOP))
    targets = importlib.import_module("tests.fuzz.targets").ALL
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60; 0: none)")
    parser.add_argument(
        "targets", nargs="*", help=f"(all) {', '.join(one.name for one in targets)}"
    )
    options = parser.parse_args()
    chosen = [one for one in targets if not options.targets or one.name in options.targets]
    crashed = False
    for one in chosen if options.seconds else ():
        print(f"{one.name}: {options.seconds} s", flush=True)
        result = fuzz(one.name, options.seconds, one.longest, one.words)
        crashed = crashed or bool(result["crashed"])
        _log(one.name).write_text(json.dumps([*_runs(one.name), result]))
    print(table([one.name for one in chosen]))
    return int(crashed)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
