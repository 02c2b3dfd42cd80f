"""The real Snakefile in a copy of the tree: what it plans, what it makes anew, what it refuses.

The notebooks are stubs of the real ones: their parameters and their imports, but they only write the files that the
workflow waits for. So the workflow is tested against what the real notebooks declare, in seconds.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stub_tree import make_tree, snakemake

SMALL = ["--config", "profile=small"]  # nine runs
ALL_OF_SMALL = {"data": 1, "dataset": 1, "training": 1, "evaluation": 2}
DRAWN_AGAIN = {"ablation": 1, "resources": 1, "paper": 1, "report": 1}
ALL_OF_SMALL |= {"baselines": 1, **DRAWN_AGAIN}


def plan(tree: Path, *arguments: str) -> dict[str, int]:
    """Jobs a rule that a dry run announces, without `all`."""
    status, output = snakemake(tree, "--cores", "2", "-n", *arguments)
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
    status, output = snakemake(tree, "--cores", "2", *SMALL)
    assert status == 0, output
    assert "[ 1/10] 01_data_generation butterfly started" in output
    assert "[10/10] 10_report" in output
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


def test_one_seed_of_the_demo_is_30_runs_and_three_seeds_are_62(fresh):
    one = {"data": 2, "dataset": 2, "training": 8, "evaluation": 12, "baselines": 2, **DRAWN_AGAIN}
    assert plan(fresh) == one
    assert plan(fresh, "--config", "seeds=0,1,2") == one | {"training": 24, "evaluation": 28}


def test_nothing_is_made_anew_when_nothing_or_only_a_time_stamp_changed(finished):
    for file in [*finished.glob("notebooks/*"), *finished.glob("data/**/*.*"), *finished.glob("src/**/*.py")]:
        file.touch()
    assert plan(finished, *SMALL) == {}


def test_a_finished_training_leaves_no_checkpoints(finished):
    run = finished / "runs/small/training/qwen2_vl/butterfly/text_only/main/seed0"
    assert sorted(file.name for file in run.iterdir()) == [
        "adapter",
        "losses.csv",
        "manifest.json",
        "resources.json",
        "resources.parquet",
    ]


@pytest.mark.parametrize(
    ("file", "made_anew"),
    [
        ("src/helpers/training/trainer.py", {"training": 1, "evaluation": 1, **DRAWN_AGAIN}),
        ("src/helpers/results/figures/concept.py", {"baselines": 1, **DRAWN_AGAIN}),
        ("src/helpers/workflow/execute.py", {}),
        ("data/butterflies.csv", ALL_OF_SMALL),
        ("data/models/tiny-qwen2-vl/config.json", ALL_OF_SMALL | {"data": 0, "dataset": 0}),
        (
            "runs/small/datasets/butterfly/main/text_only.jsonl",
            ALL_OF_SMALL | {"data": 0, "dataset": 0, "evaluation": 1, "baselines": 0},
        ),
    ],
)
def test_a_changed_file_makes_anew_what_depends_on_it_and_nothing_else(finished, change, file, made_anew):
    change(finished / file, lambda text: text + "\n# changed\n")
    assert plan(finished, *SMALL) == {rule: count for rule, count in made_anew.items() if count}


@pytest.mark.parametrize(
    ("file", "made_anew"),
    [
        ("data/butterflies.csv", ALL_OF_SMALL),
        ("data/prompts/evaluation.yaml", {"evaluation": 2, "baselines": 1, **DRAWN_AGAIN}),
        ("data/models/tiny-qwen2-vl/config.json", ALL_OF_SMALL | {"data": 0, "dataset": 0}),
        ("src/helpers/results/figures/concept.py", {"baselines": 1, **DRAWN_AGAIN}),
        ("runs/small/datasets/butterfly/main/text_only.jsonl", {"training": 1, "evaluation": 1, **DRAWN_AGAIN}),
        ("runs/small/evaluation/qwen2_vl/butterfly/base/main/seed0/answers.jsonl", {"baselines": 1, **DRAWN_AGAIN}),
    ],
)
def test_an_older_file_in_place_of_a_newer_one_makes_anew_what_depends_on_it(finished, change, file, made_anew):
    """A restored backup, `cp -p`, an unpacked archive: the date says that nothing has changed."""
    change(finished / file, lambda text: text + "\n# as it once was\n")
    os.utime(finished / file, (10**9, 10**9))
    assert plan(finished, *SMALL) == {rule: count for rule, count in made_anew.items() if count}


@pytest.mark.parametrize(("figure", "drawn_by"), [("figure2.pdf", "resources"), ("accuracy.png", "paper")])
def test_a_deleted_figure_is_drawn_again_by_its_notebook_alone(finished, change, figure, drawn_by):
    change(finished / "runs/small/figures" / figure, lambda _: None)
    assert plan(finished, *SMALL) == {drawn_by: 1, "report": 1}


def test_one_figure_is_drawn_again_by_its_notebook_though_nothing_has_changed(finished):
    asked = (
        "--force",
        "--allowed-rules",
        "ablation",
        "resources",
        "paper",
        *SMALL,
        "--",
        "runs/small/figures/table1.png",
    )
    assert plan(finished, *asked) == {"paper": 1}


def test_another_style_draws_every_figure_again_and_trains_nothing(finished, change):
    change(finished / "config/style.yaml", lambda text: text.replace("size: 8 ", "size: 9 "))
    assert plan(finished, *SMALL) == DRAWN_AGAIN


def test_the_page_alone_is_made_anew_from_whatever_is_there(finished, change):
    change(finished / "src/helpers/training/trainer.py", lambda text: text + "\n# changed\n")
    assert plan(finished, "--forcerun", "report", "--allowed-rules", "report", *SMALL, "--", "report") == {"report": 1}


def test_an_evaluation_setting_trains_nothing_anew(finished, change):
    change(finished / "config/profiles/small.yaml", lambda text: text.replace("batch_size: 8", "batch_size: 3"))
    assert plan(finished, *SMALL) == {"evaluation": 2, "baselines": 1, **DRAWN_AGAIN}


def test_a_setting_beside_the_profile_leaves_the_finished_run_alone(finished):
    assert plan(finished, *SMALL, "set=evaluation.batch_size=3") == ALL_OF_SMALL
    assert plan(finished, *SMALL) == {}


@pytest.mark.parametrize("kept", [True, False])
def test_tower_features_are_kept_for_all_runs_where_they_are_remembered_at_all(fresh, kept):
    config = [*SMALL, "seeds=0,1", f"set=training.tower_cache={str(kept).lower()}"]
    status, output = snakemake(fresh, "--cores", "2", "-n", "-p", "--quiet", "host", *config)
    assert status == 0, output
    run = "runs/small+training.tower_cache=True" if kept else "runs/small"
    value = f'"{run}/features/qwen2_vl"' if kept else "null"
    assert re.findall(r'"features_dir": ("[^"]*"|null)', output) == [value] * 2


@pytest.mark.slow
def test_a_grid_runs_only_what_differs_from_the_main_run(finished):
    epochs = finished / "config/grids/epochs.yaml"
    epochs.write_text(epochs.read_text().replace("profile: demo", "profile: small"))
    again = {"training": 4, "evaluation": 4, "grid": 1, "all_grids": 1}
    assert plan(finished, "--config", "grids=epochs", "--", "all_grids") == again
    epochs.write_text(epochs.read_text().replace("3, 6, 12, 24", "1, 2"))  # the profile itself has 1
    status, output = snakemake(finished, "--cores", "2", "--config", "grids=epochs", "--", "all_grids")
    assert status == 0, output
    assert "03_qlora_finetuning qwen2_vl butterfly text_only training.epochs=2 seed 0 started" in output
    assert plan(finished, "--config", "grids=epochs", "--", "all_grids") == {}


def test_a_failed_run_leaves_no_result_behind_and_says_where_to_look(finished, change):
    change(
        finished / "notebooks/06_resources.ipynb", lambda text: text.replace("(repr(given))", "(repr(given)); wings")
    )
    status, output = snakemake(finished, "--cores", "2", *SMALL)
    assert status == 1
    assert "FAILED notebooks/06_resources.ipynb, cell 3 (from pathlib import Path): NameError" in output
    assert "log: runs/small/logs/resources.log; partial copy: runs/small/notebooks/resources.failed.ipynb" in output
    assert "1 run failed:\n  failed cell  FAILED notebooks/06_resources.ipynb, cell 3" in output
    assert (finished / "runs/small/notebooks/resources.failed.ipynb").exists()
    assert not (finished / "runs/small/results/resources.csv").exists()


@pytest.mark.parametrize(
    ("broken", "edit", "settings", "message"),
    [
        (None, None, ["seeds=0,x"], "seeds.1 = 'x': Input should be a valid integer"),
        (
            None,
            None,
            ["set=training.epoch=3"],
            "training: unknown field epoch; did you mean epochs? the fields here are",
        ),
        (None, None, ["profile=real_sample", "set=domains.kviscuit.path=nowhere"], "no data folder nowhere"),
        ("data/models/tiny-qwen2-vl/config.json", None, ["profile=small"], "no model in data/models/tiny-qwen2-vl"),
        (
            "notebooks/04_evaluation.ipynb",
            ("answering: list", "asked: list"),
            ["profile=small"],
            "notebooks/04_evaluation.ipynb does not declare the parameter answering; it declares run_dir, ",
        ),
    ],
)
def test_bad_input_is_refused_before_any_run(fresh, change, broken, edit, settings, message):
    if broken:
        change(fresh / broken, lambda text: text.replace(*edit) if edit else None)
    status, output = snakemake(fresh, "--cores", "2", "--config", *settings)
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
        status, output = snakemake(fresh, "--cores", "2", "--config", "profile=smoke")
    shutil.rmtree(fresh / "runs")
    assert status == 1
    assert "another workflow is writing to runs/smoke" in output


@pytest.mark.slow
def test_two_jobs_that_need_the_card_never_run_at_once(tmp_path):
    tree = make_tree(tmp_path / "t", seconds=1, imports=False)
    names = [f"qwen2_vl/butterfly/text_only/main/seed{seed}" for seed in (0, 1)]
    target = [f"runs/small/training/{name}/resources.json" for name in names]
    config = ["--config", "profile=small", "seeds=0,1", "set=jobs.gpus=1"]
    status, output = snakemake(tree, "--cores", "2", *config, "--", *target)
    assert status == 0, output
    manifests = [
        json.loads((tree / f"runs/small/notebooks/training/{name}.manifest.json").read_text()) for name in names
    ]
    first, second = sorted(manifests, key=lambda manifest: manifest["started"])
    assert first["ended"] <= second["started"]
