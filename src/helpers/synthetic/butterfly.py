"""Butterflies as in a field guide: wings spread, seen from above, one plate per look.

A plate is first drawn as a *map*: an image that says which part of the butterfly each pixel shows, but not its colour.
There are only 280 maps (shape x pattern x border or none x body x antennae), so they are cached. An image is a map with
its colours looked up, in a random pose. That takes two thirds of a millisecond on one core.

Coordinates refer to the right half: x from the body axis (0) to the edge of the layer (1), y downwards from the upper
(-1) to the lower edge (1); 56 pixels are 2 units, so one pixel is 0.036. The left half is the mirror image.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, auto
from functools import lru_cache
from itertools import product

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from helpers.synthetic.appearances import BUTTERFLY, NONE, Appearance
from helpers.synthetic.canvas import INK, SCALE, Colour, finish, palette_colour, shade

Point = tuple[float, float]
Line = np.ndarray  # (points, 2)

PIXEL = 2 / 56  # one pixel of a 56-pixel image, in units
LARGEST_KEPT = 112  # maps for larger images take megabytes each and are not cached


class Part(IntEnum):
    """What a pixel of a map shows; the value is its index in the colour table."""

    NOTHING = 0
    FOREWING = auto()
    FOREWING_EDGE = auto()
    HINDWING = auto()
    HINDWING_EDGE = auto()
    PATTERN = auto()
    PUPIL = auto()
    BORDER = auto()
    FUR = auto()
    BODY = auto()
    ANTENNA = auto()


@dataclass(frozen=True)
class Wing:
    """Control points of a wing's three sides: leading edge from root to apex, outer margin, trailing edge back.

    The margin has ``waves`` notches (the scalloped shape).
    """

    leading: tuple[Point, ...]
    margin: tuple[Point, ...]
    trailing: tuple[Point, ...]
    waves: int = 0


# Forewing, hindwing. The hindwings make up at least a third of the area, so that their colour is visible.
SHAPES: dict[str, tuple[Wing, Wing]] = {
    "rounded": (
        Wing(
            leading=((0.03, -0.22), (0.34, -0.50), (0.64, -0.64)),
            margin=((0.64, -0.64), (0.84, -0.60), (0.92, -0.40), (0.86, -0.12), (0.68, 0.04)),
            trailing=((0.68, 0.04), (0.35, 0.04), (0.03, 0.02)),
        ),
        Wing(
            leading=((0.03, -0.05), (0.40, -0.02), (0.68, 0.04)),
            margin=((0.68, 0.04), (0.82, 0.26), (0.74, 0.56), (0.48, 0.72), (0.24, 0.64)),
            trailing=((0.24, 0.64), (0.12, 0.42), (0.03, 0.2)),
        ),
    ),
    "pointed": (
        Wing(
            leading=((0.03, -0.22), (0.45, -0.52), (0.98, -0.74)),
            margin=((0.98, -0.74), (0.76, -0.36), (0.64, 0.06)),
            trailing=((0.64, 0.06), (0.35, 0.04), (0.03, 0.02)),
        ),
        Wing(
            leading=((0.03, -0.05), (0.40, -0.02), (0.64, 0.06)),
            margin=((0.64, 0.06), (0.66, 0.30), (0.54, 0.52), (0.30, 0.74)),
            trailing=((0.30, 0.74), (0.12, 0.46), (0.03, 0.2)),
        ),
    ),
    "tailed": (
        Wing(
            leading=((0.03, -0.24), (0.40, -0.56), (0.76, -0.70)),
            margin=((0.76, -0.70), (0.88, -0.62), (0.82, -0.34), (0.70, -0.04)),
            trailing=((0.70, -0.04), (0.35, -0.04), (0.03, -0.02)),
        ),
        Wing(
            leading=((0.03, -0.08), (0.40, -0.08), (0.68, -0.03)),
            margin=(
                *((0.68, -0.03), (0.72, 0.18), (0.62, 0.40), (0.54, 0.54), (0.57, 0.70), (0.60, 0.84)),
                *((0.54, 0.92), (0.46, 0.86), (0.42, 0.70), (0.36, 0.54), (0.20, 0.50)),
            ),
            trailing=((0.20, 0.50), (0.10, 0.34), (0.03, 0.16)),
        ),
    ),
    "scalloped": (
        Wing(
            leading=((0.03, -0.22), (0.36, -0.52), (0.74, -0.68)),
            margin=((0.74, -0.68), (0.88, -0.62), (0.92, -0.40), (0.86, -0.12), (0.68, 0.06)),
            trailing=((0.68, 0.06), (0.35, 0.04), (0.03, 0.02)),
            waves=3,
        ),
        Wing(
            leading=((0.03, -0.05), (0.40, -0.02), (0.70, 0.06)),
            margin=((0.70, 0.06), (0.84, 0.28), (0.78, 0.56), (0.52, 0.76), (0.22, 0.70)),
            trailing=((0.22, 0.70), (0.12, 0.44), (0.03, 0.2)),
            waves=4,
        ),
    ),
    "narrow": (
        Wing(
            leading=((0.03, -0.20), (0.45, -0.40), (0.88, -0.52)),
            margin=((0.88, -0.52), (0.99, -0.47), (0.98, -0.34), (0.84, -0.20)),
            trailing=((0.84, -0.20), (0.42, -0.04), (0.03, 0.02)),
        ),
        Wing(
            leading=((0.03, -0.06), (0.30, 0.0), (0.50, 0.02)),
            margin=((0.50, 0.02), (0.62, 0.20), (0.57, 0.42), (0.34, 0.52)),
            trailing=((0.34, 0.52), (0.14, 0.38), (0.03, 0.18)),
        ),
    ),
}

WAVE_DEPTH = 3.2 * PIXEL
BORDER_WIDTH = 2.8 * PIXEL
VEIN_WIDTH = 1.5 * PIXEL
HAIRLINE = 0.4 * PIXEL
SPOT_RADIUS = 2.0 * PIXEL
BAND_WIDTH = 0.16  # of the wing's length
EYE_RADIUS = 4.8 * PIXEL
CHECK_SIDE = 4.2 * PIXEL
TIP_START = 0.6  # of the way from the root to a point between apex and margin

# Half widths along the body, from the top of the head to the end of the abdomen: (y, half width).
BODIES: dict[str, tuple[Point, ...]] = {
    "slender": ((-0.44, 0.02), (-0.38, 0.045), (-0.30, 0.035), (0.10, 0.035), (0.45, 0.03), (0.60, 0.012)),
    "stout": ((-0.46, 0.05), (-0.38, 0.10), (-0.20, 0.125), (0.05, 0.125), (0.25, 0.115), (0.38, 0.07), (0.42, 0.02)),
}
FUR_WIDTH = 0.7 * PIXEL

ANTENNA_ROOT, ANTENNA_TIP = (0.03, -0.42), (0.30, -0.84)

BODY_COLOUR: Colour = (62, 48, 42)
FUR_COLOUR: Colour = (186, 172, 152)
MIDDLE = 127  # a ring whose mean channel is above this is light
PUPILS: tuple[Colour, Colour] = ((20, 18, 22), (250, 250, 244))  # for light rings, for dark rings
COLOURED = ("wing_colour", "hindwing_colour", "pattern_colour", "border_colour")


def draw_butterfly(appearance: Appearance, rng: random.Random, size: int = 56) -> Image.Image:
    """The butterfly with this look as an RGB image, ``size`` x ``size``; pose, light and background come from ``rng``.

    Raises ``ValueError`` for a look outside the vocabulary.
    """
    BUTTERFLY.check(appearance)
    plate = _map if size <= LARGEST_KEPT else _map.__wrapped__
    drawn = plate(
        appearance["shape"],
        appearance["pattern"],
        appearance["border_colour"] != NONE,
        appearance["body"],
        appearance["antennae"],
        size,
    )
    drawn = drawn.copy()
    drawn.putpalette(_colours(appearance, rng), "RGBA")
    return finish(drawn, rng, size)


def _colours(appearance: Appearance, rng: random.Random) -> bytes:
    """The colour table of a map: one RGBA entry per ``Part``; NOTHING is transparent.

    Absent parts draw from ``rng`` too, so that looks differ in nothing but their parts.
    """
    ground = appearance["wing_colour"]
    names = [ground if appearance[role] == NONE else appearance[role] for role in COLOURED]
    forewing, hindwing, pattern, border = (palette_colour(name, rng) for name in names)
    if appearance["hindwing_colour"] == ground:
        hindwing = forewing
    table = {
        Part.FOREWING: forewing,
        Part.FOREWING_EDGE: _edge(forewing),
        Part.HINDWING: hindwing,
        Part.HINDWING_EDGE: _edge(hindwing),
        Part.PATTERN: pattern,
        Part.PUPIL: PUPILS[sum(pattern) < 3 * MIDDLE],
        Part.BORDER: border,
        Part.FUR: FUR_COLOUR,
        Part.BODY: BODY_COLOUR,
        Part.ANTENNA: INK,
    }
    return b"".join(bytes((*table[part], 255)) if part in table else bytes(4) for part in Part)


def _edge(colour: Colour) -> Colour:
    """A darker tone of the wing; for a black wing, a lighter one."""
    return shade(colour, 0.72) if max(colour) > 60 else shade(colour, 3.0)


@lru_cache(maxsize=280)
def _map(shape: str, pattern: str, border: bool, body: str, antennae: str, size: int) -> Image.Image:
    """The map of these parts, in mode P: the right half is drawn, then mirrored."""
    half = Image.new("L", (SCALE * size // 2, SCALE * size), Part.NOTHING)
    fore, hind = SHAPES[shape]
    _draw_wing(half, hind, Part.HINDWING, border, "plain")
    _draw_wing(half, fore, Part.FOREWING, border, pattern)
    ANTENNAE[antennae](Pen(half))
    _draw_body(Pen(half), np.array(BODIES[body]))
    whole = Image.new("P", (2 * half.width, half.height))
    whole.paste(half, (half.width, 0))
    whole.paste(ImageOps.mirror(half), (0, 0))
    return whole


class Pen:
    """Draws parts on half a map, in units."""

    def __init__(self, half: Image.Image) -> None:
        self.unit = half.width
        self.draw = ImageDraw.Draw(half)

    def _pixels(self, points: Line) -> list[Point]:
        return [(x * self.unit, (y + 1) * self.unit) for x, y in points]

    def polygon(self, points: Line, part: int) -> None:
        """A filled polygon."""
        self.draw.polygon(self._pixels(points), fill=part)

    def line(self, points: Line, part: int, width: float) -> None:
        """A line of this width, with rounded corners."""
        self.draw.line(self._pixels(points), fill=part, width=max(1, round(width * self.unit)), joint="curve")

    def dot(self, centre: Line, radius: float, part: int) -> None:
        """A filled circle."""
        (x, y), r = self._pixels(centre[None])[0], radius * self.unit
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=part)


def _draw_wing(half: Image.Image, wing: Wing, part: Part, border: bool, pattern: str) -> None:
    """The wing with its pattern and its border or hairline, all clipped at the wing's outline."""
    leading, margin, trailing = _curve(wing.leading), _margin(wing), _curve(wing.trailing)
    outline = np.concatenate([leading, margin, trailing])
    inside, drawn = Image.new("L", half.size), half.copy()
    Pen(inside).polygon(outline, 255)
    pen = Pen(drawn)
    pen.polygon(outline, part)
    _PATTERNS[pattern](pen, Frame(outline, margin))
    for side in (leading, trailing, margin):  # half of each line falls outside the wing and is clipped
        pen.line(side, part + 1, 2 * HAIRLINE)
    if border:
        for point in margin:
            pen.dot(point, BORDER_WIDTH, Part.BORDER)
    half.paste(drawn, mask=inside)


def _curve(points: tuple[Point, ...], steps: int = 12) -> Line:
    """A smooth line through the points (Catmull-Rom spline)."""
    known = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, steps)[:, None]
    pieces = []
    for before, start, end, after in zip(known, known[1:], known[2:], known[3:], strict=False):
        bend = 2 * before - 5 * start + 4 * end - after
        twist = -before + 3 * start - 3 * end + after
        pieces.append(start + 0.5 * ((end - before) * t + bend * t**2 + twist * t**3))
    return np.concatenate(pieces)


def _margin(wing: Wing) -> Line:
    """The outer margin; ``waves`` notches are cut into it at right angles."""
    line = _curve(wing.margin)
    if not wing.waves:
        return line
    along = np.gradient(line, axis=0)
    length = np.linalg.norm(along, axis=1)
    way = np.cumsum(length) / length.sum()
    inwards = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(length, 1e-9)[:, None]
    depth = WAVE_DEPTH * (0.5 - 0.5 * np.cos(2 * np.pi * wing.waves * way))
    return line + depth[:, None] * inwards


class Frame:
    """A wing's own coordinates: ``at(u, v)`` is the point at fraction u of its length and v of its width there.

    u runs from the root (0) to the middle of the margin (1), v from the leading (0) to the trailing edge (1). So one
    set of spots suits wings of any shape.
    """

    def __init__(self, outline: Line, margin: Line) -> None:
        self.margin = margin
        self.apex = margin[0]
        self.root = (outline[0] + outline[-1]) / 2
        axis = margin[len(margin) // 2] - self.root
        self.length = float(np.linalg.norm(axis))
        self.along = axis / self.length
        self.across = np.array([-self.along[1], self.along[0]])
        self.outline = outline - self.root
        self.width = float(np.ptp(self._edges(0.6 * self.length)))
        self.narrow = self.width < 0.45

    def at(self, u: float, v: float) -> Line:
        low, high = self._edges(u * self.length)
        return self.root + u * self.length * self.along + (low + v * (high - low)) * self.across

    def _edges(self, distance: float) -> tuple[float, float]:
        """Where the outline crosses the line at this distance along the axis: the two outermost positions across it."""
        ahead, aside = self.outline @ self.along - distance, self.outline @ self.across
        next_ahead, next_aside = np.roll(ahead, -1), np.roll(aside, -1)
        crossed = (ahead < 0) != (next_ahead < 0)
        share = ahead[crossed] / (ahead[crossed] - next_ahead[crossed])
        places = aside[crossed] + share * (next_aside[crossed] - aside[crossed])
        return float(places.min()), float(places.max())


def _plain(pen: Pen, frame: Frame) -> None:
    """Nothing."""


def _spots(pen: Pen, frame: Frame) -> None:
    """Six round dots in three columns; on a narrow wing, four in a row."""
    narrow = [(u, 0.5) for u in (0.22, 0.42, 0.62, 0.82)]
    wide = [(0.32, 0.5), (0.52, 0.25), (0.52, 0.76), (0.74, 0.18), (0.76, 0.5), (0.74, 0.82)]
    for u, v in narrow if frame.narrow else wide:
        pen.dot(frame.at(u, v), SPOT_RADIUS, Part.PATTERN)


def _bands(pen: Pen, frame: Frame) -> None:
    """Two broad stripes across the wing."""
    for u in (0.3, 0.62):
        corners = ((u, -0.3), (u + BAND_WIDTH, -0.3), (u + BAND_WIDTH, 1.3), (u, 1.3))
        pen.polygon(np.array([frame.at(*corner) for corner in corners]), Part.PATTERN)


def _eyespots(pen: Pen, frame: Frame) -> None:
    """One large eye: a ring around a pupil. The ring has the larger area, as it shows the pattern's colour."""
    centre, radius = frame.at(0.6, 0.5), min(EYE_RADIUS, 0.48 * frame.width)
    pen.dot(centre, radius, Part.PATTERN)
    pen.dot(centre, 0.52 * radius, Part.PUPIL)


def _veins(pen: Pen, frame: Frame) -> None:
    """Thin lines from near the root to the margin; the root itself keeps the wing's colour."""
    for v in (0.3, 0.72) if frame.narrow else (0.1, 0.36, 0.62, 0.88):
        near, far = frame.at(0.22, v), frame.at(0.75, v)
        pen.line(np.array([near, far, far + (far - near)]), Part.PATTERN, VEIN_WIDTH)


def _tips(pen: Pen, frame: Frame) -> None:
    """A solid patch: the outer part of the wing towards the apex."""
    towards = (frame.apex - frame.root + frame.length * frame.along) / 2
    aside = np.array([-towards[1], towards[0]])
    near, far = frame.root + TIP_START * towards, frame.root + 2 * towards
    pen.polygon(np.array([near - aside, near + aside, far + aside, far - aside]), Part.PATTERN)


def _checks(pen: Pen, frame: Frame) -> None:
    """A chequered pattern along the wing, starting a little beyond the root, which keeps the wing's colour."""
    for column, row in product(range(2, 9), range(-6, 6)):
        if (column + row) % 2:
            u, v = (column - 0.5) * CHECK_SIDE, row * CHECK_SIDE
            corners = ((u, v), (u, v + CHECK_SIDE), (u + CHECK_SIDE, v + CHECK_SIDE), (u + CHECK_SIDE, v))
            pen.polygon(np.array([frame.root + x * frame.along + y * frame.across for x, y in corners]), Part.PATTERN)


_PATTERNS: dict[str, Callable[[Pen, Frame], None]] = {
    "plain": _plain,
    "spots": _spots,
    "bands": _bands,
    "eyespots": _eyespots,
    "veins": _veins,
    "tips": _tips,
    "checks": _checks,
}


def _clubbed(pen: Pen) -> None:
    """A thin line that ends in a knob."""
    pen.line(np.array([ANTENNA_ROOT, ANTENNA_TIP]), Part.ANTENNA, 1.0 * PIXEL)
    pen.dot(np.array(ANTENNA_TIP), 2.0 * PIXEL, Part.ANTENNA)


def _feathered(pen: Pen) -> None:
    """A comb: a shaft with barbs on both sides, longest in the middle."""
    root, tip = np.array(ANTENNA_ROOT), np.array(ANTENNA_TIP)
    along = (tip - root) / np.linalg.norm(tip - root)
    aside = np.array([-along[1], along[0]])
    pen.line(np.array([root, tip]), Part.ANTENNA, 1.0 * PIXEL)
    for share in np.linspace(0.2, 1.0, 6):
        middle, reach = root + share * (tip - root), 3.2 * PIXEL * math.sin(math.pi * (0.15 + 0.75 * share))
        pen.line(np.array([middle - reach * aside, middle + reach * aside]), Part.ANTENNA, 1.0 * PIXEL)


ANTENNAE: dict[str, Callable[[Pen], None]] = {"clubbed": _clubbed, "feathered": _feathered}


def _draw_body(pen: Pen, profile: Line) -> None:
    """The body, surrounded by pale fur that sets it off against dark wings."""
    for part, extra in ((Part.FUR, FUR_WIDTH), (Part.BODY, 0.0)):
        y, width = profile[:, 0], profile[:, 1] + extra
        right = np.stack([width, y], axis=1)
        pen.polygon(np.concatenate([[(0, y[0] - extra)], right, [(0, y[-1] + extra)]]), part)
