"""A copy of the workflow in which every notebook is a stub, for tests and benchmarks of the workflow itself.

A stub has the real notebook's parameters and imports, but only writes the files that the workflow waits for. So the
real Snakefile, profiles and helpers run, in seconds. What the files hold depends on the parameters alone, as with the
real notebooks: two ways through the same graph must end in the same bytes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import nbformat
import yaml
from nbformat import v4

from helpers import paths
from helpers.workflow import notebooks

KINDS = ("pdf", "png", "csv", "json")
MODES = ("text_only", "image_text", "hybrid", "printed")
PAPER_FIGURES = ("figure1", "table1", "accuracy", "table2", "ablation")
COST_FIGURES = (
    *("figure2", "figure2_column", "resources_tradeoff", "resources_saving", "resources_time"),
    "answering",
)
PAPER_TABLES = (
    *("table1", "table2", "protocols", "bootstrap", "seeds", "differences", "paired", "unreadable"),
    *("categories", "classes", "confusions", "look_alikes", "leakage", "comparison"),
)


def _figures(names: Iterable[str], folder: str = "figures") -> list[str]:
    return [f"{folder}/{name}.{kind}" for name in names for kind in KINDS]


WRITES = {  # below output_dir or, where there is none, run_dir
    "00_base_models": ["tiny/config.json"],
    "01_data_generation": ["texts.jsonl", "questions.jsonl"],
    "02_dataset_build": [*(f"{mode}.jsonl" for mode in MODES), "questions.jsonl", "audit.json"],
    "03_qlora_finetuning": ["adapter/weights", "resources.json", "losses.csv", "resources.parquet", "checkpoints/last"],
    "04_evaluation": [
        "answers.jsonl",
        "timings.json",
        "descriptions.jsonl",
        "descriptions.seconds.json",
        "retention_answers.jsonl",
    ],
    "05_ablation": ["answers.jsonl", "timings.json", "representations.csv"],
    "06_resources": [
        *(f"results/{name}.csv" for name in ("resources", "phases", "operations")),
        *_figures(COST_FIGURES),
    ],
    "07_paper": [*(f"results/{name}.csv" for name in PAPER_TABLES), *_figures(PAPER_FIGURES)],
    "08_grid": ["{grid_name}.csv", *_figures(["{grid_name}"])],
    "09_own_classes": ["results/verdict.csv", *_figures(["verdict"])],
    "10_report": ["report/index.html"],
    "11_playground": [],
    "12_baselines": ["answers.jsonl", "baselines.csv"],
}
BODY = """
from pathlib import Path
import time
time.sleep({seconds})
given = {{name: value for name, value in globals().items() if name in {parameters!r}}}
for name in {files!r}:
    file = Path({folder}) / name.format(**given)
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.write_text(repr(given))
"""


def write_stub(name: str, folder: Path, seconds: float = 0, imports: bool = True) -> None:
    """The stub of one notebook; it sleeps `seconds` before it writes; without `imports` it starts sooner."""
    cells = notebooks.code_cells(paths.NOTEBOOKS / f"{name}.ipynb")
    parameters = next(cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    sources = "\n".join(cell["source"] for cell in cells)
    imported = re.findall(r"^(?:from|import) helpers[\w.]*(?: import [^\n(]+)?$", sources, re.M) if imports else []
    names = notebooks.declared_parameters(paths.NOTEBOOKS / f"{name}.ipynb")
    target = "output_dir" if "output_dir" in names else "run_dir"
    body = BODY.format(files=WRITES[name], folder=target, seconds=seconds, parameters=names)
    stub = v4.new_notebook(
        cells=[
            v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}),
            v4.new_code_cell("if False:\n" + textwrap.indent("\n".join(imported or ["pass"]), "    "), id="imports"),
            v4.new_code_cell(body.strip(), id="body"),
        ]
    )
    nbformat.write(stub, folder / f"{name}.ipynb")


def make_tree(folder: Path, seconds: float = 0, imports: bool = True) -> Path:
    """What the workflow reads; models, data and notebooks are stubs. Profile `small`: one model, one mode."""
    for name in ("src", "config"):
        shutil.copytree(paths.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(paths.ROOT / "Snakefile", folder)
    small = yaml.safe_load((folder / "config/profiles/smoke.yaml").read_text())
    small |= {"modes": ["text_only"], "models": {"qwen2_vl": small["models"]["qwen2_vl"]}}
    (folder / "config/profiles/small.yaml").write_text(yaml.safe_dump(small))
    for file in ("butterflies.csv", "culture.csv", "reported.csv"):
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / file).write_text("a\n")
    for model in ("tiny-qwen2-vl", "tiny-llava-next", "tiny-clip"):
        (folder / "data/models" / model).mkdir(parents=True)
        (folder / "data/models" / model / "config.json").write_text("{}")
    (folder / "notebooks").mkdir()
    for name in WRITES:
        write_stub(name, folder / "notebooks", seconds, imports)
    return folder


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would tie a copied tree to this clone or to a cluster's job."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTEST_CURRENT_TEST"}}
    kept = {name: value for name, value in kept.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    return kept | {"WARM_START": "off"} | more  # stubs import nothing that would be worth it


def command(*arguments: str) -> list[str]:
    """The command line that runs Snakemake with this Python."""
    own = [] if "--workflow-profile" in arguments else ["--workflow-profile", "config/snakemake"]
    return [sys.executable, "-m", "snakemake", *own, *arguments]


def snakemake(tree: Path, *arguments: str, timeout: float = 300, **more: str) -> tuple[int, str]:
    """Exit status and everything printed; `more` is added to the environment."""
    done = subprocess.run(
        command(*arguments),
        cwd=tree,
        env=environment(**more),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=timeout,
    )
    return done.returncode, done.stdout


def results(run: Path) -> dict[str, str]:
    """The hash of every final file of a run by its name; executed copies, logs and manifests carry times, and are out.

    Half-written files would show here too: nothing is left out by its suffix.
    """
    passing = {"notebooks", "logs"}
    files = [file for file in run.rglob("*") if file.is_file() and not passing & set(file.relative_to(run).parts)]
    final = [
        file for file in files if file.name not in {"manifest.json", ".lock", ".running", ".counter", ".counter.done"}
    ]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(final)}
