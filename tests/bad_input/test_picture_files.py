"""Every kind of spoiled picture, alone and where data sets hold them."""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers.domains import open_domain
from helpers.domains.kviscuit import load_kviscuit
from helpers.domains.own_folder import read_folder
from helpers.images import MAX_PIXELS, check_image_bytes, check_image_file, open_image


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (16, 16), **options) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind, **options)
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims this size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


UNREADABLE = {
    "zero bytes": b"",
    "one byte": b"\x89",
    "words": b"this is no picture",
    "a web page": b"<html><body>404 Not Found</body></html>",
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "PDF": b"%PDF-1.4\n",
    "a ZIP": b"PK\x03\x04" + b"\0" * 60,
    "half a PNG": encoded("PNG", size=(300, 300), compress_level=0)[:5000],
    "half a JPEG": encoded("JPEG", size=(300, 300))[:600],
    "half a GIF": encoded("GIF", size=(300, 300))[:200],
    "half a WebP": encoded("WEBP", size=(300, 300))[:50],
    "half a BMP": encoded("BMP", size=(300, 300))[:500],
    "half a TIFF": encoded("TIFF", size=(300, 300))[:500],
    "a PNG's header alone": encoded("PNG")[:33],
    "a PNG with a wrong sum": encoded("PNG").replace(b"IDAT", b"IDAU"),
}
UNSHOWABLE = {
    "fractions": (encoded("TIFF", "F"), r"its pixels are fractions, .*; save it with 8 bits"),
    "a line": (encoded("PNG", size=(201, 1)), r"201x1 pixels: one side is more than 200 times the other; crop it"),
}
TOO_LARGE = {
    "a bomb": bomb(60_000, 60_000),
    "a wide bomb": bomb(2**31 - 1, 1),
    "one pixel too many": bomb(MAX_PIXELS + 1, 1),
}


@pytest.mark.parametrize("name", [*UNREADABLE, *TOO_LARGE])
@pytest.mark.parametrize("read", [open_image, check_image_file, check_image_bytes])
@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL warns of a damaged TIFF before it fails
def test_a_picture_that_cannot_be_read_is_named_with_the_reason_and_the_remedy(read, name, refused, tmp_path):
    content = UNREADABLE.get(name, TOO_LARGE.get(name, b""))
    path = tmp_path / "a.png"
    path.write_bytes(content)
    rule = r"a\.png: too large .* scale it down first" if name in TOO_LARGE else r"a\.png: not a readable image .*"
    arguments = (content, "a.png") if read is check_image_bytes else (path,)
    message = refused(ValueError, rule, read, *arguments)
    assert name in TOO_LARGE or message.endswith("; replace the file")


@pytest.mark.parametrize("name", UNSHOWABLE)
@pytest.mark.parametrize("read", [open_image, check_image_file, check_image_bytes])
def test_a_picture_that_could_not_be_shown_rightly_is_named_with_what_to_do(read, name, refused, tmp_path):
    content, rule = UNSHOWABLE[name]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    refused(ValueError, rf"a\.png: {rule}", read, *((content, "a.png") if read is check_image_bytes else (path,)))


def test_what_is_no_file_is_told_apart(refused, tmp_path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    refused(FileNotFoundError, r"none\.png does not exist", open_image, tmp_path / "none.png")
    refused(ValueError, r"folder\.png: not a readable image \(IsADirectoryError", open_image, tmp_path / "folder.png")


ANY = {
    "a JPEG called PNG": encoded("JPEG"),
    "CMYK": encoded("JPEG", "CMYK"),
    "16 bit": encoded("PNG", "I;16"),
    "32 bit": encoded("TIFF", "I"),
    "black and white": encoded("PNG", "1"),
    "a palette": encoded("GIF", "P"),
    "grey and transparent": encoded("PNG", "LA"),
    "transparent": encoded("WEBP", "RGBA"),
    "animated GIF": encoded("GIF", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]),
    "animated WebP": encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]),
    "animated PNG": encoded("PNG", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]),
    "several pages": encoded("TIFF", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]),
}


@pytest.mark.parametrize("name", ANY)
def test_unusual_pictures_are_read_as_eight_bits_of_their_first_frame(name, tmp_path):
    (tmp_path / "a.png").write_bytes(ANY[name])
    image = open_image(tmp_path / "a.png")
    assert (image.mode, image.size) == ("RGB", (16, 16))
    assert check_image_file(tmp_path / "a.png") == (16, 16)
    assert np.asarray(image).max() in (0, 255)


def test_a_text_within_a_picture_that_unpacks_to_much_more_is_not_read(refused, tmp_path):
    text = zlib.compress(b"a" * 20_000_000, 1)
    data = b"key\0\0" + text
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    whole = encoded("PNG")
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk + whole[33:])
    refused(
        ValueError,
        r"a\.png: not a readable image \(ValueError: Decompressed data too large",
        open_image,
        tmp_path / "a.png",
    )


# ---- in folders of data ---------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "own"
    (folder / "pictures" / "test" / "c0").mkdir(parents=True)
    (folder / "pictures" / "test" / "c0" / "good.png").write_bytes(encoded("PNG"))
    rows = "".join(f"c{n},Name {n}\n" for n in range(5))
    (folder / "classes.csv").write_text("class_id,name\n" + rows, encoding="utf-8")
    return folder


def link_out(path):
    (path.parents[4] / "secret.png").write_bytes(encoded("PNG", size=(20, 20)))
    path.symlink_to(path.parents[4] / "secret.png")


def broken_link(path):
    path.symlink_to(path.parent / "gone.png")


def endless_link(path):
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (link_out, "leads out of the folder by a link; put a copy there instead"),
        (broken_link, "is a broken link or not a file; put an image there instead"),
        (endless_link, "is a broken link or not a file|leads out"),
        (os.mkfifo, "is a broken link or not a file; put an image there instead"),
        (lambda path: path.mkdir(), "a.png/: is a folder within a class's folder; put its images one level up"),
        (lambda path: path.write_bytes(encoded("PNG", size=(4, 400))), "is 4x400 pixels; at least 8 a side; replace"),
        (lambda path: path.write_bytes(encoded("PNG")), "is the same image as "),
        *(
            (lambda path, c=content: path.write_bytes(c), "a.png: ")
            for content in (*UNREADABLE.values(), bomb(60_000, 60_000))
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_spoiled_picture_of_ones_own_is_named(make, rule, own, refused):
    make(own / "pictures" / "test" / "c0" / "a.png")
    refused(ValueError, rule, open_domain, "own", "own", own, None, 1, 56, 0)


@pytest.mark.parametrize("make", [link_out, broken_link, os.mkfifo, lambda path: path.write_bytes(b"")])
def test_a_spoiled_picture_of_kviscuit_is_named(make, refused, tmp_path):
    images = tmp_path / "a" / "b" / "c" / "k" / "images"
    images.mkdir(parents=True)
    make(images / "a.png")
    row = {"question": "What is it?", "options": list("abcd"), "answer": 0, "category": "Tool", "id_": "x"}
    row |= {"question_type": 1, "image_url": "", "image_path": "a.png"}
    (images.parent / "annotations.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    refused(ValueError, r"1 image\(s\) missing or unreadable:\n  images/a\.png: ", load_kviscuit, images.parent)


def test_a_folder_of_a_class_that_is_a_link_out_of_the_folder_is_refused(own, refused, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(encoded("PNG", size=(20, 20)))
    (own / "pictures" / "test" / "c1").symlink_to(tmp_path / "elsewhere")
    refused(ValueError, "leads out of the folder by a link", open_domain, "own", "own", own, None, 1, 56, 0)


def test_one_spoiled_picture_does_not_hide_the_next(own):
    for number, content in enumerate((b"", b"x", b"%PDF")):
        (own / "pictures" / "test" / "c0" / f"{number}.png").write_bytes(content)
    assert sum("not a readable image" in str(found) for found in read_folder(own).findings.problems) == 3
