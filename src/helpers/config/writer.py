"""Who writes the texts, and at what pace and price (notebook 01).

Unlike the other groups this one has defaults: a profile whose writer is offline has nothing to say of rate limits.
There is no field for a key: it is read from the environment variable that ``key_variable`` names, from nowhere else.
"""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from helpers.config import Settings

Backend = Literal["offline", "openai", "local"]
Structured = Literal["json_schema", "json_object", "none"]


class Writer(Settings):
    """One of three back ends; all fields but ``backend`` and ``language`` concern the two that ask a model."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a key put in the wrong place is not repeated

    backend: Backend = "offline"  # openai: any endpoint that speaks its language; local: a model in memory
    base_url: str = "https://api.openai.com/v1"  # or that of vLLM, Ollama, llama.cpp, ...
    model: str = "gpt-4o"  # (paper); backend local: a folder in the Hugging Face layout, or a hub name
    # The environment variable with the key (a key itself does not fit the pattern); null: none is sent. The key is
    # printable ASCII without blanks, and is refused otherwise: `helpers.writer.endpoint.read_key`
    key_variable: str | None = Field(default="OPENAI_API_KEY", pattern="^[A-Z][A-Z0-9_]*$")
    with_picture: bool = False  # show the class's training picture where there is one; else from the name alone
    structured: Structured = "json_schema"  # how the form of a reply is asked for; not every server knows the first
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: PositiveInt = 700  # of one reply
    reasks: NonNegativeInt = 2  # how often a reply that does not fit is asked for again, the fault told
    concurrency: PositiveInt = 8  # requests under way at once
    requests_per_minute: PositiveInt = 500
    tokens_per_minute: PositiveInt = 30_000
    timeout_s: PositiveFloat = 60  # of one request, from its start to the last byte
    retries: NonNegativeInt = 6  # of one request that failed on the way, with growing pauses
    budget: NonNegativeFloat | None = None  # all that this domain's texts may ever cost, in the currency of the prices
    price_in: NonNegativeFloat | None = None  # a million tokens; null: data/prompts/prices.csv
    price_out: NonNegativeFloat | None = None
    language: str = Field(default="en", pattern="^[a-z]{2}$")  # that replies are checked for (ISO 639-1)
    cache_dir: str = "runs/writer_cache"  # every reply that was paid for, a file a domain
    questions: bool = False  # write questions too, where a domain has pictures but no questions

    @field_validator("base_url")
    @classmethod
    def without_secrets(cls, url: str) -> str:
        """An address is printed and recorded, so it must hold nothing secret."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no user, password or query; a key belongs into the variable `key_variable`")
        return url.rstrip("/")

    @model_validator(mode="after")
    def both_prices_or_none(self) -> "Writer":
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in and price_out go together: give both, or neither to take the table's")
        return self
