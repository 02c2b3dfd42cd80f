"""Every field of every group of a profile, and every way to get a file of settings wrong.

The cases are made from the models themselves, so a field that is added is tested from then on: a value of each wrong
type, one beyond each limit, no value where one is needed. A message must name the field, the value, the rule and where
to correct it.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from helpers import paths
from helpers.config import grids, merged
from helpers.config.grids import Grid, load_grid
from helpers.config.profiles import Profile, SettingsError, load_profile, parse_overrides, replaced

DEMO = load_profile("demo")
SCHEMA = Profile.model_json_schema()
NAMED = {"domains": "butterfly", "models": "qwen2_vl"}  # groups by names of the user's: one entry of each is tried
NUMBER = "must be a number, not true or false"
NO_NUMBER = {"integer": r"valid integer", "number": r"valid number"}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Without references and without the null of an optional field."""
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    schema = options[0] if options else schema
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Dotted name, schema and whether it is needed, of all fields of all groups."""
    for name, raw in schema["properties"].items():
        if name == "name":  # taken from the file's name
            continue
        field, inner = f"{path}{name}", resolved(raw)
        yield field, raw, name in schema.get("required", [])
        if name in NAMED and not path:
            entry = resolved(inner["additionalProperties"])
            yield from fields(entry, f"{field}.{NAMED[name]}.")
        elif "properties" in inner:
            yield from fields(inner, f"{field}.")


def wrong(raw: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Name of the fault, a value that has it, the rule that the message must state."""
    schema = resolved(raw)
    kind = "enum" if "enum" in schema else schema.get("type", "object")
    if not any(option.get("type") == "null" for option in raw.get("anyOf", [])):
        yield "null", None, "Input should be"
    if kind in NO_NUMBER:
        yield "words", "many", NO_NUMBER[kind]
        yield "list", [1], NO_NUMBER[kind]
        yield "true", True, NUMBER
        yield "infinite", math.inf, "finite number"
        yield "nan", math.nan, "finite number"
        yield from beyond(schema)
    elif kind == "string":
        yield "number", 7, "valid string"
        if "pattern" in schema:
            yield "pattern", "a b", "should match pattern"
    elif kind == "boolean":
        yield "words", "perhaps", "valid boolean"
        yield "number", 7, "valid boolean"
    elif kind == "enum":
        yield "unknown", "nonsense", f"Input should be '{schema['enum'][0]}'"
        yield "number", 7, f"Input should be '{schema['enum'][0]}'"
    elif kind == "array":
        yield "words", "nonsense!", "Input should be|should match pattern"  # a list of one
        if "minItems" in schema:
            yield "empty", [], "at least 1 item"
        yield "inside", ["nonsense!"], "Input should be|should match pattern"
        yield "no JSON", "[a", "is not JSON, such as"
    else:
        yield "words", "nonsense", "valid dictionary"
        yield "list", [1], "valid dictionary"


def beyond(schema: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    if "minimum" in schema:
        yield "below", schema["minimum"] - 1, f"greater than or equal to {schema['minimum']}"
    if "exclusiveMinimum" in schema:
        yield "at the lower limit", schema["exclusiveMinimum"], f"greater than {schema['exclusiveMinimum']}"
    if "maximum" in schema:
        yield "above", schema["maximum"] + 1, f"less than or equal to {schema['maximum']}"
    if "exclusiveMaximum" in schema:
        yield "at the upper limit", schema["exclusiveMaximum"], f"less than {schema['exclusiveMaximum']}"


ALL = list(fields(SCHEMA))
FAULTY = [(field, value, rule, name) for field, raw, _ in ALL for name, value, rule in wrong(raw)]
GROUPS = [field for field, raw, _ in ALL if "properties" in resolved(raw)]
GROUPS += [f"{group}.{name}" for group, name in NAMED.items()]


def test_the_cases_cover_every_field_of_every_group():
    leaves = {field.rpartition(".")[2] for field, _, _ in ALL}
    groups = (DEMO.data, DEMO.writer, DEMO.build, DEMO.training, DEMO.evaluation, DEMO.base_models, DEMO.jobs)
    assert {name for group in groups for name in type(group).model_fields} <= leaves
    assert len(FAULTY) > 300


@pytest.mark.parametrize("field", [field for field, raw, _ in ALL if any(wrong(raw))])
def test_a_value_that_does_not_fit_is_named_with_field_value_rule_and_remedy(field, refused):
    for value, rule, name in [case[1:] for case in FAULTY if case[0] == field]:
        message = refused(SettingsError, rule, replaced, DEMO, {field: value}, "grid x")
        assert "profile demo cannot be used:\n" in message
        assert f"  {field}" in message
        assert message.endswith("Correct grid x.")
        said = "nonsense" in message if name == "inside" else f" = {value!r}" in message
        assert said != field.startswith("writer"), name


@pytest.mark.parametrize("group", ["", *GROUPS])
def test_an_unknown_field_is_named_with_those_there_are(group, refused):
    message = refused(SettingsError, "unknown field ghost; the fields here are", replaced, DEMO, key(group, 3), "it")
    assert f"  {group}: unknown field ghost" in message if group else "\n  unknown field ghost" in message


def key(group: str, value: object) -> dict[str, object]:
    return {f"{group}.ghost".lstrip("."): value}


@pytest.mark.parametrize("field", [field for field, _, needed in ALL if needed and "." in field])
def test_a_missing_field_is_named(field, refused):
    group, _, name = field.rpartition(".")
    values = {k: v for k, v in grids.value_of(DEMO, group).items() if k != name}
    refused(SettingsError, rf"  {field}: Field required\nCorrect it\.", replaced, DEMO, {group: values}, "it")


@pytest.mark.parametrize("field", [field for field, _, needed in ALL if needed and "." not in field])
def test_a_missing_group_is_named_with_the_file(field, refused, tmp_path):
    values = {k: v for k, v in DEMO.model_dump().items() if k not in (field, "name")}
    (tmp_path / "cut.yaml").write_text(json.dumps(values), encoding="utf-8")
    message = refused(SettingsError, rf"  {field}: Field required", load_profile, "cut", None, tmp_path)
    assert message.endswith(f"Correct {tmp_path.name}/cut.yaml.")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"data.test_images_per_class": 6}, "6 test images per class: each asks for a different fact; at most 5"),
        ({"seeds": [1, 1]}, "names a value twice: the second run would overwrite the first"),
        ({"modes": ["text_only", "text_only"]}, "names a value twice"),
        ({"seeds": []}, "seeds = .*at least 1 item"),
        ({"seeds": [-1]}, "seeds.0 = -1: .*greater than or equal to 0"),
        ({"domains": {}}, "domains.*at least 1 item"),
        ({"domains.a b.source": "drawn"}, r"the names \['a b'\] become folder names: use only letters"),
        ({"domains.$(rm -rf ~).source": "drawn"}, r"the names \['\$\(rm -rf ~\)'\] become folder names"),
        ({"models.x/y": {"path": "x", "display": "x"}}, r"the names \['x/y'\] become folder names"),
        ({"writer.price_in": 1.0}, "price_in and price_out go together: give both, or neither"),
        ({"writer.base_url": "ftp://127.0.0.1/v1"}, "must be an address such as http://127.0.0.1:8000/v1"),
        ({"writer.base_url": "file:///etc/passwd"}, "must be an address such as"),
        ({"writer.base_url": "https://api.example.org?key=k"}, "must hold no user, password or query"),
        ({"writer.base_url": "https://me:pw@example.org/v1"}, "must hold no user, password or query"),
        ({"writer.language": "english"}, "writer.language: String should match pattern"),
        ({"training": 3}, "training = 3: Input should be a valid dictionary"),
        ({"seeds.first": 1}, "seeds: Input should be a valid list"),
        ({"contrastive_model.x": 1}, r"cannot set .*: contrastive_model is a single value \('data/.*'\), not a group"),
        ({"": 1}, "unknown field ; the fields here are name"),
        ({"training.epochs.": 1}, "training.epochs: Input should be a valid integer"),
        ({"training": '{"epochs"'}, "training = .*: is not JSON, such as"),
        ({"training": "epochs"}, "training = 'epochs': Input should be a valid dictionary"),
        ({"training.epochs": "3; rm -rf ~"}, "training.epochs = '3; rm -rf ~': .*valid integer"),
        ({"training.epochs": [[[[[1] * 50] * 50] * 50] * 50] * 50}, r"training.epochs = \[\[\[\.\.\.\], \[\.\.\.\]"),
    ],
)
def test_values_that_do_not_go_together_are_named_with_the_rule(changes, rule, refused):
    message = refused(SettingsError, rule, replaced, DEMO, changes, "it")
    assert len(message) < 1000


SECRETS = [
    {"writer.key_variable": "sk-abc123secret"},
    {"writer.key_variable": "hf_abc123secret"},  # no dash, so that it might pass for a name
    {"writer.key_variable": "abc123secret"},
    {"writer.model": ["abc123secret"]},
    {"writer.base_url": "https://me:abc123secret@example.org/v1"},
    {"writer": "abc123secret"},
    {"writer": "{abc123secret"},
    {"writer.api_key": "abc123secret"},
    {"writer.backend.x": "abc123secret"},
]


@pytest.mark.parametrize("changes", SECRETS)
def test_no_message_repeats_a_value_of_the_writer_where_a_key_may_stand(changes, refused):
    assert "abc123secret" not in refused(SettingsError, "writer", replaced, DEMO, changes, "it")


def test_nor_does_a_group_of_the_writer_by_itself(refused):
    message = refused(SettingsError, "key_variable: .*pattern", merged, DEMO.writer, {"key_variable": "abc123secret"})
    assert "abc123secret" not in message


def test_nor_does_a_setting_beside_the_profile_that_cannot_be_read(refused):
    for text in ("writer.key_variable='abc123secret", "writer.key_variable=[abc123secret", "writer.abc123secret"):
        assert "abc123secret" not in refused(SettingsError, "cannot read the setting", parse_overrides, text)


# ---- files of settings ----------------------------------------------------------------------------------------------

UNREADABLE = [
    (b"", "must hold `field: value` lines, not NoneType"),
    (b"just words", "must hold `field: value` lines, not str"),
    (b"- a\n- b\n", "must hold `field: value` lines, not list"),
    (b"a: [", r"cut\.yaml is not valid YAML"),
    (b"a: 'x", r"cut\.yaml is not valid YAML"),
    (b"\ta: 1\n", r"cut\.yaml is not valid YAML"),
    (b"seeds: [0]\nseeds: [1]\n", "the field 'seeds' is there twice"),
    (b"training: {epochs: 1, epochs: 2}\n", "the field 'epochs' is there twice"),
    (b"a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    ("description: Größe\n".encode("latin-1"), r"cut\.yaml is not UTF-8"),
    ("description: x\n".encode("utf-16"), r"cut\.yaml is not UTF-8"),
    (b"\x00\x01\x02", "not valid YAML"),
    (b"[" * 5000, r"cut\.yaml is not valid YAML: it is nested too deeply"),
    *(
        (b"seeds: " + value, r"cut\.yaml is not valid YAML: a value is not of the type that it looks like .*in quotes")
        for value in (b"2026-99-99", b"1" * 5000, b"!!bool x", b"!!int ''", b"!!timestamp x")
    ),
]


@pytest.mark.parametrize(("content", "rule"), UNREADABLE, ids=[str(n) for n in range(len(UNREADABLE))])
def test_a_profile_that_cannot_be_read_is_named_with_the_reason(content, rule, refused, tmp_path):
    (tmp_path / "cut.yaml").write_bytes(content)
    refused(SettingsError, rule, load_profile, "cut", None, tmp_path)


@pytest.mark.parametrize(("content", "rule"), UNREADABLE, ids=[str(n) for n in range(len(UNREADABLE))])
def test_a_grid_that_cannot_be_read_is_named_with_the_reason(content, rule, refused, tmp_path):
    (tmp_path / "cut.yaml").write_bytes(content)
    rule = "not a file of `field: value` lines" if "must hold" in rule else rule
    refused(SettingsError, rule, load_grid, tmp_path / "cut.yaml")


def test_a_byte_order_mark_before_a_profile_does_no_harm(tmp_path):
    text = (paths.PROFILES / "demo.yaml").read_text(encoding="utf-8")
    (tmp_path / "demo.yaml").write_text(text, encoding="utf-8-sig")
    assert load_profile("demo", folder=tmp_path) == DEMO


@pytest.mark.parametrize("name", ["../demo", "$(rm -rf ~)", "a b", "", ".hidden", "a;b", "-rf", "x" * 61, "a/b", "é"])
def test_a_profile_or_grid_whose_name_could_leave_its_folder_or_a_command_is_refused(name, refused, tmp_path):
    refused(SettingsError, "profile name .* becomes the name of a folder", load_profile, name, None, tmp_path)
    if name and "/" not in name:
        (tmp_path / f"{name}.yaml").write_text("title: T\nprofile: demo\n", encoding="utf-8")
        refused(SettingsError, "grid name .* becomes the name of a folder", load_grid, tmp_path / f"{name}.yaml")


def test_two_values_that_differ_only_in_what_no_folder_can_hold_get_two_names():
    names = {grids.key({"writer.model": model}) for model in ("a/b", "a_b", "a b", "a-b")}
    assert len(names) == 4


GRID: dict[str, Any] = {"name": "g", "title": "G", "profile": "demo"}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"title": 7}, "title"),
        ({"modes": ["guess"]}, "modes.0"),
        ({"models": []}, "models"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [True]}, NUMBER),
        ({"axes": {"training.epochs": 3}}, r"axes.`training\.epochs`"),
        ({"variants": {"v": 3}}, "variants.v"),
        ({"minutes": math.nan}, "minutes"),
        ({"minutes": -1}, "minutes"),
        ({"exclude": 3}, "exclude"),
        ({"ghost": 3}, "unknown field ghost; the fields here are name, title, profile"),
    ],
)
def test_a_field_of_a_grid_that_does_not_fit_is_named(given, rule, refused):
    refused(ValueError, rule, Grid.model_validate, {**GRID, **given})


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"models": ["gpt"]}, r"grid g: models \['gpt'\] are not in profile demo"),
        ({"domains": ["birds"]}, r"grid g: domains \['birds'\] are not in profile demo"),
        ({"axes": {"training.epoch": [1]}}, r"unknown field epoch; did you mean epochs\?"),
        ({"axes": {"training.epochs": [0]}}, "training.epochs = 0"),
        ({"axes": {"training.epochs": []}}, "leaves no run"),
        (
            {"axes": {"jobs.threads": [1, 2]}},
            "varies jobs.threads; only fields of data, writer, build, models, training",
        ),
        ({"set": {"training": {"epochs": 1}}}, "varies training; only fields of data"),
        (
            {"exclude": [{"sead": 0}]},
            "exclude names sead, which no run here has; the fields are domain, mode, model, seed",
        ),
        ({"exclude": [{}]}, "leaves no run"),
    ],
)
def test_a_grid_that_does_not_fit_its_profile_is_named_with_the_rule(given, rule, refused):
    refused(SettingsError, rule, grids.runs, Grid.model_validate({**GRID, **given}), DEMO)
