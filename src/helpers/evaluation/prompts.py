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

from helpers.images import open_image
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
        """The image; raises the same errors as `helpers.images.open_image`."""
        return CHANGES[self.change](open_image(self.path, self.max_pixels))


@dataclass(frozen=True)
class Held:
    """An image in memory, such as one that was just drawn."""

    image: Image.Image

    @cached_property
    def key(self) -> str:
        return content_key(self.image)

    def open(self) -> Image.Image:
        return self.image


def content_key(image: Image.Image) -> str:
    """A hash of the pixels."""
    head = f"{image.mode}{image.size}".encode()
    return hashlib.blake2b(head + image.tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Prompt:
    """One user's turn; ``image`` comes before the text."""

    text: str
    image: Image.Image | Shown | None = None

    @property
    def message(self) -> ChatMessage:
        return user(self.text, self.image is not None)

    @property
    def source(self) -> Shown | Held | None:
        """The image with its key."""
        return Held(self.image) if isinstance(self.image, Image.Image) else self.image


def blank(image: Image.Image) -> Image.Image:
    """A mid-grey image of the same size: as many image tokens, with no content."""
    return Image.new("RGB", image.size, GREY)


def without_centre(image: Image.Image) -> Image.Image:
    """The image with its centre greyed out (contrastive region guidance, arXiv 2403.02325)."""
    (width, height), hidden = image.size, image.copy()
    left, top = round(width * (1 - MASKED_SHARE) / 2), round(height * (1 - MASKED_SHARE) / 2)
    hidden.paste(GREY, (left, top, width - left, height - top))
    return hidden


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "blank": blank,
    "without_centre": without_centre,
}


def other_images(questions: Sequence[Question], seed: int = 0) -> dict[str, str]:
    """For each image, an image of another class; each image is used once.

    Classes are put in random order, and the images, listed class by class, are shifted by the size of the largest
    class. So none is paired with its own class. The image of a question without a class counts as a class of its own.
    Raises ``ValueError`` if a class has more than half of all images, since then no such exchange exists.
    """
    classes: dict[str, list[str]] = {}
    for image, name in dict.fromkeys((q.image, q.class_id or q.image) for q in questions if q.image):
        classes.setdefault(str(name), []).append(str(image))
    order = random.Random(f"other-images/{seed}").sample(sorted(classes), k=len(classes))
    images = [image for name in order for image in classes[name]]
    largest = max(map(len, classes.values()), default=0)
    if 2 * largest > len(images):
        raise ValueError(
            f"image 'other' needs an image of another class for each: one class has {largest} of {len(images)} "
            "images; ask about more classes"
        )
    return dict(zip(images, [*images[largest:], *images[:largest]], strict=True))
