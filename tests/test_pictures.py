"""Every kind of picture becomes 8-bit RGB that looks as it should; what cannot be read says why."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers import pictures
from helpers.pictures import check_picture_file, open_picture


def colour(path, at=(0, 0)) -> tuple[int, int, int]:
    picture = open_picture(path)
    assert picture.mode == "RGB"
    return picture.getpixel(at)


def test_transparency_is_laid_on_white(tmp_path):
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (255, 0, 0, 255))
    picture.save(tmp_path / "a.png")
    assert colour(tmp_path / "a.png") == (255, 255, 255)
    assert colour(tmp_path / "a.png", (1, 0)) == (255, 0, 0)


def test_a_transparent_palette_is_laid_on_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "a.png", transparency=0)
    assert colour(tmp_path / "a.png") == (255, 255, 255)
    assert colour(tmp_path / "a.png", (1, 0)) == (0, 0, 255)


def test_grey_with_transparency_is_laid_on_white(tmp_path):
    Image.new("LA", (1, 1), (0, 0)).save(tmp_path / "a.png")
    assert colour(tmp_path / "a.png") == (255, 255, 255)


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = colour(tmp_path / "a.jpg")
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_and_not_cut(tmp_path, name):
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(tmp_path / name)
    assert [colour(tmp_path / name, (x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_one_bit_and_grey_become_rgb(tmp_path):
    Image.new("1", (1, 1), 1).save(tmp_path / "a.png")
    Image.new("L", (1, 1), 77).save(tmp_path / "b.png")
    assert colour(tmp_path / "a.png") == (255, 255, 255)
    assert colour(tmp_path / "b.png") == (77, 77, 77)


def test_the_orientation_of_the_camera_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.new("RGB", (30, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg").size == (10, 30)


def test_a_picture_cut_short_is_refused(tmp_path):
    for name in ("a.jpg", "a.png"):
        path = tmp_path / name
        Image.effect_noise((64, 64), 90).convert("RGB").save(path)
        path.write_bytes(path.read_bytes()[:1500])
        for read in (open_picture, check_picture_file):
            with pytest.raises(ValueError, match=rf"{name}: not a readable picture"):
                read(path)


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    for read in (open_picture, check_picture_file):
        with pytest.raises(ValueError, match="not a readable picture"):
            read(tmp_path / "a.png")


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png does not exist"):
        open_picture(tmp_path / "a.png")


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])  # above our limit, PIL's warning and PIL's error
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, side):
    (tmp_path / "a.png").write_bytes(_png_header(side, side))
    for read in (open_picture, check_picture_file):
        with pytest.raises(ValueError, match=f"too large .*at most {pictures.MAX_PIXELS} pixels"):
            read(tmp_path / "a.png")


def _png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def test_the_check_reports_the_size_as_stored(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "a.jpg")
    assert check_picture_file(tmp_path / "a.jpg") == (300, 200)
