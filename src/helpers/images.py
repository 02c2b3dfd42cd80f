"""Open any image that a data set may hold as 8-bit RGB, or say clearly why that is impossible.

Transparency is composited onto white (PIL alone would show the hidden colour, usually black), 16 bits are scaled to 8
(PIL alone would clip everything above 255), and the camera's EXIF orientation is applied. Scanners and X-ray machines
put 10, 12 or 14 bits of grey into files of 16: the largest value tells how many. Colour profiles are ignored: no model
here was trained with them. Only the formats in `FORMATS` are tried: a data set comes from somebody else, and
some of PIL's other readers start programs (PostScript).
"""

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

NEAR = 4  # of 64 bits: copies that were scaled, recompressed or slightly edited differ in no more
FLAT = 8  # grey levels: the hash of an image with less contrast means nothing
MAX_PIXELS = 80_000_000  # five times the largest image of K-VISCUIT (16 million), and below PIL's own limit
_ON_ITS_SIDE = range(5, 9)  # EXIF orientations that exchange width and height
MAX_RATIO = 200  # of the longer side to the shorter: Qwen2-VL's processor refuses more, and nothing is left to see
FORMATS = tuple("JPEG PNG WEBP GIF BMP TIFF PPM AVIF".split())  # by content; only the first frame is read
SUFFIXES = tuple(".png .apng .jpg .jpeg .jpe .jfif .webp .gif .bmp .tif .tiff .ppm .pgm .pbm .pnm .avif".split())
# What stands in place of the file that was meant, by how it begins
_OTHER_CONTENT = {
    rb"version https://git-lfs": "a pointer of Git LFS; fetch the file itself: git lfs pull",
    rb"\s*<(!doctype\s+html|html)": "a web page, as of a download that failed or asked for a login; download it again",
    rb".{4}ftyp(hei|hev|mif1|msf1)": "HEIC, a format of phones; convert it to JPEG",
    rb"\s*(<\?xml[^>]*>\s*)?<svg": "a vector graphic (SVG); export it as PNG",
    rb"%PDF-": "a PDF; export its page as PNG",
    rb"\0*$": "empty, as left by an interrupted copy or a cloud drive that has not downloaded it; copy it again",
}
_HEAD = 512  # bytes
_TIFF_MAX_SAMPLE, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 281, 262, 0


def open_image(path: str | Path, max_pixels: int | None = None) -> Image.Image:
    """The image in RGB; one with more than ``max_pixels`` is scaled down to that area, keeping its proportions.

    Raises ``FileNotFoundError``; ``ValueError`` for a file that cannot or must not be read.
    """
    try:
        with _opened(path) as image:
            return _within(_rgb(image), max_pixels)
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
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    most = MAX_RATIO * min(width, height)  # rounding the shorter side down makes a thin image thinner
    return min(width, most), min(height, most)


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


def is_image(path: str | Path) -> bool:
    """Whether the file begins like one of the formats that are read, whatever it is called."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # PIL's decoders raise almost anything
        return False


def check_image_bytes(content: bytes, name: str) -> str:
    """Check an image that is not yet a file; returns its format, such as "JPEG". Errors call it ``name``."""
    try:
        return _checked(BytesIO(content)).format
    except Exception as error:
        raise _explained(name, error, content[:_HEAD]) from error


def other_content(head: bytes) -> str | None:
    """What a file that begins like this holds in place of an image or a table, and what to do; None if unknown."""
    return next(
        (what for form, what in _OTHER_CONTENT.items() if re.match(form, head, re.IGNORECASE | re.DOTALL)), None
    )


class _Found(NamedTuple):
    size: tuple[int, int]
    format: str


def _checked(source: str | Path | BytesIO) -> _Found:
    with _opened(source) as image:
        found = _Found(image.size, str(image.format))
        image.draft(None, (1, 1))
        _load(image)
        image.getexif()
        if image.mode.startswith("I"):
            _grey(image, image)
    return found


def _opened(source: str | Path | BytesIO) -> ImageFile.ImageFile:
    """Reads only the header before the size is checked: a small file can declare an image that fills the memory."""
    image = Image.open(source, formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{width}x{height} pixels")
    if image.mode == "F":
        image.close()
        raise _UnusableError("its pixels are fractions, and nothing says which value is white; save it with 8 bits")
    if max(width, height) > MAX_RATIO * min(width, height):
        image.close()
        raise _UnusableError(f"{width}x{height} pixels: one side is more than {MAX_RATIO} times the other; crop it")
    return image


def _load(image: ImageFile.ImageFile) -> None:
    """Decode. PIL keeps the upper 8 of 16 bits of colour; where 12 or fewer are used, hardly anything is left."""
    deep = any(str(tile[3][0] if isinstance(tile[3], tuple) else tile[3]).endswith(_DEEP) for tile in image.tile)
    image.load()
    if deep and not image.mode.startswith("I") and max(high for _, high in _extrema(image)) < 16:
        raise _UnusableError("its colours have 16 bits, of which only the lower 12 are used; save it with 8 bits")


_DEEP = (";16B", ";16L", ";16N")


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    """The lowest and highest value of each colour, without transparency."""
    found: Any = image.getextrema()
    return list(found[: len(image.getbands()) - ("A" in image.getbands())]) if isinstance(found[0], tuple) else [found]


class _UnusableError(ValueError):
    """An image that could be decoded, but not shown rightly; the message says why, and what to do."""


def _explained(path: str | Path, error: Exception, head: bytes | None = None) -> Exception:
    """PIL's decoders raise almost anything: OSError, SyntaxError, struct.error, zlib.error, ...

    ``head``: how the content begins; without it, the file is read.
    """
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{path} does not exist")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ValueError(f"{path}: too large ({error}); at most {MAX_PIXELS} pixels are allowed; scale it down first")
    if isinstance(error, _UnusableError):
        return ValueError(f"{path}: {error}")
    if isinstance(error, UnidentifiedImageError) and (what := other_content(_head(path) if head is None else head)):
        return ValueError(f"{path}: not a readable image (it is {what}); replace the file")
    return ValueError(f"{path}: not a readable image ({type(error).__name__}: {error}); replace the file")


def _head(path: str | Path) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_HEAD)


def _rgb(file: ImageFile.ImageFile) -> Image.Image:
    _load(file)
    image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I"):  # grey of 16 bits: I;16 or, from some formats, I
        image = _grey(image, file)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _grey(image: Image.Image, file: ImageFile.ImageFile) -> Image.Image:
    """Grey of more than 8 bits as 8: of as many bits, an even number, as the file states or its largest value needs."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0:
        raise _UnusableError(
            "its pixels are negative numbers too, and nothing says which is black; save it with 8 bits"
        )
    tags = getattr(file, "tag_v2", {})
    stated = tags.get(_TIFF_MAX_SAMPLE, 0)
    largest = max(int(values.max()), int(stated[0] if isinstance(stated, tuple) else stated))
    bits = max(8, largest.bit_length() + largest.bit_length() % 2)
    grey = (values >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - grey if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO else grey)


def in_few_colours(image: Image.Image) -> Image.Image:
    """The image in 256 colours of its own: of a figure, a third of the bytes and no loss to see."""
    return image.convert("RGB").quantize(256, dither=Image.Dither.NONE)


def contact_sheet(files: Sequence[str | Path], columns: int, side: int) -> Image.Image:
    """The images in a grid of cells on white, each ``side`` x ``side`` pixels; proportions are kept."""
    rows = -(-len(files) // columns)
    sheet = Image.new("RGB", (columns * side, max(1, rows) * side), "white")
    for place, file in enumerate(files):
        image = open_image(file)
        scale = (side - 4) / max(image.size)
        width, height = (max(1, round(length * scale)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
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
    """`hash_of` a file's image. JPEGs are decoded at a fraction of their size. Raises as `open_image` does."""
    return hash_of(small_image(path, "L"))


def hash_of(image: Image.Image) -> int | None:
    """The image's 64-bit DCT hash; None if it is too flat. Source: ``phash`` of the library imagehash."""
    import imagehash

    grey = image.convert("L")
    return None if np.ptp(np.asarray(grey)) < FLAT else int(str(imagehash.phash(grey)), 16)


def small_image(path: str | Path, mode: str) -> Image.Image:
    """Enough pixels for a hash, which uses 32 x 32, in ``mode`` L or RGB. Only a JPEG can be decoded in part."""
    # An unreadable file is opened again below, where the error says what is wrong in this project's words
    with suppress(OSError, SyntaxError, ValueError), Image.open(path, formats=FORMATS) as image:
        if image.format == "JPEG" and image.width * image.height <= MAX_PIXELS:
            image.draft(mode, (128, 128))
            return ImageOps.exif_transpose(image).convert(mode)
    return open_image(path).convert(mode)
