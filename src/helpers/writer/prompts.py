"""Prompts for the writer (files of `helpers.config.prompts`), and how the data about a class is put into them.

User input (names, facts) only reaches a model as a JSON object between ``<data>`` and ``</data>``. Angle brackets
inside it are escaped, so that no value can close the block, and the system prompt says that it is data.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from helpers.config.prompts import PROMPT_FOLDER, PromptFile, read_prompts


class WriterPrompt(PromptFile):
    """A prompt, and the checks for its replies; `data/prompts/butterfly.yaml` explains each field."""

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
    """A prompt, by its file name. Raises as `read_prompts` does."""
    return read_prompts(name, WriterPrompt, folder)


def user_message(prompt: WriterPrompt, data: Mapping[str, Any]) -> str:
    """The prompt's text, followed by the data block."""
    return f"{prompt.text.strip()}\n\n<data>\n{as_data(data)}\n</data>"


def as_data(data: Mapping[str, Any]) -> str:
    """JSON without ``<`` and ``>``, so that nothing in it can end the block around it."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
