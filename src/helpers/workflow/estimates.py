"""What the runs of a grid will cost, from those of the same profile that are finished.

Of each step the median over its finished runs counts. A file that is there counts as finished; whether it is still up
to date is Snakemake's to say, so the plan can be too low by what has changed.
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from helpers.workflow.progress import duration

RESULT = {"training": "resources.json", "evaluation": "answers.jsonl"}
_UNKNOWN = "unknown"


class Named(Protocol):
    """A run of a grid."""

    @property
    def mode(self) -> str:
        """How it is trained; base: not."""

    def name(self, step: str) -> str:
        """Where the step's result lies."""


def steps(runs: Sequence[Named]) -> dict[str, list[str]]:
    """The names of each step's results, each once."""
    found = {
        "training": [run.name("training") for run in runs if run.mode != "base"],
        "evaluation": [run.name("evaluation") for run in runs],
    }
    return {step: list(dict.fromkeys(names)) for step, names in found.items()}


def cost_estimate(run: Path, wanted: dict[str, list[str]], minutes: float | None) -> str:
    """Two lines: what is there, and what the rest costs. ``minutes`` of one training, where none is finished."""
    missing = {s: [n for n in names if not (run / s / n / RESULT[s]).is_file()] for s, names in wanted.items()}
    count, left = sum(map(len, wanted.values())), sum(map(len, missing.values()))
    if not left:
        return f"  finished: all {count} notebooks"
    fallback = {"training": None if minutes is None else 60 * minutes}
    seconds = _sum({s: len(names) * _or(_seconds(run, s), fallback.get(s)) for s, names in missing.items() if names})
    energy = _sum(
        {s: len(names) * _or(_energy(run), None) for s, names in missing.items() if s == "training" and names}
    )
    size = _sum({s: len(names) * _or(_bytes(run, s), None) for s, names in missing.items() if names})
    return (
        f"  finished: {count - left} of {count} notebooks\n"
        f"  the other {left}: {_known(seconds, duration)} one after the other; energy of the training"
        f" {_known(energy, '{:.2g} Wh'.format)}; disk {_known(size, lambda value: f'{value / 1e6:.3g} MB')}"
    )


def _or(value: float | None, fallback: float | None) -> float:
    return next((each for each in (value, fallback) if each is not None), float("nan"))


def _sum(parts: dict[str, float]) -> tuple[float, list[str]]:
    """The sum of what is known, and the steps that are not."""
    unknown = [step for step, value in parts.items() if value != value]
    known = sum(value for value in parts.values() if value == value)
    return known, ["*"] if unknown and len(unknown) == len(parts) else unknown


def _known(found: tuple[float, list[str]], write: Any) -> str:
    value, unknown = found
    if unknown == ["*"]:
        return _UNKNOWN
    return f"about {write(value)}" + (f" and {', '.join(unknown)}, which is {_UNKNOWN}" if unknown else "")


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
