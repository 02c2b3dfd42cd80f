"""Search for inputs that break a parser's promise, led by which lines of the project they reach (atheris, libFuzzer).

    python -m pip install --target ../atheris atheris==3.0.0      # Python 3.11 to 3.13 on Linux; no part of the lock
    PYTHONPATH=src:../atheris python tests/fuzz/search.py --minutes 60 --folder runs/fuzz

Each target of `targets.py` has its share of the minutes, which are minutes of the processor and not of the clock. What
was tried and found goes to `findings.json` in the folder, an input that broke a promise beside it; a second search goes
on from the first one's corpus. With --keep, the smallest inputs that together reach everything that the search reached
replace those in `corpus/`, which `test_corpus.py` tries in every run of the tests.
"""

import argparse
import base64
import contextlib
import hashlib
import importlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
sys.path.insert(0, str(HERE))

SLICE = 30  # seconds of the clock that a target is searched before the next has its turn
SLOWEST = 60  # seconds for one input; more is a finding
MEMORY_MB = 2_048  # more is a finding
LONGEST = 8_192  # bytes of an input; Python reads whole numbers of up to 4,300 digits
KEPT = 64  # inputs a target, at most


def kept(target: str) -> list[bytes]:
    """The inputs of `corpus/`: a text file a target, an input in base64 a line."""
    file = CORPUS / f"{target}.txt"
    return [base64.b64decode(line) for line in file.read_text().splitlines()] if file.is_file() else []


# ---- one process, one target -----------------------------------------------------------------------------------------


def search_one(target: str, folder: Path, seconds: int) -> None:
    """Never returns: libFuzzer ends the process. A finding is noted once for each place, and the search goes on."""
    import atheris
    import targets

    test = targets.TARGETS[target]

    def once(data: bytes) -> None:
        try:
            test(data)
        except Exception as error:
            note(folder, target, data, error)

    corpus = folder / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in (*targets.seeds(target), *kept(target)):
        (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LONGEST}"]
    where = f"-artifact_prefix={folder}/{target}-"
    atheris.Setup(["search", *limits, "-len_control=20", "-print_final_stats=1", where, str(corpus)], once)
    atheris.Fuzz()


def note(folder: Path, target: str, data: bytes, error: Exception) -> None:
    """The shortest input for each kind of error and place."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/src/helpers/" in frame.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "targets.py"
    name = re.sub(r"[^\w.-]", "_", f"{target}-{type(error).__name__}-{place}")
    file = folder / f"{name}.input"
    if not file.exists() or len(data) < file.stat().st_size:
        file.write_bytes(data)
        (folder / f"{name}.txt").write_text("".join(traceback.format_exception(error))[-8_000:], errors="replace")


# ---- all of them -----------------------------------------------------------------------------------------------------


def search(names: list[str], minutes: float, folder: Path) -> dict[str, Any]:
    """Turn by turn until each has had its share of the processor."""
    import atheris

    with atheris.instrument_imports(include=["helpers", "yaml", "bleach"]):
        targets = importlib.import_module("targets")  # once for all: each turn is a fork of this process
    names = names or [*targets.TARGETS]
    folder.mkdir(parents=True, exist_ok=True)
    record_file = folder / "findings.json"
    record = json.loads(record_file.read_text()) if record_file.is_file() else {}
    record = {name: {"inputs": 0, "cpu_seconds": 0.0, "stopped": []} for name in names} | record
    share = minutes * 60 / len(names)
    had = dict.fromkeys(names, 0.0)
    while waiting := [name for name in names if had[name] < share]:
        for name in waiting:
            cpu, inputs, stopped = turn(name, folder)
            had[name] += cpu
            record[name]["cpu_seconds"] = round(record[name]["cpu_seconds"] + cpu, 1)
            record[name]["inputs"] += inputs
            record[name]["stopped"] += stopped
            record_file.write_text(json.dumps(record, indent=1) + "\n")
    return record


def turn(name: str, folder: Path) -> tuple[float, int, list[str]]:
    """Seconds of the processor, inputs tried, and with which words the process ended, if not by itself."""
    log = folder / f"{name}.log"
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        search_one(name, folder, SLICE)
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    said = log.read_text(errors="replace")
    tried = re.findall(r"number_of_executed_units:\s*(\d+)", said) or re.findall(r"^#(\d+)\s", said, re.M)
    words = next(iter(re.findall(r"^(?:==\d+== )?ERROR: .*", said, re.M)), said[-300:])
    return used.ru_utime + used.ru_stime, int(tried[-1]) if tried else 0, [words] if status else []


# ---- what is kept ----------------------------------------------------------------------------------------------------


def keep(names: Iterable[str], folder: Path) -> None:
    """Greedily: the shortest inputs first, each that reaches a step from line to line that none before it did."""
    import targets

    CORPUS.mkdir(exist_ok=True)
    for name in names or targets.TARGETS:
        found = {file.read_bytes() for file in (folder / "corpus" / name).glob("*")} | set(kept(name))
        broke = {file.read_bytes() for file in folder.glob(f"{name}-*.input")}
        chosen: list[bytes] = []
        reached: set[tuple[str, int, int]] = set()
        for data in sorted(found, key=lambda one: (len(one), one)):
            steps = steps_of(targets.TARGETS[name], data)
            if steps - reached and len(chosen) < KEPT:
                chosen.append(data)
                reached |= steps
        lines = [base64.b64encode(data).decode() + "\n" for data in (*chosen, *sorted(broke - set(chosen)))]
        (CORPUS / f"{name}.txt").write_text("".join(lines))
        print(f"{name}: {len(lines)} of {len(found)} inputs kept, {len(reached)} steps from line to line")


def steps_of(test: Any, data: bytes) -> set[tuple[str, int, int]]:
    """The steps from line to line within the project that a target takes on an input."""
    steps: set[tuple[str, int, int]] = set()

    def trace(frame: Any, event: str, _: Any) -> Any:
        if "/src/helpers/" not in frame.f_code.co_filename:
            return None
        last = [0]

        def line(frame: Any, event: str, _: Any) -> Any:
            steps.add((frame.f_code.co_filename, last[0], frame.f_lineno))
            last[0] = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        with contextlib.suppress(Exception):
            test(data)
    finally:
        sys.settrace(None)
    return steps


def main() -> None:
    """Search, then say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--minutes", type=float, default=10, help="of the processor, all targets together")
    parser.add_argument("--folder", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--keep", action="store_true", help="only renew corpus/ from the folder")
    given = parser.parse_args()
    if given.keep:
        return keep(given.targets, given.folder)
    started = time.monotonic()
    record = search(given.targets, given.minutes, given.folder)
    for name, row in record.items():
        findings = len([*given.folder.glob(f"{name}-*.input")]) + len(row["stopped"])
        print(f"{name}: {row['inputs']} inputs in {row['cpu_seconds']:.0f} s of the processor, {findings} findings")
    print(f"{time.monotonic() - started:.0f} s by the clock")
    return None


if __name__ == "__main__":
    main()
