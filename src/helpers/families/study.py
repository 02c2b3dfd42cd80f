"""A member at the test: what it reads, how it is asked, and its answers as rows of `helpers.schemas.AnswerRow`.

| mode | variant | what it is |
|---|---|---|
| base | main | after its lesson alone |
| by_description | level | the same, comparing the image with the options' descriptions instead of their names |
| dictionary | level | nobody learns: whose description has the words that the untuned member says of the image |
| text_only | level | trained on names and descriptions |
| text_only | level, shuffled | the control: every name has another class's description, all else is the same |
| image_text | main | trained on names and images, as its published objective has it |

A level (`helpers.config.families`) says in whose words classes are described. Before training nothing is drawn at
random, and the seed is 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from PIL.Image import fromarray as from_pixels
from PIL.Image import new as new_image
from torch import Tensor

from helpers.config.families import CAPTIONS, TEXTS
from helpers.datasets.build import choose_questions
from helpers.domains.drawn import load_classes
from helpers.evaluation.baselines import baseline_run, dictionary, nearest_image, pixels, scored_row
from helpers.evaluation.strategies import ReadAnswer
from helpers.families.interface import Member, Pair
from helpers.families.scenes import as_input, naming
from helpers.images import open_image
from helpers.paths import MAIN
from helpers.schemas import ClassText, Question
from helpers.synthetic.language import describe


def at_level(texts: Sequence[ClassText], level: str) -> list[ClassText]:
    """The texts with their descriptions in the words of a level.

    Raises ``ValueError`` for another level, and at `CAPTIONS` for a class that is not drawn.
    """
    if level == TEXTS:
        return list(texts)
    if level != CAPTIONS:
        raise ValueError(f"level is {level!r}; known: {CAPTIONS}, {TEXTS}")
    looks = {(d, c.class_id): c.appearance for d in {t.domain for t in texts} for c in load_classes(d)}
    if strange := [text.class_id for text in texts if (text.domain, text.class_id) not in looks]:
        raise ValueError(f"level {CAPTIONS} needs drawn classes, and {strange[0]!r} is none; use level {TEXTS}")
    return [t.model_copy(update={"appearance": describe(t.domain, looks[t.domain, t.class_id], 0)}) for t in texts]


def pairs_of(texts: Sequence[ClassText], folder: Path, shuffled: bool = False) -> list[Pair]:
    """What there is to learn: a pair per text. ``shuffled``: descriptions move half the classes on.

    Raises ``ValueError`` if a class would then keep its own.
    """
    half = len(texts) // 2 if shuffled else 0
    told = [*texts[half:], *texts[:half]]
    if shuffled and any(text.class_id == other.class_id for text, other in zip(texts, told, strict=True)):
        raise ValueError(f"{len(texts)} texts: the control needs two classes or more, each with as many texts")
    return [
        Pair(naming(text.name), other.appearance, _shown(folder, [text.image])[0] if text.image else None)
        for text, other in zip(texts, told, strict=True)
    ]


def _shown(folder: Path, images: Sequence[str | None]) -> Tensor:
    return as_input([open_image(folder / str(image)) for image in images])


@dataclass(frozen=True)
class Asked:
    """Questions with what each is about: ``shown`` is questions x 3 x 56 x 56."""

    domain: str
    questions: Sequence[Question]
    shown: Tensor
    of: Sequence[Question] = ()  # the whole set that they are from, which rows name

    @property
    def sentences(self) -> list[list[str]]:
        """The options of each question as complete answers."""
        return [question.sentences() for question in self.questions]

    def run(self, mode: str, variant: str = MAIN, **columns: Any) -> dict[str, Any]:
        """The columns that the rows of one way of asking share."""
        return baseline_run(mode, self.domain, self.of or self.questions) | {"variant": variant, **columns}


def recognition(questions: Sequence[Question], folder: Path, domain: str, limit: int | None = None) -> Asked:
    """The questions of Type 1 that show an image, at most ``limit``. Raises ``ValueError`` if there are none."""
    seen = [question for question in questions if question.question_type == 1 and question.image]
    if not seen:
        raise ValueError(f"domain {domain}: none of {len(questions)} questions is of Type 1 and shows an image")
    chosen = choose_questions(seen, limit, seed=0)
    return Asked(domain, chosen, _shown(folder, [question.image for question in chosen]), questions)


def answers(
    member: Member, asked: Asked, run: Mapping[str, Any], said: Sequence[str] | None = None
) -> list[ReadAnswer]:
    """The member's answers to all questions, asked directly, and again from what was ``said`` of each image.

    ``said`` is the untrained member's, as training on names unteaches describing.
    """
    found = scored(asked, member.score(asked.sentences, asked.shown), run)
    if said is not None:
        scores = member.score(asked.sentences, words=said)
        first = scored(asked, scores, {**run, "answering": "describe_then_answer"}, "with")
        found += [{**row, "description": words} for row, words in zip(first, said, strict=True)]
    return found


def told_in_words(member: Member, asked: Asked, run: Mapping[str, Any]) -> list[ReadAnswer]:
    """Its answers if words take the place of the image, in a wording that no text has: the ceiling of reading."""
    told = [question for question in asked.questions if question.described]
    if not told:
        return []
    words = [str(question.described) for question in told]
    some = Asked(asked.domain, told, asked.shown[: len(told)])
    return scored(some, member.score(some.sentences, words=words), run, "described")


def untrained(
    member: Member, asked: Asked, texts: Sequence[ClassText], levels: Sequence[str], said: Sequence[str] | None
) -> list[ReadAnswer]:
    """Its answers before it reads: by name, by the options' descriptions, and by a dictionary of what it ``said``."""
    found = answers(member, asked, asked.run("base", model=member.key), said)
    for level in levels:
        told = at_level(texts, level)
        of = {option: text.appearance for text in reversed(told) for option in text.option_names}
        described = [[of.get(option, option) for option in question.options] for question in asked.questions]
        scores = member.by_description(described, asked.shown)
        if scores is not None:
            found += scored(asked, scores, asked.run("by_description", level, model=member.key))
        if said is not None:
            words = {q.question_id: text for q, text in zip(asked.questions, said, strict=True)}
            found += dictionary(asked.questions, told, words, asked.run("dictionary", level, model=member.key))
    return found


def nearest(asked: Asked, texts: Sequence[ClassText], folder: Path) -> list[ReadAnswer]:
    """No member: the class whose one training image has the nearest pixels."""
    mode, run = "nearest_pixels", asked.run("nearest_pixels")
    return [{**row, **run} for row in nearest_image(mode, pixels, asked.questions, folder, texts, asked.domain)]


def drawings(member: Member, texts: Sequence[ClassText], seed: int) -> dict[str, Tensor]:
    """What a member draws of each class, asked by name: 3 x 56 x 56 by class."""
    names = {text.class_id: naming(text.name) for text in texts}
    return dict(zip(names, member.draw([*names.values()], seed), strict=True))


def judged_drawings(
    judge: Member, drawn: Mapping[str, Tensor], asked: Asked, texts: Sequence[ClassText], run: Mapping[str, Any]
) -> list[ReadAnswer]:
    """Whether ``judge`` finds in a drawing the class that was to be drawn: by the descriptions of a question's options.

    Classes of which nothing is drawn, and questions with an option without a text, are left out.
    """
    of = {option: text.appearance for text in reversed(texts) for option in text.option_names}
    fits = [q for q in asked.questions if q.class_id in drawn and all(option in of for option in q.options)]
    if not fits:
        return []
    some = Asked(asked.domain, fits, torch.stack([drawn[str(question.class_id)] for question in fits]))
    scores = judge.by_description([[of[option] for option in question.options] for question in fits], some.shown)
    if scores is None:
        raise ValueError(f"{judge.title} compares no description with an image, so it cannot judge a drawing")
    return scored(some, scores, {**run, "answering": "draw"}, "without")


def gallery(images: Sequence[Tensor], columns: int = 10, scale: int = 1) -> Image:
    """Images (3 x side x side, -1 to 1) beside each other, on white."""
    side = images[0].shape[-1] * scale
    sheet = new_image("RGB", (columns * (side + 4), -(-len(images) // columns) * (side + 4)), "white")
    for place, image in enumerate(images):
        pixels_of = ((image.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).cpu().numpy()
        tile = from_pixels(pixels_of).resize((side, side))
        sheet.paste(tile, (place % columns * (side + 4) + 2, place // columns * (side + 4) + 2))
    return sheet


def scored(asked: Asked, scores: Tensor, run: Mapping[str, Any], image: str = "with") -> list[ReadAnswer]:
    """Rows of ``scores``, questions x options. Raises ``ValueError`` for another shape."""
    if scores.shape != (len(asked.questions), 4):
        raise ValueError(f"{run['model']}: scores are {tuple(scores.shape)}, not {len(asked.questions)} questions x 4")
    return [scored_row(q, four, run, image) for q, four in zip(asked.questions, scores.tolist(), strict=True)]
