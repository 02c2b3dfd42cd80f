"""The drawn domains: real classes with stylised looks and real facts, from one table each in `data/`.

Pictures are drawn, so there are as many as one asks for; those of the training set, the test questions and the dev
questions come from different random streams and never repeat.
"""

import csv
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from helpers.paths import DATA
from helpers.questions import Question
from helpers.world import language as say
from helpers.world.drawing import draw
from helpers.world.looks import VOCABULARIES, Look

TABLES = {"butterfly": DATA / "butterflies.csv", "culture": DATA / "culture.csv"}


@dataclass(frozen=True)
class DrawnClass:
    """A row of the table: what the class is called, how it looks, what is known of it."""

    domain: str
    class_id: str
    name: str
    category: str
    look: Look
    facts: dict[str, str]


def load_classes(domain: str, limit: int | None = None) -> list[DrawnClass]:
    """The classes of a drawn domain, in the table's order; ``limit`` takes the first so many.

    Raises ``ValueError`` for an unknown domain or a value outside the vocabulary, naming the class.
    """
    if domain not in TABLES:
        raise ValueError(f"domain is {domain!r}; the drawn domains are {', '.join(TABLES)}")
    with TABLES[domain].open(encoding="utf-8", newline="") as file:
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
        raise ValueError(f"{TABLES[domain].name}, class {row['class_id']!r}: {error}") from None
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


def questions(classes: Sequence[DrawnClass], split: str, pictures: int, seed: int) -> Iterator[Question]:
    """For each picture one Type-1 and one Type-2 question, in held-out wordings; options in random order."""
    rng = random.Random(f"questions/{split}/{seed}")
    for thing in classes:
        facts = rng.sample(list(say.FACTS[thing.domain]), k=pictures)
        for number in range(pictures):
            yield _naming_question(thing, classes, split, number, rng)
            yield _fact_question(thing, facts[number], split, number, rng)


def _naming_question(
    thing: DrawnClass, classes: Sequence[DrawnClass], split: str, number: int, rng: random.Random
) -> Question:
    others = rng.sample([other.name for other in classes if other is not thing], k=3)
    text = say.NAMING[thing.domain].asked[say.HELD_OUT]
    form = say.name_answer(thing.domain, "{option}")
    return _question(thing, 1, "name", text, form, [thing.name, *others], split, number, rng)


def _fact_question(thing: DrawnClass, fact: str, split: str, number: int, rng: random.Random) -> Question:
    values = VOCABULARIES[thing.domain].facts[fact]
    others = rng.sample([value for value in values if value != thing.facts[fact]], k=3)
    text = say.fact_question(thing.domain, fact, say.HELD_OUT)
    form = say.fact_answer(thing.domain, fact, "{option}")
    return _question(thing, 2, fact, text, form, [thing.facts[fact], *others], split, number, rng)


def _question(
    thing: DrawnClass,
    question_type: int,
    category: str,
    text: str,
    form: str,
    options: list[str],
    split: str,
    number: int,
    rng: random.Random,
) -> Question:
    shuffled = rng.sample(options, k=4)
    return Question(
        question_id=f"{thing.class_id}-{split}-{number}-type{question_type}",
        question_type=question_type,  # type: ignore[arg-type]
        category=category,
        class_id=thing.class_id,
        question=text,
        options=shuffled,
        answer=shuffled.index(options[0]),
        picture=picture_path(split, thing, number),
        split=split,  # type: ignore[arg-type]
        answer_form=form,
        refers=say.subject(thing.domain),
    )
