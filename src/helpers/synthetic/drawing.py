"""From a look to an image, whichever domain it belongs to."""

import random

from PIL import Image

from helpers.synthetic.appearances import Appearance
from helpers.synthetic.butterfly import draw_butterfly
from helpers.synthetic.culture import draw_culture

DRAWINGS = {"butterfly": draw_butterfly, "culture": draw_culture}


def draw(domain: str, appearance: Appearance, rng: random.Random, size: int = 56) -> Image.Image:
    """The look as an RGB image, ``size`` x ``size``; pose, light and background come from ``rng``."""
    if domain not in DRAWINGS:
        raise ValueError(f"domain is {domain!r}; the drawn domains are {', '.join(DRAWINGS)}")
    return DRAWINGS[domain](appearance, rng, size)
