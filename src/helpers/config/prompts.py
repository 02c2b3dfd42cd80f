"""Prompts as versioned data: the files in `data/prompts`, or a file of your own that a setting names.

A file's ``version`` increases whenever a prompt changes; its hash covers only the contents, so comments do not affect
it. Three kinds of file share the reader below: prompts for the writer (`helpers.writer.prompts`), prompts and answers
for training, and prompts for the test. The wordings that the demo's base models learned are not among them: those
models were trained once, and no setting changes what they were taught (`helpers.synthetic.language`).
"""

import hashlib
import json
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from helpers.config.profiles import SettingsError, parse_yaml
from helpers.paths import DATA, resolve
from helpers.schemas import OPTION_LETTERS, Said

PROMPT_FOLDER = DATA / "prompts"
HASH_DIGITS = 12  # as for the prompts in the rows of answers
GENERIC = "generic"  # its wordings serve every domain without its own
ByDomain = TypeVar("ByDomain")


class PromptFile(BaseModel):
    """What every prompt file has. Texts are taken literally, whereas a setting's commas may separate a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: PositiveInt
    kind: str

    @property
    def hash(self) -> str:
        """The hash of the contents; comments in the file do not count."""
        text = json.dumps(self.model_dump(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


AnyPrompts = TypeVar("AnyPrompts", bound=PromptFile)


def _with_places(*names: str, perhaps: tuple[str, ...] = ()) -> AfterValidator:
    """A text that holds each of ``{names}`` once, may hold each of ``perhaps`` once, and has no other brace."""
    places = [f"{{{name}}}" for name in names]

    def checked(text: str) -> str:
        if missing := [place for place in places if place not in text]:
            raise ValueError(f"lacks {', '.join(missing)}; it must hold {', '.join(places)}, each once")
        rest = text
        for place in [*places, *(f"{{{name}}}" for name in perhaps)]:
            rest = rest.replace(place, "", 1)
        if set(rest) & set("{}"):
            raise ValueError(f"must hold {', '.join(places) or 'no place to fill'}, and no other braces")
        return text

    return AfterValidator(checked)


_Wording = Annotated[Said, _with_places()]
_Wordings = Annotated[list[_Wording], Field(min_length=1)]
_WithDescription = Annotated[Said, _with_places("description", "question")]


def _with_generic(by_domain: dict[str, ByDomain]) -> dict[str, ByDomain]:
    if GENERIC not in by_domain:
        raise ValueError(f"lacks {GENERIC}, which serves every domain that is not listed")
    return by_domain


class TrainingPrompts(PromptFile):
    """Prompts and answers for training; `data/prompts/training.yaml` explains each field."""

    kind: Literal["training"]
    telling: Annotated[list[Annotated[Said, _with_places("name")]], Field(min_length=1)]
    naming: Annotated[dict[str, _Wordings], AfterValidator(_with_generic)]
    held_out: dict[str, _Wordings]
    described: _WithDescription
    named: Annotated[Said, _with_places("name", perhaps=("description",))]

    @model_validator(mode="after")
    def _keeps_the_held_out(self) -> "TrainingPrompts":
        for domain, held_out in self.held_out.items():
            if trained := set(held_out) & {*of_domain(self.naming, domain), *self.telling}:
                raise ValueError(f"held_out.{domain} repeats a training wording: {sorted(trained)}; remove it from one")
        return self


class EvaluationPrompts(PromptFile):
    """Prompts for the test; `data/prompts/evaluation.yaml` explains each field."""

    kind: Literal["evaluation"]
    lettered: Annotated[Said, _with_places("question", "options")]
    option: Annotated[Said, _with_places("letter", "option")]
    describing: Annotated[dict[str, _Wording], AfterValidator(_with_generic)]
    naming: Annotated[dict[str, _Wording], AfterValidator(_with_generic)]
    described: _WithDescription
    named: Annotated[Said, _with_places("description", "name", "question")]
    naming_answer: Annotated[Said, _with_places("name")] = "This is {name}."

    def with_letters(self, question: str, options: Sequence[str]) -> str:
        """The question with its four options, each labelled with its letter."""
        pairs = zip(OPTION_LETTERS, options, strict=True)
        lines = "\n".join(self.option.format(letter=letter, option=option) for letter, option in pairs)
        return self.lettered.format(question=question, options=lines)

    def about(self, description: str | None, question: str) -> str:
        """The question, asked about a description instead of an image."""
        return self.described.format(description=description, question=question)


def of_domain(by_domain: Mapping[str, ByDomain], domain: str | None) -> ByDomain:
    """A domain's own wordings, or else the generic ones."""
    return by_domain.get(domain or GENERIC, by_domain[GENERIC])


def prompt_path(name: str, folder: Path = PROMPT_FOLDER) -> Path:
    """``training`` means `data/prompts/training.yaml`; a name with a slash or the suffix .yaml is a path from the root.

    Raises `SettingsError` for a missing file.
    """
    is_path = "/" in name or name.endswith((".yaml", ".yml"))
    path = resolve(name) if is_path else folder / f"{name}.yaml"
    if not path.is_file():
        found = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise SettingsError(
            f"unknown prompt {name!r}; found in {folder.name}/: {found}. Name a file of your own by its path from the "
            "repository root, with its suffix .yaml"
        )
    return path


def read_prompts(name: str, kind: type[AnyPrompts], folder: Path = PROMPT_FOLDER) -> AnyPrompts:
    """The prompts of a file. Raises `SettingsError`, which names file, field and rule, if it is not valid."""
    path = prompt_path(name, folder)
    try:
        return kind.model_validate(parse_yaml(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = "".join(f"\n  {_problem(problem, kind)}" for problem in error.errors())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems = f" {error}"
    raise SettingsError(f"{path.name} is not a usable prompt:{problems}")


def _problem(problem: Any, kind: type[PromptFile]) -> str:
    field = ".".join(map(str, problem["loc"])) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{field}: unknown; the fields here are {', '.join(kind.model_fields)}"
    received = "" if isinstance(problem["input"], Mapping) else f" = {reprlib.repr(problem['input'])}"
    return f"{field}{received}: {problem['msg'].removeprefix('Value error, ')}"


def training_prompts(name: str = "training") -> TrainingPrompts:
    """The prompts that the setting ``build.prompts`` names."""
    return read_prompts(name, TrainingPrompts)


def evaluation_prompts(name: str = "evaluation") -> EvaluationPrompts:
    """The prompts that the setting ``evaluation.prompts`` names."""
    return read_prompts(name, EvaluationPrompts)
