"""Drawing back: does a member that has only read about a class draw it?

The tiny CLIP is the judge: does the drawing fit the class's description better than those of three others?
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from helpers.families.clip import Clip
from helpers.families.scenes import SIDE

_BETWEEN = 2  # between drawings of a gallery, in pixels


def fits(drawn: Tensor, descriptions: Sequence[str], seed: int = 0) -> list[bool]:
    """Whether each drawing fits its own description best among four (chance: a quarter).

    ``drawn``: drawings x 3 x 56 x 56; ``descriptions``: one per drawing, in its order, four or more that differ.
    Raises ``ValueError`` if there are fewer.
    """
    distinct = sorted(set(descriptions))
    if len(distinct) < 4:
        raise ValueError(f"{len(distinct)} different descriptions; a choice of four needs four or more")
    rng, options, answers = random.Random(f"drawings-{seed}"), [], []
    for own in descriptions:
        others = rng.sample([other for other in distinct if other != own], 3)
        answers.append(rng.randrange(4))
        options.append([*others[: answers[-1]], own, *others[answers[-1] :]])
    scores = Clip().load().by_description(options, drawn)
    return [chosen == answer for chosen, answer in zip(scores.argmax(dim=1).tolist(), answers, strict=True)]


def gallery(drawn: Tensor, shown: Tensor | None = None, columns: int = 10) -> Image.Image:
    """All drawings in rows, in 128 colours; with ``shown``, an image of each class stands above its drawing."""
    several = [drawn.split(columns)] if shown is None else [shown.split(columns), drawn.split(columns)]
    rows = [row for together in zip(*several, strict=True) for row in together]
    cell = SIDE + _BETWEEN
    sheet = np.full((len(rows) * cell + _BETWEEN, columns * cell + _BETWEEN, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(
            ((row + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        ):
            sheet[i * cell + _BETWEEN : (i + 1) * cell, j * cell + _BETWEEN : (j + 1) * cell] = image
    return Image.fromarray(sheet).quantize(128)
