"""Prompts: versioned files under ``data/prompts``, and how the data about a class is put into one.

What a user supplies (names, facts) reaches a model only as a JSON object between ``<data>`` and ``</data>``. Angle
brackets inside it are escaped, so that no value can close the block, and the system prompt says that it is data.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from helpers.config.profiles import parse_yaml
from helpers.paths import DATA

PROMPT_FOLDER = DATA / "prompts"
HASH_DIGITS = 12  # as for the prompts in the rows of answers


class WriterPrompt(BaseModel):
    """A prompt and what its replies are checked for; `data/prompts/butterfly.yaml` explains each field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: PositiveInt
    kind: Literal["text", "questions"]
    system: str
    text: str
    fields: dict[str, str]
    refers: str | None
    length: dict[str, tuple[int, int]]
    name: dict[str, Literal["absent", "present", "any"]]
    must_say: list[str]
    not_other: list[str]
    generic: list[str]
    expected_tokens: PositiveInt

    @property
    def hash(self) -> str:
        """Of the contents; a comment in the file does not count."""
        text = json.dumps(self.model_dump(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def load_prompt(name: str, folder: Path = PROMPT_FOLDER) -> WriterPrompt:
    """A prompt by its file's name. Raises ``ValueError`` for an unknown one and for a file that does not fit."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        found = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ValueError(f"unknown prompt {name!r}; found in {folder.name}/: {found}")
    try:
        return WriterPrompt.model_validate(parse_yaml(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path.name} is not a usable prompt: {error}") from None


def user_message(prompt: WriterPrompt, data: Mapping[str, Any]) -> str:
    """The prompt's text, then the data in its block."""
    return f"{prompt.text.strip()}\n\n<data>\n{as_data(data)}\n</data>"


def as_data(data: Mapping[str, Any]) -> str:
    """JSON in which no ``<`` or ``>`` is left, so that nothing within can end the block that it stands in."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
