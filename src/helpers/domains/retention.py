"""Questions about what a drawn domain's base models knew before, to measure what training on new classes costs.

There are two kinds, with their own images: ``visual`` asks for one part of a random look, ``old_class`` for the name of
an invented class from the base models' last lesson. Neither involves a target class.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.schemas import Question, shuffled_question
from helpers.synthetic import language as say
from helpers.synthetic.appearances import VOCABULARIES, Appearance
from helpers.synthetic.drawing import draw
from helpers.synthetic.invented import InventedClass, invent_classes

QUESTIONS = 100  # per kind
# The last of `helpers.base_models.pretraining.LESSONS`, which is not imported, as it needs torch (tests/test_domains.py
# compares them).
LESSON_SEED = 2
LESSON_CLASSES = 300


@dataclass(frozen=True)
class RetentionExercise:
    """A question and the look that its image shows."""

    question: Question
    domain: str
    appearance: Appearance


def asked(domain: str, seed: int, count: int = QUESTIONS) -> list[RetentionExercise]:
    """``count`` questions per kind, in held-out wordings; the same seed gives the same questions."""
    rng = random.Random(f"retention/{domain}/{seed}")
    visual = [_visual(domain, number, rng) for number in range(count)]
    known = invent_classes(domain, LESSON_CLASSES, LESSON_SEED)  # as in `helpers.base_models.curriculum.Curriculum`
    chosen = rng.sample(known, k=count)
    return visual + [_old_class(thing, known, number, rng) for number, thing in enumerate(chosen)]


def save_retention_images(questions: Iterable[RetentionExercise], folder: Path, size: int, seed: int) -> None:
    """Draw the questions' images into ``folder``."""
    for one in questions:
        path = folder / str(one.question.image)
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(one.domain, one.appearance, random.Random(f"{one.question.question_id}/{seed}"), size).save(path)


def _visual(domain: str, number: int, rng: random.Random) -> RetentionExercise:
    """The options are whole sentences; each wrong one is true of another random look."""
    part = rng.choice([part for part in say.VISUAL[domain] if len(VOCABULARIES[domain].parts[part]) >= 4])
    appearance = VOCABULARIES[domain].sample(rng)
    options = [say.visual_answer(domain, appearance, part)]
    while len(options) < 4:
        other = say.visual_answer(domain, VOCABULARIES[domain].sample(rng), part)
        if other not in options:
            options.append(other)
    text = say.VISUAL[domain][part].asked[say.HELD_OUT]
    question = _question(domain, "visual", number, options, rng, class_id=None, question=text)
    return RetentionExercise(question, domain, appearance)


def _old_class(thing: InventedClass, known: list[InventedClass], number: int, rng: random.Random) -> RetentionExercise:
    others = rng.sample([other.name for other in known if other is not thing], k=3)
    text = say.NAMING[thing.domain].asked[say.HELD_OUT]
    form = say.name_answer(thing.domain, "{option}")
    asked = {"class_id": thing.name, "question": text, "answer_form": form}
    question = _question(thing.domain, "old_class", number, [thing.name, *others], rng, **asked)
    return RetentionExercise(question, thing.domain, thing.appearance)


def _question(
    domain: str, category: str, number: int, options: list[str], rng: random.Random, **fields: Any
) -> Question:
    """Both kinds test recognition, type 1."""
    return shuffled_question(
        rng,
        options,
        domain=domain,
        question_id=f"retention-{category}-{number}",
        question_type=1,
        category=category,
        image=f"images/retention/{category}-{number}.png",
        split="test",
        refers=say.subject(domain),
        **fields,
    )
