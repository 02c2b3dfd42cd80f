"""Profiles: every number that a run depends on, in one readable file under `profiles/`.

A profile says what is run (models, domains, modes, seeds) and how (data, training, evaluation). The YAML files give a
reason beside each value; the classes here say what each field means. They are frozen and forbid unknown fields: a
misspelt setting is an error before any work, never a default that was silently used.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from helpers import paths

Mode = Literal["text_only", "image_text"]
Direction = Literal["name_to_description", "description_to_name"]
Answering = Literal["direct", "describe"]


class SettingsError(ValueError):
    """A profile that cannot be used; the message names the field, the value received, the rule and the remedy."""


class Settings(BaseModel):
    """A group of settings. Unknown fields are refused with the list of the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def known_fields_only(cls, values: Any) -> Any:
        """Pydantic's own message does not say which fields there are; this one does."""
        if isinstance(values, Mapping) and (unknown := [str(key) for key in values if key not in cls.model_fields]):
            raise ValueError(f"unknown field {', '.join(unknown)}; the fields here are {', '.join(cls.model_fields)}")
        return values


class Domain(Settings):
    """Where one domain's pictures and questions come from."""

    source: Literal["drawn", "kviscuit"]  # drawn: pictures made from a facts table; kviscuit: a folder of photographs
    path: str | None = None  # the folder, for a source that reads one

    @model_validator(mode="after")
    def path_where_needed(self) -> "Domain":
        if (self.path is None) != (self.source == "drawn"):
            raise ValueError(f"source {self.source} with path {self.path!r}: kviscuit needs a folder, drawn takes none")
        return self


class Model(Settings):
    """One base model."""

    path: str  # a folder in the Hugging Face layout, or a hub name such as Qwen/Qwen2-VL-7B-Instruct
    display: str  # how tables and figures call it


class Data(Settings):
    """How much is drawn, written and asked."""

    test_pictures_per_class: PositiveInt
    wordings_per_class: PositiveInt  # how many differently worded descriptions of a class are written
    limit_classes: PositiveInt | None  # null: all classes
    limit_questions: PositiveInt | None  # of each question type; null: all
    picture_size: PositiveInt  # pixels, both sides; drawn domains only
    seed: NonNegativeInt  # of drawing and wording; the same for every training seed, so that only training varies


class Training(Settings):
    """One fine-tuning run."""

    epochs: PositiveInt
    max_steps: PositiveInt | None  # null: as many as the epochs give
    batch_size: PositiveInt
    gradient_accumulation: PositiveInt
    learning_rate: PositiveFloat  # peak
    warmup_share: float = Field(ge=0, le=1)  # of all steps
    weight_decay: NonNegativeFloat
    lora_rank: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: float = Field(ge=0, lt=1)
    directions: list[Direction] = Field(
        min_length=1
    )  # in which a class's text is read, name first or description first
    train_projector: bool
    dtype: Literal["float32", "bfloat16"]  # of computation; the frozen weights are NF4 whatever this says
    max_pixels: PositiveInt | None  # a larger picture is scaled down to this area; null: the processor's own rule
    checkpoint_steps: PositiveInt  # a killed run loses at most so many steps


class Evaluation(Settings):
    """How a model is asked and its answers are read."""

    protocol: Literal["option_likelihood", "letter"]
    answering: list[Answering] = Field(min_length=1)
    batch_size: PositiveInt
    describe_with: Literal["tuned", "base"]  # who writes the description in describe-then-answer
    max_new_tokens: PositiveInt  # of a description or a written reply
    dtype: Literal["float32", "bfloat16"]  # of computation, as in training
    max_pixels: PositiveInt | None  # as in training


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
    domains: dict[str, Domain] = Field(min_length=1)
    models: dict[str, Model] = Field(min_length=1)
    modes: list[Mode] = Field(min_length=1)  # the untuned base is always measured beside them
    data: Data
    training: Training
    evaluation: Evaluation
    base_models: BaseModels
    jobs: Jobs
    disk_gb: PositiveFloat  # free room asked for before the first run

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
    """Read `profiles/<name>.yaml`, replace the fields named in `overrides` (``{"training.epochs": 3}``), check all.

    Raises `SettingsError` for an unknown profile, unreadable YAML, an unknown field or an unfit value.
    """
    settings = {**_read(name, folder), "name": name}
    for field, value in (overrides or {}).items():
        _replace(settings, field, value)
    try:
        return Profile.model_validate(settings)
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(problem)}" for problem in error.errors())
        where = f"{folder.name}/{name}.yaml" + (" or the settings given beside it" if overrides else "")
        raise SettingsError(f"profile {name} cannot be used:\n{problems}\nCorrect {where}.") from None


def parse_overrides(text: str) -> dict[str, Any]:
    """``"training.epochs=3 data.limit_classes=8"`` as a dict; values are read as YAML, quotes as in a shell."""
    try:
        pairs = [part.partition("=") for part in shlex.split(text)]
        if without_value := [field for field, equals, _ in pairs if not equals]:
            raise ValueError(f"{without_value[0]!r} has no value")
        return {field: yaml.safe_load(value) for field, _, value in pairs}
    except (ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read the setting {text!r}: {error}; write e.g. training.epochs=3") from None


def _read(name: str, folder: Path) -> dict[str, Any]:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        found = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        raise SettingsError(f"unknown profile {name!r}; found in {folder.name}/: {found}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SettingsError(f"{folder.name}/{name}.yaml is not valid YAML: {error}") from None
    if not isinstance(settings, dict):
        raise SettingsError(f"{folder.name}/{name}.yaml must hold `field: value` lines, not {type(settings).__name__}")
    return settings


def _replace(settings: dict[str, Any], field: str, value: Any) -> None:
    *groups, last = field.split(".")
    for group in groups:
        settings = settings.setdefault(group, {})
        if not isinstance(settings, dict):
            raise SettingsError(f"cannot set {field}: {group} is a single value ({settings!r}), not a group of fields")
    settings[last] = value


def _describe(problem: Any) -> str:
    """One of pydantic's problems in a line. A whole group is not repeated: its fields are in the file."""
    field = ".".join(str(part) for part in problem["loc"]) or "the profile"
    received = "" if isinstance(problem["input"], Mapping) else f" = {problem['input']!r}"
    return f"{field}{received}: {problem['msg'].removeprefix('Value error, ')}"
