"""Who writes the texts, how fast, and at what price (notebook 01).

There is no field for a key: it is only ever read from the environment variable that ``key_variable`` names.
"""

import json
import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from helpers.config import Settings
from helpers.workflow.redact import Redactor

Backend = Literal["offline", "openai", "local"]
Structured = Literal["json_schema", "json_object", "none"]
_SET_ELSEWHERE = {  # fields of a request that `extra_body` must not hold, and the setting for each
    "model": "writer.model",
    "messages": "the prompts in data/prompts",
    "temperature": "writer.temperature",
    "max_tokens": "writer.max_tokens",
    "max_completion_tokens": "writer.max_tokens and writer.token_limit_name",
    "response_format": "writer.structured",
    "stream": "none, since replies are read as a whole",
    "n": "none, since one reply is asked for at a time",
}
_SECRET_FIELD = re.compile(  # not "stop_token_ids" or "prompt_cache_key", which servers have
    r"(key|token|.*(api[-_]?key|(auth|access)[-_]?token|secret|password|credentials?)|authorization|.*headers)$",
    re.IGNORECASE,
)


class Writer(Settings):
    """One of three back ends; all fields but ``backend`` and ``language`` concern the two that ask a model."""

    model_config = ConfigDict(hide_input_in_errors=True)  # so that a misplaced key is not repeated

    backend: Backend = Field(
        default="offline", description="openai: any endpoint with OpenAI's API; local: a model in memory"
    )
    base_url: str = Field(default="https://api.openai.com/v1", description="or that of vLLM, Ollama, llama.cpp, ...")
    model: str = Field(
        default="gpt-4o", description="the paper's; backend local: a folder in the Hugging Face layout, or a hub name"
    )
    key_variable: str | None = Field(
        default="OPENAI_API_KEY",
        pattern="^[A-Z][A-Z0-9_]*$",
        description="environment variable with the key (a key itself does not fit the pattern); null: none is sent",
    )
    with_image: bool = Field(
        default=False, description="show the class's training image if there is one; else only its name is given"
    )
    structured: Structured = Field(
        default="json_schema", description="how to request the format of a reply; not every server supports the first"
    )
    temperature: float | None = Field(
        default=0.0,
        ge=0,
        le=2,
        description="our choice; reproducible because of the cache. null: not sent, as reasoning models refuse it",
    )
    max_tokens: PositiveInt = Field(default=700, description="per reply, reasoning included; reasoning needs thousands")
    token_limit_name: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens",
        description="what the limit is called in a request: the first by nearly all servers, the second by OpenAI's "
        "reasoning models",
    )
    extra_body: dict[str, JsonValue] = Field(
        default={},
        description='further fields of a request to a server, such as {"reasoning_effort": "low"}; never a key',
    )
    reasks: NonNegativeInt = Field(
        default=2, description="how often to ask again for a reply that does not fit, naming its faults"
    )
    unusable_in_a_row: PositiveInt | None = Field(
        default=8,
        description="stop after so many new replies in a row that cannot be used: more would cost money for nothing; "
        "null: never",
    )
    concurrency: PositiveInt = Field(default=8, description="simultaneous requests")
    requests_per_minute: PositiveInt = Field(default=500, description="our choice; raise it to the account's limit")
    tokens_per_minute: PositiveInt = Field(default=30_000, description="our choice; raise it to the account's limit")
    timeout_s: PositiveFloat = Field(default=60.0, description="per request, from its start to the last byte")
    retries: NonNegativeInt = Field(default=6, description="per request that failed in transit, with growing pauses")
    budget: NonNegativeFloat | None = Field(
        default=None,
        description="the most that one domain's texts (of one folder) may ever cost, in the currency of the prices; "
        "null: no limit",
    )
    price_in: NonNegativeFloat | None = Field(
        default=None, description="per million input tokens; null: data/prompts/prices.csv"
    )
    price_out: NonNegativeFloat | None = Field(default=None, description="per million output tokens; null: as above")
    language: str = Field(default="en", pattern="^[a-z]{2}$", description="the replies' language (ISO 639-1), checked")
    cache_dir: str = Field(
        default="runs/writer_cache", description="keeps every reply that was paid for, in one file per domain"
    )
    questions: bool = Field(default=False, description="also write questions, if a domain has images but no questions")

    @field_validator("base_url")
    @classmethod
    def without_secrets(cls, url: str) -> str:
        """The address is printed and recorded, so it must hold no secrets."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no user, password or query; a key belongs in the variable of `key_variable`")
        return url.rstrip("/")

    @field_validator("extra_body")
    @classmethod
    def without_what_is_set_elsewhere(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """A field that the writer sends itself has one place to be set; a key has none, as settings are recorded."""
        if taken := [f"{name} (set by: {_SET_ELSEWHERE[name]})" for name in extra if name in _SET_ELSEWHERE]:
            raise ValueError(f"must not hold {', '.join(taken)}")
        text = json.dumps(extra, ensure_ascii=False)
        if _names_a_secret(extra) or Redactor()(text) != text:
            raise ValueError("must hold no key, token or password; a key belongs in the variable of `key_variable`")
        return extra

    @model_validator(mode="after")
    def both_prices_or_none(self) -> "Writer":
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in and price_out go together: give both, or neither to use the table's")
        return self


def _names_a_secret(value: JsonValue) -> bool:
    """Whether a field, at any depth, is named after a secret or holds headers."""
    if isinstance(value, list):
        return any(map(_names_a_secret, value))
    if not isinstance(value, dict):
        return False
    return any(_SECRET_FIELD.match(name) or _names_a_secret(inner) for name, inner in value.items())
