"""Korean objects, drawn as pictograms from the parts of ``appearances.CULTURE``.

A form is a silhouette, given as polygons in percent of the image's side (y points down). Everything that depends only
on the form is a mask, made once and cached. An image is a few colours painted through masks, in this order: contour,
trim, body, pattern, lines, holes, accent. The trim runs all around the silhouette, so that it is in the same place on a
bowl and on a robe. Details that only distinguish forms (a door, a finger hole, the rim of a bowl) are holes, or lines
in a tone of the body, never in a colour of the palette.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageChops, ImageDraw

from helpers.synthetic.appearances import CULTURE, NONE, Appearance
from helpers.synthetic.canvas import SCALE, Colour, finish, layer, palette_colour, shade

Points = tuple[tuple[float, float], ...]

# In percent of the side. At 56 pixels, the contour is one pixel wide, contour and trim together three, a line one and a
# half.
CONTOUR = 1.6
TRIM = 5.6
_LINE = 2.4


def arc(x: float, y: float, wide: float, high: float, start: float = 0, end: float = 360) -> Points:
    """Points on an ellipse around (x, y) with half axes ``wide``, ``high``; degrees, clockwise from three o'clock."""
    turns = [math.radians(start + (end - start) * step / 36) for step in range(37)]
    return tuple((x + wide * math.cos(turn), y + high * math.sin(turn)) for turn in turns)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """The corners of an upright rectangle."""
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def mirrored(*points: tuple[float, float]) -> Points:
    """The right half of a symmetric outline, from top to bottom, and its mirror image."""
    return points + tuple((100 - x, y) for x, y in reversed(points))


def leaf(x: float, y: float, length: float, width: float, degrees: float) -> Points:
    """A pointed leaf that grows from (x, y) in the given direction (clockwise from three o'clock)."""
    turn = math.radians(degrees)
    cosine, sine = math.cos(turn), math.sin(turn)
    steps = [step / 12 for step in range(13)]
    edge = [(length * step, width / 2 * math.sin(math.pi * step)) for step in steps]
    edge += [(along, -across) for along, across in reversed(edge)]
    return tuple((x + cosine * along - sine * across, y + sine * along + cosine * across) for along, across in edge)


@dataclass(frozen=True)
class Form:
    """A silhouette: the union of ``solids`` less the ``holes``, and the ``lines`` drawn on it."""

    solids: tuple[Points, ...]
    holes: tuple[Points, ...] = ()
    lines: tuple[Points, ...] = ()


# Silhouettes stay within 18 to 84 percent of the height, which leaves room for steam, leaf and tassel.
FORMS: dict[str, Form] = {
    "bowl": Form(
        solids=(arc(50, 38, 42, 40, 0, 180), arc(50, 38, 42, 9), box(34, 74, 66, 84)),
        lines=(arc(50, 38, 36, 5),),
    ),
    "plate": Form(solids=(arc(50, 52, 45, 29),), lines=(arc(50, 52, 28, 15),)),
    "cup": Form(
        solids=(((20, 22), (80, 22), (66, 80), (34, 80)), arc(50, 22, 30, 6), arc(50, 80, 16, 4)),
        lines=(arc(50, 24, 23, 3),),
    ),
    "jar": Form(
        solids=(arc(50, 56, 37, 27), box(33, 22, 67, 40), box(26, 17, 74, 27), box(32, 76, 68, 84)),
        lines=(((32, 31), (68, 31)),),
    ),
    "bottle": Form(
        solids=(
            arc(50, 64, 26, 20),
            mirrored((58, 18), (58, 36), (66, 50)),
            box(36, 16, 64, 23),
            box(34, 74, 66, 84),
        ),
    ),
    "roll": Form(
        solids=(box(20, 30, 78, 74), arc(20, 52, 12, 22), arc(78, 52, 15, 22)),
        lines=(arc(78, 52, 13, 20), arc(78, 52, 6, 10, 60, 400)),
    ),
    "house": Form(
        solids=(mirrored((68, 20), (74, 34), (84, 42), (97, 45), (93, 55)), box(16, 50, 84, 84)),
        holes=(box(43, 64, 57, 90),),
        lines=(((8, 55), (92, 55)),),
    ),
    "tower": Form(
        solids=(
            box(46, 10, 54, 24),
            mirrored((56, 18), (62, 24), (76, 28), (75, 34)),
            box(36, 30, 64, 48),
            mirrored((66, 42), (84, 47), (83, 54)),
            box(31, 50, 69, 68),
            mirrored((74, 62), (94, 68), (93, 75)),
            box(25, 70, 75, 86),
        ),
        lines=(((26, 33), (74, 33)), ((18, 53), (82, 53)), ((8, 74), (92, 74))),
    ),
    "gate": Form(
        solids=(mirrored((70, 16), (80, 27), (98, 34), (95, 48)), box(13, 40, 33, 86), box(67, 40, 87, 86)),
        lines=(((8, 48), (92, 48)),),
    ),
    "robe": Form(
        solids=(mirrored((60, 16), (70, 20), (97, 46), (86, 62), (68, 48), (68, 54), (84, 86)),),
        lines=(((39, 17), (55, 46)), ((61, 17), (49, 36)), ((33, 51), (67, 51))),
    ),
    "hat": Form(
        solids=(mirrored((67, 22), (72, 64)), arc(50, 22, 17, 5), arc(50, 67, 46, 15)),
        lines=(arc(50, 63, 22, 6, 0, 180),),
    ),
    "shoe": Form(
        solids=(
            (
                *((8, 36), (16, 32), (30, 36), (44, 46), (58, 50), (74, 48), (86, 38), (92, 26)),
                *((96, 30), (96, 48), (90, 64), (76, 76), (60, 79), (14, 79), (6, 70), (6, 46)),
            ),
        ),
        lines=(((10, 69), (50, 70), (74, 67), (88, 56)), ((12, 40), (28, 43), (42, 52))),
    ),
    "drum": Form(
        solids=(
            ((18, 20), (46, 42), (54, 42), (82, 20), (82, 80), (54, 58), (46, 58), (18, 80)),
            arc(18, 50, 12, 30),
            arc(82, 50, 12, 30),
        ),
        lines=(arc(18, 50, 9, 27, -90, 90), arc(82, 50, 9, 27, 90, 270)),
    ),
    "zither": Form(
        solids=(
            ((3, 46), (97, 43), (97, 72), (3, 75)),
            *(((x - 7, 50), (x, 30), (x + 7, 50)) for x in (16, 33, 50, 67, 84)),
        ),
        lines=(((6, 53), (94, 50)), ((6, 68), (94, 65))),
    ),
    "flute": Form(
        solids=(mirrored((62, 12), (62, 68), (80, 86)), box(33, 10, 67, 18)),
        lines=tuple(((36, y), (64, y)) for y in (31, 49, 67)),
    ),
    "fan": Form(
        solids=(((50, 80), *arc(50, 72, 47, 52, 190, 350)), box(44, 72, 56, 86)),
        lines=tuple(((50, 78), (50 + 42 * math.cos(turn), 72 - 46 * math.sin(turn))) for turn in (0.75, 1.57, 2.39)),
    ),
    "mask": Form(
        solids=(arc(50, 46, 33, 30), arc(50, 58, 26, 28), arc(15, 48, 7, 10), arc(85, 48, 7, 10)),
        holes=(arc(36, 43, 8, 4.5), arc(64, 43, 8, 4.5), arc(50, 64, 15, 10, 0, 180)),
        lines=(((50, 46), (45, 58), (54, 58)), arc(36, 38, 9, 6, 200, 340), arc(64, 38, 9, 6, 200, 340)),
    ),
    "kite": Form(
        solids=(
            mirrored((50, 10), (86, 46), (50, 86)),
            ((86, 42), (96, 62), (88, 60), (80, 66)),
            ((14, 42), (20, 66), (12, 60), (4, 62)),
        ),
        holes=(arc(50, 45, 9, 9),),
        lines=(((50, 16), (50, 80)),),
    ),
    "board": Form(
        solids=(box(15, 17, 85, 84),),
        lines=(
            (*box(29, 31, 71, 70), (29, 31), (50, 31)),
            *(((15 + 70 * x, 17 + 67 * y), (29 + 42 * x, 31 + 39 * y)) for x in (0, 1) for y in (0, 1)),
        ),
    ),
    "box": Form(
        solids=(((10, 42), (28, 20), (90, 20), (90, 62), (72, 84), (10, 84)),),
        lines=(((12, 42), (72, 42), (88, 22)), ((72, 42), (72, 82))),
    ),
    "tool": Form(
        solids=(
            ((6, 60), (8, 38), (22, 20), (78, 18), (88, 30), (78, 44), (34, 46)),
            box(52, 30, 72, 86),
        ),
        lines=(((46, 20), (46, 44)), ((78, 20), (78, 42))),
    ),
    "lantern": Form(
        solids=(
            box(34, 17, 66, 28),
            ((34, 26), (66, 26), (84, 42), (84, 60), (66, 76), (34, 76), (16, 60), (16, 42)),
            box(34, 74, 66, 85),
            *(box(x, 8, x + 4, 20) for x in (44, 52)),
        ),
        lines=(((36, 26), (64, 26)), ((36, 76), (64, 76)), ((18, 51), (82, 51))),
    ),
    "mound": Form(
        solids=(arc(36, 80, 33, 56, 180, 360), arc(73, 80, 23, 34, 180, 360), box(3, 76, 97, 84)),
        lines=(arc(36, 80, 32, 55, 322, 360),),
    ),
    "figure": Form(
        solids=(arc(50, 28, 17, 16), arc(50, 58, 27, 18, 180, 360), mirrored((77, 57), (82, 86))),
        holes=(arc(43, 27, 2.6, 2.6), arc(57, 27, 2.6, 2.6)),
        lines=(((36, 42), (64, 42)), ((28, 54), (36, 68), (64, 68), (72, 54)), arc(50, 31, 6, 5, 30, 150)),
    ),
    "bell": Form(
        solids=(
            arc(50, 42, 27, 20, 180, 360),
            mirrored((77, 42), (80, 66), (90, 78)),
            arc(50, 78, 40, 6),
            arc(50, 18, 9, 9),
        ),
        holes=(arc(50, 15, 4, 3.5),),
        lines=(((22, 66), (78, 66)),),
    ),
    "book": Form(
        solids=(mirrored((50, 30), (60, 24), (74, 21), (97, 26), (97, 76), (74, 71), (60, 74), (50, 82)),),
        lines=(((50, 32), (50, 80)), ((58, 32), (74, 29)), ((42, 32), (26, 29))),
    ),
    "plant": Form(
        solids=(
            box(46, 40, 54, 87),
            leaf(50, 52, 42, 28, -90),
            leaf(50, 58, 46, 26, -38),
            leaf(50, 58, 46, 26, -142),
            leaf(50, 74, 46, 24, -4),
            leaf(50, 74, 46, 24, -176),
        ),
        lines=(((50, 24), (50, 84)),),
    ),
    "fruit": Form(
        solids=(arc(36, 56, 27, 28), arc(64, 56, 27, 28), box(46, 14, 54, 36)),
        lines=(((32, 36), (50, 42), (68, 36)), ((50, 42), (50, 50))),
    ),
}

# Accents have the same colours in every image; nothing else has a tassel's purple-red or a ribbon's teal.
STEAM: Colour = (252, 252, 252)
TASSEL: Colour = (196, 20, 92)
RIBBON: Colour = (0, 178, 178)
METAL: Colour = (88, 84, 92)
LEAF: Colour = (110, 190, 30)


def draw_culture(appearance: Appearance, rng: random.Random, size: int = 56) -> Image.Image:
    """The object with this look as an RGB image, ``size`` x ``size``; all randomness comes from ``rng``."""
    CULTURE.check(appearance)
    form, body = appearance["form"], palette_colour(appearance["colour"], rng)
    trim = body if appearance["trim_colour"] == NONE else palette_colour(appearance["trim_colour"], rng)
    drawn = layer(size)
    drawn.paste(shade(trim, 0.5), mask=_silhouette(form, size, 0))
    drawn.paste(trim, mask=_silhouette(form, size, CONTOUR))
    inner = _silhouette(form, size, CONTOUR if appearance["trim_colour"] == NONE else TRIM)
    drawn.paste(body, mask=inner)
    if appearance["pattern"] != "plain":
        cloth = ImageChops.logical_and(inner, _shifted(appearance["pattern"], rng, size))
        drawn.paste(palette_colour(appearance["pattern_colour"], rng), mask=cloth)
    drawn.paste(_relief(body), mask=_lines(form, size))
    drawn.paste((0, 0, 0, 0), mask=_holes(form, size))
    if appearance["accent"] != NONE:
        drawn.alpha_composite(_accent(appearance["accent"], form, size))
    return finish(drawn, rng, size)


def _relief(colour: Colour) -> Colour:
    """The tone of a line on a body of this colour: darker on light ones, halfway to white on dark ones."""
    red, green, blue = colour
    if red + green + blue > 240:
        return shade(colour, 0.45)
    return (red + 255) // 2, (green + 255) // 2, (blue + 255) // 2


def _blank(size: int) -> Image.Image:
    """An empty mask. With one bit per pixel, painting is ten times faster, and ``finish`` smooths the edges."""
    return Image.new("1", (SCALE * size, SCALE * size))


def _pixels(points: Iterable[tuple[float, float]], size: int) -> list[tuple[float, float]]:
    """Percent of the side as pixels of the layer."""
    return [(x * SCALE * size / 100, y * SCALE * size / 100) for x, y in points]


def _filled(shapes: Iterable[Points], size: int) -> Image.Image:
    mask = _blank(size)
    pen = ImageDraw.Draw(mask)
    for shape in shapes:
        pen.polygon(_pixels(shape, size), fill=1)
    return mask


@cache
def _silhouette(form: str, size: int, inset: float) -> Image.Image:
    """The union of the solids, shrunk by ``inset`` percent of the side: the intersection of 24 shifted copies."""
    mask = whole = _filled(FORMS[form].solids, size)
    reach = inset * SCALE * size / 100
    for step in range(24 if inset else 0):
        turn = math.tau * step / 24
        moved = ImageChops.offset(whole, round(reach * math.cos(turn)), round(reach * math.sin(turn)))
        mask = ImageChops.logical_and(mask, moved)
    return mask


@cache
def _holes(form: str, size: int) -> Image.Image:
    return _filled(FORMS[form].holes, size)


@cache
def _lines(form: str, size: int) -> Image.Image:
    mask = _blank(size)
    pen = ImageDraw.Draw(mask)
    for line in FORMS[form].lines:
        pen.line(_pixels(line, size), fill=1, width=round(_LINE * SCALE * size / 100), joint="curve")
    return ImageChops.logical_and(mask, _silhouette(form, size, 0))


def _shifted(pattern: str, rng: random.Random, size: int) -> Image.Image:
    """The pattern, shifted by up to three percent of the side in either direction."""
    reach = round(0.03 * SCALE * size)
    return ImageChops.offset(_pattern(pattern, size), rng.randint(-reach, reach), rng.randint(-reach, reach))


@cache
def _pattern(pattern: str, size: int) -> Image.Image:
    """The mask of a pattern over the whole layer."""
    return _filled(PATTERNS[pattern](), size)


def _spots() -> list[Points]:
    """Dots on a hexagonal grid."""
    return [arc(x + 10 * (row % 2), row * 15 - 10, 5.6, 5.6) for row in range(9) for x in range(-10, 111, 20)]


def _stripes() -> list[Points]:
    """Slanting bands: vertical or horizontal ones would vanish on a flute or a zither."""
    return [((x, 0), (x + 8.5, 0), (x - 91.5, 100), (x - 100, 100)) for x in range(0, 201, 20)]


def _checks() -> list[Points]:
    """A chessboard."""
    return [box(x, 11 * row, x + 11, 11 * row + 11) for row in range(10) for x in range(11 * (row % 2) - 11, 111, 22)]


def _flowers() -> list[Points]:
    """Blossoms of five petals around an empty centre."""
    middles = [(x + 13 * (row % 2), row * 22 - 16) for row in range(6) for x in range(-2, 107, 26)]
    return [petal for x, y in middles for petal in _blossom(x, y)]


def _blossom(x: float, y: float) -> list[Points]:
    turns = [math.tau * step / 5 - math.pi / 2 for step in range(5)]
    return [arc(x + 6.4 * math.cos(turn), y + 6.4 * math.sin(turn), 3.6, 3.6) for turn in turns]


def _waves() -> list[Points]:
    """Horizontal bands that rise and fall."""
    crest = [(x, 4.5 * math.sin(math.tau * x / 25)) for x in range(0, 101, 2)]
    return [
        (*((x, y + top) for x, y in crest), *((x, y + top + 7) for x, y in reversed(crest)))
        for top in range(-8, 110, 17)
    ]


PATTERNS = {"spots": _spots, "stripes": _stripes, "checks": _checks, "flowers": _flowers, "waves": _waves}


@cache
def _accent(accent: str, form: str, size: int) -> Image.Image:
    """A layer with only the accent, placed where this form's silhouette begins or ends."""
    left, top, right, bottom = (100 * edge / (SCALE * size) for edge in _extent(form, size))
    shapes, colour = {
        "steam": lambda: (_steam(max(top, 21)), STEAM),
        "tassel": lambda: (_tassel(min(bottom, 80)), TASSEL),
        "ribbon": lambda: (_ribbon(left + 10), RIBBON),
        "handle": lambda: (_handle(min(right, 88)), METAL),
        "leaf": lambda: (_sprout(max(top, 18)), LEAF),
    }[accent]()
    return _outlined(shapes, colour, size)


def _extent(form: str, size: int) -> tuple[int, int, int, int]:
    """The extent of the silhouette's middle row and middle column: left, top, right, bottom in pixels."""
    mask, middle = _silhouette(form, size, 0), SCALE * size // 2
    column = mask.crop((middle, 0, middle + 1, mask.height)).getbbox()
    row = mask.crop((0, middle, mask.width, middle + 1)).getbbox()
    if not column or not row:
        raise ValueError(f"form {form!r} leaves the middle empty; draw it across the middle of the layer")
    return row[0], column[1], row[2], column[3]


def _outlined(shapes: Iterable[Points], colour: Colour, size: int) -> Image.Image:
    """The shapes with a dark contour, so that they are visible on any body and any background."""
    drawn = layer(size)
    pen, width = ImageDraw.Draw(drawn), round(2 * CONTOUR * SCALE * size / 100)
    outlines = [_pixels(shape, size) for shape in shapes]
    for outline in outlines:
        pen.line([*outline, outline[0]], fill=shade(colour, 0.4), width=width, joint="curve")
    for outline in outlines:
        pen.polygon(outline, fill=colour)
    return drawn


def _steam(bottom: float) -> list[Points]:
    """Three wavering plumes above ``bottom``."""
    wave = [(2.6 * math.sin(step / 2), bottom - 1.6 * step) for step in range(13)]
    return [
        (*((x + side - 2, y) for x, y in wave), *((x + side + 2, y) for x, y in reversed(wave)))
        for side in (33, 50, 67)
    ]


def _tassel(top: float) -> list[Points]:
    """A knot and three strands of fringe, hanging from ``top``."""
    strands = [((49.5, top + 3), (x + 2, top + 18), (x - 2, top + 18)) for x in (42, 50, 58)]
    return [*strands, arc(50, top + 2, 5.5, 4.5)]


def _ribbon(x: float) -> list[Points]:
    """A bow with two tails, tied at (x, 50)."""
    loops = [((x, 50), (x + side, 42), (x + side, 57)) for side in (-11, 11)]
    tails = [((x, 50), (x + side, 66), (x + side / 4, 66)) for side in (-8, 8)]
    return [*tails, *loops, arc(x, 50, 3.4, 3.4)]


def _handle(x: float) -> list[Points]:
    """A ring centred on the right-hand edge at ``x``: the outer outline, then back along the inner one."""
    return [(*arc(x, 50, 10, 15), *reversed(arc(x, 50, 5, 10)))]


def _sprout(bottom: float) -> list[Points]:
    """Two leaves that grow from one point."""
    return [leaf(50, bottom, 20, 11, -35), leaf(50, bottom, 20, 11, -145)]
