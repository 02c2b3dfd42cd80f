"""What requests cost: a table of prices, an estimate of tokens, and an account that never exceeds its budget.

Tokens are estimated, not counted: the provider's tokenizer would have to be fetched at the first use. English has about
four bytes per token. As no token is shorter than a byte, the number of bytes is an upper bound, which budgets use.
"""

import asyncio
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.config.prompts import PROMPT_FOLDER
from helpers.config.writer import Writer
from helpers.rows import read_csv_rows

TABLE = PROMPT_FOLDER / "prices.csv"
BYTES_A_TOKEN = 4
TOKENS_A_MESSAGE = 8  # added by the chat format
MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Prices per million tokens; an image counts as ``image_base`` tokens plus ``image_tile`` per tile."""

    tokens_in: float
    tokens_out: float
    currency: str = "USD"
    image_base: int = 85
    image_tile: int = 170

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / MILLION


def price_of(settings: Writer, table: Path = TABLE) -> Price:
    """The settings' prices, else the table's for the model, ignoring a date at the end of its name.

    Raises ``ValueError`` for a model without a price, which is never assumed to be free.
    """
    if settings.backend == "local":
        return Price(0, 0)
    rows = {row["model"]: row for row in read_csv_rows(table)}
    row = rows.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", settings.model))
    listed = _from_row(row) if row else Price(0, 0)
    if settings.price_in is not None and settings.price_out is not None:
        return Price(settings.price_in, settings.price_out, listed.currency, listed.image_base, listed.image_tile)
    if row is None:
        raise ValueError(
            f"writer.model is {settings.model!r}, whose price is not in {table.name} ({', '.join(rows)}); give "
            "writer.price_in and writer.price_out, per million tokens (0 for your own server)"
        )
    return listed


def _from_row(row: dict[str, str]) -> Price:
    images = int(row["image_base"]), int(row["image_tile"])
    return Price(float(row["price_in"]), float(row["price_out"]), row["currency"], *images)


def expected_tokens(texts: list[str]) -> int:
    """The estimated tokens of messages, at four bytes per token."""
    return sum(math.ceil(len(text.encode()) / BYTES_A_TOKEN) + TOKENS_A_MESSAGE for text in texts)


def most_tokens(texts: list[str]) -> int:
    """An upper bound of the tokens of messages."""
    return sum(len(text.encode()) + TOKENS_A_MESSAGE for text in texts)


def priced_image_tokens(price: Price, width: int, height: int) -> int:
    """OpenAI's rule for GPT-4o: scale down to 2048 pixels, then to 768 on the short side, and count tiles of 512."""
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
    return price.image_base + price.image_tile * tiles


class OverBudget(Exception):
    """The next request might cost more than the remaining budget."""


@dataclass
class Bill:
    """The cost of a request; until it is known, the most that it could cost."""

    cost: float


class Account:
    """Money spent and promised. A request starts only if even its highest possible cost fits the budget."""

    def __init__(self, budget: float | None, spent: float) -> None:
        self.budget, self.spent = budget, spent
        self._promised: dict[int, float] = {}
        self._freed = asyncio.Event()
        self._number = 0

    async def room_for(self, most: float) -> None:
        """Wait until pending requests leave enough money. Raises `OverBudget` if none are pending."""
        while self.budget is not None and self.spent + sum(self._promised.values()) + most > self.budget:
            if not self._promised:
                raise OverBudget(
                    f"a request of up to {most:.4f} would exceed the budget of {self.budget:g}; "
                    f"{self.spent:.4f} are spent, in the currency of the prices; to continue, raise writer.budget"
                )
            self._freed.clear()
            await self._freed.wait()

    @contextmanager
    def promised(self, most: float) -> Iterator[Bill]:
        """Inside the block, ``most`` counts as spent; after it, the bill's cost does. Enter right after `room_for`."""
        self._number += 1
        number, bill = self._number, Bill(most)
        self._promised[number] = most
        try:
            yield bill
        finally:
            del self._promised[number]
            self.spent += bill.cost
            self._freed.set()
