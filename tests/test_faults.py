"""SIGKILL at random moments: the same command goes on, and ends in the same files as if nothing had happened.

Killed are, by turns, a kernel, the process around it (`helpers.execute`) and Snakemake with all that it started, which
is what a machine that loses its power does. FAULT_KILLS says how often (3; the full test is FAULT_KILLS=20, minutes),
FAULT_SEED when and what. The notebooks are stubs (stub_tree): no training here goes on from a checkpoint, which is
the business of test_training.py.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import stub_tree

KILLS = int(os.environ.get("FAULT_KILLS", "3"))
SEED = int(os.environ.get("FAULT_SEED", "0"))
SECONDS = 0.2  # that a stub works before it writes
VICTIMS = ("ipykernel_launcher", "helpers.execute", "snakemake")  # as their command lines have it
FINAL = [f"evaluation/qwen2_vl/butterfly/text_only/main/seed{seed}/answers.jsonl" for seed in (0, 1)]
CONFIG = ("--cores", "2", "--config", "profile=small", "seeds=0,1")
COMMAND = stub_tree.command(*CONFIG, "--", *(f"runs/small/{file}" for file in FINAL))  # six runs


def start(tree: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        COMMAND,
        cwd=tree,
        env=stub_tree.environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def below(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The process and all that it started, as far as they live."""
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def named(processes: list[psutil.Process], name: str) -> list[psutil.Process]:
    found = []
    for each in processes:
        try:
            found += [each] if name in " ".join(each.cmdline()) else []
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


def kill(process: "subprocess.Popen[str]", victim: str, moment: float) -> bool:
    """Wait for a victim of this kind, `moment` more seconds, then SIGKILL. Whether there was one to kill."""
    while process.poll() is None and not named(below(process), victim):
        time.sleep(0.02)
    time.sleep(moment)
    every = below(process)
    chosen = every if victim == "snakemake" else named(every, victim)[:1]
    for each in chosen:
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    return bool(chosen)


def run_with_kills(tree: Path, kills: int, rng: random.Random) -> int:
    """The same command over and over until it succeeds, and how many kills that took."""
    done = 0
    for _ in range(5 * kills + 5):
        process = start(tree)
        if done < kills:
            done += kill(process, VICTIMS[done % len(VICTIMS)], rng.uniform(0, 1.5))
        output, _ = process.communicate(timeout=600)
        if process.returncode == 0 and done == kills:
            return done
        if process.returncode == 0:  # it came to its end before all kills were spent: again
            forget_final(tree)
    raise AssertionError(f"not finished after {done} kills:\n{output}")


def forget_final(tree: Path) -> None:
    """Take the results away, so that there is work again."""
    for file in FINAL:
        (tree / "runs/small" / file).unlink(missing_ok=True)


@pytest.mark.slow
def test_after_kills_the_same_command_ends_in_the_same_files(tmp_path):
    undisturbed, disturbed = (stub_tree.make_tree(tmp_path / name, SECONDS, imports=False) for name in ("a", "b"))
    status, output = stub_tree.snakemake(undisturbed, *COMMAND[3:])
    assert status == 0, output
    assert run_with_kills(disturbed, KILLS, random.Random(SEED)) == KILLS
    expected = stub_tree.results(undisturbed / "runs/small")
    assert len(expected) > 15
    assert stub_tree.results(disturbed / "runs/small") == expected
    left = [str(file) for file in (disturbed / "runs/small").rglob("*.running.ipynb")]
    assert left == []
    status, output = stub_tree.snakemake(disturbed, *COMMAND[3:])
    assert "Nothing to be done" in output
