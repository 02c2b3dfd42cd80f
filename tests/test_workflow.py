"""The real Snakefile in a copy of the tree: what it plans, what it makes anew, what it refuses.

The notebooks are stubs of the real ones: their parameters and their imports, but they only write the files that the
workflow waits for. So the workflow is tested against what the real notebooks declare, in seconds.
"""

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import v4

from helpers import notebooks, paths

KINDS = ("pdf", "png", "csv")
PAPER_FIGURES = ("figure1", "table1", "accuracy", "answering", "table2", "ablation")
PAPER_TABLES = (
    *("table1", "table2", "protocols", "bootstrap", "seeds", "differences", "paired", "unreadable"),
    *("categories", "classes", "confusions", "look_alikes", "leakage", "comparison"),
)
MODES = ("text_only", "image_text", "hybrid", "printed")
WRITES = {  # below output_dir or, where there is none, run_dir
    "00_base_models": ["tiny/config.json"],
    "01_data_generation": ["texts.jsonl", "questions.jsonl"],
    "02_dataset_build": [*(f"{mode}.jsonl" for mode in MODES), "questions.jsonl", "audit.json"],
    "03_qlora_finetuning": ["adapter/weights", "resources.json", "losses.csv", "checkpoints/last"],
    "04_evaluation": ["answers.jsonl", "timings.json"],
    "05_ablation": ["answers.jsonl", "timings.json"],
    "06_resources": ["results/resources.csv", *(f"figures/figure2.{kind}" for kind in KINDS)],
    "07_paper": [
        *(f"results/{name}.csv" for name in PAPER_TABLES),
        *(f"figures/{name}.{kind}" for name in PAPER_FIGURES for kind in KINDS),
    ],
    "08_grid": ["epochs.csv", *(f"figures/epochs.{kind}" for kind in KINDS)],
    "09_own_classes": ["results/verdict.csv", *(f"figures/verdict.{kind}" for kind in KINDS)],
}
BODY = """
from helpers.paths import resolve
for name in {files!r}:
    file = resolve({folder}) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.write_text("made")
"""
SMALL = ["--config", "profile=small"]  # nine runs
ALL_OF_SMALL = {"generate": 1, "build": 1, "finetune": 1, "evaluate": 2, "ablate": 2, "resources": 1, "paper": 1}


def write_stub(name: str, folder: Path) -> None:
    cells = notebooks.code_cells(paths.NOTEBOOKS / f"{name}.ipynb")
    parameters = next(cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    imports = re.findall(
        r"^(?:from|import) helpers[\w.]*(?: import [^\n(]+)?$", "\n".join(c["source"] for c in cells), re.M
    )
    target = "output_dir" if "output_dir" in parameters else "run_dir"
    stub = v4.new_notebook(
        cells=[
            v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            v4.new_code_cell("if False:\n" + textwrap.indent("\n".join(imports), "    ")),
            v4.new_code_cell(BODY.format(files=WRITES[name], folder=target).strip()),
        ]
    )
    nbformat.write(stub, folder / f"{name}.ipynb")


def make_tree(folder: Path) -> Path:
    """What the workflow reads; models, data and notebooks are stubs. Profile `small`: one model, one mode."""
    for name in ("src", "profiles", "grids"):
        shutil.copytree(paths.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(paths.ROOT / "Snakefile", folder)
    small = yaml.safe_load((folder / "profiles/smoke.yaml").read_text())
    small |= {"modes": ["text_only"], "models": {"qwen2_vl": small["models"]["qwen2_vl"]}}
    (folder / "profiles/small.yaml").write_text(yaml.safe_dump(small))
    for file in ("butterflies.csv", "culture.csv", "reported.csv"):
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / file).write_text("a\n")
    for model in ("tiny-qwen2-vl", "tiny-llava-next"):
        (folder / "data/models" / model).mkdir(parents=True)
        (folder / "data/models" / model / "config.json").write_text("{}")
    (folder / "notebooks").mkdir()
    for name in WRITES:
        write_stub(name, folder / "notebooks")
    return folder


def snakemake(tree: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    done = subprocess.run(
        command, cwd=tree, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120
    )
    return done.returncode, done.stdout


def plan(tree: Path, *arguments: str) -> dict[str, int]:
    """Jobs a rule that a dry run announces, without `all`."""
    status, output = snakemake(tree, "-n", *arguments)
    assert status == 0, output
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}
    assert jobs or "Nothing to be done" in output
    return {rule: count for rule, count in jobs.items() if rule not in ("all", "total")}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in which nothing has been made."""
    return make_tree(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in which everything of profile `small` has been made."""
    tree = make_tree(tmp_path_factory.mktemp("finished"))
    status, output = snakemake(tree, *SMALL)
    assert status == 0, output
    assert "[1/9] 01_data_generation butterfly started" in output
    assert "[9/9] 07_paper" in output
    return tree


@pytest.fixture
def change() -> Iterator[Callable[[Path, Callable[[str], str]], None]]:
    """Edit a file for one test; an edit to `None` takes the file away."""
    before: dict[Path, str] = {}

    def edit_file(file: Path, edit: Callable[[str], str | None]) -> None:
        before[file] = file.read_text()
        text = edit(before[file])
        file.unlink() if text is None else file.write_text(text)

    yield edit_file
    for file, text in before.items():
        file.write_text(text)


def test_one_seed_of_the_demo_is_twenty_runs_and_three_seeds_are_44(fresh):
    one = {"generate": 1, "build": 1, "finetune": 4, "evaluate": 6, "ablate": 6, "resources": 1, "paper": 1}
    assert plan(fresh) == one
    assert plan(fresh, "--config", "seeds=0,1,2") == one | {"finetune": 12, "evaluate": 14, "ablate": 14}


def test_nothing_is_made_anew_when_nothing_or_only_a_time_stamp_changed(finished):
    for file in [*finished.glob("notebooks/*"), *finished.glob("data/**/*.*"), *finished.glob("src/**/*.py")]:
        file.touch()
    assert plan(finished, *SMALL) == {}


def test_a_finished_training_leaves_no_checkpoints(finished):
    run = finished / "runs/small/training/qwen2_vl/butterfly/text_only/main/seed0"
    assert sorted(file.name for file in run.iterdir()) == ["adapter", "losses.csv", "resources.json"]


@pytest.mark.parametrize(
    ("file", "made_anew"),
    [
        ("src/helpers/training.py", {"finetune": 1, "evaluate": 1, "ablate": 1, "resources": 1, "paper": 1}),
        ("src/helpers/figures/concept.py", {"resources": 1, "paper": 1}),
        ("src/helpers/execute.py", {}),
        ("data/butterflies.csv", ALL_OF_SMALL),
        ("data/models/tiny-qwen2-vl/config.json", ALL_OF_SMALL | {"generate": 0, "build": 0}),
        (
            "runs/small/datasets/butterfly/main/text_only.jsonl",
            ALL_OF_SMALL | {"generate": 0, "build": 0, "evaluate": 1, "ablate": 1},
        ),
    ],
)
def test_a_changed_file_makes_anew_what_depends_on_it_and_nothing_else(finished, change, file, made_anew):
    change(finished / file, lambda text: text + "\n# changed\n")
    assert plan(finished, *SMALL) == {rule: count for rule, count in made_anew.items() if count}


def test_an_evaluation_setting_trains_nothing_anew(finished):
    assert plan(finished, *SMALL, "set=evaluation.batch_size=3") == {"evaluate": 2, "ablate": 2, "paper": 1}


def test_a_grid_runs_only_what_differs_from_the_main_run(finished):
    epochs = finished / "grids/epochs.yaml"
    epochs.write_text(epochs.read_text().replace("profile: demo", "profile: small"))
    again = {"finetune": 4, "evaluate": 4, "grid": 1, "all_grids": 1}
    assert plan(finished, "--config", "grids=epochs", "--", "all_grids") == again
    epochs.write_text(epochs.read_text().replace("3, 6, 12, 24", "1, 2"))  # the profile itself has 1
    status, output = snakemake(finished, "--config", "grids=epochs", "--", "all_grids")
    assert status == 0, output
    assert "03_qlora_finetuning qwen2_vl butterfly text_only training.epochs=2 seed 0 started" in output
    assert plan(finished, "--config", "grids=epochs", "--", "all_grids") == {}


def test_a_failed_run_leaves_no_result_behind_and_says_where_to_look(finished, change):
    change(finished / "notebooks/06_resources.ipynb", lambda text: text.replace('(\\"made\\")', '(\\"made\\"); wings'))
    status, output = snakemake(finished, *SMALL)
    assert status == 1
    assert "FAILED notebooks/06_resources.ipynb, cell 3 (from helpers.paths import resolve): NameError" in output
    assert "log: runs/small/logs/resources.log; partial copy: runs/small/notebooks/resources.failed.ipynb" in output
    assert (finished / "runs/small/notebooks/resources.failed.ipynb").exists()
    assert not (finished / "runs/small/results/resources.csv").exists()


@pytest.mark.parametrize(
    ("broken", "edit", "settings", "message"),
    [
        (None, None, ["seeds=0,x"], "seeds.1 = 'x': Input should be a valid integer"),
        (None, None, ["set=training.epoch=3"], "training: unknown field epoch; the fields here are epochs"),
        (None, None, ["profile=real_sample", "set=domains.kviscuit.path=nowhere"], "no data folder nowhere"),
        ("data/models/tiny-qwen2-vl/config.json", None, ["profile=small"], "no model in data/models/tiny-qwen2-vl"),
        (
            "notebooks/05_ablation.ipynb",
            ("images: list", "pictures: list"),
            ["profile=small"],
            "notebooks/05_ablation.ipynb does not declare the parameter images; it declares model, ",
        ),
    ],
)
def test_bad_input_is_refused_before_any_run(fresh, change, broken, edit, settings, message):
    if broken:
        change(fresh / broken, lambda text: text.replace(*edit) if edit else None)
    status, output = snakemake(fresh, "--config", *settings)
    assert status == 1
    assert message in output
    assert not (fresh / "runs").exists()


def test_the_base_models_can_be_made_where_there_are_none(fresh, change):
    change(fresh / "data/models/tiny-qwen2-vl/config.json", lambda _: None)
    assert plan(fresh, "base_models") == {"base_models": 1}


def test_two_workflows_do_not_write_to_one_profile(fresh):
    fcntl = pytest.importorskip("fcntl")
    (fresh / "runs/smoke").mkdir(parents=True)
    with (fresh / "runs/smoke/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, output = snakemake(fresh, "--config", "profile=smoke")
    shutil.rmtree(fresh / "runs")
    assert status == 1
    assert "another workflow is writing to runs/smoke" in output
