"""Notebooks as a reader runs them: by papermill or by hand, from any folder, with one line changed."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from helpers import paths
from helpers.config import SettingsError
from helpers.config.parameters import Parameters
from helpers.config.training import Training
from helpers.results.output import output_of
from helpers.workflow import notebooks, provenance
from helpers.workflow.run_layout import mark_layout

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
TRAINED = "runs/lab/training/qwen2_vl/butterfly"


def space(**values):
    """What a parameters cell leaves behind: annotated names."""
    return {"__annotations__": dict.fromkeys(values, "int"), **values}


# ---- the parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_shows_every_parameter_of_a_notebook(notebook):
    shown = papermill.inspect_notebook(str(notebook))
    assert list(shown) == notebooks.declared_parameters(notebook)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_by_default_no_notebook_writes_where_the_workflow_does(notebook):
    cell = next(c["source"] for c in notebooks.code_cells(notebook) if "parameters" in c["metadata"].get("tags", []))
    assert "runs/demo" not in cell.replace("to look at the demo: runs/demo", "").replace(
        "to see the demo: runs/demo", ""
    )


def test_a_setting_that_is_set_is_merged_over_the_profile_and_the_rest_is_the_profiles():
    given = Parameters(space(profile="demo", lora_rank=4, epochs=..., batch_size=...))
    training = given.settings(Training)
    assert (training.lora_rank, training.epochs, training.batch_size) == (4, 12, 8)
    table = given.table()
    assert table.loc["lora_rank", "from"] == "given"
    assert table.loc["epochs", "from"] == "profile demo"


def test_where_all_is_set_no_profile_is_read():
    given = Parameters(space(profile="no such profile", **Training().model_dump()))
    assert given.settings(Training) == Training()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora_rank": "x"}, r"lora_rank = 'x': Input should be a valid integer"),
        ({"epochs": 0}, r"epochs = 0: Input should be greater than 0"),
        ({"optimizer": "adamm"}, r"optimizer = 'adamm': Input should be 'adamw_torch'"),
    ],
)
def test_an_unfit_value_is_named_with_its_rule(values, message):
    with pytest.raises(SettingsError, match=message):
        Parameters(space(profile="demo", **values)).settings(Training)


def test_a_run_is_named_by_what_differs_from_the_profile():
    given = Parameters(space(profile="demo", variant=..., lora_rank=4, epochs=...))
    given.settings(Training)
    assert given.variant() == "training.lora_rank=4"
    assert given.variant("build.shuffled=True") == "build.shuffled=True+training.lora_rank=4"
    unchanged = Parameters(space(profile="demo", variant=..., lora_rank=16))
    unchanged.settings(Training)
    assert unchanged.variant("main") == "main"
    assert Parameters(space(profile="demo", variant="mine")).variant("main") == "mine"


@pytest.mark.parametrize("cell", ["# Parameters\nsede = 1\n", "seed: int = 0\nsede = 1"])
def test_a_name_that_the_notebook_does_not_have_is_refused_with_the_nearest_one(cell):
    with pytest.raises(SettingsError, match=r"no parameter sede; did you mean seed\? It has seed, mode"):
        Parameters({**space(seed=0, mode="base"), "In": ["", "seed: int = 0", cell]})


def test_a_whole_group_of_settings_is_refused_with_how_one_of_them_is_given():
    injected = "# Parameters\ntraining = {'max_steps': 2}\n"
    with pytest.raises(SettingsError, match=r"no parameter training\. .* Set each by its own name.*-p lora_rank 4"):
        Parameters({**space(seed=0, max_steps=...), "In": ["", injected]})


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (list[str], "text_only", ["text_only"]),  # papermill -p modes text_only: was read letter by letter
        (list[str], "text_only,image_text", ["text_only", "image_text"]),
        (list[str], '["text_only", "image_text"]', ["text_only", "image_text"]),
        (list[str], "", []),
        (list[int], 3, [3]),
        (list[str], ("a", "b"), ["a", "b"]),
        (list[str], ["a"], ["a"]),
        (list[str], ..., ...),
        (list, "a", ["a"]),
        (dict[str, str], '{"a": "b"}', {"a": "b"}),
        (dict, {"a": 1}, {"a": 1}),
        (str, "a,b", "a,b"),
        (int, 3, 3),
    ],
)
def test_a_single_value_is_a_list_of_one_where_a_list_is_declared(kind, value, found):
    cell = {"__annotations__": {"modes": kind}, "modes": value}
    given = Parameters(cell)
    assert given.or_else("modes", ...) == found
    assert cell["modes"] == found  # what the notebook's own cells read


@pytest.mark.parametrize(
    ("kind", "value", "rule"),
    [
        (list[str], None, r"modes is None; it must be a list, such as a,b"),
        (list[str], {"a": 1}, "must be a list"),
        (list[str], "[text_only", "it is not JSON"),
        (dict[str, str], "qwen2_vl", r"it must be a mapping, such as \{\"a\": 1\}"),
        (dict, ["a"], "must be a mapping"),
        (dict, "{a", "it is not JSON"),
        (dict, None, "must be a mapping"),
    ],
)
def test_a_value_that_is_neither_list_nor_mapping_is_refused_by_name(kind, value, rule):
    with pytest.raises(SettingsError, match=rf"parameter modes is .*{rule.removeprefix('modes is ')}"):
        Parameters({"__annotations__": {"modes": kind}, "modes": value})


def test_an_empty_list_of_files_is_no_file_and_never_every_file(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "answers.jsonl").touch()

    def files(value):
        cell = {"__annotations__": {"answer_files": list[str]}, "answer_files": value}
        return Parameters(cell).files("answer_files", tmp_path, "answers.jsonl")

    assert files([]) == []
    assert files(...) == [tmp_path / "a" / "answers.jsonl", tmp_path / "b" / "answers.jsonl"]
    assert files(str(tmp_path / "b" / "answers.jsonl")) == [tmp_path / "b" / "answers.jsonl"]


def test_no_notebook_takes_an_empty_list_of_files_for_all_of_them():
    for notebook in NOTEBOOKS:
        cell = notebooks.parameter_cells(notebook)[0]
        assert not [line for line in cell.splitlines() if "_files: " in line and "= []" in line], notebook.stem


def test_what_was_made_last_is_read_unless_a_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("build.shuffled=True", "main")):
        file = tmp_path / "runs/lab/datasets/butterfly" / name / "questions.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("")
        import os

        os.utime(file, (1000 - age, 1000 - age))
    given = Parameters(space(run_dir="runs/lab", profile="demo", dataset_dir=...))
    assert given.latest("dataset_dir", "dataset", "questions.jsonl", domain="butterfly").name == "build.shuffled=True"
    named = Parameters(space(run_dir="runs/lab", profile="demo", dataset_dir="runs/lab/datasets/butterfly/main"))
    assert named.latest("dataset_dir", "dataset", "questions.jsonl", domain="butterfly").name == "main"
    with pytest.raises(
        FileNotFoundError, match=r"nothing from notebook 02_dataset_build \(domain beetle\) in runs/lab; run"
    ):
        given.latest("dataset_dir", "dataset", "questions.jsonl", domain="beetle")


def test_outside_the_repository_results_go_to_where_one_stands_and_inputs_are_found_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.resolve_output("runs/lab") == tmp_path / "runs/lab"
    assert paths.resolve("data/models/tiny-qwen2-vl") == paths.ROOT / "data/models/tiny-qwen2-vl"
    monkeypatch.chdir(paths.NOTEBOOKS)
    assert paths.resolve_output("runs/lab") == paths.ROOT / "runs/lab"


# ---- the chain -----------------------------------------------------------------------------------------------------


def run(notebook: str, folder: Path, change: tuple[str, str] | None = None, **given: object) -> nbformat.NotebookNode:
    """Execute a notebook by papermill while standing in ``folder``, perhaps with one line of its cells changed."""
    source = next(paths.NOTEBOOKS.glob(f"{notebook}_*.ipynb"))
    if change:
        text = source.read_text(encoding="utf-8")
        assert json.dumps(change[0])[1:-1] in text
        source = folder / source.name
        source.write_text(text.replace(json.dumps(change[0])[1:-1], json.dumps(change[1])[1:-1]), encoding="utf-8")
    arguments = {"cwd": str(folder), "kernel_name": "python3", "progress_bar": False}
    return papermill.execute_notebook(str(source), str(folder / f"{notebook}.ipynb"), parameters=given, **arguments)


def printed(notebook: nbformat.NotebookNode) -> str:
    """All that its cells have printed."""
    return "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """01 to 04 one after the other with nothing but a small profile, from a folder outside the repository."""
    folder = tmp_path_factory.mktemp("elsewhere")
    done = {notebook: run(notebook, folder, profile="smoke") for notebook in ("01", "02", "03", "04")}
    return folder, done


@pytest.mark.slow
def test_the_notebooks_fit_together_by_their_defaults(chain):
    folder, done = chain
    made = f"{TRAINED}/text_only/main/seed0"
    assert (folder / made / "adapter/adapter_model.safetensors").is_file()
    assert (folder / made.replace("training", "evaluation", 1) / "answers.jsonl").is_file()
    assert made in printed(done["04"])


@pytest.mark.slow
def test_another_mode_seed_or_rank_overwrites_no_earlier_run(chain):
    folder, _ = chain
    first = folder / TRAINED / "text_only/main/seed0/adapter/adapter_model.safetensors"
    before = first.read_bytes()
    run("03", folder, profile="smoke", mode="image_text")
    run("03", folder, profile="smoke", seed=1)
    run("03", folder, profile="smoke", lora_rank=2)
    assert first.read_bytes() == before
    trained = {str(file.parents[1].relative_to(folder / TRAINED)) for file in folder.rglob("adapter_model.safetensors")}
    ranked = "text_only/training.lora_rank=2/seed0"
    assert {"text_only/main/seed0", "image_text/main/seed0", "text_only/main/seed1", ranked} <= trained
    rank = json.loads((folder / TRAINED / ranked / "adapter/adapter_config.json").read_text())["r"]
    assert rank == 2
    assert ranked in printed(run("04", folder, profile="smoke"))  # the adapter that was trained last


@pytest.mark.slow
def test_an_edit_in_the_data_set_reaches_the_training(chain):
    folder, _ = chain
    run("02", folder, profile="smoke", shuffled=True)
    assert "datasets/butterfly/build.shuffled=True" in printed(run("03", folder, profile="smoke", max_steps=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "effect"),
    [
        (("optim=check_optimizer(training.optimizer or default_optimizer(tuned)),", 'optim="sgd",'), "losses"),
        (("*training.lora_targets),", '"q_proj"),'), "targets"),
    ],
    ids=["optimizer", "targets"],
)
def test_a_line_of_the_method_can_be_changed_in_its_cell(chain, change, effect):
    folder, _ = chain
    run("03", folder, change, profile="smoke", variant=f"edited-{effect}")
    edited, plain = (folder / TRAINED / "text_only" / name / "seed0" for name in (f"edited-{effect}", "main"))
    if effect == "losses":
        assert (edited / "losses.csv").read_text() != (plain / "losses.csv").read_text()
    else:
        assert json.loads((edited / "adapter/adapter_config.json").read_text())["target_modules"].endswith("(q_proj)")


@pytest.mark.slow
def test_a_misspelt_parameter_stops_papermill_in_its_first_second(tmp_path):
    with pytest.raises(PapermillExecutionError, match=r"no parameter sede; did you mean seed\?"):
        run("03", tmp_path, sede=1)


def test_to_look_at_a_run_of_the_workflow_writes_nothing_into_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(provenance.MANIFEST, raising=False)
    theirs, mine = tmp_path / "runs/demo", tmp_path / "runs/lab"
    for run in (theirs, mine):
        run.mkdir(parents=True)
    mark_layout(theirs)
    assert output_of(mine) == mine and capsys.readouterr().out == ""
    assert output_of(theirs) == mine and "stays as it is" in capsys.readouterr().out
    monkeypatch.setenv(provenance.MANIFEST, "runs/demo/notebooks/paper.manifest.json")
    assert output_of(theirs) == theirs  # the workflow's own
