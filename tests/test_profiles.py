"""Profiles: the shipped ones load, and each way to get one wrong is named."""

import shutil
from typing import get_args

import pytest

from helpers import paths
from helpers.config import RENAMED, SettingsError, merged
from helpers.config.build import Build
from helpers.config.data import Data
from helpers.config.evaluation import Evaluation
from helpers.config.profiles import BaseModels, Jobs, load_profile, parse_overrides, replaced
from helpers.config.training import Optimizer, Training
from helpers.config.writer import Writer

SHIPPED = sorted(file.stem for file in paths.PROFILES.glob("*.yaml"))
GROUPS = [Data(), Writer(), Build(), Build().printed, Training(), Evaluation(), BaseModels(), Jobs()]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_profile_loads_under_its_file_name(name):
    assert load_profile(name).name == name


@pytest.mark.parametrize("name", SHIPPED)
def test_a_profile_names_only_what_differs_from_the_defaults(name):
    profile = load_profile(name)
    assert profile.model_dump(exclude_unset=True) == profile.model_dump(exclude_unset=True, exclude_defaults=True)


@pytest.mark.parametrize("group", GROUPS)
def test_every_default_obeys_its_own_rule_and_every_setting_says_what_it_means(group):
    kind = type(group)
    assert kind.model_validate(group.model_dump()).model_dump_json() == group.model_dump_json()
    assert all(field.description for field in kind.model_fields.values())


def test_every_optimizer_is_one_of_transformers():
    from transformers.training_args import OptimizerNames

    assert set(get_args(Optimizer)) <= {name.value for name in OptimizerNames}


def test_the_smoke_profile_runs_every_notebook_of_the_demo_and_spares_the_shipped_models():
    demo, smoke = load_profile("demo"), load_profile("smoke")
    assert (smoke.models, smoke.modes) == (demo.models, demo.modes)
    assert smoke.domains.items() <= demo.domains.items()
    assert smoke.base_models.output_dir != demo.base_models.output_dir


def test_an_unknown_profile_lists_those_found():
    with pytest.raises(SettingsError, match=f"unknown profile 'dmeo'; found in config/profiles/: {', '.join(SHIPPED)}"):
        load_profile("dmeo")


def test_a_setting_given_beside_the_profile_replaces_its_field():
    profile = load_profile("demo", parse_overrides("training.epochs=3 training.learning_rate=1e-4 seeds=[4,5]"))
    assert (profile.training.epochs, profile.training.learning_rate, profile.seeds) == (3, 1e-4, [4, 5])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "training.epoch=3",
            r"training: unknown field epoch; did you mean epochs\? the fields here are method, epochs",
        ),
        ("training.epochs=many", "training.epochs = 'many': Input should be a valid integer"),
        ("training.epochs=0", "training.epochs = 0: Input should be greater than 0"),
        ("build.directions=name", r"build.directions.0 = 'name': Input should be 'name_to_description', "),
        ("evaluation.protocols=[guess]", "evaluation.protocols.0 = 'guess': Input should be 'option_likelihood'"),
        (
            "models.qwen2_vl.paht=x",
            r"models.qwen2_vl: unknown field paht; did you mean path\? the fields here are path, display",
        ),
        ("domains.a-b.source=drawn", r"the names \['a-b'\] become folder names"),
        ("seeds=[1,1]", r"\[1, 1\] names a value twice"),
        ("modes=[]", "modes = .*: List should have at least 1 item"),
        ("contrastive_model.x=1", "cannot set contrastive_model.x: contrastive_model is a single value"),
        ("epochs", "cannot read the setting 'epochs': 'epochs' has no value; write e.g. training.epochs=3"),
        ("name='a", "cannot read the setting .*: No closing quotation"),
        ("seeds=[1", "cannot read the setting 'seeds=.1': while parsing"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_with_the_rule(setting, message):
    with pytest.raises(SettingsError, match=message):
        load_profile("demo", parse_overrides(setting))


def test_a_missing_field_and_broken_yaml_are_named(tmp_path):
    shutil.copy(paths.PROFILES / "demo.yaml", tmp_path / "cut.yaml")
    text = (tmp_path / "cut.yaml").read_text()
    (tmp_path / "cut.yaml").write_text(text.replace("description:", "# description:"))
    with pytest.raises(SettingsError, match=r"description: Field required"):
        load_profile("cut", folder=tmp_path)
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(SettingsError, match=r"broken\.yaml is not valid YAML"):
        load_profile("broken", folder=tmp_path)


# ---- values given one by one ---------------------------------------------------------------------------------------


def test_flat_values_replace_their_fields_and_leave_the_others():
    base = Training(epochs=3, lora_alpha=8)
    assert merged(base, {"lora_rank": 4}) == Training(epochs=3, lora_alpha=8, lora_rank=4)
    assert merged(Build(seed=1), {"printed.canvas": 224}).printed.canvas == 224


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("directions", "name_to_description", ["name_to_description"]),
        ("directions", "name_to_description, description_to_name", ["name_to_description", "description_to_name"]),
        ("directions", '["description_to_name"]', ["description_to_name"]),
        ("limit_questions", "null", None),
        ("limit_questions", "None", None),
        ("limit_questions", "7", 7),
        ("shuffled", "true", True),
        ("detail_share", "0.5", 0.5),
        ("printed", '{"canvas": 224}', {"canvas": 224, "font_size": 20, "font": "a.ttf"}),
        ("printed", {"font": "None"}, {"canvas": 448, "font_size": 20, "font": None}),
    ],
)
def test_text_of_a_command_line_is_read_by_the_kind_of_its_field(field, text, value):
    base = Build(limit_questions=5, printed={"font": "a.ttf", "font_size": 20})
    assert merged(base, {field: text}).model_dump()[field] == value


def test_profiles_and_the_settings_beside_them_are_read_the_same_way(tmp_path):
    text = (paths.PROFILES / "demo.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text + "modes: text_only\nseeds: 3\nbuild: {limit_questions: 'null'}\n")
    mine = load_profile("mine", folder=tmp_path)
    assert (mine.modes, mine.seeds, mine.build.limit_questions) == (["text_only"], [3], None)
    demo = load_profile("demo", parse_overrides("seeds=4,5 training.report_to=mlflow"))
    assert (demo.seeds, demo.training.report_to) == ([4, 5], ["mlflow"])


def test_a_group_given_as_a_whole_leaves_the_fields_that_it_does_not_name():
    paper = load_profile("paper", parse_overrides("'training={epochs: 1}'"))
    assert paper.training == load_profile("paper").training.model_copy(update={"epochs": 1})
    assert list(replaced(paper, {"models": {"m": {"path": "p", "display": "d"}}}, "it").models) == ["m"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"lora_rnk": 4},
            r"unknown field lora_rnk; did you mean lora_rank\? the fields here are method, .*, report_to",
        ),
        ({"zzz": 4}, "unknown field zzz; the fields here are method"),
        ({"lora_rank": 0}, "lora_rank = 0: Input should be greater than 0"),
        ({"lora_targets": ".*"}, r"lora_targets.0 = '\.\*': String should match pattern"),
        ({"optimizer": "adam"}, "optimizer = 'adam': Input should be 'adamw_torch', "),
        ({"lora_rank": 0, "epochs": "x"}, "(?s)epochs = 'x'.*lora_rank = 0"),
    ],
)
def test_a_value_given_alone_that_does_not_fit_is_named_with_the_rule(values, message):
    with pytest.raises(SettingsError, match=message) as caught:
        merged(Training(), values)
    assert str(caught.value).startswith("the training settings cannot be used:\n  ")


def test_what_was_a_default_still_counts_as_one_after_a_merge():
    changed = merged(load_profile("own").training, {"lora_rank": 4})
    assert changed.model_fields_set == {"epochs", "max_pixels", "lora_rank"}


@pytest.mark.parametrize("old", RENAMED)
def test_a_renamed_setting_is_refused_with_what_to_do(old):
    with pytest.raises(SettingsError, match=f"unknown field {old.rpartition('.')[2]}; {RENAMED[old]}"):
        load_profile("demo", {old: True})


def test_no_renamed_setting_is_one_that_there_is():
    for old in RENAMED:
        group, _, name = old.partition(".")
        assert name not in type(getattr(load_profile("demo"), group)).model_fields
