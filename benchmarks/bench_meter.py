"""What measuring costs: the same work with the meter and without it, in turns.

    taskset -c 0 python benchmarks/bench_meter.py [--pairs 8] [--seconds 8] [--output benchmarks/meter.csv]

Two kinds of work, as the meter's threads compete for different things: plain Python (the interpreter's lock) and matrix
products (the core). `threads_percent` is the processor time of all threads but the working one, relative to its own: it
hardly depends on what else the machine does. `wall_percent` and `cpu_percent` compare a metered with a bare run of the
same number of steps (median over the pairs); they need a machine that is otherwise idle (see `others_load_percent`: the
cores that others kept busy meanwhile, of 100 a core). `best_percent` compares the fastest metered run with the fastest
bare one: what other work adds to a run only makes it slower, so the fastest of several is the one least disturbed.
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

from helpers.results.tables import write_csv
from helpers.training.meter import Meter
from helpers.workflow.provenance import hardware, package_versions

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


def pair(work: Callable[[], None], steps: int, metered_first: bool) -> tuple[float, ...]:
    """Percent more wall and processor time with the meter, its threads' share, and the seconds with and without it.

    Who goes first changes.
    """

    def metered() -> tuple[float, float, float]:
        with Meter(idle_seconds=0):
            return timed(work, steps)

    if metered_first:
        with_meter, bare = metered(), timed(work, steps)
    else:
        bare, with_meter = timed(work, steps), metered()
    wall, cpu = (100 * (with_meter[i] / bare[i] - 1) for i in (0, 1))
    return wall, cpu, 100 * with_meter[2] / (with_meter[1] - with_meter[2]), with_meter[0], bare[0]


def others_load(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """Percent of one core that other processes used between two readings of `busy`."""
    whole, own, wall = (end - begin for begin, end in zip(before, after, strict=True))
    return 100 * max(0.0, whole - own) / wall


def busy() -> tuple[float, float, float]:
    """Processor seconds of the whole machine and of this process, and the time."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest, time.process_time(), time.perf_counter()


def main() -> None:
    """Print the overheads and write them to a CSV."""
    parser = argparse.ArgumentParser(description="Overhead of helpers.training.meter.Meter")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("meter.csv"))
    given = parser.parse_args()
    rows = []
    for work in (python_step, matrix_step):
        steps, before = steps_in(work, given.seconds), busy()
        overheads = [pair(work, steps, metered_first=bool(turn % 2)) for turn in range(given.pairs)]
        columns = ("wall_percent", "cpu_percent", "threads_percent", "metered_seconds", "bare_seconds")
        each = dict(zip(columns, zip(*overheads, strict=True), strict=True))
        found = {name: statistics.median(values) for name, values in each.items()}
        found["best_percent"] = 100 * (min(each["metered_seconds"]) / min(each["bare_seconds"]) - 1)
        found["others_load_percent"] = others_load(before, busy())
        rows.append({"work": work.__name__, "pairs": given.pairs, **found})
    table = (
        pd.DataFrame(rows)
        .round(2)
        .assign(
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
