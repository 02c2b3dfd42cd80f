"""What the members share that put something between a frozen tower and a frozen language model.

All see through CLIP's tower and speak through one language model; they differ in the connector, which is all that
their lesson trains. On text alone nothing of it moves: the text-only adapter of the language model is put behind each.
"""

import random
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from helpers.families.interface import Course, Pair
from helpers.families.language_model import Speaker, exercise, llama, new_adapter
from helpers.families.scenes import Scenes
from helpers.families.tower import image_tower


class Connector(Speaker):
    """A subclass builds the connector and says, if need be, how it makes vectors of what the tower sees."""

    lesson = Course(300, 16, 3e-3)
    lends: ClassVar = {"tower.": ("clip", "vision_model."), "words.": ("llava_next", "language_model.")}

    def build(self) -> nn.Module:
        return nn.ModuleDict({"tower": image_tower(), "connector": self.connector(), "words": llama()})

    def connector(self) -> nn.Module:
        """What the lesson trains: it makes words' vectors of the tower's."""
        raise NotImplementedError(f"{self.title} builds its connector otherwise")

    def see(self, shown: Tensor) -> Tensor:
        found: Tensor = self.model.connector(self.model.tower(shown).last_hidden_state)
        return found

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        """Questions about images, for the look and its parts: a frozen language model cannot learn a name."""
        return self.loss_of([exercise(thing, self.marks(), scenes.rng) for thing in scenes.things], scenes.shown)

    def look(self, pairs: Sequence[Pair], seed: int = 0, course: Course | None = None) -> list[float]:
        """Connector and an adapter of the language model learn."""
        tuner = new_adapter(self.layers())
        losses = super().look(pairs, seed, course)
        tuner.merge_and_unload()
        return losses

    def looking_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        shown = torch.stack([pair.shown for pair in pairs if pair.shown is not None])
        return self.loss_of([self.about(pair, self.marks(), rng) for pair in pairs], shown)
