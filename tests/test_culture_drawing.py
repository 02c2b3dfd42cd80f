"""The pictograms of Korean culture: every part of a look is seen, and only the look and the dice decide."""

import random
from itertools import combinations

import pytest
from PIL import Image, ImageChops

from helpers.synthetic.appearances import CULTURE, NONE, Appearance
from helpers.synthetic.culture import FORMS, PATTERNS, Form, _extent, draw_culture

JAR: Appearance = {
    "form": "jar",
    "colour": "orange",
    "pattern": "spots",
    "pattern_colour": "purple",
    "trim_colour": NONE,
    "accent": NONE,
}
# The thinnest forms and the fullest: whatever is seen on these is seen on all.
HARD_FORMS = ("flute", "zither", "tool", "gate", "mask", "plant", "box")


def image(appearance: Appearance, seed: int = 0) -> Image.Image:
    return draw_culture(appearance, random.Random(seed))


def changed_pixels(one: Appearance, other: Appearance) -> int:
    """Pixels that differ by more than 40 of 255 in a channel, between two looks in one pose, light and ground."""
    difference = ImageChops.difference(_same_pose(one), _same_pose(other))
    red, green, blue = difference.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return sum(largest.histogram()[41:])


def _same_pose(appearance: Appearance) -> Image.Image:
    return draw_culture(appearance, _Middle())


class _Middle(random.Random):
    """Dice that always fall on the middle, so that two looks meet the same pose however many numbers they ask for."""

    def random(self) -> float:
        return 0.5

    def getrandbits(self, k: int) -> int:
        return (1 << k) // 2 - 1

    def randbytes(self, n: int) -> bytes:
        return bytes([128]) * n


def with_value(appearance: Appearance, part: str, value: str) -> Appearance:
    """The look with one part replaced; a plain body loses its pattern colour, a purple one changes its own."""
    changed = appearance | {part: value}
    if changed["pattern"] == "plain":
        changed["pattern_colour"] = NONE
    elif changed["pattern_colour"] == changed["colour"]:
        changed["pattern_colour"] = "black"
    return changed


def test_a_form_and_a_pattern_is_drawn_for_every_value_of_the_vocabulary():
    assert set(FORMS) == set(CULTURE.parts["form"])
    assert set(PATTERNS) | {"plain"} == set(CULTURE.parts["pattern"])


def test_picture_is_rgb_and_of_the_size_asked_for():
    assert (image(JAR).mode, image(JAR).size) == ("RGB", (56, 56))
    assert draw_culture(JAR, random.Random(0), size=112).size == (112, 112)


def test_same_dice_give_the_same_picture_and_other_dice_another():
    assert image(JAR).tobytes() == image(JAR).tobytes()
    assert image(JAR).tobytes() != image(JAR, seed=1).tobytes()


def test_earlier_pictures_do_not_change_later_ones():
    before = image(JAR).tobytes()
    rng = random.Random(7)
    for _ in range(50):
        draw_culture(CULTURE.sample(rng), rng)
    assert image(JAR).tobytes() == before


def test_unknown_value_is_refused_by_name():
    with pytest.raises(ValueError, match="form is 'teapot'"):
        image(JAR | {"form": "teapot"})


def test_a_form_that_leaves_its_middle_empty_has_no_place_for_an_accent(monkeypatch):
    monkeypatch.setitem(FORMS, "corner", Form(solids=(((0, 0), (20, 0), (20, 20), (0, 20)),)))
    with pytest.raises(
        ValueError, match="form 'corner' leaves the middle empty; draw it across the middle of the layer"
    ):
        _extent("corner", 56)


@pytest.mark.parametrize("part", CULTURE.parts)
def test_every_two_values_of_a_part_look_different(part: str):
    values = [value for value in CULTURE.parts[part] if part != "pattern_colour" or value != JAR["colour"]]
    for one, other in combinations(values, 2):
        seen = changed_pixels(with_value(JAR, part, one), with_value(JAR, part, other))
        assert seen >= 40, f"{part}: {one} and {other} differ in {seen} pixels only"


@pytest.mark.parametrize("form", HARD_FORMS)
def test_every_two_patterns_and_accents_differ_on_the_hardest_forms(form: str):
    body = JAR | {"form": form, "trim_colour": "black"}
    for part in ("pattern", "accent"):
        for one, other in combinations(CULTURE.parts[part], 2):
            seen = changed_pixels(with_value(body, part, one), with_value(body, part, other))
            assert seen >= 25, f"{form}, {part}: {one} and {other} differ in {seen} pixels only"


@pytest.mark.parametrize("form", CULTURE.parts["form"])
def test_trim_pattern_and_accent_are_visible_on_every_form(form: str):
    body = JAR | {"form": form, "trim_colour": "blue"}
    for part in ("trim_colour", "accent", "pattern"):
        bare = with_value(body, part, "plain" if part == "pattern" else NONE)
        for value in CULTURE.parts[part]:
            if value not in (NONE, "plain"):
                seen = changed_pixels(with_value(body, part, value), bare)
                assert seen >= 40, f"{form}: {part} {value} shows in {seen} pixels only"


@pytest.mark.parametrize("colour", CULTURE.parts["colour"])
def test_a_body_of_any_colour_stands_out_from_its_ground(colour: str):
    drawn = _same_pose(with_value(JAR | {"pattern": "plain"}, "colour", colour))
    centre, corner = (drawn.resize((1, 1), box=box).getpixel((0, 0)) for box in ((24, 28, 32, 36), (0, 48, 6, 54)))
    assert max(abs(one - other) for one, other in zip(centre, corner, strict=True)) > 25
