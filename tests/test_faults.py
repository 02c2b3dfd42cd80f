"""SIGKILL at random moments: the same command goes on, and ends in the same files as if nothing had happened.

The victims are, in turn, a kernel, the process around it (`helpers.workflow.execute`) and Snakemake with everything
that it started, as in a power failure; with a warm start also its server. FAULT_KILLS says how often (3; the full test
is FAULT_KILLS=20, minutes), FAULT_SEED when and what. The notebooks are stubs (stub_tree); with FAULT_REAL=1 the
shipped grid `smoke` is run as well, on the real notebooks and models, twice: a quarter of an hour of two cores.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers import paths
from helpers.workflow import compare_runs
from helpers.workflow.warm import client

sys.path.insert(0, str(Path(__file__).parent))
import stub_tree

KILLS = int(os.environ.get("FAULT_KILLS", "3"))
SEED = int(os.environ.get("FAULT_SEED", "0"))
REAL = os.environ.get("FAULT_REAL")
SECONDS = 0.2  # that a stub works before it writes
COLD = ("ipykernel_launcher", "helpers.workflow.execute", "snakemake")  # as their command lines have it
SERVER = "helpers.workflow.warm.server"
FORK = "a fork of it"
WARM = (FORK, "helpers.workflow.execute", SERVER, "snakemake")
FINAL = [f"evaluation/qwen2_vl/butterfly/text_only/main/seed{seed}/answers.jsonl" for seed in (0, 1)]
CONFIG = ("--cores", "2", "--config", "profile=small", "seeds=0,1")
COMMAND = stub_tree.command(*CONFIG, "--", *(f"runs/small/{file}" for file in FINAL))  # six runs
GRID = stub_tree.command("--cores", "2", "--config", "grids=smoke", "--", "all_grids")  # ten


def start(tree: Path, command: list[str], warm: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=tree,
        env=stub_tree.environment(WARM_START=warm),
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
    """Those whose command line has the name; forks have that of their server, which comes first."""
    found = []
    for each in processes:
        try:
            found += [each] if (SERVER if name == FORK else name) in " ".join(each.cmdline()) else []
        except psutil.Error:  # it has ended meanwhile
            continue
    return found[1:] if name == FORK else found


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


def run_with_kills(tree: Path, victims: tuple[str, ...], command: list[str], final: list[str], longest: float) -> None:
    """The same command over and over until it succeeds after so many kills, up to `longest` seconds into a victim.

    ``final``: what is taken away where it came to its end before all kills were spent, files or folders of `runs`.
    """
    rng, done = random.Random(SEED), 0
    for _ in range(5 * KILLS + 5):
        process = start(tree, command, "off" if victims == COLD else "on")
        if done < KILLS:
            done += kill(process, victims[done % len(victims)], rng.uniform(0, longest))
        output, _ = process.communicate(timeout=1800)
        if process.returncode == 0 and done == KILLS:
            return
        if process.returncode == 0:  # it came to its end before all kills were spent: again
            for name in final:
                whole = tree / "runs" / name
                shutil.rmtree(whole) if whole.is_dir() else whole.unlink(missing_ok=True)
    raise AssertionError(f"not finished after {done} kills:\n{output}")


def undisturbed(tree: Path, command: list[str], warm: str) -> None:
    status, output = stub_tree.snakemake(tree, *command[3:], timeout=1800, WARM_START=warm)
    assert status == 0, output


def after_it_all(tree: Path, command: list[str], run: str) -> None:
    """Nothing half-written is left, no process, and nothing to do."""
    assert [str(file) for file in (tree / "runs" / run).rglob("*.running.ipynb")] == []
    status, output = stub_tree.snakemake(tree, *command[3:])
    assert status == 0, output
    assert "Nothing to be done" in output


@pytest.mark.slow
@pytest.mark.parametrize("victims", [COLD, WARM], ids=["cold", "warm"])
def test_after_kills_the_same_command_ends_in_the_same_files(tmp_path, victims):
    if victims == WARM and not client.can_serve():
        pytest.skip("no warm start here")
    calm, disturbed = (stub_tree.make_tree(tmp_path / name, SECONDS, imports=False) for name in ("a", "b"))
    undisturbed(calm, COMMAND, "off")
    run_with_kills(disturbed, victims, COMMAND, [f"small/{file}" for file in FINAL], 1.5)
    expected = stub_tree.results(calm / "runs/small")
    assert len(expected) > 15
    assert stub_tree.results(disturbed / "runs/small") == expected
    after_it_all(disturbed, COMMAND, "small")


def real_tree(folder: Path) -> Path:
    """A copy of what the workflow reads."""
    for name in ("src", "config", "notebooks", "data"):
        shutil.copytree(paths.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("Snakefile", "requirements.txt"):
        shutil.copy(paths.ROOT / name, folder)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="a quarter of an hour of two cores: FAULT_REAL=1")
def test_after_kills_a_real_grid_ends_in_the_same_tables(tmp_path):
    calm, disturbed = real_tree(tmp_path / "a"), real_tree(tmp_path / "b")
    undisturbed(calm, GRID, "on")
    run_with_kills(disturbed, WARM, GRID, ["smoke"], 12)
    assert "grids/smoke/smoke.csv" in compare_runs.files_of(calm / "runs/smoke")
    assert compare_runs.differing_files(calm / "runs/smoke", disturbed / "runs/smoke") == []
    after_it_all(disturbed, GRID, "smoke")
