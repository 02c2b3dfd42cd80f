"""What the members with an image tower and a text tower have in common.

On text alone, only the text tower learns: the vector of a class's name is drawn to where the untrained tower puts its
description. Nothing moves the image tower, so the name arrives where images that fit the description already are.
"""

import random
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from helpers.families.interface import Course, Member, Pair
from helpers.families.scenes import Scenes


class TwoTowers(Member):
    """A member that compares vectors; a subclass says how its towers make them and what its loss over a batch is."""

    family = "contrastive"

    @abstractmethod
    def image_vectors(self, shown: Tensor) -> Tensor:
        """Images x width, of length 1."""

    @abstractmethod
    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """Texts x width, of length 1."""

    @abstractmethod
    def pairing_loss(self, ones: Tensor, others: Tensor) -> Tensor:
        """How badly each of ``ones`` is told to belong to the one of ``others`` in its place."""

    def similarity(self, seen: Tensor, texts: Tensor) -> Tensor:
        """Images (or whatever is compared) x texts: of the vectors, unless a member looks at an image text by text."""
        return seen @ texts.T

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        return self.pairing_loss(self.image_vectors(scenes.shown), self.text_vectors(self.texts_of(scenes)))

    def texts_of(self, scenes: Scenes) -> list[str]:
        """What the lesson says of its images. Half is a single sentence, as classification by description compares."""
        return [t if scenes.rng.random() < 0.5 else scenes.rng.choice(sentences_of(t)) for t in scenes.told()]

    def read(self, pairs: Sequence[Pair], seed: int = 0, course: Course | None = None) -> list[float]:
        with torch.no_grad():
            where = self.text_vectors([pair.description for pair in pairs])
        self._anchors = dict(zip((pair.description for pair in pairs), where, strict=True))
        return super().read(pairs, seed, course)

    def reading_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        anchors = torch.stack([self._anchors[pair.description] for pair in pairs])
        return self.pairing_loss(anchors, self.text_vectors([pair.naming for pair in pairs]))

    def looking_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        shown = torch.stack([pair.shown for pair in pairs if pair.shown is not None])
        return self.pairing_loss(self.image_vectors(shown), self.text_vectors([pair.naming for pair in pairs]))

    @torch.inference_mode()
    def score(
        self, options: Sequence[Sequence[str]], shown: Tensor | None = None, words: Sequence[str] | None = None
    ) -> Tensor:
        seen = self.text_vectors(words or []) if shown is None else self.image_vectors(shown)
        vectors = self.text_vectors([sentence for four in options for sentence in four])
        several = vectors.view(len(options), -1, vectors.shape[-1])
        return torch.cat([self.similarity(one[None], four) for one, four in zip(seen, several, strict=True)])

    @torch.inference_mode()
    def by_description(self, options: Sequence[Sequence[str]], shown: Tensor) -> Tensor:
        """Each option's sentences are compared one by one, and their similarities averaged (arXiv 2210.07183)."""
        distinct = dict.fromkeys(description for four in options for description in four)
        parts = {description: self.text_vectors(sentences_of(description)) for description in distinct}
        return torch.stack(
            [
                torch.stack([self.similarity(one[None], parts[description]).mean() for description in four])
                for one, four in zip(self.image_vectors(shown), options, strict=True)
            ]
        )


def sentences_of(text: str) -> list[str]:
    """The sentences of a description."""
    return [f"{part.rstrip('.')}." for part in text.split(". ")]
