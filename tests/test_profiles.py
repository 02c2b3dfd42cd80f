"""Profiles: the shipped ones load, and each way to get one wrong is named."""

import shutil

import pytest

from helpers import paths
from helpers.config.profiles import SettingsError, load_profile, parse_overrides

SHIPPED = sorted(file.stem for file in paths.PROFILES.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_profile_loads_under_its_file_name(name):
    assert load_profile(name).name == name


def test_the_smoke_profile_runs_every_notebook_of_the_demo_and_spares_the_shipped_models():
    demo, smoke = load_profile("demo"), load_profile("smoke")
    assert (smoke.models, smoke.modes) == (demo.models, demo.modes)
    assert smoke.domains.items() <= demo.domains.items()
    assert smoke.base_models.output_dir != demo.base_models.output_dir


def test_an_unknown_profile_lists_those_found():
    with pytest.raises(SettingsError, match=f"unknown profile 'dmeo'; found in profiles/: {', '.join(SHIPPED)}"):
        load_profile("dmeo")


def test_a_setting_given_beside_the_profile_replaces_its_field():
    profile = load_profile("demo", parse_overrides("training.epochs=3 training.learning_rate=1e-4 seeds=[4,5]"))
    assert (profile.training.epochs, profile.training.learning_rate, profile.seeds) == (3, 1e-4, [4, 5])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epoch=3", "training: unknown field epoch; the fields here are method, epochs, max_steps"),
        ("training.epochs=many", "training.epochs = 'many': Input should be a valid integer"),
        ("training.epochs=0", "training.epochs = 0: Input should be greater than 0"),
        ("build.directions=[name]", r"build.directions.0 = 'name': Input should be 'name_to_description' or"),
        ("evaluation.protocols=[guess]", "evaluation.protocols.0 = 'guess': Input should be 'option_likelihood'"),
        ("models.qwen2_vl.paht=x", "models.qwen2_vl: unknown field paht; the fields here are path, display"),
        ("domains.a-b.source=drawn", r"the names \['a-b'\] become folder names"),
        ("seeds=[1,1]", r"\[1, 1\] names a value twice"),
        ("modes=[]", "modes = .*: List should have at least 1 item"),
        ("seeds.first=1", "cannot set seeds.first: seeds is a single value"),
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
    (tmp_path / "cut.yaml").write_text(text.replace("modes:", "# modes:"))
    with pytest.raises(SettingsError, match=r"modes.*Field required"):
        load_profile("cut", folder=tmp_path)
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(SettingsError, match=r"broken\.yaml is not valid YAML"):
        load_profile("broken", folder=tmp_path)
