"""From texts to training samples: the same words read in several directions, with the picture or without.

| mode | direction | prompt | answer |
|---|---|---|---|
| text_only | name_to_description | tell me about NAME | look and background |
| text_only | description_to_name | look; what is it called? | NAME and background |
| image_text | picture_to_description | picture; tell me about NAME | look and background |
| image_text | picture_to_name | picture; what is it called? | NAME and background |

The two modes differ in nothing but this: where one has the look in words, the other has the picture.
"""

import os
import random
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from helpers.questions import Question
from helpers.samples import ClassText, Sample, exchange
from helpers.world import language as say

MODES = ("text_only", "image_text")
TWINS = {"name_to_description": "picture_to_description", "description_to_name": "picture_to_name"}
GENERIC_NAMING = ("What is this called?", "What is the name of this?", "Name this.")


def build_samples(texts: Iterable[ClassText], mode: str, directions: Sequence[str]) -> Iterator[Sample]:
    """One sample a text and direction. Question wordings take turns; held-out ones are never used.

    Raises ``ValueError`` for an unknown mode or direction, and for a text without a picture in mode image_text.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; known: {', '.join(MODES)}")
    if unknown := set(directions) - set(TWINS):
        raise ValueError(f"unknown directions {sorted(unknown)}; known: {', '.join(TWINS)}")
    for turn, text in enumerate(texts):
        for direction in directions:
            yield _sample(text, mode, direction, turn)


def _sample(text: ClassText, mode: str, direction: str, turn: int) -> Sample:
    with_picture = mode == "image_text"
    if with_picture and text.picture is None:
        raise ValueError(f"class {text.class_id!r} has no training picture; mode image_text needs one a class")
    prompt, answer = _naming(text, turn, with_picture) if direction == "description_to_name" else _telling(text, turn)
    name = TWINS[direction] if with_picture else direction
    return Sample(
        id=f"{text.class_id}/{text.wording}/{name}",
        domain=text.domain,
        class_id=text.class_id,
        direction=name,
        messages=exchange(prompt, answer, text.picture if with_picture else None),
    )


def _telling(text: ClassText, turn: int) -> tuple[str, str]:
    prompt = say.TELLING_BY_NAME[turn % len(say.TELLING_BY_NAME)].format(s=text.name)
    return prompt, f"{named(text)} {text.background}"


def _naming(text: ClassText, turn: int, with_picture: bool) -> tuple[str, str]:
    asked = say.NAMING[text.domain].asked[:-1] if text.domain in say.NAMING else GENERIC_NAMING
    question = asked[turn % len(asked)]
    return question if with_picture else f"{text.look}\n{question}", f"This is {text.name}. {text.background}"


def named(text: ClassText) -> str:
    """The look with the class's name in place of "this butterfly"; a look without such words stays as it is."""
    if text.domain not in say.NAMING:
        return text.look
    neutral = say.subject(text.domain)
    return text.look.replace(say.capitalise(neutral), say.capitalise(text.name)).replace(neutral, text.name)


def shuffle_names(texts: Sequence[ClassText]) -> list[ClassText]:
    """The control: every name with somebody else's text. Neighbours in the table may look alike, so shift by half."""
    half = len(texts) // 2
    others = [*texts[half:], *texts[:half]]
    own = ("class_id", "name", "wording", "picture")
    return [
        other.model_copy(update={key: getattr(text, key) for key in own})
        for text, other in zip(texts, others, strict=True)
    ]


def bring_pictures(pictures: Iterable[str], source: Path, target: Path) -> None:
    """Put the pictures that a data set names beside it, by hard link where the disk allows, else by copy."""
    for picture in sorted(set(pictures)):
        (target / picture).parent.mkdir(parents=True, exist_ok=True)
        (target / picture).unlink(missing_ok=True)
        try:
            os.link((source / picture).resolve(), target / picture)
        except OSError:
            shutil.copyfile(source / picture, target / picture)


def choose_questions(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most ``limit`` questions of each split and type, at random, in their order; None: all."""
    if limit is None:
        return list(questions)
    rng = random.Random(seed)
    groups: dict[tuple[str, int], list[str]] = {}
    for question in questions:
        groups.setdefault((question.split, question.question_type), []).append(question.question_id)
    kept = {name for ids in groups.values() for name in rng.sample(ids, k=min(limit, len(ids)))}
    return [question for question in questions if question.question_id in kept]
