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
from pathlib import Path

import nbformat
import yaml
from nbformat import v4

from helpers import paths
from helpers.workflow import notebooks

BODY = """
from pathlib import Path
import time
time.sleep({seconds})
given = {{name: value for name, value in globals().items() if name in {parameters!r}}}
for name in {files!r}:
    file = Path(name.format(**given))
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.write_text(repr(given))
"""


def _files(step: str, names: list[str]) -> list[str]:
    """What the stub of a step writes: its files below its own folder, its tables and figures below the run's."""
    made, run = paths.STEPS[step], paths.Layout(Path("{run_dir}"))
    own = "{output_dir}" if "output_dir" in names else str(run.folder(step))
    tables = [str(path) for path in run.made(step) if run.results in path.parents or run.figures in path.parents]
    kept = ["checkpoints/last"] if step == "training" else []
    return [*(f"{own}/{name.replace('{grid}', '{grid_name}')}" for name in (*made.files, *kept)), *tables]


def write_stub(step: str, folder: Path, seconds: float = 0, imports: bool = True) -> None:
    """The stub of one notebook; it sleeps `seconds` before it writes; without `imports` it starts sooner."""
    name = paths.STEPS[step].notebook
    cells = notebooks.code_cells(paths.NOTEBOOKS / f"{name}.ipynb")
    parameters = next(cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    sources = "\n".join(cell["source"] for cell in cells)
    imported = re.findall(r"^(?:from|import) helpers[\w.]*(?: import [^\n(]+)?$", sources, re.M) if imports else []
    names = notebooks.declared_parameters(paths.NOTEBOOKS / f"{name}.ipynb")
    body = BODY.format(files=_files(step, names), seconds=seconds, parameters=names)
    if step == "training":
        body += 'import shutil\nshutil.rmtree(given["output_dir"] + "/checkpoints")\n'
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
    shutil.copytree(paths.DATA / "prompts", folder / "data" / "prompts")
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
    for step in paths.STEPS:
        write_stub(step, folder / "notebooks", seconds, imports)
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
        file
        for file in files
        if file.name
        not in {"manifest.json", ".lock", ".running", ".counter", ".counter.done", ".layout", ".hashes.json"}
    ]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(final)}
