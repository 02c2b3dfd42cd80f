"""Costs that were measured on their own, to stand beside those of a run: trainings in turns, and steps of 7B models."""

from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import BENCHMARKS
from helpers.results.tables.costs import COMPARED_MODES, cost_ratios

IN_TURNS = BENCHMARKS / "costs.csv"  # `benchmarks/bench_costs.py`
ON_A_GPU = BENCHMARKS / "gpu" / "h200.csv"  # measured by hand; `benchmarks/gpu/one.py` takes its place
_CHANGED = ["model", "way", "attention", "lora"]  # text-only and image-text are compared within one way
_NAMES = {"time": "compute_seconds", "memory": "memory_above_model_mb"}
_BESIDE = (
    *("source", "model", "domain", "time", "time_low", "time_high", "memory", "memory_low", "memory_high"),
    *("runs", "hardware", "date"),
)


def trainings_in_turns(file: Path = IN_TURNS) -> pd.DataFrame:
    """The runs of `benchmarks/bench_costs.py`, one row each, with its round as ``seed``; empty without the file."""
    if not file.is_file():
        return pd.DataFrame(columns=["model", "domain", "mode", "seed"])
    return pd.read_csv(file).rename(columns={"round": "seed"})


def steps_on_a_gpu(file: Path = ON_A_GPU) -> pd.DataFrame:
    """Text-only relative to image-text steps, timed in one way; one row per way that has both; empty without the file.

    Columns: model, way, attention, lora, time, memory (allocated, with the weights), hardware, date.
    """
    columns = [*_CHANGED, "time", "memory", "hardware", "date"]
    if not file.is_file():
        return pd.DataFrame(columns=columns)
    steps = pd.read_csv(file)
    text, both = (steps[steps["mode"] == mode] for mode in COMPARED_MODES)
    pairs = text.merge(both, on=[*_CHANGED, "hardware"], suffixes=("", "_both"))
    return pairs.assign(
        time=(pairs["seconds_a_step"] / pairs["seconds_a_step_both"]).round(3),
        memory=(pairs["allocated_gb"] / pairs["allocated_gb_both"]).round(3),
    )[columns]


def costs_beside(resources: pd.DataFrame, in_turns: Path = IN_TURNS, gpu: Path = ON_A_GPU) -> pd.DataFrame:
    """Text-only relative to image-text training from every source: this run, trainings in turns, steps on a GPU.

    ``time`` is in compute seconds (on the GPU's row: per step), ``memory`` above the loaded model (on the GPU's row:
    all that was allocated); `_low` and `_high` are those of one pair of runs. ``source`` names the file.
    """
    turns = trainings_in_turns(in_turns)
    rows = [{"source": "this run", **_named(ratio)} for ratio in cost_ratios(resources).to_dict("records")]
    for ratio in cost_ratios(turns, "median").to_dict("records"):
        of = turns[turns["model"] == ratio["model"]].iloc[0]
        rows.append({"source": "benchmarks/costs.csv", **_named(ratio), "hardware": of["hardware"], "date": of["date"]})
    for step in steps_on_a_gpu(gpu).to_dict("records"):
        ends = {f"{name}{end}": step[name] for name in _NAMES for end in ("_low", "_high")}
        rows.append({"source": "benchmarks/gpu/h200.csv", **step, **ends, "runs": 1})
    return pd.DataFrame(rows, columns=list(_BESIDE)).fillna({"domain": "", "hardware": "", "date": ""})


def _named(ratio: dict[Any, Any]) -> dict[str, Any]:
    costs = {f"{new}{end}": ratio[f"{old}{end}"] for new, old in _NAMES.items() for end in ("", "_low", "_high")}
    return {"model": ratio["model"], "domain": ratio["domain"], "runs": ratio["seeds"], **costs}
