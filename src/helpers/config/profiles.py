"""Profiles: every number that a run depends on, in one readable file under `config/profiles/`.

A profile says what is run (models, domains, modes, seeds) and how (data, build, training, evaluation). The YAML files
give a reason beside each value; the classes of `helpers.config` say what each field means.
"""

import re
import reprlib
import shlex
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, field_validator

from helpers import paths
from helpers.config import Settings
from helpers.config.build import Build, Mode
from helpers.config.data import Data, DomainSettings
from helpers.config.evaluation import Evaluation
from helpers.config.training import Training
from helpers.config.writer import Writer

FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")  # of a profile or grid: it becomes part of commands
SECRET = "writer"  # the group whose values no message repeats: a key may have been put there by mistake
SHORT = reprlib.Repr()  # a value in a message: cut in depth and length, as a file can hold anything
SHORT.maxlist, SHORT.maxstring, SHORT.maxother, SHORT.maxlevel = 5, 200, 200, 2


class SettingsError(ValueError):
    """A profile that cannot be used; the message names the field, the value received, the rule and the remedy."""


class Model(Settings):
    """One base model."""

    path: str  # a folder in the Hugging Face layout, or a hub name such as Qwen/Qwen2-VL-7B-Instruct
    display: str  # how tables and figures call it


class BaseModels(Settings):
    """Notebook 00, which runs on demand only."""

    output_dir: str
    steps: PositiveInt | None  # null: the number that made the shipped checkpoints
    exam: PositiveInt  # exercises of each kind in the exam
    seed: NonNegativeInt


class Jobs(Settings):
    """What one training or evaluation run is given; the workflow starts as many at once as the machine has room for."""

    threads: PositiveInt
    memory_mb: PositiveInt
    minutes: PositiveInt  # a scheduler of a cluster stops a run that takes longer; nothing stops a local one
    gpus: NonNegativeInt


class Profile(Settings):
    """Everything that the workflow needs to know of a study."""

    name: str  # taken from the file's name
    description: str
    seeds: list[NonNegativeInt] = Field(min_length=1)
    domains: dict[str, DomainSettings] = Field(min_length=1)
    models: dict[str, Model] = Field(min_length=1)
    contrastive_model: str | None = None  # a CLIP or SigLIP checkpoint or hub name, for the baselines of notebook 12
    modes: list[Mode] = Field(min_length=1)  # the untuned base is always measured beside them
    data: Data
    writer: Writer
    build: Build
    training: Training
    evaluation: Evaluation
    base_models: BaseModels
    jobs: Jobs
    disk_gb: PositiveFloat  # free room asked for before the first run
    rehearsal: bool = False  # models of random weights, trained for their cost alone: nothing is evaluated

    @field_validator("domains", "models")
    @classmethod
    def usable_as_folders(cls, named: dict[str, Any]) -> dict[str, Any]:
        if unusable := [name for name in named if not name.isidentifier()]:
            raise ValueError(f"the names {unusable} become folder names: use letters, digits and underscores")
        return named

    @field_validator("seeds", "modes")
    @classmethod
    def no_repeats(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError(f"{values} names a value twice: the second run would overwrite the first")
        return values


def load_profile(name: str, overrides: Mapping[str, Any] | None = None, folder: Path = paths.PROFILES) -> Profile:
    """Read `config/profiles/<name>.yaml`, replace the fields named in `overrides` (``{"training.epochs": 3}``), check all.

    Raises `SettingsError` for an unknown profile, unreadable YAML, an unknown field or an unfit value.
    """
    where = f"config/profiles/{name}.yaml" + (" or the settings given beside it" if overrides else "")
    return _checked({**_read(name, folder), "name": name}, overrides or {}, where)


def replaced(profile: Profile, overrides: Mapping[str, Any], where: str) -> Profile:
    """The profile with some fields replaced, all checked again; ``where`` says to a user where these come from."""
    return _checked(profile.model_dump(), overrides, where) if overrides else profile


def _checked(settings: dict[str, Any], overrides: Mapping[str, Any], where: str) -> Profile:
    for field, value in overrides.items():
        _replace(settings, field, value, where)
    try:
        return Profile.model_validate(settings)
    except ValidationError as error:
        problems = "\n".join(f"  {describe_problem(problem)}" for problem in error.errors())
        raise SettingsError(f"profile {settings['name']} cannot be used:\n{problems}\nCorrect {where}.") from None


def parse_overrides(text: str) -> dict[str, Any]:
    """``"training.epochs=3 data.limit_classes=8"`` as a dict; values are read as YAML, quotes as in a shell."""
    try:
        pairs = [part.partition("=") for part in shlex.split(text)]
        if without_value := [field for field, equals, _ in pairs if not equals]:
            raise ValueError(f"{without_value[0]!r} has no value")
        return {field: parse_yaml(value) for field, _, value in pairs}
    except (ValueError, yaml.YAMLError) as error:
        given, why = (f"{SECRET}...", "its quotes or brackets") if SECRET in text else (text, error)
        raise SettingsError(f"cannot read the setting {given!r}: {why}; write e.g. training.epochs=3") from None


def _read(name: str, folder: Path) -> dict[str, Any]:
    path = folder / f"{name}.yaml"
    check_name("profile", name)
    if not path.is_file():
        found = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        raise SettingsError(f"unknown profile {name!r}; found in config/profiles/: {found}")
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        raise SettingsError(
            f"config/profiles/{name}.yaml must hold `field: value` lines, not {type(settings).__name__}"
        )
    return settings


def check_name(what: str, name: str) -> None:
    """Raise `SettingsError` for a name that is no plain folder name, such as one with a space or a slash."""
    if not FOLDER_NAME.fullmatch(name):
        raise SettingsError(
            f"{what} name {name!r} becomes the name of a folder: at most 60 letters, digits, '_', '-' and '.', and "
            "neither '-' nor '.' at its beginning; choose another"
        )


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which a field that is there twice is an error; PyYAML alone takes the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        if twice := next((key for key, times in keys.items() if times > 1), None):
            raise yaml.constructor.ConstructorError(None, None, f"the field {twice!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """What a text in YAML holds. Whatever is wrong with it is a ``yaml.YAMLError``: PyYAML alone lets through what
    ``int``, ``date`` and their like raise, as for the day 2026-99-99.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deep") from None
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise yaml.YAMLError(f"a value is not of the kind that it looks like ({error}); put it in quotes") from None


def read_yaml(path: Path) -> Any:
    """What a YAML file of settings holds. Raises `SettingsError` for one that cannot be read."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SettingsError(f"{path.parent.name}/{path.name} is not valid YAML: {error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path.parent.name}/{path.name} is not UTF-8 ({error.reason}); save it as plain text in UTF-8"
        ) from None


def _replace(settings: dict[str, Any], field: str, value: Any, where: str) -> None:
    *groups, last = field.split(".")
    for group in groups:
        settings = settings.setdefault(group, {})
        if not isinstance(settings, dict):
            raise SettingsError(f"cannot set {field}: {_single(groups, group, settings)}. Correct {where}.")
    settings[last] = value


def _single(groups: list[str], group: str, value: Any) -> str:
    received = "" if groups[0] == SECRET else f" ({SHORT.repr(value)})"
    return f"{group} is a single value{received}, not a group of fields"


def describe_problem(problem: Any) -> str:
    """One of pydantic's problems in a line. A whole group is not repeated (its fields are in the file), nor is any
    value of the writer's group, where a key may stand by mistake.
    """
    field = ".".join(str(part) for part in problem["loc"]) or "the profile"
    hidden = isinstance(problem["input"], Mapping) or problem["loc"][:1] == (SECRET,)
    received = "" if hidden else f" = {SHORT.repr(problem['input'])}"
    return f"{field}{received}: {problem['msg'].removeprefix('Value error, ')}"
