"""What every source of classes, images and questions provides, and what the registry knows about it.

A source is one module: a `Domain`, a function that opens it, and a `DataSource` with everything else that differs
between sources. `helpers.domains` lists the sources; nothing outside this package distinguishes them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.rows import NotNegative, Row
from helpers.schemas import ClassText, Question

GENERIC_PROMPT = "generic"


@dataclass(frozen=True)
class Subject:
    """What a writer is told about one class.

    Never its test images: a text based on them would carry the answers into the training.
    """

    domain: str  # as in `ClassText`
    class_id: str
    name: str  # must not appear in a text that gives no name away
    called: str  # the form in `ClassText.name` ("the Monarch")
    category: str | None = None
    appearance: dict[str, str] = field(default_factory=dict)  # from the facts table, if there is one
    facts: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()  # other names that would give it away, such as the scientific one
    refers: str | None = None  # how to refer to it without its name ("this bird")
    image: str | None = None  # its training image, relative to the domain's folder
    asked: tuple[tuple[str, str], ...] = ()  # (split, image) to write questions about
    prompt: str = GENERIC_PROMPT  # the file in data/prompts that requests its text


class LeftOut(Row):
    """Questions without a usable image that were left out, and those images."""

    questions: NotNegative
    image_files: list[str]


class Domain(ABC):
    """Classes, their images and the questions about them."""

    @abstractmethod
    def table(self) -> list[dict[str, Any]]:
        """What is known about the classes, for display."""

    @abstractmethod
    def bring_images(self, folder: Path) -> None:
        """Put every image that texts or questions name into ``folder``."""

    @abstractmethod
    def questions(self) -> list[Question]:
        """The questions that come with the domain; a writer may write the types that it lacks."""

    @abstractmethod
    def class_info(self) -> list[Subject]:
        """What a writer is told about each class, in the domain's order."""

    @abstractmethod
    def offline_texts(self, wordings: int) -> list[ClassText]:
        """What can be said about the classes without a network or a model: the demo's writer.

        Up to ``wordings`` texts per class. `ClassText.appearance` never gives the name away: a text works in both
        directions. Raises ``ValueError`` for more wordings than there are.
        """

    def own_texts(self) -> list[ClassText]:
        """Texts that come with the domain; no writer is asked about their classes."""
        return []

    def retention_questions(self) -> list[Question]:
        """What the base model knew before training, to measure what remains; empty if that is unknown."""
        return []

    def left_out(self) -> LeftOut | None:
        """What was left out because images are missing; None: nothing."""
        return None


@dataclass(frozen=True)
class DomainRequest:
    """What is requested from a source; each source uses the fields that it needs."""

    domain: str
    path: str | Path
    limit_classes: int | None
    images_per_class: int
    image_size: int
    seed: int
    distractors: str
    missing_images: str = "refuse"  # or "leave_out"
    dialect: str = "captions"  # of the texts, where there is a facts table


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from, in the words of its card; ``licence`` is an id of the Hugging Face hub."""

    text: str
    licence: str


@dataclass(frozen=True)
class DataSource:
    """One source: how to open it, and how to describe it."""

    open: Callable[[DomainRequest], Domain]
    origin: Origin
    tables: Mapping[str, Path] = field(default_factory=dict)  # by domain, for a source that reads no folder
    labels: Mapping[str, str] = field(default_factory=dict)  # by domain, in the order of tables and figures
    leaves_out: bool = False  # whether questions with missing images can be left out
