"""One interface for the three writers: `open_writer` gives an object with ``plan`` (what it will cost) and ``write``.

Both take the domain, the folder of its pictures and the number of wordings. `write` returns texts, questions (where
asked for, of the types that the domain lacks) and failures.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from helpers.config.prompts import PROMPT_FOLDER
from helpers.config.writer import Writer
from helpers.domains.interface import Domain
from helpers.paths import atomic_write
from helpers.rows import NotNegative, Row, Text, write_rows
from helpers.schemas import ClassText, Question
from helpers.writer.prompts import WriterPrompt


class Failure(Row):
    """A text or a set of questions that is missing, and why: a row of ``failures.jsonl``."""

    class_id: Text
    name: Text
    what: Text  # "wording 0" or "questions"
    reason: Text
    replies: NotNegative  # how many were read
    reply: str | None  # the beginning of the last


@dataclass(frozen=True)
class Plan:
    """What a writer is about to do. Requests and tokens are those still missing, each asked once."""

    backend: str
    model: str
    texts: int
    question_sets: int
    with_picture: int
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    cost_at_most: float = 0.0  # every reply as long as allowed, and every one asked again as often as allowed
    spent: float = 0.0
    budget: float | None = None
    currency: str = ""

    def __str__(self) -> str:
        what = f"{self.texts} texts, {self.question_sets} sets of questions, by {self.backend} {self.model}".rstrip()
        if self.backend == "offline":
            return f"{what}: no requests, no cost"
        limit = "no budget" if self.budget is None else f"budget {self.budget:g}"
        return (
            f"{what}, {self.with_picture} with picture\n"
            f"{self.requests} requests to make, the others are in the cache: about {self.tokens_in} tokens in and "
            f"{self.tokens_out} out\n"
            f"about {self.cost:.2f} {self.currency} (at most {self.cost_at_most:.2f}); spent so far {self.spent:.2f}, "
            f"{limit}"
        )


@dataclass
class Written:
    """What came out; ``passed`` and ``reasked`` count tasks that fitted at once and after being asked again."""

    texts: list[ClassText]
    questions: list[Question] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passed: int = 0
    reasked: int = 0
    prompts: dict[str, WriterPrompt] = field(default_factory=dict)
    spent: float = 0.0
    currency: str = ""

    def __str__(self) -> str:
        return (
            f"{len(self.texts)} texts, {len(self.questions)} questions; {self.passed} passed at once, {self.reasked} "
            f"asked again and passed, {len(self.failures)} listed as failures; spent {self.spent:.4f} {self.currency}"
        ).rstrip()


class AnyWriter(Protocol):
    """What each of the three offers."""

    def plan(self, domain: Domain, folder: Path, wordings: int) -> Plan: ...
    def write(self, domain: Domain, folder: Path, wordings: int, seed: int = 0) -> Written: ...


def open_writer(settings: Writer, name: str) -> AnyWriter:
    """The writer that the settings name; ``name`` is the domain's. Raises early for an unknown price."""
    if settings.backend == "offline":
        return OfflineWriter()
    from helpers.writer.run import ModelWriter  # a second to import, which an offline run spares

    return ModelWriter(settings, name)


class OfflineWriter:
    """What a domain can say of its classes without a network or a model."""

    def plan(self, domain: Domain, folder: Path, wordings: int) -> Plan:
        return Plan("offline", "", len(self.write(domain, folder, wordings).texts), 0, 0)

    def write(self, domain: Domain, folder: Path, wordings: int, seed: int = 0) -> Written:
        texts = domain.offline_texts(wordings)
        return Written(texts, passed=len(texts))


def write_or_remove(path: Path, rows: Iterable[Row]) -> int:
    """Write the rows and say how many; with none, no file is left, not even an earlier run's."""
    rows = list(rows)
    if rows:
        write_rows(path, rows)
    else:
        path.unlink(missing_ok=True)
    return len(rows)


def save_prompts(folder: Path, prompts: dict[str, WriterPrompt]) -> list[str]:
    """Copies of the prompts used, beside what was written with them; their names, versions and hashes."""
    for name in prompts:
        with atomic_write(folder / "prompts" / f"{name}.yaml") as temporary:
            temporary.write_bytes((PROMPT_FOLDER / f"{name}.yaml").read_bytes())
    return [f"{name} version {prompt.version}, hash {prompt.hash}" for name, prompt in prompts.items()]
