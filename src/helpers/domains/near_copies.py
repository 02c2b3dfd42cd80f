"""Which test images are copies of training images: compressed again, resized, or mirrored.

Two steps. The 64-bit perceptual hash finds candidates fast, and also finds drawings that are alike without being the
same. Candidates are then compared by colour, on 16 x 16 pixels. Measured on 900 drawings of 56 pixels and 90 parts of
photographs: of 82,000 pairs of different images that might have passed, the nearest differed by 9.3 grey levels; copies
in JPEG of quality 30 differed by 6 in the median and 10 at most, halved ones by 4 and 8, photographs by 1 and 3. A
crop is found only sometimes, a brightness that changed by a tenth is not.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from helpers.images import hash_of, small_image

_NEAR_BITS = 6  # of 64
_NEAR_COLOURS = 8.5  # of 255, mean over pixels and colours
_SIDE = 16


class CopiedImage(NamedTuple):
    """A test image and the training image that it looks like."""

    test: str
    train: str
    mirrored: bool


class _Appearance(NamedTuple):
    bits: int
    colours: npt.NDArray[np.int16]  # side x side x 3


def near_copies(folder: Path, train: Sequence[str], test: Sequence[str]) -> list[CopiedImage]:
    """The pairs, by test image. Images are opened one at a time; those too flat for a hash have no copies."""
    if not train or not test:
        return []
    known = [
        (name, appearance)
        for name in train
        if (appearance := _appearance(small_image(folder / name, "RGB"))) is not None
    ]
    hashes = np.array([appearance.bits for _, appearance in known], dtype=np.uint64)
    found = []
    for name in test:
        image = small_image(folder / name, "RGB")
        for mirrored in (False, True):
            appearance = _appearance(ImageOps.mirror(image) if mirrored else image)
            if appearance is None:
                continue
            near = np.flatnonzero(np.bitwise_count(hashes ^ np.uint64(appearance.bits)) <= _NEAR_BITS)
            copies = [
                known[i][0] for i in near if np.abs(known[i][1].colours - appearance.colours).mean() <= _NEAR_COLOURS
            ]
            found += [CopiedImage(name, other, mirrored) for other in copies]
            if copies:
                break  # an image that is symmetrical is no second finding
    return found


def _appearance(image: Image.Image) -> _Appearance | None:
    bits = hash_of(image)
    if bits is None:
        return None
    return _Appearance(bits, np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.int16))
