"""Why a run failed: an error in a cell, a dead kernel, too little memory, too little time, or somebody stopped it.

`helpers.workflow.execute` decides which and keeps it in the failed run's manifest. `failure_summary` collects the
failures of a whole workflow.
"""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.workflow import provenance

CELL, DEAD, MEMORY, TIME, STOPPED, INTERRUPTED, KILLED = (
    *("failed cell", "dead kernel", "out of memory", "time limit", "stopped", "interrupted", "killed"),
)
MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError", "_ArrayMemoryError")
MEMORY_WORDS = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|unable to allocate", re.IGNORECASE
)
END = "SLURM_JOB_END_TIME"  # seconds since 1970
CLOSE = 60  # seconds; a job that SLURM ends this close to its limit is taken to have reached it
_SUFFIX = f".failed{provenance.MANIFEST_SUFFIX}"
RUNNING = ".running.ipynb"


class Terminated(KeyboardInterrupt):
    """SIGTERM: sent by a scheduler to a job whose time is up or whose node is needed."""


def of_cell(name: str, message: str) -> str:
    """The kind of failure that an exception in a cell is."""
    return MEMORY if name in MEMORY_ERRORS or MEMORY_WORDS.search(message) else CELL


def of_kernel(status: int | None, killed_for_memory: bool) -> tuple[str, str]:
    """Kind and description for a kernel that died with this exit status (negative: a signal; None: unknown)."""
    if status is None or status >= 0:
        return DEAD, f"the kernel ended without a Python error, exit status {'unknown' if status is None else status}"
    name = signal.Signals(-status).name if -status in {*signal.Signals} else f"signal {-status}"
    if -status == signal.SIGKILL and killed_for_memory:
        return MEMORY, "the system killed the kernel (SIGKILL) because memory ran out"
    if -status == signal.SIGKILL:
        return DEAD, "the kernel was killed (SIGKILL), by hand or by a memory monitor"
    return DEAD, f"the kernel died of {name}: a native library crashed, or was stopped"


def of_interrupt(error: KeyboardInterrupt) -> tuple[str, str]:
    """Kind and description for Ctrl-C and SIGTERM."""
    if not isinstance(error, Terminated):
        return INTERRUPTED, "interrupted"
    end = os.environ.get(END, "")
    if end.isdigit() and time.time() > int(end) - CLOSE:
        return TIME, "ended by SLURM at its time limit (`minutes` under `jobs` in the profile)"
    return STOPPED, "ended by SIGTERM: cancelled, or its node was needed"


def memory_kills() -> int:
    """How many processes the system has killed for lack of memory, on this machine and in this control group."""
    counted = 0
    groups = [line.split(":", 2)[2] for line in _lines("/proc/self/cgroup")]
    files = ["/proc/vmstat", *{f"/sys/fs/cgroup{group.rstrip('/')}/memory.events" for group in groups}]
    for line in (line for file in files for line in _lines(file)):
        if line.startswith("oom_kill "):
            counted += int(line.split()[1])
    return counted


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:  # not on this system
        return []


def failure_summary(executed: Path, since: float) -> str:
    """What failed below a folder of executed notebooks since a time (seconds since 1970), one line per run."""
    found = sorted(_failed(executed, since))
    width = max((len(kind) for kind, _ in found), default=0)
    heading = f"{len(found)} run{'s' * (len(found) != 1)} failed:"
    return "\n".join([heading, *(f"  {kind:{width}}  {line}" for kind, line in found)]) if found else ""


def _failed(executed: Path, since: float) -> Iterator[tuple[str, str]]:
    for file in executed.rglob(f"*{_SUFFIX}"):
        if file.stat().st_mtime >= since:
            content = json.loads(file.read_text(encoding="utf-8"))
            yield content.get("failure") or CELL, content["error"]
    for file in executed.rglob(f"*{RUNNING}"):  # its process was killed before it could remove this file
        if file.stat().st_mtime >= since:
            run = file.relative_to(executed).as_posix().removesuffix(RUNNING)
            log = executed.parent / "logs" / f"{run}.log"
            yield KILLED, f"{run}: the process of the run was killed before it could say why; log: {log}"
