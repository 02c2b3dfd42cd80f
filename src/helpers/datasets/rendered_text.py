"""A description printed as an image: black letters on white, the input of mode ``printed``.

This follows text-printed images (arXiv 2512.03463): the words pass through the vision tower, just as photographs do at
test time. Font, size and canvas are fixed, and nothing is ever cut off, shrunk or drawn as an empty box: text that
cannot be printed is an error. The demo's models see 56 pixels per side, too few to read such an image.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from helpers.config.build import Printed
from helpers.paths import resolve

_MARGIN = 0.04  # of the canvas, on each side
_LINE = 1.3  # height of a line, relative to the font size
_UNKNOWN = "\U0010ffff"  # a character that no font has


def print_words(words: str, form: Printed) -> Image.Image:
    """The words on a canvas. Raises ``ValueError`` if they do not fit, or if the font lacks one of their characters."""
    image = Image.new("RGB", (form.canvas, form.canvas), "white")
    margin, draw, font = form.canvas * _MARGIN, ImageDraw.Draw(image), _font(form.font, form.font_size)
    for number, line in enumerate(lay_out(words, form)):
        draw.text((margin, margin + number * form.font_size * _LINE), line, font=font, fill="black")
    return image


def lay_out(words: str, form: Printed) -> list[str]:
    """The words as lines that fit the canvas; raises as `print_words` does."""
    if missing := sorted({sign for sign in words if not sign.isspace() and not _has(form.font, form.font_size, sign)}):
        raise ValueError(f"the font lacks {' '.join(missing[:5])!r}; name one that has it in `build.printed.font`")
    room = form.canvas * (1 - 2 * _MARGIN)
    lines = list(_wrapped(words.split(), _font(form.font, form.font_size), room))
    if len(lines) * form.font_size * _LINE > room:
        raise ValueError(
            f"{len(words)} characters at size {form.font_size} need {len(lines)} lines and do not fit on "
            f"{form.canvas} pixels; set a larger `build.printed.canvas` or a smaller `build.printed.font_size`"
        )
    return lines


def _wrapped(words: list[str], font: Any, room: float) -> Iterator[str]:
    """Greedy. A word that is longer than a line, as in a script without spaces, may be broken anywhere."""
    line = ""
    for word in words:
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= room:
            line = longer
            continue
        if line:
            yield line
        while font.getlength(word) > room and len(word) > 1:
            end = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or font.getlength(word[:n]) <= room)
            yield word[:end]
            word = word[end:]
        line = word
    if line:
        yield line


@cache
def _font(file: str | None, size: int) -> Any:
    if file is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(resolve(file), size)
    except OSError as error:
        raise ValueError(f"build.printed.font is {file!r}: not a readable font file ({error}); name another") from None


@cache
def _has(file: str | None, size: int, sign: str) -> bool:
    """Whether the font draws this character differently from an unknown one."""
    known, unknown = (_font(file, size).getmask(one) for one in (sign, _UNKNOWN))
    return (known.size, bytes(known)) != (unknown.size, bytes(unknown))
