"""Lessons of members, on demand: `python -m helpers.families.lessons KEY... [--steps N] [--output FOLDER] [--seed N]`

Writes a checkpoint and a line of ``lessons.csv`` beside it: what the lesson took, and the gates. Who takes over parts
of another member comes after it.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from helpers.families.gates import gates_before, told_of_unseen
from helpers.families.interface import SHIPPED, Course
from helpers.families.registry import member_class, module_and_class
from helpers.paths import atomic_write

_CARDS = "lessons.csv"


def shortened(course: Course, steps: int | None) -> Course:
    """The course with as many steps, if any are given."""
    return replace(course, steps=steps) if steps else course


def give_lesson(key: str, folder: Path, seed: int = 0, steps: int | None = None) -> dict[str, Any]:
    """Teaches a member, writes its checkpoint and its line of the card, and returns that line."""
    began, member = time.process_time(), member_class(key)(seed)
    course = shortened(member.lesson, steps)
    losses = member.teach(seed, course)
    took = time.process_time() - began
    file = member.save(folder)
    gates = {f"{row.gate} %": round(float(row.percent), 1) for row in gates_before(member).itertuples()}
    told = told_of_unseen(member, 200, shortened(member.reading, steps))
    own = sum(p.numel() for n, p in member.model.named_parameters() if not n.startswith(tuple(member.lends)))
    line = {
        **{"member": key, "seed": seed, "steps": course.steps, "batch": course.batch, "core_seconds": round(took)},
        **{"first_loss": round(losses[0], 2), "last_loss": round(_mean(losses[-max(1, len(losses) // 10) :]), 2)},
        **gates,
        **{"told in words %": round(100 * _mean(told), 1)},
        **{"million_parameters": round(own / 1e6, 3), "megabytes": round(file.stat().st_size / 1e6, 2)},
    }
    _note(line, folder / _CARDS)
    return line


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _note(line: dict[str, Any], file: Path) -> None:
    """Puts the line in the place of the member's former one."""
    known = pd.read_csv(file) if file.is_file() else pd.DataFrame({"member": []})
    table = pd.concat([known[known["member"] != line["member"]], pd.DataFrame([line])])
    with atomic_write(file) as temporary:
        table.sort_values("member").to_csv(temporary, index=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m helpers.families.lessons", description="Teach members.")
    parser.add_argument("member", nargs="+", help="keys, as in helpers.families.registry")
    parser.add_argument("--steps", type=int, help="default: each member's own; fewer are a trial")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for key in given.member:
        module_and_class(key)  # all of them are known before the first lesson begins
    for key in given.member:
        print(give_lesson(key, given.output, given.seed, given.steps))


if __name__ == "__main__":
    main()
