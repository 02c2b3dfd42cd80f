"""What measuring costs: the same work with the meter and without it, in turns.

    python benchmarks/bench_meter.py [--pairs 8] [--seconds 3] [--output benchmarks/meter.csv]

Two kinds of work, as the meter's threads compete for different things: plain Python (the interpreter's lock) and matrix
products (the core). `threads_percent` is the processor time of all threads but the working one, relative to its own: it
hardly depends on what else the machine does. `wall_percent` and `cpu_percent` compare a metered with a bare run of the
same number of steps (median over the pairs); they need a machine that is otherwise idle (see `machine_load_percent`).
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import psutil

from helpers.provenance import hardware, package_versions
from helpers.resources import Meter
from helpers.tables import write_csv

MATRIX = np.random.default_rng(0).standard_normal((300, 300))


def python_step() -> None:
    """About a millisecond of interpreter."""
    sum(i * i for i in range(10_000))


def matrix_step() -> None:
    """A few milliseconds outside the interpreter's lock."""
    MATRIX @ MATRIX


def steps_in(work: Callable[[], None], seconds: float) -> int:
    """How many steps take about that long."""
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < min(1.0, seconds):
        work()
        steps += 1
    return max(1, int(steps * seconds / min(1.0, seconds)))


def timed(work: Callable[[], None], steps: int) -> tuple[float, float, float]:
    """Wall seconds, processor seconds of all threads, and of the other threads alone, of so many steps."""
    wall, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
    for _ in range(steps):
        work()
    cpu, own = time.process_time() - cpu, time.thread_time() - own
    return time.perf_counter() - wall, cpu, cpu - own


def pair(work: Callable[[], None], steps: int, metered_first: bool) -> tuple[float, float, float]:
    """Percent more wall time and processor time with the meter, and its threads' share; who goes first changes."""

    def metered() -> tuple[float, float, float]:
        with Meter(idle_seconds=0):
            return timed(work, steps)

    if metered_first:
        with_meter, bare = metered(), timed(work, steps)
    else:
        bare, with_meter = timed(work, steps), metered()
    wall, cpu = (100 * (with_meter[i] / bare[i] - 1) for i in (0, 1))
    return wall, cpu, 100 * with_meter[2] / (with_meter[1] - with_meter[2])


def main() -> None:
    """Print the overheads and write them to a CSV."""
    parser = argparse.ArgumentParser(description="Overhead of helpers.resources.Meter")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("meter.csv"))
    given = parser.parse_args()
    rows = []
    for work in (python_step, matrix_step):
        steps = steps_in(work, given.seconds)
        overheads = [pair(work, steps, metered_first=bool(turn % 2)) for turn in range(given.pairs)]
        medians = map(statistics.median, zip(*overheads, strict=True))
        columns = ("wall_percent", "cpu_percent", "threads_percent")
        rows.append({"work": work.__name__, "pairs": given.pairs, **dict(zip(columns, medians, strict=True))})
    table = (
        pd.DataFrame(rows)
        .round(2)
        .assign(
            machine_load_percent=psutil.cpu_percent(1.0),
            hardware=hardware(),
            python=platform.python_version(),
            codecarbon=package_versions(["codecarbon"])["codecarbon"],
            date=datetime.now(UTC).date().isoformat(),
        )
    )
    print(table.T.to_string(header=False))
    write_csv(table, given.output)


if __name__ == "__main__":
    main()
