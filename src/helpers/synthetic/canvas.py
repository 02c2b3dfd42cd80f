"""What both kinds of drawing share: jittered colours, the layer to draw on, backgrounds, and the final pose.

A drawing does not handle pose or background. It draws one upright, centred object that fills a transparent layer
(``layer``, ``SCALE`` times the image's size, for smooth edges). Then ``finish`` rotates, scales and shifts it, puts it
on a background and scales it down. All randomness comes from the ``random.Random`` that is passed in.
"""

import math
import random

from PIL import Image, ImageDraw

from helpers.synthetic.appearances import PALETTE

Colour = tuple[int, int, int]

SCALE = 4
MAX_TURN = 18.0  # degrees to either side: beyond that, "wide" and "tall" begin to look alike
SCALE_RANGE = (0.87, 1.0)  # the object's size relative to its layer
MAX_SHIFT = 0.03  # of the image's side, in either direction

# Paler than the palette's grey, duller than its colours, darker than its white: never the colour of an object.
GROUNDS: tuple[Colour, ...] = (
    (196, 208, 186),
    (206, 200, 182),
    (186, 202, 210),
    (208, 192, 188),
    (198, 192, 208),
    (184, 206, 200),
    (202, 202, 196),
)
INK: Colour = (44, 36, 34)  # fine lines (antennae, handles) that must be visible on every background


def palette_colour(name: str, rng: random.Random) -> Colour:
    """The palette's colour, slightly lighter or darker (5 %), with each channel jittered (6 of 255)."""
    light = rng.uniform(0.95, 1.05)
    red, green, blue = (min(255, max(0, round(c * light + rng.uniform(-6, 6)))) for c in PALETTE[name])
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (``factor`` below 1) or lighter tone of the colour, for folds and hairlines."""
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return red, green, blue


def layer(size: int) -> Image.Image:
    """A transparent layer, ``SCALE * size`` pixels wide and high; draw one upright, centred object that fills it."""
    return Image.new("RGBA", (SCALE * size, SCALE * size), (0, 0, 0, 0))


def draw_background(size: int, rng: random.Random) -> Image.Image:
    """A soft RGB background of ``size`` x ``size`` pixels: plain, a gradient, or leaf-like blobs in two tones."""
    near, far = rng.sample(GROUNDS, 2)
    kind = rng.choice(("plain", "gradient", "blobs"))
    ground = Image.new("RGB", (size, size), near)
    if kind == "gradient":
        ramp = Image.linear_gradient("L").resize((size, size)).rotate(rng.choice((0, 90, 180, 270)))
        ground.paste(far, mask=ramp)
    if kind == "blobs":
        _leaves(ground, far, rng)
    return ground


def _leaves(ground: Image.Image, colour: Colour, rng: random.Random) -> None:
    """Scatter large, faint ellipses over the background."""
    pen, size = ImageDraw.Draw(ground), ground.width
    for _ in range(rng.randint(3, 6)):
        x, y = rng.uniform(0, size), rng.uniform(0, size)
        wide, high = rng.uniform(0.1, 0.3) * size, rng.uniform(0.1, 0.3) * size
        pen.ellipse((x - wide, y - high, x + wide, y + high), fill=colour)


def finish(drawn: Image.Image, rng: random.Random, size: int) -> Image.Image:
    """The image: the layer in a random pose, on a random background, in random light; RGB, ``size`` x ``size``.

    The layer is RGBA, or mode P with an RGBA palette whose entry 0 is transparent.
    """
    posed = _pose(drawn, rng).convert("RGBA").reduce(SCALE)
    image = draw_background(size, rng)
    image.paste(posed, mask=posed)
    return _light(image, rng)


def _pose(drawn: Image.Image, rng: random.Random) -> Image.Image:
    """Rotate, scale and shift the layer in one step; nearest neighbour suffices, as the layer is scaled down later."""
    angle, scale = math.radians(rng.uniform(-MAX_TURN, MAX_TURN)), rng.uniform(*SCALE_RANGE)
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    middle = drawn.width / 2
    x = middle + rng.uniform(-MAX_SHIFT, MAX_SHIFT) * drawn.width
    y = middle + rng.uniform(-MAX_SHIFT, MAX_SHIFT) * drawn.width
    # PIL expects the mapping from the new image's pixels back to the old one's.
    back = (cosine, sine, middle - cosine * x - sine * y, -sine, cosine, middle + sine * x - cosine * y)
    return drawn.transform(drawn.size, Image.Transform.AFFINE, back)


def _light(image: Image.Image, rng: random.Random) -> Image.Image:
    """Slightly brighter or darker overall, with noise of about 4 of 255."""
    light = rng.uniform(0.94, 1.05)  # blending beyond 1 extrapolates away from black, and clips
    lit = Image.blend(Image.new("RGB", image.size), image, light)
    grain = Image.frombytes("RGB", image.size, rng.randbytes(3 * image.width * image.height))
    return Image.blend(lit, grain, 0.03)
