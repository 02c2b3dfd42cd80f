"""CM3Leon (arXiv 2309.02591): Chameleon's forerunner, which fills gaps at the end and has neighbours in front."""

import random
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from helpers.families.clip import Clip
from helpers.families.codes import Codes, PixelCodes
from helpers.families.fusion import EarlyFusion, Ids
from helpers.families.interface import Course
from helpers.families.scenes import Scenes, pool

GAP, FILL = "<|image_pad|>", "<|video_pad|>"  # what stands where a span was, and what the span follows at the end
_WITH_SPAN = 0.63  # of documents: published are one or more spans, their number by a Poisson distribution of mean 1
_WITH_NEIGHBOUR = 0.5  # of a lesson's batches, so that it can do without
_MEMORY = 2000  # images of the lesson that a neighbour is looked for in


class CM3Leon(EarlyFusion):
    """The decoder of Chameleon, with the causal-masked order and retrieved neighbours."""

    key, title, source = "cm3leon", "CM3Leon", "2309.02591"
    idea = (
        "A decoder over words and codes of images. A span may be cut out of a document and come at its end, so that "
        "the decoder fills gaps and still reads in one direction. Retrieved documents that resemble it stand in front."
    )
    faithful = (
        "The causal-masked order, spans that never cross from words to an image, neighbours by CLIP (one, seen in half "
        "of the batches, from the lesson's own images), guidance without a classifier. The decoder is Chameleon's."
    )
    lesson = Course(400, 24, 2e-3)
    lends: ClassVar = {"vqmodel.": ("chameleon_pixels", "vqmodel.")}
    draws, GUIDANCE = True, 3.0

    def __init__(self, seed: int = 0, domain: str = "butterfly") -> None:
        super().__init__(seed, domain)
        self._front: list[Ids] = []  # neighbours of the documents to come

    def sight(self) -> Codes:
        return PixelCodes()

    @cached_property
    def _memory(self) -> tuple[Scenes, Tensor, Clip]:
        clip, scenes = Clip().load(), next(pool().batches(_MEMORY, 7))
        with torch.no_grad():
            return scenes, torch.cat([clip.image_vectors(some) for some in scenes.shown.split(200)]), clip

    @torch.no_grad()
    def neighbours(self, shown: Tensor) -> list[Ids]:
        """For each image, the image that CLIP finds most alike in memory, and its caption; never the image itself."""
        scenes, vectors, clip = self._memory
        alike = clip.image_vectors(shown) @ vectors.T
        found = alike.masked_fill(alike > 1 - 1e-4, -1).argmax(dim=1).tolist()
        captions = scenes.captions()
        views = self.seen(scenes.shown[found])
        return [[*view, *self.described(captions[i])] for view, i in zip(views, found, strict=True)]

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        self._front = self.neighbours(scenes.shown) if scenes.rng.random() < _WITH_NEIGHBOUR else []
        loss = super().lesson_loss(scenes)
        self._front = []
        return loss

    def lesson_document(self, one: Ids, two: Ids, rng: random.Random) -> tuple[Ids, list[float]]:
        """As its base's, with a gap or none, and with the next neighbour in front, if there are any."""
        ids, weights = super().lesson_document(one, two, rng)
        if rng.random() < _WITH_SPAN:
            first = rng.random() < 0.5
            start, end = (1, len(one) + 1) if first else (len(one) + 1, len(one) + len(two) + 1)
            ids, weights = self.causal_masked(ids, weights, *sorted(rng.sample(range(start, end + 1), 2)))
        front = self._front.pop(0) if self._front else []
        return [ids[0], *front, *ids[1:]], [self.FIRST] * len(front) + weights

    def causal_masked(self, ids: Ids, weights: list[float], start: int, end: int) -> tuple[Ids, list[float]]:
        """The tokens from ``start`` to ``end`` leave a mark behind, which no loss is on, and come last."""
        (gap,), (fill,), last = self.ids(GAP), self.ids(FILL), ids[-1]
        moved = [*ids[:start], gap, *ids[end:-1], fill, *ids[start:end], last]
        return moved, [*weights[: start - 1], 0.0, *weights[end - 1 : -1], 1.0, *[1.0] * (end - start), 1.0]
