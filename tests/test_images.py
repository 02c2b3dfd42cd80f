"""Every kind of picture becomes 8-bit RGB that looks as it should; what cannot be read says why."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers import images
from helpers.images import check_image_bytes, check_image_file, open_image


def colour(path, at=(0, 0)) -> tuple[int, int, int]:
    image = open_image(path)
    assert image.mode == "RGB"
    return image.getpixel(at)


def test_transparency_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    image.save(tmp_path / "a.png")
    assert colour(tmp_path / "a.png") == (255, 255, 255)
    assert colour(tmp_path / "a.png", (1, 0)) == (255, 0, 0)


def test_a_transparent_palette_is_laid_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
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


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_fewer_bits_of_grey_in_a_file_of_sixteen_are_not_black(tmp_path, bits, name):
    """A ramp over all values of a scanner: its ends are black and white, its middle is 128."""
    top = 2**bits - 1
    Image.fromarray(np.array([[0, 2 ** (bits - 1), top]], dtype=np.uint16)).save(tmp_path / name)
    if name == "a.pgm":  # PIL writes and reads 65535 as the largest value, whatever is in it
        assert [colour(tmp_path / name, (x, 0))[0] for x in (0, 2)] == [0, 255]
    else:
        assert [colour(tmp_path / name, (x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_a_tiff_that_states_its_largest_value_is_read_by_it(tmp_path):
    ramp = Image.fromarray(np.array([[0, 1023]], dtype=np.uint16))
    ramp.save(tmp_path / "a.tif", tiffinfo={281: 4095})
    assert colour(tmp_path / "a.tif", (1, 0))[0] == 63  # 1023 of 4095: a quarter


def test_a_tiff_whose_white_is_zero_is_turned_round(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(path)
    entry = struct.pack("<HHI", 262, 3, 1)  # the tag of the photometric interpretation, a short
    content = path.read_bytes()
    at = content.index(entry) + len(entry)
    path.write_bytes(content[:at] + struct.pack("<H", 0) + content[at + 2 :])
    assert [colour(path, (x, 0))[0] for x in range(2)] == [255, 0]


def test_an_orientation_is_applied_to_sixteen_bits_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[0, 4095]], dtype=np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert open_image(tmp_path / "a.png").size == (1, 2)
    assert [colour(tmp_path / "a.png", (0, y))[0] for y in range(2)] == [0, 255]


def test_negative_grey_is_refused(tmp_path):
    Image.fromarray(np.array([[-1000, 3000]], dtype=np.int32)).save(tmp_path / "a.tif")
    for read in (open_image, check_image_file):
        with pytest.raises(ValueError, match="its pixels are negative numbers too"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize(("kind", "colours"), [(2, (4095, 100, 0)), (6, (4095, 0, 0, 65535)), (2, (255, 255, 255))])
def test_twelve_bits_of_colour_in_a_file_of_sixteen_are_refused_instead_of_black(tmp_path, kind, colours):
    (tmp_path / "a.png").write_bytes(_png(1, 1, 16, kind, b"\0" + struct.pack(f">{len(colours)}H", *colours)))
    for read in (open_image, check_image_file):
        with pytest.raises(ValueError, match="only the lower 12 are used"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(201, 1), (1, 201), (2010, 10), (9, 2000), (2100, 10), (40_000, 100)])
def test_an_image_thinner_than_a_processor_takes_is_refused_by_name(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "thin.png")
    for read in (open_image, check_image_file):
        with pytest.raises(ValueError, match=r"thin\.png: .*: one side is more than 200 times the other; crop it"):
            read(tmp_path / "thin.png")


@pytest.mark.parametrize("size", [(1990, 10), (10, 1990), (2000, 10), (200, 1), (3990, 20), (1, 199), (1500, 9)])
@pytest.mark.parametrize("pixels", [None, 12_544, 3_000, 199, 50])
def test_scaling_never_makes_an_image_thinner_than_a_processor_takes(tmp_path, size, pixels):
    Image.new("RGB", size).save(tmp_path / "a.png")
    width, height = open_image(tmp_path / "a.png", pixels).size
    assert max(width, height) <= 200 * min(width, height)
    assert pixels is None or width * height <= max(pixels, 200)


def test_thin_images_have_a_place_on_a_contact_sheet(tmp_path):
    for name, size in (("a.png", (1990, 10)), ("b.png", (10, 1990)), ("c.png", (30, 20))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    sheet = images.contact_sheet([tmp_path / name for name in ("a.png", "b.png", "c.png")], columns=3, side=84)
    assert sheet.size == (252, 84)
    assert [sheet.getpixel((84 * place + 2, 2)) for place in range(3)] == [(255, 0, 0)] * 3


@pytest.mark.parametrize(("suffix", "form"), [(".jfif", "JPEG"), (".jpe", "JPEG"), (".avif", "AVIF"), (".pgm", "PPM")])
def test_less_common_names_and_formats_are_read(tmp_path, suffix, form):
    path = tmp_path / f"a{suffix}"
    Image.new("L", (16, 16), 200).convert("L" if form == "PPM" else "RGB").save(path, form)
    assert suffix in images.SUFFIXES
    assert all(abs(value - 200) < 4 for value in colour(path))


@pytest.mark.parametrize(("kind", "pixel"), [(2, (65535, 32768, 0)), (6, (65535, 32768, 0, 65535))])
def test_sixteen_bits_of_colour_are_scaled_too(tmp_path, kind, pixel):
    (tmp_path / "a.png").write_bytes(_png(1, 1, 16, kind, b"\0" + struct.pack(f">{len(pixel)}H", *pixel)))
    assert colour(tmp_path / "a.png") == (255, 128, 0)


def test_a_plain_palette_and_the_first_frame_of_an_animation_become_rgb(tmp_path):
    image = Image.new("P", (1, 1))
    image.putpalette([9, 99, 199])
    image.save(tmp_path / "a.png")
    assert colour(tmp_path / "a.png") == (9, 99, 199)
    red, blue = Image.new("RGB", (1, 1), "red"), Image.new("RGB", (1, 1), "blue")
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    assert colour(tmp_path / "a.gif") == (255, 0, 0)


def test_pixels_that_are_fractions_are_refused(tmp_path):
    Image.new("F", (4, 4), 0.5).save(tmp_path / "a.tif")
    for read in (open_image, check_image_file):
        with pytest.raises(ValueError, match="pixels are fractions"):
            read(tmp_path / "a.tif")


def test_a_huge_picture_is_scaled_down_to_the_area_allowed(tmp_path):
    Image.new("1", (8_000, 4_000)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png", max_pixels=20_000).size == (200, 100)


def test_a_format_that_starts_a_program_is_not_tried(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    for read in (open_image, check_image_file):
        with pytest.raises(ValueError, match="not a readable image"):
            read(tmp_path / "a.jpg")


def test_bytes_are_checked_like_files_and_say_their_format():
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(stream, "WEBP")
    assert check_image_bytes(stream.getvalue(), "row 3") == "WEBP"
    with pytest.raises(ValueError, match="row 3: not a readable image"):
        check_image_bytes(stream.getvalue()[:40], "row 3")
    with pytest.raises(ValueError, match="row 3: too large"):
        check_image_bytes(_png_header(60_000, 60_000), "row 3")


def test_one_bit_and_grey_become_rgb(tmp_path):
    Image.new("1", (1, 1), 1).save(tmp_path / "a.png")
    Image.new("L", (1, 1), 77).save(tmp_path / "b.png")
    assert colour(tmp_path / "a.png") == (255, 255, 255)
    assert colour(tmp_path / "b.png") == (77, 77, 77)


def test_the_orientation_of_the_camera_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.new("RGB", (30, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (10, 30)


def test_a_picture_cut_short_is_refused(tmp_path):
    for name in ("a.jpg", "a.png"):
        path = tmp_path / name
        Image.effect_noise((64, 64), 90).convert("RGB").save(path)
        path.write_bytes(path.read_bytes()[:1500])
        for read in (open_image, check_image_file):
            with pytest.raises(ValueError, match=rf"{name}: not a readable image"):
                read(path)


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    for read in (open_image, check_image_file):
        with pytest.raises(ValueError, match="not a readable image"):
            read(tmp_path / "a.png")


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png does not exist"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])  # above our limit, PIL's warning and PIL's error
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, side):
    (tmp_path / "a.png").write_bytes(_png_header(side, side))
    for read in (open_image, check_image_file):
        with pytest.raises(ValueError, match=f"too large .*at most {images.MAX_PIXELS} pixels"):
            read(tmp_path / "a.png")


def _png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds next to nothing."""
    return _png(width, height, 8, 2, b"0")


def _png(width: int, height: int, bits: int, kind: int, pixels: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_check_reports_the_size_as_stored(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "a.jpg")
    assert check_image_file(tmp_path / "a.jpg") == (300, 200)
