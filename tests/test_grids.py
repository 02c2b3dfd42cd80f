"""Grids: the shipped ones can be planned, and a variant is named by what it changes."""

import json

import pytest

from helpers import paths
from helpers.config import grids
from helpers.config.grids import Grid, load_grid
from helpers.config.profiles import SettingsError, load_profile
from helpers.workflow import estimates

SHIPPED = sorted(file.stem for file in paths.GRIDS.glob("*.yaml"))
DEMO = load_profile("demo")


def grid(**fields):
    small = {"name": "g", "title": "G", "profile": "demo", "models": ["qwen2_vl"], "domains": ["butterfly"]}
    return Grid.model_validate({**small, "modes": ["text_only"], "seeds": [0], **fields})


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_grid_names_things_that_its_profile_has(name):
    assert load_grid(name).name in grids.plan(load_grid(name), load_profile(load_grid(name).profile))


def test_axes_give_every_combination_and_equal_settings_are_the_main_run():
    cells = grids.runs(grid(axes={"training.epochs": [1, DEMO.training.epochs], "build.shuffled": [True, False]}), DEMO)
    assert [run.key("training") for run in cells] == [
        "build.shuffled=True+training.epochs=1",
        "training.epochs=1",
        "build.shuffled=True",
        "main",
    ]


def test_a_later_step_has_no_part_in_the_name_of_an_earlier_one():
    run = grids.runs(grid(variants={"v": {"training.epochs": 1, "evaluation.circular": True}}), DEMO)[0]
    names = [run.key(step) for step in ("data", "dataset", "training", "evaluation")]
    assert names == ["main", "main", "training.epochs=1", "evaluation.circular=True+training.epochs=1"]


def test_what_is_asked_of_a_model_and_about_which_image_concerns_no_training():
    asked = {"evaluation.ablation_images": ["blank"], "data.distractors": "look_alike"}
    run = grids.runs(grid(variants={"v": asked}), DEMO)[0]
    assert run.key("training") == "main"
    assert run.key("evaluation") == "data.distractors=look_alike+evaluation.ablation_images=blank"


def test_a_hybrid_at_either_end_rests_on_the_training_of_text_only_or_joint():
    shares = {"build.hybrid_share": [0, 0.25, 1], "build.seed": [0, 7]}
    cells = grids.runs(grid(modes=["hybrid"], axes=shares), DEMO)
    assert [run.name("training").removeprefix("qwen2_vl/butterfly/") for run in cells] == [
        "text_only/main/seed0",
        "text_only/build.seed=7/seed0",
        "hybrid/build.hybrid_share=0.25/seed0",
        "hybrid/build.hybrid_share=0.25+build.seed=7/seed0",
        "joint/main/seed0",
        "joint/build.seed=7/seed0",
    ]
    assert cells[0].name("evaluation") == "qwen2_vl/butterfly/hybrid/build.hybrid_share=0.0/seed0"


def test_the_share_with_images_concerns_no_other_mode():
    shares = {"build.hybrid_share": [0, 0.25, 1]}
    cells = grids.runs(grid(modes=["image_text"], axes=shares), DEMO)
    assert [run.name("evaluation") for run in cells] == ["qwen2_vl/butterfly/image_text/main/seed0"]
    assert cells[0].key("dataset") == "main"


def test_the_grid_of_shares_adds_three_trainings_to_those_of_the_other_modes():
    cells = grids.runs(load_grid("hybrid"), DEMO)
    assert [(run.mode, run.at("training")[0]) for run in cells] == [
        ("image_text", "image_text"),
        *(("hybrid", mode) for mode in ("text_only", "hybrid", "hybrid", "hybrid", "joint")),
    ]
    labels = {run.key("evaluation"): run.label for run in cells}
    assert labels["main"] == "hybrid_share 0.5"  # the hybrid's, not that of image_text, which has no share


def test_the_grid_of_the_rival_adds_joint_training_in_each_cell_and_two_longer_ones():
    trained = {run.name("training") for run in grids.runs(load_grid("rival"), DEMO)}
    cells = [f"{model}/{domain}" for model in DEMO.models for domain in DEMO.domains]
    assert trained == {
        *(f"{cell}/{mode}/main/seed0" for cell in cells for mode in ("text_only", "image_text", "joint")),
        *(f"qwen2_vl/{domain}/joint/training.epochs=24/seed0" for domain in DEMO.domains),
    }


def test_the_untuned_model_has_no_variant_of_training_and_one_seed():
    cells = grids.runs(grid(modes=["base", "text_only"], seeds=[0, 1], axes={"training.epochs": [1, 2]}), DEMO)
    assert [(run.mode, run.seed, run.key("evaluation")) for run in cells] == [
        ("base", 0, "main"),
        *[("text_only", seed, f"training.epochs={n}") for seed in (0, 1) for n in (1, 2)],
    ]


def test_excluded_runs_are_left_out():
    out = [{"seed": 1, "training.epochs": 2}]
    cells = grids.runs(grid(seeds=[0, 1], axes={"training.epochs": [1, 2]}, exclude=out), DEMO)
    assert [(run.seed, run.overrides["training.epochs"]) for run in cells] == [(0, 1), (0, 2), (1, 1)]


def test_a_name_is_a_folder_whatever_the_value():
    assert grids.key({"data.seed": "../../etc $(rm)"}).startswith("data.seed=.._.._etc___rm_~")
    long = grids.key({"build.parts": ["x" * 300]})
    assert len(long) == grids.LONGEST_KEY
    assert long != grids.key({"build.parts": ["x" * 301]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"models": ["gpt"]}, r"grid g: models \['gpt'\] are not in profile demo"),
        ({"axes": {"training.epoch": [1]}}, r"training: unknown field epoch; did you mean epochs\?"),
        ({"axes": {"training.epochs": [0]}}, "training.epochs = 0: Input should be greater than 0"),
        ({"exclude": [{}]}, "leaves no run"),
    ],
)
def test_a_grid_that_does_not_fit_its_profile_is_refused(fields, message):
    with pytest.raises(SettingsError, match=message):
        grids.runs(grid(**fields), DEMO)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: T\nprofile: demo\ncolour: red", "unknown field colour; the fields here are name, title"),
        ("profile: demo", "title.*Field required"),
        ("just words", "not a file of `field: value` lines"),
        ("a: [", "not a file of `field: value` lines"),
    ],
)
def test_a_file_that_is_no_grid_is_named_with_the_rule(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_grid(tmp_path / "mine.yaml")


def test_an_unknown_grid_lists_those_found():
    with pytest.raises(SettingsError, match=f"no grid metods; found in config/grids/: {', '.join(SHIPPED)}"):
        load_grid("metods")


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "demo"),
        ({"training.epochs": 3}, "demo+training.epochs=3"),
        ({"training.epochs": DEMO.training.epochs}, "demo"),  # no difference
        ({"training.learning_rate": "2e-3", "data.seed": 1}, "demo+data.seed=1+training.learning_rate=0.002"),
        ({"build.parts": ["appearance"]}, "demo+build.parts=appearance"),
        ({"models.qwen2_vl.path": "models/mine"}, "demo+models.qwen2_vl.path=models_mine~171437ae"),
        ({"seeds": [0, 1, 2], "modes": ["hybrid"]}, "demo"),  # runs that have places of their own
        ({"models.third": {"path": "a/b", "display": "T"}}, "demo"),
        ({"domains": {"culture": {"source": "drawn"}}}, "demo"),
        ({"jobs.threads": 2, "disk_gb": 3, "description": "D"}, "demo"),  # no result depends on them
        ({"seeds": [1], "training": DEMO.training.model_dump() | {"epochs": 3}}, "demo+training.epochs=3"),
    ],
)
def test_a_run_has_a_folder_of_its_own_once_a_result_could_differ(overrides, name):
    assert grids.run_name("demo", overrides) == name


def test_a_run_can_be_given_a_name_that_is_a_plain_folder_name():
    assert grids.run_name("demo", {"training.epochs": 3}, "longer") == "demo+longer"
    with pytest.raises(SettingsError, match=r"run name '\.\./x' becomes the name of a folder"):
        grids.run_name("demo", {}, "../x")


def test_many_changes_are_cut_and_hashed_and_a_setting_that_is_wrong_is_no_name():
    many = {"data.seed": 1, "build.seed": 1, "training.epochs": 3, "training.lora_rank": 4, "training.lora_alpha": 8}
    many |= {"evaluation.batch_size": 3}
    name = grids.run_name("demo", many)
    assert name.startswith("demo+build.seed=1+data.seed=1+evaluation.batch_size=3+training.epochs=3+training.lora_alp")
    assert len(name) == len("demo+") + grids.LONGEST_KEY
    assert name != grids.run_name("demo", many | {"training.lora_rank": 8})
    with pytest.raises(SettingsError, match="unknown field epoch"):
        grids.run_name("demo", {"training.epoch": 3})


def test_the_plan_of_a_grid_counts_what_is_finished_in_the_run_of_the_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    result = "demo+training.lora_rank=4/training/qwen2_vl/butterfly/text_only/training.epochs=3/seed0/resources.json"
    (tmp_path / result).parent.mkdir(parents=True)
    (tmp_path / result).write_text("{}")
    assert grids.main(["plan", "epochs", "--set", "training.lora_rank=4"]) == 0
    assert "finished: 1 of 8 notebooks" in capsys.readouterr().out
    assert grids.main(["plan", "epochs"]) == 0
    assert "finished: 0 of 8 notebooks" in capsys.readouterr().out


def test_list_run_and_plan_from_the_command_line(capsys):
    assert grids.main(["run", "demo", "--set", "training.epochs=3 "]) == 0
    assert grids.main(["run", "demo", "--set", "", "--name", "longer"]) == 0
    assert capsys.readouterr().out.split() == ["demo+training.epochs=3", "demo+longer"]
    assert grids.main(["list", "demo"]) == 0
    assert grids.main(["list", "demo", "--collection", "findings"]) == 0
    ablations, findings = (line.split() for line in capsys.readouterr().out.splitlines())
    assert {"bridge", "chain"} <= set(findings)
    assert not {"bridge_on_dev", "chain_on_dev"} & {*ablations, *findings}
    of_demo = [grid for grid in map(load_grid, SHIPPED) if grid.profile == "demo"]
    for collection, names in (("ablations", ablations), ("findings", findings)):
        shipped = [grid.name for grid in of_demo if grid.collection == collection]
        assert [name for name in shipped if name in names] == names
        assert {*shipped} - {*names} <= {"practice"}  # whose base models are made on demand
    assert grids.main(["plan", "epochs"]) == 0
    assert "4 runs: 4 trainings, 4 evaluations" in capsys.readouterr().out
    assert grids.main(["plan", "nothing"]) == 1


def test_a_search_asks_the_dev_questions_and_no_other_grid_or_study_does():
    search = grid(collection="searches", axes={"training.epochs": [1, 12]})
    assert [run.key("training") for run in grids.runs(search, DEMO)] == ["training.epochs=1", "main"]
    assert {run.overrides["evaluation.split"] for run in grids.runs(search, DEMO)} == {"dev"}
    for wrong, rule in (
        (grid(set={"evaluation.split": "dev"}), "sets evaluation.split; a grid of `collection: searches`"),
        (grid(collection="searches", baselines=["prior"]), "names baselines, which answer the test"),
    ):
        with pytest.raises(SettingsError, match=rule):
            grids.runs(wrong, DEMO)
    with pytest.raises(SettingsError, match=r"evaluation\.split is dev, but the tables report the test"):
        load_profile("demo", {"evaluation.split": "dev"})


def test_bases_of_one_architecture_are_compared_each_with_trainings_of_its_own(tmp_path, monkeypatch, capsys):
    field = "models.qwen2_vl.path"
    found = grid(models=None, modes=["base", "text_only"], variants={"shipped": {}, "mine": {field: "models/mine"}})
    other = grids.key({field: "models/mine"})
    keys = {(run.model, run.mode): [] for run in grids.runs(found, DEMO)}
    for run in grids.runs(found, DEMO):
        keys[run.model, run.mode].append(run.key("training"))
        assert run.key("data") == "main"
    assert keys["qwen2_vl", "text_only"] == keys["qwen2_vl", "base"] == ["main", other]
    assert keys["llava_next", "text_only"] == ["main"]  # it is the same one
    (tmp_path / "theirs.yaml").write_text(f"title: T\nprofile: demo\nvariants: {{a: {{{field}: models/not/here}}}}\n")
    monkeypatch.setattr(paths, "GRIDS", tmp_path)
    assert grids.main(["list", "demo"]) == 0
    listed = capsys.readouterr()
    assert listed.out == "\n" and listed.err.startswith("grid theirs is left out: no models/not/here;")


def test_a_part_of_a_grid_is_chosen_by_its_runs_names_and_no_run_is_an_error():
    some = grid(seeds=[0, 1], axes={"training.epochs": [1, 2]})
    assert [run.seed for run in grids.runs(some, DEMO, "seed1")] == [1, 1]
    assert [run.name("training") for run in grids.runs(some, DEMO, "qwen2_vl/*epochs=2/seed0")] == [
        "qwen2_vl/butterfly/text_only/training.epochs=2/seed0"
    ]
    with pytest.raises(
        SettingsError, match=r"grid g has no run with 'seed7' in its name; an example of a name is qwen2_vl/"
    ):
        grids.runs(some, DEMO, "seed7")


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_a_plan_says_what_is_finished_and_what_the_rest_will_cost(tmp_path):
    runs = grids.runs(grid(axes={"training.epochs": [1, 2]}), DEMO)
    steps = estimates.steps(runs)
    assert (
        "other 4: unknown one after the other; energy of the training unknown; disk unknown"
        in estimates.cost_estimate(tmp_path, steps, None)
    )
    assert "about 2 min and evaluation, which is unknown one" in estimates.cost_estimate(tmp_path, steps, 1)
    done = runs[0].name("training")
    write(tmp_path / "training" / done / "resources.json", {"energy_wh": 0.5})
    write(tmp_path / "notebooks/training" / f"{done}.manifest.json", {"seconds": 60})
    write(tmp_path / "notebooks/training" / f"{done}.failed.manifest.json", {"seconds": 1})
    write(tmp_path / "evaluation" / done / "answers.jsonl", {})
    write(tmp_path / "notebooks/evaluation" / f"{done}.manifest.json", {"seconds": 30})
    said = estimates.cost_estimate(tmp_path, steps, None)
    assert "finished: 2 of 4 notebooks" in said
    assert "the other 2: about 90 s one after the other; energy of the training about 0.5 Wh; disk about" in said
    for run in runs:
        write(tmp_path / "training" / run.name("training") / "resources.json", {})
        write(tmp_path / "evaluation" / run.name("evaluation") / "answers.jsonl", {})
    assert estimates.cost_estimate(tmp_path, steps, None) == "  finished: all 4 notebooks"


def test_a_grid_says_which_profile_it_is_of(capsys):
    assert grids.main(["profile", "smoke"]) == 0
    assert capsys.readouterr().out == "smoke\n"


def test_the_projector_is_not_trained_on_text_alone(tmp_path):
    file = tmp_path / "alone.yaml"
    file.write_text("title: t\nprofile: smoke\nmodes: [text_only]\nvariants: {alone: {training.method: projector}}\n")
    with pytest.raises(SettingsError, match="no image reaches the projector"):
        grids.runs(grids.load_grid(file), load_profile("smoke"))
