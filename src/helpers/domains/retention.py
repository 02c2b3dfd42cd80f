"""What a drawn domain's base models knew before, asked again, to measure what training on new classes costs.

Two kinds, on pictures of their own: ``visual`` asks for one part of a random look, ``old_class`` for the name of an
invented class of the base models' last lesson. No target class is in either.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from helpers.schemas import Question
from helpers.synthetic import language as say
from helpers.synthetic.drawing import draw
from helpers.synthetic.invented import InventedClass, invent_classes
from helpers.synthetic.looks import VOCABULARIES, Look

QUESTIONS = 100  # of each kind
# The last of `helpers.base_models.pretraining.LESSONS` (not imported, as it needs torch; tests/test_domains.py compares them).
LESSON_SEED = 1
LESSON_CLASSES = 300


@dataclass(frozen=True)
class RetentionExercise:
    """A question and the look that its picture shows."""

    question: Question
    domain: str
    look: Look


def asked(
    domain: str,
    seed: int,
    count: int = QUESTIONS,
    lesson_seed: int = LESSON_SEED,
    lesson_classes: int = LESSON_CLASSES,
) -> list[RetentionExercise]:
    """``count`` questions of each kind, in held-out wordings; the same seed gives the same."""
    rng = random.Random(f"retention/{domain}/{seed}")
    visual = [_visual(domain, number, rng) for number in range(count)]
    known = invent_classes(
        domain, lesson_classes, lesson_seed
    )  # as `helpers.base_models.curriculum.Curriculum` has them
    chosen = rng.sample(known, k=count)
    return visual + [_old_class(thing, known, number, rng) for number, thing in enumerate(chosen)]


def save_retention_pictures(questions: Iterable[RetentionExercise], folder: Path, size: int, seed: int) -> None:
    """Draw the questions' pictures into ``folder``."""
    for one in questions:
        path = folder / str(one.question.picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(one.domain, one.look, random.Random(f"{one.question.question_id}/{seed}"), size).save(path)


def _visual(domain: str, number: int, rng: random.Random) -> RetentionExercise:
    """The options are whole sentences, each true of some other random look."""
    part = rng.choice([part for part in say.VISUAL[domain] if len(VOCABULARIES[domain].parts[part]) >= 4])
    look = VOCABULARIES[domain].sample(rng)
    options = [say.visual_answer(domain, look, part)]
    while len(options) < 4:
        other = say.visual_answer(domain, VOCABULARIES[domain].sample(rng), part)
        if other not in options:
            options.append(other)
    text = say.VISUAL[domain][part].asked[say.HELD_OUT]
    return RetentionExercise(_question(domain, "visual", number, None, text, options, "{option}", rng), domain, look)


def _old_class(thing: InventedClass, known: list[InventedClass], number: int, rng: random.Random) -> RetentionExercise:
    others = rng.sample([other.name for other in known if other is not thing], k=3)
    text = say.NAMING[thing.domain].asked[say.HELD_OUT]
    form = say.name_answer(thing.domain, "{option}")
    options = [thing.name, *others]
    return RetentionExercise(
        _question(thing.domain, "old_class", number, thing.name, text, options, form, rng), thing.domain, thing.look
    )


def _question(
    domain: str,
    category: str,
    number: int,
    class_id: str | None,
    text: str,
    options: list[str],
    form: str,
    rng: random.Random,
) -> Question:
    """The first option is the right one; they are shuffled here. Both kinds are recognition, Type 1."""
    shuffled = rng.sample(options, k=4)
    return Question(
        domain=domain,
        question_id=f"retention-{category}-{number}",
        question_type=1,
        category=category,
        class_id=class_id,
        question=text,
        options=shuffled,
        answer=shuffled.index(options[0]),
        picture=f"pictures/retention/{category}-{number}.png",
        split="test",
        answer_form=form,
        refers=say.subject(domain),
    )
