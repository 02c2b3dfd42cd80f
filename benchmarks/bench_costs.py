"""What the two kinds of training cost, measured in turns: text-only, image-text, text-only, image-text ...

    python benchmarks/bench_costs.py [--rounds 5] [--steps 60] [--out benchmarks/costs.csv]

Both models of the demo, its own settings and batch, drawn butterflies, one thread; each training is a process of its
own. What changes on the machine meanwhile (its clock, other work) meets both kinds alike, so the ratio within a round
is theirs. One row per training, as in `resources.csv`; medians and ranges are printed, and notebook 06 makes its own
(`helpers.results.tables.benchmarks`). Ten minutes of one core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_training import ROOT, make_data

MODES = ("text_only", "image_text")
MEASURED = ("compute_seconds", "compute_of", "seconds", "memory_above_model_mb", "peak_memory_mb", "steps", "hardware")
MARK = "MEASURED "


def worker(given: argparse.Namespace) -> None:
    """One training, in this process; prints its record."""
    import torch

    from helpers.config.profiles import load_profile
    from helpers.models.adapters import add_adapter
    from helpers.models.loading import load_model, load_processor
    from helpers.paths import resolve
    from helpers.schemas import read_samples
    from helpers.training.trainer import finetune

    torch.set_num_threads(1)
    profile = load_profile("demo")
    path = resolve(profile.models[given.model].path)
    settings = profile.training.model_copy(update={"max_steps": given.steps})
    model, family = load_model(path, settings.dtype, settings.four_bit)
    tuned = add_adapter(model, family, settings, seed=0)
    samples, processor = read_samples(given.data / f"{given.worker}.jsonl"), load_processor(path)
    with tempfile.TemporaryDirectory() as output:
        record = finetune(tuned, family, processor, samples, given.data, output, settings, seed=0).resources
    print(MARK + json.dumps({name: record[name] for name in MEASURED} | {"batch": settings.batch_size}), flush=True)


def measure(model: str, mode: str, data: Path, steps: int) -> dict[str, Any]:
    """One training in a process of its own."""
    command = [sys.executable, __file__, "--worker", mode, "--model", model, "--data", str(data)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, "--steps", str(steps)], capture_output=True, text=True, env=environment, check=False
    )
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    raise RuntimeError(f"{model}, {mode} failed:\n{done.stderr[-3000:]}")


def main(given: argparse.Namespace) -> None:
    """All trainings, round by round; writes the table and prints medians with their ranges."""
    import pandas

    from helpers.config.profiles import load_profile
    from helpers.results.tables import trainings_in_turns, write_csv
    from helpers.results.tables.costs import cost_ratios
    from helpers.workflow.provenance import git_state, package_versions

    git = git_state() or {"commit": "none", "dirty": False}
    notes = {
        "commit": git["commit"][:12] + (" with changes" if git["dirty"] else ""),
        "versions": json.dumps(package_versions(("torch", "transformers", "peft", "bitsandbytes"))),
        "date": time.strftime("%Y-%m-%d"),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), given.classes)
        for model in load_profile("demo").models:
            for turn in range(given.rounds):
                for mode in MODES:
                    measured = measure(model, mode, Path(folder), given.steps)
                    rows.append(
                        {"model": model, "domain": "butterfly", "mode": mode, "round": turn, **measured, **notes}
                    )
                    print(model, mode, turn, measured, flush=True)
    write_csv(pandas.DataFrame(rows), given.out)
    turns = trainings_in_turns(given.out)
    costs = ["compute_seconds", "seconds", "memory_above_model_mb"]
    print(turns.groupby(["model", "mode"])[costs].agg(["median", "min", "max"]).to_string())
    print(cost_ratios(turns, "median").dropna(axis="columns").to_string(index=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "costs.csv")
    parser.add_argument("--worker", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    worker(arguments) if arguments.worker else main(arguments)
