"""What a model is asked: a text, and possibly an image, which is opened only when the model has to see it.

A run holds hundreds of prompts, but never their images. Changes to an image before it is shown (the states of
`helpers.schemas.ShownAs`) are made when it is opened.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from helpers.images import open_picture
from helpers.models.batches import ChatMessage, user
from helpers.schemas import Question

GREY = (128, 128, 128)  # not a colour of the drawn world, and close to the mean that processors subtract
MASKED_SHARE = 0.5  # of width and of height: the region that guidance hides


@dataclass(frozen=True)
class Shown:
    """An image file as it will be shown; ``change`` is a key of `CHANGES`."""

    path: Path
    max_pixels: int | None = None
    change: str = "none"

    @property
    def key(self) -> str:
        """What distinguishes this image from every other image in a run."""
        return f"{self.change}|{self.max_pixels}|{self.path}"

    def open(self) -> Image.Image:
        """The image; raises the same errors as `helpers.images.open_picture`."""
        return CHANGES[self.change](open_picture(self.path, self.max_pixels))


@dataclass(frozen=True)
class Held:
    """An image in memory, such as one that was just drawn."""

    picture: Image.Image

    @cached_property
    def key(self) -> str:
        return content_key(self.picture)

    def open(self) -> Image.Image:
        return self.picture


def content_key(picture: Image.Image) -> str:
    """A hash of the pixels."""
    head = f"{picture.mode}{picture.size}".encode()
    return hashlib.blake2b(head + picture.tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Prompt:
    """One user's turn; ``picture`` comes before the text."""

    text: str
    picture: Image.Image | Shown | None = None

    @property
    def message(self) -> ChatMessage:
        return user(self.text, self.picture is not None)

    @property
    def source(self) -> Shown | Held | None:
        """The image with its key."""
        return Held(self.picture) if isinstance(self.picture, Image.Image) else self.picture


def blank(picture: Image.Image) -> Image.Image:
    """A mid-grey image of the same size: as many image tokens, with no content."""
    return Image.new("RGB", picture.size, GREY)


def without_centre(picture: Image.Image) -> Image.Image:
    """The image with its centre greyed out (contrastive region guidance, arXiv 2403.02325)."""
    (width, height), hidden = picture.size, picture.copy()
    left, top = round(width * (1 - MASKED_SHARE) / 2), round(height * (1 - MASKED_SHARE) / 2)
    hidden.paste(GREY, (left, top, width - left, height - top))
    return hidden


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda picture: picture,
    "blank": blank,
    "without_centre": without_centre,
}


def other_pictures(questions: Sequence[Question], seed: int = 0) -> dict[str, str]:
    """For each image, an image of another class; each image is used once.

    Classes are put in random order, and the images, listed class by class, are shifted by the size of the largest
    class. So none is paired with its own class. The image of a question without a class counts as a class of its own.
    Raises ``ValueError`` if a class has more than half of all images, since then no such exchange exists.
    """
    classes: dict[str, list[str]] = {}
    for picture, name in dict.fromkeys((q.picture, q.class_id or q.picture) for q in questions if q.picture):
        classes.setdefault(str(name), []).append(str(picture))
    order = random.Random(f"other-pictures/{seed}").sample(sorted(classes), k=len(classes))
    pictures = [picture for name in order for picture in classes[name]]
    largest = max(map(len, classes.values()), default=0)
    if 2 * largest > len(pictures):
        raise ValueError(
            f"image 'other' needs an image of another class for each: one class has {largest} of {len(pictures)} "
            "images; ask about more classes"
        )
    return dict(zip(pictures, [*pictures[largest:], *pictures[:largest]], strict=True))
