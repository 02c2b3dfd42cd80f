"""A user's own folder of classes, as read: its classes, texts, questions, and what was found wrong with it."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from helpers.domains.findings import Findings
from helpers.domains.own_language import Language
from helpers.schemas import Question
from helpers.synthetic.appearances import VOCABULARIES

CLASSES, QUESTIONS = "classes.csv", "questions.csv"
TEXTS, TEXTS_JSONL = "texts.csv", "texts.jsonl"
OPTION_COLUMNS = 4


@dataclass
class OwnClass:
    """A row of classes.csv, with the class's images (paths relative to the folder)."""

    class_id: str
    name: str
    noun: str | None
    category: str | None
    appearance: dict[str, str]  # columns look:<part>
    facts: dict[str, str]  # columns fact:<name>
    row: int
    train: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OwnText:
    """A row of texts.csv or texts.jsonl."""

    class_id: str
    appearance: str
    background: str
    file: str
    row: int


@dataclass
class OwnFolder:
    """The folder as read. Usable only if `findings` lists no problem."""

    folder: Path
    domain: str = "own"
    findings: Findings = field(default_factory=Findings)
    language: Language = field(default_factory=Language)
    classes: list[OwnClass] = field(default_factory=list)
    texts: list[OwnText] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)  # of questions.csv

    def facts_to_ask(self) -> list[str]:
        """The fact columns with enough values for a question with four options."""
        values: dict[str, set[str]] = defaultdict(set)
        for thing in self.classes:
            for fact, value in thing.facts.items():
                values[fact].add(value.casefold())
        return [fact for fact, found in values.items() if len(found) >= OPTION_COLUMNS]

    def names(self) -> tuple[str, ...]:
        """What the classes are called."""
        return tuple(thing.name for thing in self.classes)

    def class_of(self) -> dict[str, OwnClass]:
        """The class in whose folder an image lies, by the image's name."""
        return {name: thing for thing in self.classes for name in (*thing.train, *thing.test)}

    def test_images(self) -> set[str]:
        asked = {question.image for question in self.questions if question.image}
        return asked | {name for thing in self.classes for name in thing.test}

    def language_of(self, noun: str | None) -> str:
        """The domain whose sentences are used for things with this noun: a drawn one, or this folder's own."""
        return drawn_language(noun) or self.domain

    def trains_on_images(self) -> bool:
        """Whether mode image_text is possible: it needs a training image of every class."""
        return bool(self.classes) and all(thing.train for thing in self.classes)


def drawn_language(noun: str | None) -> str | None:
    """The drawn domain with this noun: its sentences are the ones that the demo's models can read."""
    return next((domain for domain, vocabulary in VOCABULARIES.items() if vocabulary.noun == noun), None)
