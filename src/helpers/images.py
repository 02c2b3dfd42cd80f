"""Opens any picture that a data set may hold as 8-bit RGB, or says clearly why it cannot.

Transparency is laid on white (PIL alone would show whatever colour lies under it, mostly black), 16 bits are scaled to
8 (PIL alone would cut off everything above 255), and a camera's EXIF orientation is applied. Colour profiles are not:
no model of this project was trained with them. Only the formats in `FORMATS` are tried: a data set is somebody else's
file, and some of PIL's other readers start programs (PostScript).
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

NEAR = 4  # of 64 bits: copies scaled, recompressed or slightly edited differ in at most so many
FLAT = 8  # grey levels: a picture with less contrast has no hash worth comparing
MAX_PIXELS = 80_000_000  # five times the largest picture of K-VISCUIT (16 million), below where PIL itself warns
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
)  # by content, whatever the name says; of several frames the first


def open_picture(path: str | Path, max_pixels: int | None = None) -> Image.Image:
    """The picture in RGB, scaled down to an area of ``max_pixels`` if it is larger, its proportions kept.

    Raises ``FileNotFoundError``; ``ValueError`` for a file that cannot or must not be read.
    """
    try:
        with _opened(path) as picture:
            return _within(_rgb(ImageOps.exif_transpose(picture)), max_pixels)
    except Exception as error:
        raise _explained(path, error) from error


def _within(picture: Image.Image, max_pixels: int | None) -> Image.Image:
    width, height = picture.size
    if max_pixels is None or width * height <= max_pixels:
        return picture
    scale = (max_pixels / (width * height)) ** 0.5
    return picture.resize((max(1, int(width * scale)), max(1, int(height * scale))), Image.Resampling.BICUBIC)


def check_picture_file(path: str | Path) -> tuple[int, int]:
    """Width and height as stored; reads the whole file, so that one cut short is found, but a JPEG at an eighth of its
    size, which is faster and needs less memory. Raises as `open_picture` does.
    """
    try:
        return _checked(path).size
    except Exception as error:
        raise _explained(path, error) from error


def check_picture_bytes(content: bytes, name: str) -> str:
    """The same for a picture that is no file yet; returns its format, such as "JPEG". Errors call it ``name``."""
    try:
        return _checked(BytesIO(content)).format
    except Exception as error:
        raise _explained(name, error) from error


class _Found(NamedTuple):
    size: tuple[int, int]
    format: str


def _checked(source: str | Path | BytesIO) -> _Found:
    with _opened(source) as picture:
        found = _Found(picture.size, str(picture.format))
        picture.getexif()
        picture.draft(None, (1, 1))
        picture.load()
    return found


def _opened(source: str | Path | BytesIO) -> Image.Image:
    """Only the header is read before the size is known: a small file can claim a picture that fills the memory."""
    picture = Image.open(source, formats=FORMATS)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        picture.close()
        raise Image.DecompressionBombError(f"{width}x{height} pixels")
    if picture.mode == "F":
        picture.close()
        raise ValueError("its pixels are fractions, and nothing says which number is white; save it with 8 bits")
    return picture


def _explained(path: str | Path, error: Exception) -> Exception:
    """PIL's decoders raise nearly everything there is: OSError, SyntaxError, struct.error, zlib.error, ..."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{path} does not exist")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ValueError(f"{path}: too large ({error}); at most {MAX_PIXELS} pixels are allowed, scale it down first")
    return ValueError(f"{path}: not a readable picture ({type(error).__name__}: {error}); replace the file")


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        picture = _eight_bits(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits, which PIL holds in mode I;16 or, from some formats, I."""
    return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def contact_sheet(files: Sequence[str | Path], columns: int, side: int) -> Image.Image:
    """The pictures as a grid of ``side`` by ``side`` cells on white, for looking at; proportions are kept."""
    rows = -(-len(files) // columns)
    sheet = Image.new("RGB", (columns * side, max(1, rows) * side), "white")
    for place, file in enumerate(files):
        picture = ImageOps.contain(open_picture(file), (side - 4, side - 4), Image.Resampling.BICUBIC)
        sheet.paste(picture, (place % columns * side + 2, place // columns * side + 2))
    return sheet


# ---- files and copies ----


def bring_pictures(pictures: Iterable[str], source: Path, target: Path) -> None:
    """Put the pictures that a data set names beside it, by hard link where the disk allows, else by copy."""
    for picture in sorted(set(pictures)):
        bring_picture(source / picture, target / picture)


def bring_picture(source: Path, target: Path) -> None:
    """The same for one, under another name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def is_near(first: int | None, second: int | None, near: int = NEAR) -> bool:
    """Whether two perceptual hashes are of one picture; flat pictures (None) are like no other."""
    return first is not None and second is not None and distance(first, second) <= near


def distance(first: int | None, second: int | None) -> int:
    """In how many of 64 bits two perceptual hashes differ; 64 where one is None."""
    return 64 if first is None or second is None else (first ^ second).bit_count()


def perceptual_hash(path: str | Path) -> int | None:
    """The picture's 64-bit DCT hash; None for one too flat to have one. JPEGs are decoded at a fraction of their size.

    Source: the library imagehash, function ``phash``. Raises as `helpers.images.open_picture` does.
    """
    import imagehash

    grey = _small_grey(path)
    low, high = grey.getextrema()
    if high - low < FLAT:
        return None
    return int(str(imagehash.phash(grey)), 16)


def _small_grey(path: str | Path) -> Any:
    """Enough pixels for the hash, which looks at 32 x 32. What is no JPEG has to be decoded whole."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.format == "JPEG" and picture.width * picture.height <= MAX_PIXELS:
                picture.draft("L", (128, 128))
                return ImageOps.exif_transpose(picture).convert("L")
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        pass  # the next line says what is wrong, in this project's words
    return open_picture(path).convert("L")


# ---- blind baselines -----------------------------------------------------------------------------------------------
