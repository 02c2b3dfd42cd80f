"""What a writer is asked (files of `helpers.config.prompts`), and how the data about a class is put into it.

What a user supplies (names, facts) reaches a model only as a JSON object between ``<data>`` and ``</data>``. Angle
brackets inside it are escaped, so that no value can close the block, and the system prompt says that it is data.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from helpers.config.prompts import PROMPT_FOLDER, PromptFile, read_prompts


class WriterPrompt(PromptFile):
    """A prompt and what its replies are checked for; `data/prompts/butterfly.yaml` explains each field."""

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


def load_prompt(name: str, folder: Path = PROMPT_FOLDER) -> WriterPrompt:
    """A prompt by its file's name. Raises as `read_prompts` does."""
    return read_prompts(name, WriterPrompt, folder)


def user_message(prompt: WriterPrompt, data: Mapping[str, Any]) -> str:
    """The prompt's text, then the data in its block."""
    return f"{prompt.text.strip()}\n\n<data>\n{as_data(data)}\n</data>"


def as_data(data: Mapping[str, Any]) -> str:
    """JSON in which no ``<`` or ``>`` is left, so that nothing within can end the block that it stands in."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
