"""The plates: every value of every part must change the picture, in the same pose and the same light."""

import random
from itertools import combinations

import numpy as np
import pytest

from helpers.synthetic.appearances import BUTTERFLY, NONE, Appearance
from helpers.synthetic.butterfly import Part, _map, draw_butterfly

SEED = 3
PLAIN_APPEARANCE: Appearance = {
    "wing_colour": "green",
    "pattern": "spots",
    "pattern_colour": "pink",
    "border_colour": NONE,
    "hindwing_colour": "purple",
    "shape": "rounded",
    "body": "slender",
    "antennae": "clubbed",
}
BASE_APPEARANCES = (
    PLAIN_APPEARANCE,
    PLAIN_APPEARANCE | {"shape": "narrow", "body": "stout", "pattern": "bands"},
    PLAIN_APPEARANCE | {"shape": "tailed", "antennae": "feathered", "pattern": "checks"},
    PLAIN_APPEARANCE | {"shape": "scalloped", "pattern": "veins", "hindwing_colour": "green"},
    PLAIN_APPEARANCE | {"shape": "pointed", "pattern": "tips", "body": "stout"},
)
PAIRS = [(part, *pair) for part, values in BUTTERFLY.parts.items() for pair in combinations(values, 2)]


def pixels(appearance: Appearance, seed: int = SEED, size: int = 56) -> np.ndarray:
    return np.asarray(draw_butterfly(appearance, random.Random(seed), size), dtype=float)


def with_value(appearance: Appearance, part: str, value: str) -> Appearance:
    """The look with one part changed; a plain one loses its pattern colour."""
    changed = appearance | {part: value}
    return changed | {"pattern_colour": NONE} if changed["pattern"] == "plain" else changed


@pytest.mark.parametrize("size", [56, 112, 336])
def test_a_picture_is_rgb_and_of_the_size_asked_for(size: int) -> None:
    image = draw_butterfly(PLAIN_APPEARANCE, random.Random(0), size)
    assert image.mode == "RGB"
    assert image.size == (size, size)


def test_the_same_seed_gives_the_same_picture() -> None:
    assert np.array_equal(pixels(PLAIN_APPEARANCE, 1), pixels(PLAIN_APPEARANCE, 1))
    assert not np.array_equal(pixels(PLAIN_APPEARANCE, 1), pixels(PLAIN_APPEARANCE, 2))


def test_a_larger_picture_shows_the_same_plate_in_the_same_pose() -> None:
    small, large = pixels(PLAIN_APPEARANCE), pixels(PLAIN_APPEARANCE, size=112)
    reduced = large.reshape(56, 2, 56, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - reduced).mean() < 6


@pytest.mark.parametrize(("part", "one", "other"), PAIRS)
def test_each_pair_of_values_can_be_told_apart(part: str, one: str, other: str) -> None:
    """Not only on average over the picture: dozens of pixels must differ clearly."""
    for appearance in BASE_APPEARANCES:
        if appearance["wing_colour"] in (one, other) and part in ("pattern_colour", "border_colour"):
            continue
        difference = np.abs(pixels(with_value(appearance, part, one)) - pixels(with_value(appearance, part, other)))
        assert difference.mean() > 1.0
        assert (difference.max(axis=2) > 40).sum() >= 40


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("pattern", BUTTERFLY.parts["pattern"])
@pytest.mark.parametrize("shape", BUTTERFLY.parts["shape"])
def test_no_part_hides_another(shape: str, pattern: str, border: bool) -> None:
    """In pixels of a 56-pixel picture at full scale: what each part leaves to be seen of the others."""
    shown = np.bincount(np.asarray(_map(shape, pattern, border, "stout", "feathered", 56)).ravel(), minlength=len(Part))
    area = dict(zip(Part, shown / 16, strict=True))
    assert area[Part.FOREWING] >= 120
    assert area[Part.HINDWING] >= 100
    assert area[Part.HINDWING] >= 0.25 * (area[Part.FOREWING] + area[Part.HINDWING] + area[Part.PATTERN])
    assert (area[Part.PATTERN] >= 50) == (pattern != "plain")
    assert (area[Part.BORDER] >= 100) == border


def test_hindwings_are_a_third_of_the_wings() -> None:
    for shape in BUTTERFLY.parts["shape"]:
        shown = np.asarray(_map(shape, "plain", False, "slender", "clubbed", 56))
        fore = np.isin(shown, (Part.FOREWING, Part.FOREWING_EDGE)).sum()
        hind = np.isin(shown, (Part.HINDWING, Part.HINDWING_EDGE)).sum()
        assert hind >= (fore + hind) / 3


def test_drawing_leaves_the_kept_map_alone() -> None:
    before = pixels(PLAIN_APPEARANCE)
    pixels(PLAIN_APPEARANCE | {"wing_colour": "red"})
    assert np.array_equal(before, pixels(PLAIN_APPEARANCE))


def test_a_missing_part_does_not_change_the_pose() -> None:
    corner = (slice(0, 3), slice(0, 3))
    bordered = pixels(PLAIN_APPEARANCE | {"border_colour": "black"})
    assert np.array_equal(pixels(PLAIN_APPEARANCE)[corner], bordered[corner])


def test_an_unknown_value_is_named() -> None:
    with pytest.raises(ValueError, match="shape is 'square'"):
        pixels(PLAIN_APPEARANCE | {"shape": "square"})
