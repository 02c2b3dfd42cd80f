"""What others do with text alone, on the same members and for the same questions.

| way | what is trained, on the descriptions that a member reads | source |
|---|---|---|
| classifier | a linear classifier of their vectors, which then classifies images | LaFTer, arXiv 2305.18287 |
| prompt | a context shared by all names, with descriptions in the place of images | TaI-DPT, arXiv 2211.12739 |
| inversion | the image tower, on images that it draws itself from descriptions | arXiv 2411.15611 |

The methods are those of `helpers.photographs`, which compares them on photographs. A member with two towers is all they
need.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from helpers.families.contrastive import TwoTowers, sentences_of
from helpers.families.interface import Pair
from helpers.families.scenes import IMAGE_SIDE
from helpers.photographs.text_only import TextLesson, prompted_names, sentence_classifier
from helpers.photographs.towers import invert, look_inward

INVERSION_STEPS, INVERSION_RATE = 150, 1e-4


def lesson_of(member: TwoTowers, pairs: Sequence[Pair]) -> TextLesson:
    """The names of all classes, and the sentences of each class's description, as vectors."""
    said = [(sentence, owner) for owner, pair in enumerate(pairs) for sentence in sentences_of(pair.description)]
    with torch.inference_mode():
        names = member.text_vectors([pair.naming for pair in pairs]).numpy()
        vectors = member.text_vectors([sentence for sentence, _ in said]).numpy()
    return TextLesson(names, vectors, np.array([owner for _, owner in said]))


def _classifier(member: TwoTowers, pairs: Sequence[Pair], shown: Tensor, seed: int) -> Tensor:
    """By a linear classifier of sentences."""
    scores = sentence_classifier(lesson_of(member, pairs), np.arange(len(pairs)), seed)
    return torch.from_numpy(scores(_seen(member, shown).numpy()))


def _prompt(member: TwoTowers, pairs: Sequence[Pair], shown: Tensor, seed: int) -> Tensor:
    """By names with a context that was tuned on sentences."""
    names = torch.from_numpy(prompted_names(lesson_of(member, pairs), seed))
    return _seen(member, shown) @ torch.nn.functional.normalize(names, dim=-1).T


def _inversion(member: TwoTowers, pairs: Sequence[Pair], shown: Tensor, seed: int) -> Tensor:
    """By an image tower that has matched names with images of its own."""
    names = [pair.naming for pair in pairs]
    with torch.inference_mode():
        described = member.text_vectors([pair.description for pair in pairs]).clone()
    images = invert(member, described, IMAGE_SIDE, INVERSION_STEPS, seed=seed)
    tuned = look_inward(member, names, images, INVERSION_RATE, seed)
    with torch.inference_mode():
        return _seen(tuned, shown) @ tuned.text_vectors(names).T


RIVALS: Mapping[str, Callable[[TwoTowers, Sequence[Pair], Tensor, int], Tensor]] = {
    "classifier": _classifier,
    "prompt": _prompt,
    "inversion": _inversion,
}


def rival_scores(
    way: str, member: TwoTowers, pairs: Sequence[Pair], options: Sequence[Sequence[str]], shown: Tensor, seed: int = 0
) -> Tensor:
    """Questions x options, as of `Member.score`, by one of `RIVALS`.

    Only one description of a class is used, the first. Raises ``ValueError`` if an option names a class that no pair
    does.
    """
    distinct = {pair.naming: pair for pair in reversed(pairs)}
    place = {naming: number for number, naming in enumerate(distinct)}
    if strange := [option for four in options for option in four if option not in place]:
        raise ValueError(f"option {strange[0]!r} names none of the {len(place)} classes; give a pair of text for each")
    scores = RIVALS[way](member, list(distinct.values()), shown, seed)
    return scores.gather(1, torch.tensor([[place[option] for option in four] for four in options]))


def _seen(member: TwoTowers, shown: Tensor) -> Tensor:
    with torch.inference_mode():
        return member.image_vectors(shown)
