"""What lessons show: images of invented classes, drawn once for all members, and what is said about them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from helpers.base_models.curriculum import DOMAINS
from helpers.paths import RUNS, atomic_write
from helpers.synthetic import language as say
from helpers.synthetic.dialects import DIALECTS, tell
from helpers.synthetic.drawing import draw
from helpers.synthetic.invented import InventedClass, invent_classes

IMAGE_SIDE = 56  # of an image, in pixels
POOL_SEED = 29  # other classes than those of the lessons of the demo's base models
SCENES_FOLDER = RUNS / "families"
POOL_CLASSES = 1000  # of each domain, in the lessons


@dataclass(frozen=True)
class Scenes:
    """A batch of a lesson: ``shown`` is scenes x 3 x 56 x 56, from -1 to 1; ``things`` is what it shows."""

    things: list[InventedClass]
    shown: Tensor
    rng: random.Random

    def captions(self) -> list[str]:
        """Each thing, described as in a caption, without its name."""
        return [tell(thing.domain, thing.appearance, "captions", self.rng) for thing in self.things]

    def told(self) -> list[str]:
        """Each thing, described in one of the dialects, without its name."""
        return [tell(thing.domain, thing.appearance, self.rng.choice(DIALECTS), self.rng) for thing in self.things]

    def namings(self) -> list[str]:
        """The sentence that names each thing, as the options of a question do."""
        return [naming(say.subject(thing.domain, thing.name)) for thing in self.things]


def naming(name: str) -> str:
    """The sentence that a member learns to say, or to compare, for a class; ``name`` as in a `ClassText`."""
    return f"This is {name}."


def as_input(images: Sequence[Image]) -> Tensor:
    """Images x 3 x 56 x 56, from -1 to 1."""
    small = [np.asarray(image.convert("RGB").resize((IMAGE_SIDE, IMAGE_SIDE))) for image in images]
    return _normal(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2))


def _normal(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def lesson_classes(domain: str, classes: int = POOL_CLASSES) -> list[InventedClass]:
    """The invented classes of one domain that lessons show."""
    return invent_classes(domain, classes, POOL_SEED)


class Pool:
    """Scenes of invented classes of both domains, drawn once and kept: ``images`` is scenes x 3 x 56 x 56, in bytes."""

    def __init__(self, classes: int = POOL_CLASSES, images_per_class: int = 5, folder: Path = SCENES_FOLDER) -> None:
        invented = [lesson_classes(domain, classes) for domain in DOMAINS]
        self.things = [thing for some in invented for thing in some for _ in range(images_per_class)]
        self.images_per_class = images_per_class
        kept = folder / f"scenes-{classes}-{images_per_class}-{POOL_SEED}.npy"
        if not kept.is_file():
            rng = random.Random(kept.stem)
            drawn = [np.asarray(draw(thing.domain, thing.appearance, rng)) for thing in self.things]
            with atomic_write(kept) as temporary:
                np.save(temporary, np.stack(drawn).transpose(0, 3, 1, 2))
        self.images = np.load(kept, mmap_mode="r", allow_pickle=False)

    def batches(self, size: int, seed: int, classes: int | None = None) -> Iterator[Scenes]:
        """Endless batches, of the first ``classes`` of each domain; the same seed gives the same ones."""
        rng = random.Random(f"lesson-{seed}")
        each = len(self.things) // len(DOMAINS)
        of_domain = each if classes is None else classes * self.images_per_class
        known = [i for domain in range(len(DOMAINS)) for i in range(domain * each, domain * each + of_domain)]
        while True:
            chosen = rng.choices(known, k=size)
            yield Scenes([self.things[i] for i in chosen], _normal(torch.from_numpy(self.images[chosen])), rng)


@cache
def pool() -> Pool:
    """The scenes of all lessons; the first time, drawing them takes some 40 seconds."""
    return Pool()


def unseen(count: int, seed: int = 0, domains: Sequence[str] = DOMAINS) -> Scenes:
    """Scenes of classes that no lesson has, drawn anew: for the gates."""
    rng = random.Random(f"unseen-{seed}")
    things = [t for domain in domains for t in invent_classes(domain, count // len(domains), POOL_SEED + 1 + seed)]
    return Scenes(things, as_input([draw(thing.domain, thing.appearance, rng) for thing in things]), rng)
