"""What the runs of a grid will cost, estimated from the finished runs of the same profile.

The cost of a step is the median over its finished runs. A run counts as finished if its file exists. Only Snakemake
knows whether the file is up to date, so the estimate can be too low by whatever has changed.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from helpers.workflow.progress import duration

RESULT = {"training": "resources.json", "evaluation": "answers.jsonl"}
_UNKNOWN = "unknown"


class Named(Protocol):
    """A run of a grid."""

    @property
    def mode(self) -> str:
        """The training mode; "base" is not trained."""

    def name(self, step: str) -> str:
        """The folder of the step's result."""


def steps(runs: Sequence[Named]) -> dict[str, list[str]]:
    """The names of each step's results, without repetition."""
    found = {
        "training": [run.name("training") for run in runs if run.mode != "base"],
        "evaluation": [run.name("evaluation") for run in runs],
    }
    return {step: list(dict.fromkeys(names)) for step, names in found.items()}


def cost_estimate(run: Path, wanted: dict[str, list[str]], minutes: float | None) -> str:
    """Two lines: what is finished, and what the rest costs. ``minutes``: of one training, used if none is finished."""
    missing = {s: [n for n in names if not (run / s / n / RESULT[s]).is_file()] for s, names in wanted.items()}
    count, left = sum(map(len, wanted.values())), sum(map(len, missing.values()))
    if not left:
        return f"  finished: all {count} notebooks"
    todo = {step: len(names) for step, names in missing.items() if names}
    seconds = {step: _seconds(run, step) for step in todo}
    if seconds.get("training", 0) is None and minutes is not None:
        seconds["training"] = 60 * minutes
    energy = {"training": _energy(run)} if "training" in todo else {}
    size = {step: _bytes(run, step) for step in todo}
    return (
        f"  finished: {count - left} of {count} notebooks\n"
        f"  the other {left}: {_total(todo, seconds, duration)} one after the other; energy of the training"
        f" {_total(todo, energy, '{:.2g} Wh'.format)}; disk"
        f" {_total(todo, size, lambda value: f'{value / 1e6:.3g} MB')}"
    )


def _total(counts: dict[str, int], each: dict[str, float | None], write: Callable[[float], str]) -> str:
    """The known costs of all steps together, and which steps have no known cost."""
    known = [counts[step] * cost for step, cost in each.items() if cost is not None]
    unknown = [step for step, cost in each.items() if cost is None]
    if unknown and not known:
        return _UNKNOWN
    return f"about {write(sum(known))}" + (f" and {', '.join(unknown)}, which is {_UNKNOWN}" if unknown else "")


def _seconds(run: Path, step: str) -> float | None:
    files = (run / "notebooks" / step).rglob("seed*.manifest.json")
    return _median(_read(file, "seconds") for file in files if ".failed." not in file.name)


def _energy(run: Path) -> float | None:
    return _median(_read(file, "energy_wh") for file in (run / "training").rglob(RESULT["training"]))


def _bytes(run: Path, step: str) -> float | None:
    folders = [file.parent for file in (run / step).rglob(RESULT[step])]
    return _median(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in folders)


def _read(file: Path, field: str) -> float | None:
    value = json.loads(file.read_text(encoding="utf-8")).get(field)
    return float(value) if isinstance(value, int | float) else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
