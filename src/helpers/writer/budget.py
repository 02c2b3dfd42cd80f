"""What requests cost: a table of prices, an estimate of tokens, and an account that stops before its budget.

Tokens are estimated, not counted: a tokenizer of the provider's would have to be fetched at the first use. English has
about four bytes a token; as no token is shorter than a byte, the bytes are an upper bound, and budgets use that.
"""

import asyncio
import csv
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.config.prompts import PROMPT_FOLDER
from helpers.config.writer import Writer

TABLE = PROMPT_FOLDER / "prices.csv"
BYTES_A_TOKEN = 4
TOKENS_A_MESSAGE = 8  # what the chat format adds
MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """A million tokens in and out; a picture counts ``picture_base`` tokens and ``picture_tile`` for every tile."""

    tokens_in: float
    tokens_out: float
    currency: str = "USD"
    picture_base: int = 85
    picture_tile: int = 170

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / MILLION


def price_of(settings: Writer, table: Path = TABLE) -> Price:
    """The settings' prices, else the table's for the model (a date at its end is passed over); nothing is free unsaid.

    Raises ``ValueError`` for a model without a price.
    """
    if settings.backend == "local":
        return Price(0, 0)
    with table.open(encoding="utf-8", newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    row = rows.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", settings.model))
    listed = _from_row(row) if row else Price(0, 0)
    if settings.price_in is not None and settings.price_out is not None:
        return Price(settings.price_in, settings.price_out, listed.currency, listed.picture_base, listed.picture_tile)
    if row is None:
        raise ValueError(
            f"writer.model is {settings.model!r}, whose price is not in {table.name} ({', '.join(rows)}); give "
            "writer.price_in and writer.price_out, for a million tokens (0 for a server of your own)"
        )
    return listed


def _from_row(row: dict[str, str]) -> Price:
    pictures = int(row["picture_base"]), int(row["picture_tile"])
    return Price(float(row["price_in"]), float(row["price_out"]), row["currency"], *pictures)


def expected_tokens(texts: list[str]) -> int:
    """Of messages, by the rule of four bytes."""
    return sum(math.ceil(len(text.encode()) / BYTES_A_TOKEN) + TOKENS_A_MESSAGE for text in texts)


def most_tokens(texts: list[str]) -> int:
    """Of messages, an upper bound."""
    return sum(len(text.encode()) + TOKENS_A_MESSAGE for text in texts)


def priced_picture_tokens(price: Price, width: int, height: int) -> int:
    """OpenAI's rule for GPT-4o: scaled down to 2048 pixels and then to 768 on the short side, in tiles of 512."""
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
    return price.picture_base + price.picture_tile * tiles


class OverBudget(Exception):
    """The next request might cost more than is left."""


@dataclass
class Bill:
    """What a request cost in the end; the most that it could, until that is known."""

    cost: float


class Account:
    """Money spent and promised. A request starts only if it fits the budget even at its most expensive."""

    def __init__(self, budget: float | None, spent: float) -> None:
        self.budget, self.spent = budget, spent
        self._promised: dict[int, float] = {}
        self._freed = asyncio.Event()
        self._number = 0

    async def room_for(self, most: float) -> None:
        """Wait until requests under way have left enough. Raises `OverBudget` if none is under way and it is not."""
        while self.budget is not None and self.spent + sum(self._promised.values()) + most > self.budget:
            if not self._promised:
                raise OverBudget(
                    f"a request of up to {most:.4f} would exceed the budget of {self.budget:g}; "
                    f"{self.spent:.4f} are spent, in the currency of the prices; to go on, raise writer.budget"
                )
            self._freed.clear()
            await self._freed.wait()

    @contextmanager
    def promised(self, most: float) -> Iterator[Bill]:
        """Within the block ``most`` counts as spent, after it what the bill says. Enter it right after `room_for`."""
        self._number += 1
        number, bill = self._number, Bill(most)
        self._promised[number] = most
        try:
            yield bill
        finally:
            del self._promised[number]
            self.spent += bill.cost
            self._freed.set()
