"""Profiles: what a study runs, in one readable file in `config/profiles/`.

A profile says what to run (models, domains, modes, seeds) and how (data, build, training, evaluation). It lists only
what differs from the defaults, each with its reason; the classes of `helpers.config` explain every field.
"""

import re
import shlex
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from helpers import paths
from helpers.config import SECRET, Settings, SettingsError, merged, set_fields, validated
from helpers.config.build import Build, Mode
from helpers.config.data import Data, DomainSettings
from helpers.config.evaluation import Evaluation
from helpers.config.families import Families
from helpers.config.training import Training
from helpers.config.writer import Writer

FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")  # for profiles and grids, whose names appear in commands


class Model(Settings):
    """One base model."""

    path: str = Field(
        description="a folder in the Hugging Face layout, or a hub name such as Qwen/Qwen2-VL-7B-Instruct"
    )
    display: str = Field(description="its name in tables and figures")


class BaseModels(Settings):
    """Training of the tiny base models, which only runs on demand."""

    output_dir: str = Field(
        default="data/models", description="where the checkpoints go; the default holds the shipped ones"
    )
    steps: PositiveInt | None = Field(default=None, description="null: as many as for the shipped checkpoints")
    exam: PositiveInt = Field(default=100, description="exercises per kind in the exam")
    seed: NonNegativeInt = Field(default=0, description="for every random choice")


class Jobs(Settings):
    """Resources per training or evaluation run; the workflow starts as many at once as the machine has room for."""

    threads: PositiveInt = Field(
        default=1,
        description="two runs at once on two cores; sharing threads between them is more than ten times slower",
    )
    memory_mb: PositiveInt = Field(default=1800, description="main memory; enough for the tiny models")
    minutes: PositiveInt = Field(
        default=30, description="a cluster's scheduler stops runs that take longer; local runs are never stopped"
    )
    gpus: NonNegativeInt = Field(default=0, description="the tiny models need none")


class Profile(Settings):
    """Everything that the workflow needs to know about a study."""

    name: str = Field(description="the file's name")
    description: str = Field(description="the study in one line")
    seeds: list[NonNegativeInt] = Field(
        default=[0], min_length=1, description="one for a first look; the published figures use 0, 1 and 2"
    )
    domains: dict[str, DomainSettings] = Field(min_length=1, description="by name, which becomes a folder")
    models: dict[str, Model] = Field(min_length=1, description="by name, which becomes a folder")
    contrastive_model: str | None = Field(
        default=None, description="a CLIP or SigLIP checkpoint or hub name, for the baselines of notebook 12"
    )
    modes: list[Mode] = Field(
        default=["text_only", "image_text"], min_length=1, description="the untuned base model is always measured too"
    )
    data: Data = Field(default=Data(), description="how much is drawn, written and asked")
    writer: Writer = Field(default=Writer(), description="who writes the texts")
    build: Build = Field(default=Build(), description="how texts become samples")
    training: Training = Field(default=Training(), description="fine-tuning")
    evaluation: Evaluation = Field(
        default=Evaluation(), description="how a model is asked and how its answers are read"
    )
    families: Families = Field(default=Families(), description="the families of models, side by side")
    base_models: BaseModels = Field(default=BaseModels(), description="training of the tiny base models")
    jobs: Jobs = Field(default=Jobs(), description="resources per run")
    disk_gb: PositiveFloat = Field(default=1.0, description="free space required before the first run")
    rehearsal: bool = Field(
        default=False, description="train models with random weights to measure the cost; nothing is evaluated"
    )

    @field_validator("domains", "models")
    @classmethod
    def usable_as_folders(cls, named: dict[str, Any]) -> dict[str, Any]:
        if unusable := [name for name in named if not name.isidentifier()]:
            raise ValueError(f"the names {unusable} become folder names: use only letters, digits and underscores")
        return named

    @field_validator("seeds", "modes")
    @classmethod
    def no_repeats(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError(f"{values} names a value twice: the second run would overwrite the first")
        return values


def load_profile(name: str, overrides: Mapping[str, Any] | None = None, folder: Path = paths.PROFILES) -> Profile:
    """Read `config/profiles/<name>.yaml`, replace fields as in ``{"training.epochs": 3}``, and validate the result.

    Raises `SettingsError` for an unknown profile, unreadable YAML, an unknown field or an invalid value, and for a
    study of the dev questions: only a grid asks those.
    """
    where = f"{_shown(folder)}/{name}.yaml" + (" or the settings given beside it" if overrides else "")
    values = {**_read(name, folder), "name": name}
    set_fields(Profile, values, overrides or {}, where)
    profile = validated(Profile, values, f"profile {name}", where)
    if profile.evaluation.split == "dev":
        raise SettingsError(
            f"{where}: evaluation.split is dev, but the tables report the test; to choose settings on dev, write a "
            "grid of `collection: searches` (docs/notebooks.md), or set split in notebook 04"
        )
    return profile


def profile_of(run: str | Path) -> Profile | None:
    """The profile that a folder of a run, or of published figures, is named after; None if no such profile exists.

    ``run`` may be a path inside that folder; a folder elsewhere is matched by its own name.
    """
    folder = paths.resolve(run)
    homes = (home for home in (paths.RUNS, paths.FIGURES) if folder.is_relative_to(home) and folder != home)
    name = next((folder.relative_to(home).parts[0] for home in homes), folder.name)
    return load_profile(name) if (paths.PROFILES / f"{name}.yaml").is_file() else None


def replaced(profile: Profile, overrides: Mapping[str, Any], where: str) -> Profile:
    """The profile with some fields replaced, validated again; ``where`` tells the user where they come from."""
    return merged(profile, overrides, f"profile {profile.name}", where) if overrides else profile


def parse_overrides(text: str) -> dict[str, Any]:
    """``"training.epochs=3 data.limit_classes=8"`` as a dict; values are parsed as YAML, quotes as in a shell."""
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
        raise SettingsError(f"unknown profile {name!r}; found in {_shown(folder)}/: {found}")
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        raise SettingsError(
            f"{_shown(folder)}/{name}.yaml must hold `field: value` lines, not {type(settings).__name__}"
        )
    return settings


def _shown(folder: Path) -> str:
    """A folder as named in messages: relative to the root, or only its name."""
    return str(folder.relative_to(paths.ROOT)) if folder.is_relative_to(paths.ROOT) else folder.name


def check_name(what: str, name: str) -> None:
    """Raise `SettingsError` for a name that is not a plain folder name, such as one with a space or a slash."""
    if not FOLDER_NAME.fullmatch(name):
        raise SettingsError(
            f"{what} name {name!r} becomes the name of a folder: at most 60 letters, digits, '_', '-' and '.', with "
            "neither '-' nor '.' at the beginning; choose another"
        )


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which a repeated field is an error; PyYAML alone silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        if twice := next((key for key, times in keys.items() if times > 1), None):
            raise yaml.constructor.ConstructorError(None, None, f"the field {twice!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The content of a YAML text. Anything wrong with it is a ``yaml.YAMLError``: PyYAML alone lets errors of ``int``,
    ``date`` and the like through, as for the day 2026-99-99.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise yaml.YAMLError(f"a value is not of the type that it looks like ({error}); put it in quotes") from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file of settings. Raises `SettingsError` if it cannot be read."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SettingsError(f"{path.parent.name}/{path.name} is not valid YAML: {error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path.parent.name}/{path.name} is not UTF-8 ({error.reason}); save it as plain text in UTF-8"
        ) from None
