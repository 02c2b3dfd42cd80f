"""The drawn domains: real classes with stylised looks and real facts, from one table each in `data/`.

Pictures are drawn, so there are as many as one asks for; those of the training set, the test questions and the dev
questions come from different random streams and never repeat.
"""

import csv
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from helpers.domains import retention
from helpers.domains.interface import DataSource, Domain, DomainRequest, Origin, Subject
from helpers.schemas import ClassText, Question
from helpers.synthetic import language as say
from helpers.synthetic.drawing import draw
from helpers.synthetic.looks import FACTS_TABLES, VOCABULARIES, Look

DISTRACTORS = ("random", "look_alike")  # the wrong options of Type 1: any other class, or those that look most alike


@dataclass(frozen=True)
class DrawnClass:
    """A row of the table: what the class is called, how it looks, what is known of it."""

    domain: str
    class_id: str
    name: str
    category: str
    look: Look
    facts: dict[str, str]


@dataclass(frozen=True)
class TableDomain(Domain):
    """A domain whose classes are rows of a facts table, whatever its pictures are."""

    classes: list[DrawnClass]

    @abstractmethod
    def training_picture(self, thing: DrawnClass) -> str | None:
        """The path of a class's training picture, None where there is none."""

    def class_info(self) -> list[Subject]:
        aliases = scientific_names()
        return [
            Subject(
                domain=thing.domain,
                class_id=thing.class_id,
                name=thing.name,
                called=say.subject(thing.domain, thing.name),
                category=thing.category,
                look=thing.look,
                facts=thing.facts,
                aliases=aliases.get(thing.class_id, ()) if thing.domain == "butterfly" else (),
                picture=self.training_picture(thing),
                prompt=thing.domain,
            )
            for thing in self.classes
        ]

    def offline_texts(self, wordings: int) -> list[ClassText]:
        """The table in sentences, never in the held-out wording, which belongs to the test."""
        return [text for thing in self.classes for text in self._texts(thing, wordings)]

    def _texts(self, thing: DrawnClass, wordings: int) -> Iterator[ClassText]:
        looks, backgrounds = say.training_wordings(say.DESCRIPTIONS[thing.domain]), say.BACKGROUNDS[thing.domain]
        if wordings > len(looks):
            raise ValueError(f"wordings_per_class is {wordings}; the offline writer has {len(looks)} wordings")
        for wording in range(wordings):
            yield ClassText(
                class_id=thing.class_id,
                name=say.subject(thing.domain, thing.name),
                domain=thing.domain,
                look=say.describe(thing.domain, thing.look, wording),
                background=say.background(thing.domain, thing.facts, wording % len(backgrounds)),
                wording=wording,
                writer="offline",
                picture=self.training_picture(thing),
            )


@dataclass(frozen=True)
class DrawnDomain(TableDomain):
    """A drawn world: pictures are made here, one per class for training, others for the test and the dev questions."""

    pictures_per_class: int
    picture_size: int
    seed: int
    distractors: str = "random"

    def table(self) -> list[dict[str, Any]]:
        return [{"name": c.name, "category": c.category, **c.look, **c.facts} for c in self.classes]

    def training_picture(self, thing: DrawnClass) -> str | None:
        return picture_path("train", thing)

    def bring_pictures(self, folder: Path) -> None:
        for split, count in (("train", 1), ("test", self.pictures_per_class), ("dev", self.pictures_per_class)):
            save_pictures(self.classes, split, count, folder, self.picture_size, self.seed)
        retention.save_retention_pictures(self._retention(), folder, self.picture_size, self.seed)

    def questions(self) -> list[Question]:
        return [
            question
            for split in ("test", "dev")
            for question in drawn_questions(self.classes, split, self.pictures_per_class, self.seed, self.distractors)
        ]

    def retention_questions(self) -> list[Question]:
        return [asked.question for asked in self._retention()]

    def _retention(self) -> list[retention.RetentionExercise]:
        return retention.asked(self.classes[0].domain, self.seed)


def open_drawn(request: DomainRequest) -> DrawnDomain:
    """The drawn domain of that name."""
    return DrawnDomain(
        load_classes(request.domain, request.limit_classes),
        request.pictures_per_class,
        request.picture_size,
        request.seed,
        distractors=request.distractors,
    )


DRAWN = DataSource(
    open_drawn,
    Origin("Pictures, texts and questions drawn from a facts table of this project.", "cc-by-4.0"),
    tables=FACTS_TABLES,
    labels={"butterfly": "Butterfly", "culture": "Korean culture"},
)


def scientific_names() -> dict[str, tuple[str, ...]]:
    """By class: they give a butterfly away as its name does."""
    with FACTS_TABLES["butterfly"].open(encoding="utf-8", newline="") as file:
        return {row["class_id"]: (row["scientific_name"],) for row in csv.DictReader(file)}


def load_classes(domain: str, limit: int | None = None) -> list[DrawnClass]:
    """The classes of a drawn domain, in the table's order; ``limit`` takes the first so many.

    Raises ``ValueError`` for an unknown domain or a value outside the vocabulary, naming the class.
    """
    if domain not in FACTS_TABLES:
        raise ValueError(f"domain is {domain!r}; the drawn domains are {', '.join(FACTS_TABLES)}")
    with FACTS_TABLES[domain].open(encoding="utf-8", newline="") as file:
        classes = [_read_class(domain, row) for row in csv.DictReader(file)]
    return classes[:limit]


def _read_class(domain: str, row: dict[str, str]) -> DrawnClass:
    vocabulary = VOCABULARIES[domain]
    look = {part: row[part] for part in vocabulary.parts}
    facts = {fact: row[fact] for fact in vocabulary.facts}
    try:
        vocabulary.check(look)
        vocabulary.check_facts(facts)
    except ValueError as error:
        raise ValueError(f"{FACTS_TABLES[domain].name}, class {row['class_id']!r}: {error}") from None
    return DrawnClass(domain, row["class_id"], row["name"], row.get("category") or row["family"], look, facts)


def picture_path(split: str, thing: DrawnClass, number: int = 0) -> str:
    """Where a drawn picture lies, relative to the domain's data folder."""
    return f"pictures/{split}/{thing.class_id}-{number}.png"


def draw_picture(thing: DrawnClass, split: str, number: int, size: int, seed: int) -> Image:
    """One picture of a class; split, number and seed decide pose, light and background."""
    return draw(thing.domain, thing.look, random.Random(f"{thing.class_id}/{split}/{number}/{seed}"), size)


def save_pictures(classes: Iterable[DrawnClass], split: str, count: int, folder: Path, size: int, seed: int) -> None:
    """Draw ``count`` pictures a class into ``folder``."""
    (folder / "pictures" / split).mkdir(parents=True, exist_ok=True)
    for thing in classes:
        for number in range(count):
            draw_picture(thing, split, number, size, seed).save(folder / picture_path(split, thing, number))


def drawn_questions(
    classes: Sequence[DrawnClass], split: str, pictures: int, seed: int, distractors: str = "random"
) -> Iterator[Question]:
    """For each drawn picture one Type-1 and one Type-2 question; see `questions_on`."""
    shown = {thing.class_id: [picture_path(split, thing, number) for number in range(pictures)] for thing in classes}
    return questions_on(shown, classes, split, seed, distractors)


def questions_on(
    pictures: Mapping[str, Sequence[str]], classes: Sequence[DrawnClass], split: str, seed: int, distractors: str
) -> Iterator[Question]:
    """For each picture one Type-1 and one Type-2 question, in held-out wordings; options in random order.

    ``pictures`` has the paths of each class's pictures by its id; a class without any is not asked about, but may be a
    wrong option. ``ValueError`` for fewer than four classes, more pictures than facts, or unknown ``distractors``.
    """
    _check(pictures, classes, distractors)
    rng = random.Random(f"questions/{split}/{seed}")
    for thing in classes:
        paths = pictures.get(thing.class_id, ())
        facts = rng.sample(list(say._FACTS[thing.domain]), k=len(paths))
        for number, (path, fact) in enumerate(zip(paths, facts, strict=True)):
            names = wrong_names(thing, classes, distractors, rng)
            yield _naming_question(thing, names, split, number, path, rng)
            yield _fact_question(thing, fact, split, number, path, rng)


def _check(pictures: Mapping[str, Sequence[str]], classes: Sequence[DrawnClass], distractors: str) -> None:
    if distractors not in DISTRACTORS:
        raise ValueError(f"distractors is {distractors!r}; known: {', '.join(DISTRACTORS)}")
    if len(classes) < 4:
        raise ValueError(f"{len(classes)} classes; a question needs four options, so take at least four classes")
    most, facts = max(map(len, pictures.values()), default=0), len(say._FACTS[classes[0].domain])
    if most > facts:
        raise ValueError(f"{most} pictures a class: each asks for another fact, and there are {facts}; at most {facts}")


def wrong_names(thing: DrawnClass, classes: Sequence[DrawnClass], distractors: str, rng: random.Random) -> list[str]:
    """Three names of other classes: any, or those whose looks differ in the fewest parts, ties drawn at random."""
    others = rng.sample([other for other in classes if other is not thing], k=_drawn(len(classes), distractors))
    if distractors == "look_alike":
        others.sort(key=lambda other: differing_parts(thing.look, other.look))
    return [other.name for other in others[:3]]


def _drawn(classes: int, distractors: str) -> int:
    """How many of the others are drawn: three, or all, in the order that decides ties."""
    return 3 if distractors == "random" else classes - 1


def differing_parts(one: Look, other: Look) -> int:
    """In how many parts two looks of a domain differ."""
    return sum(value != other[part] for part, value in one.items())


def _naming_question(
    thing: DrawnClass, others: list[str], split: str, number: int, path: str, rng: random.Random
) -> Question:
    text = say.NAMING[thing.domain].asked[say.HELD_OUT]
    form = say.name_answer(thing.domain, "{option}")
    return _question(thing, 1, "name", text, form, [thing.name, *others], split, number, path, rng)


def _fact_question(thing: DrawnClass, fact: str, split: str, number: int, path: str, rng: random.Random) -> Question:
    values = VOCABULARIES[thing.domain].facts[fact]
    others = rng.sample([value for value in values if value != thing.facts[fact]], k=3)
    text = say.fact_question(thing.domain, fact, say.HELD_OUT)
    form = say.fact_answer(thing.domain, fact, "{option}")
    return _question(thing, 2, fact, text, form, [thing.facts[fact], *others], split, number, path, rng)


def _question(
    thing: DrawnClass,
    question_type: int,
    category: str,
    text: str,
    form: str,
    options: list[str],
    split: str,
    number: int,
    path: str,
    rng: random.Random,
) -> Question:
    shuffled = rng.sample(options, k=4)
    return Question(
        domain=thing.domain,
        question_id=f"{thing.class_id}-{split}-{number}-type{question_type}",
        question_type=question_type,  # type: ignore[arg-type]
        category=category,
        class_id=thing.class_id,
        question=text,
        options=shuffled,
        answer=shuffled.index(options[0]),
        picture=path,
        split=split,  # type: ignore[arg-type]
        answer_form=form,
        refers=say.subject(thing.domain),
    )
