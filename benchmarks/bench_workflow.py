"""What the workflow itself costs: planning, finding nothing to do, and running notebooks that do nothing.

    python benchmarks/bench_workflow.py [--runs 1000] [--notebooks 10] [--output benchmarks/workflow.csv]

The real Snakefile and helpers, in a temporary copy of the tree whose notebooks are stubs (tests/stub_tree.py): one
training, evaluation and ablation a seed, as many seeds as give that many runs.

| work | what is timed |
|---|---|
| plan | a dry run where nothing has been made |
| nothing changed | the command again where all has been made |
| nothing changed, all files newer | the same after `touch` on code and notebooks, which are then hashed |
| papermill alone | its command line on empty notebooks, two at once: the yardstick |
| helpers.workflow.execute alone | the same through the project's own wrapper |
| workflow | the same through Snakemake on two cores; `over_papermill_percent` is what that adds |
| workflow, warm start | the same with the warm start, the start of its server included |
| kernel start | from the start of an empty kernel to its first answer, in the median |
| one notebook, large imports | median run by `helpers.workflow.execute` of one that imports torch, transformers, peft |
| the same, warm start | the same as a fork of a server that has them; its own imports are not counted |

Made files are not computed: each is written once, then `snakemake --touch` records it as made. CPU seconds, which
other work on the machine disturbs less than wall seconds, include child processes.
"""

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbformat import v4

from helpers.paths import ROOT, resolve
from helpers.results.tables import write_csv
from helpers.workflow import execute, preflight
from helpers.workflow.provenance import hardware, package_versions
from helpers.workflow.warm import client

sys.path.insert(0, str(ROOT / "tests"))
import stub_tree

GOALS = {"plan": 20, "nothing changed": 15, "nothing changed, all files newer": 15}  # seconds, at 1000 runs
STEPS_A_SEED = 3
OTHER_RUNS = 8  # data, data set, both evaluations of the untuned model, tables, report
AT_ONCE = 2
KERNELS = 7
NOTEBOOKS = 5
PACKAGES = ("snakemake", "papermill", "ipykernel", "jupyter-client", "nbclient")


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--notebooks", type=int, default=10)
    parser.add_argument("--output", default="benchmarks/workflow.csv")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = stub_tree.make_tree(Path(folder), imports=False)
        rows = [*graph(tree, given.runs), *notebooks(tree, given.notebooks), kernel_start(), *starts(Path(folder))]
    table = pd.DataFrame(rows).assign(**circumstances())
    print(table.iloc[:, :7].to_string(index=False))
    write_csv(table, resolve(given.output))


def circumstances() -> dict[str, Any]:
    """What a number depends on besides the code."""
    versions = " ".join(f"{name}=={version}" for name, version in package_versions(PACKAGES).items())
    load = round(os.getloadavg()[0], 1)
    return {
        "load": load,
        "hardware": hardware(),
        "python": platform.python_version(),
        "packages": versions,
        "date": f"{datetime.now(UTC):%F}",
    }


def timed(work: str, runs: int, act: Callable[[], object]) -> dict[str, Any]:
    """Wall and CPU seconds of what `act` starts as child processes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    act()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = {"work": work, "runs": runs, "wall_seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}
    return row | {"goal_seconds": GOALS.get(work)}


def snakemake(
    tree: Path, *arguments: str, config: list[str], target: list[str] | None = None, warm: str = "off"
) -> str:
    """What it prints; its failure is an error here."""
    options = ["--cores", str(AT_ONCE), *arguments, "--config", "profile=small", *config, "--", *(target or ["all"])]
    status, output = stub_tree.snakemake(tree, *options, timeout=3600, WARM_START=warm)
    if status:
        raise RuntimeError(f"snakemake {' '.join(options)} failed:\n{output}")
    return output


def graph(tree: Path, runs: int) -> list[dict[str, Any]]:
    """Planning, and finding nothing to do."""
    seeds = range(max(1, (runs - OTHER_RUNS) // STEPS_A_SEED))
    config = [f"seeds={','.join(map(str, seeds))}"]
    rows = [timed("plan", runs, lambda: snakemake(tree, "-n", "--quiet", "rules", "host", "reason", config=config))]
    pretend(tree, config)

    def again() -> None:
        if "Nothing to be done" not in (output := snakemake(tree, config=config)):
            raise RuntimeError(f"there was something to be done:\n{output}")

    rows.append(timed("nothing changed", runs, again))
    for file in [*tree.glob("src/**/*.py"), *tree.glob("notebooks/*")]:
        file.touch()
    rows.append(timed("nothing changed, all files newer", runs, again))
    return rows


def pretend(tree: Path, config: list[str]) -> None:
    """Write every output and have it recorded as made."""
    summary = snakemake(tree, "--summary", config=config)
    for name in (line.split("\t")[0] for line in summary.splitlines() if line.count("\t") >= 5):
        file = tree / name / "weights" if name.endswith("/adapter") else tree / name
        if not name.startswith("output_file"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("made")
    snakemake(tree, "--touch", "--forceall", config=config)


def notebooks(tree: Path, count: int) -> list[dict[str, Any]]:
    """The same notebooks alone, through the wrapper, and through the workflow, two at once each time."""
    seeds = range(10_000, 10_000 + count)  # none that the graph has made
    made = [f"runs/small/training/qwen2_vl/butterfly/text_only/main/seed{seed}/resources.json" for seed in seeds]
    notebook, papermill = "notebooks/03_qlora_finetuning.ipynb", [sys.executable, "-m", "papermill"]
    named = ["-k", preflight.KERNEL, "-l", "python"]  # a stub names no kernel
    wrapper = [sys.executable, "-m", "helpers.workflow.execute"]
    alone = [
        [*papermill, notebook, f"alone/{seed}.ipynb", *named, "-p", "output_dir", f"alone/{seed}", "--cwd", "."]
        for seed in seeds
    ]
    wrapped = [
        [*wrapper, notebook, f"wrapped/{seed}.ipynb", "-y", f'{{"output_dir": "wrapped/{seed}"}}'] for seed in seeds
    ]
    for name in ("alone", "wrapped"):
        (tree / name).mkdir()
    config = [f"seeds={','.join(map(str, seeds))}"]
    rows = [
        timed("papermill alone", count, lambda: at_once(tree, alone)),
        timed("helpers.workflow.execute alone", count, lambda: at_once(tree, wrapped)),
        timed("workflow", count, lambda: snakemake(tree, config=config, target=made)),
    ]
    for file in made:
        shutil.rmtree((tree / file).parent)
    rows.append(timed("workflow, warm start", count, lambda: snakemake(tree, config=config, target=made, warm="on")))
    yardstick = rows[0]
    for row in rows[1:]:
        for kind in ("wall", "cpu"):
            over = row[f"{kind}_seconds"] / yardstick[f"{kind}_seconds"] - 1
            row[f"{kind}_over_papermill_percent"] = round(100 * over, 1)
    return rows


def at_once(tree: Path, commands: list[list[str]]) -> None:
    """Run commands, AT_ONCE at a time."""
    environment = stub_tree.environment(PYTHONPATH=str(tree / "src"))

    def run(command: list[str]) -> None:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, commands))


def kernel_start() -> dict[str, Any]:
    """The median over some kernels, one after the other."""
    from jupyter_client.manager import start_new_kernel

    seconds = []
    for _ in range(KERNELS):
        started = time.perf_counter()
        manager, client = start_new_kernel(kernel_name="python3")
        client.execute_interactive("pass", timeout=60)
        seconds.append(time.perf_counter() - started)
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return {"work": "kernel start (median)", "runs": KERNELS, "wall_seconds": round(statistics.median(seconds), 2)}


def starts(folder: Path) -> list[dict[str, Any]]:
    """A notebook with the large imports, in a new Python and as a fork."""
    notebook = v4.new_notebook(
        cells=[
            v4.new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]}),
            v4.new_code_cell("import torch, transformers, peft\nfrom transformers import Trainer"),
        ]
    )
    nbformat.write(notebook, folder / "large.ipynb")
    environment = execute.kernel_environment(1) | {"WARM_START": "off"}
    command = [
        sys.executable,
        "-m",
        "helpers.workflow.execute",
        str(folder / "large.ipynb"),
        str(folder / "large.out.ipynb"),
    ]

    def median(variable: str) -> float:
        seconds = []
        for _ in range(NOTEBOOKS + 1):  # the first finds nothing in the disk's cache, or waits for the server
            started = time.perf_counter()
            subprocess.run(command, env=environment | {"WARM_START": variable}, check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
        return round(statistics.median(seconds[1:]), 2)

    rows = [{"work": "one notebook, large imports (median)", "runs": NOTEBOOKS, "wall_seconds": median("off")}]
    if client.can_serve():
        server = client.WarmServer(environment, heavy=True, log=folder / "warm.log")
        client.wait_until_ready(server.folder, 60)
        warm = {"work": "the same, warm start (median)", "runs": NOTEBOOKS, "wall_seconds": median(server.folder)}
        server.stop()
        rows.append(warm)
    return rows


if __name__ == "__main__":
    main()
