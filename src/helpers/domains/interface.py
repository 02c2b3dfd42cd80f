"""What every source of classes, pictures and questions offers, and what the registry knows of it.

A source is one module: a `Domain`, a function that opens it, and a `DataSource` that holds all else that differs from
source to source. `helpers.domains` lists the sources; nothing outside this package tells one from another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.schemas import ClassText, Question

GENERIC_PROMPT = "generic"


@dataclass(frozen=True)
class Subject:
    """What a writer is told of one class.

    Never its test pictures: a text written after them would carry the answers into the training.
    """

    domain: str  # as in `ClassText`
    class_id: str
    name: str  # as a text must not give it away
    called: str  # as `ClassText.name` has it ("the Monarch")
    category: str | None = None
    look: dict[str, str] = field(default_factory=dict)  # the facts table, where there is one
    facts: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()  # other names that would give it away, such as the scientific one
    refers: str | None = None  # words for it where its name must not be given away ("this bird")
    picture: str | None = None  # its training picture, from the domain's folder
    asked: tuple[tuple[str, str], ...] = ()  # (split, picture) of those that questions are to be written about
    prompt: str = GENERIC_PROMPT  # which file of data/prompts its text is asked for with


class Domain(ABC):
    """Classes, their pictures and the questions about them."""

    @abstractmethod
    def table(self) -> list[dict[str, Any]]:
        """What is known of the classes, for looking at."""

    @abstractmethod
    def bring_pictures(self, folder: Path) -> None:
        """Put every picture that texts or questions name into ``folder``."""

    @abstractmethod
    def questions(self) -> list[Question]:
        """The questions that come with the domain; a writer may be asked for the types that it lacks."""

    @abstractmethod
    def class_info(self) -> list[Subject]:
        """What a writer is told of each class, in the domain's order."""

    @abstractmethod
    def offline_texts(self, wordings: int) -> list[ClassText]:
        """What can be said of the classes without a network or a model: the writer of the demo.

        Up to ``wordings`` texts per class. `ClassText.look` never gives the name away, so that a text can be read in
        both directions. Raises ``ValueError`` for more wordings than there are.
        """

    def own_texts(self) -> list[ClassText]:
        """Texts that the domain brings with it; no writer is asked for their classes."""
        return []

    def retention_questions(self) -> list[Question]:
        """What the base model knew before the training, to see what of it is left; none where nobody knows that."""
        return []


@dataclass(frozen=True)
class DomainRequest:
    """What is asked of a source; each takes of it what it needs."""

    domain: str
    path: str | Path
    limit_classes: int | None
    pictures_per_class: int
    picture_size: int
    seed: int
    distractors: str


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from, as its card says it; ``licence`` is an id of the Hugging Face hub."""

    text: str
    licence: str


@dataclass(frozen=True)
class DataSource:
    """One source: how it is opened, and what is said of it."""

    open: Callable[[DomainRequest], Domain]
    origin: Origin
    tables: Mapping[str, Path] = field(default_factory=dict)  # by domain, of a source that reads no folder
    labels: Mapping[str, str] = field(default_factory=dict)  # by domain, in the order of tables and figures
