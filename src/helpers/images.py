"""Open any image that a data set may hold as 8-bit RGB, or say clearly why that is impossible.

Transparency is composited onto white (PIL alone would show the hidden colour, usually black), 16 bits are scaled to 8
(PIL alone would clip everything above 255), and the camera's EXIF orientation is applied. Colour profiles are ignored:
no model here was trained with them. Only the formats in `FORMATS` are tried: a data set comes from somebody else, and
some of PIL's other readers start programs (PostScript).
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

NEAR = 4  # of 64 bits: copies that were scaled, recompressed or slightly edited differ in no more
FLAT = 8  # grey levels: the hash of an image with less contrast means nothing
MAX_PIXELS = 80_000_000  # five times the largest image of K-VISCUIT (16 million), and below PIL's own limit
_ON_ITS_SIDE = range(5, 9)  # EXIF orientations that exchange width and height
FORMATS = tuple("JPEG PNG WEBP GIF BMP TIFF PPM".split())  # by content, not by file name; only the first frame is read


def open_image(path: str | Path, max_pixels: int | None = None) -> Image.Image:
    """The image in RGB; one with more than ``max_pixels`` is scaled down to that area, keeping its proportions.

    Raises ``FileNotFoundError``; ``ValueError`` for a file that cannot or must not be read.
    """
    try:
        with _opened(path) as image:
            return _within(_rgb(ImageOps.exif_transpose(image)), max_pixels)
    except Exception as error:
        raise _explained(path, error) from error


def _within(image: Image.Image, max_pixels: int | None) -> Image.Image:
    size = _size_within(image.size, max_pixels)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def _size_within(size: tuple[int, int], max_pixels: int | None) -> tuple[int, int]:
    width, height = size
    if max_pixels is None or width * height <= max_pixels:
        return size
    scale = (max_pixels / (width * height)) ** 0.5
    return max(1, int(width * scale)), max(1, int(height * scale))


def shown_size(path: str | Path, max_pixels: int | None = None) -> tuple[int, int]:
    """Width and height of what `open_image` gives, from the file's header alone. Raises as it does."""
    try:
        with _opened(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _ON_ITS_SIDE
            return _size_within(image.size[::-1] if turned else image.size, max_pixels)
    except Exception as error:
        raise _explained(path, error) from error


def check_image_file(path: str | Path) -> tuple[int, int]:
    """Width and height as stored. Raises as `open_image` does.

    Reads the whole file, so that a truncated one is found; a JPEG is decoded at an eighth of its size, which is faster
    and takes less memory.
    """
    try:
        return _checked(path).size
    except Exception as error:
        raise _explained(path, error) from error


def check_image_bytes(content: bytes, name: str) -> str:
    """Check an image that is not yet a file; returns its format, such as "JPEG". Errors call it ``name``."""
    try:
        return _checked(BytesIO(content)).format
    except Exception as error:
        raise _explained(name, error) from error


class _Found(NamedTuple):
    size: tuple[int, int]
    format: str


def _checked(source: str | Path | BytesIO) -> _Found:
    with _opened(source) as image:
        found = _Found(image.size, str(image.format))
        image.getexif()
        image.draft(None, (1, 1))
        image.load()
    return found


def _opened(source: str | Path | BytesIO) -> Image.Image:
    """Reads only the header before the size is checked: a small file can declare an image that fills the memory."""
    image = Image.open(source, formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{width}x{height} pixels")
    if image.mode == "F":
        image.close()
        raise ValueError("its pixels are fractions, and nothing says which value is white; save it with 8 bits")
    return image


def _explained(path: str | Path, error: Exception) -> Exception:
    """PIL's decoders raise almost anything: OSError, SyntaxError, struct.error, zlib.error, ..."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{path} does not exist")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ValueError(f"{path}: too large ({error}); at most {MAX_PIXELS} pixels are allowed; scale it down first")
    return ValueError(f"{path}: not a readable image ({type(error).__name__}: {error}); replace the file")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # grey of 16 bits: I;16 or, from some formats, I
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def contact_sheet(files: Sequence[str | Path], columns: int, side: int) -> Image.Image:
    """The images in a grid of cells on white, each ``side`` x ``side`` pixels; proportions are kept."""
    rows = -(-len(files) // columns)
    sheet = Image.new("RGB", (columns * side, max(1, rows) * side), "white")
    for place, file in enumerate(files):
        image = ImageOps.contain(open_image(file), (side - 4, side - 4), Image.Resampling.BICUBIC)
        sheet.paste(image, (place % columns * side + 2, place // columns * side + 2))
    return sheet


# ---- files and copies ----------------------------------------------------------------------------------------------


def bring_images(images: Iterable[str], source: Path, target: Path) -> None:
    """Put the images that a data set names into its folder: hard links where the disk allows, else copies."""
    for image in sorted(set(images)):
        bring_image(source / image, target / image)


def bring_image(source: Path, target: Path) -> None:
    """Link or copy a single image, under another name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def is_near(first: int | None, second: int | None, near: int = NEAR) -> bool:
    """Whether two perceptual hashes belong to the same image; flat images (None) match nothing."""
    return first is not None and second is not None and distance(first, second) <= near


def distance(first: int | None, second: int | None) -> int:
    """The number of bits, out of 64, in which two perceptual hashes differ; 64 if either is None."""
    return 64 if first is None or second is None else (first ^ second).bit_count()


def perceptual_hash(path: str | Path) -> int | None:
    """The image's 64-bit DCT hash; None if it is too flat. JPEGs are decoded at a fraction of their size.

    Source: ``phash`` of the library imagehash. Raises as `open_image` does.
    """
    import imagehash

    grey = small_image(path, "L")
    if np.ptp(np.asarray(grey)) < FLAT:
        return None
    return int(str(imagehash.phash(grey)), 16)


def small_image(path: str | Path, mode: str) -> Image.Image:
    """Enough pixels for a hash, which uses 32 x 32, in ``mode`` L or RGB. Only a JPEG can be decoded in part."""
    # An unreadable file is opened again below, where the error says what is wrong in this project's words
    with suppress(OSError, SyntaxError, ValueError), Image.open(path, formats=FORMATS) as image:
        if image.format == "JPEG" and image.width * image.height <= MAX_PIXELS:
            image.draft(mode, (128, 128))
            return ImageOps.exif_transpose(image).convert(mode)
    return open_image(path).convert(mode)
