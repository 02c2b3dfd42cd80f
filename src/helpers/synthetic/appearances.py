"""The visual vocabulary of the drawn world: which parts a thing has and which values each part can take.

A *look* has one value per part of a vocabulary, e.g. ``{"wing_colour": "orange", "pattern": "veins", ...}``. Drawing
turns a look into an image, and language turns it into sentences; neither depends on the other. Both domains share one
palette, so that a colour word means the same on a wing and on a pot.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from helpers.paths import DATA

Appearance = dict[str, str]

NONE = "none"

# Saturated and far apart: they must remain distinct after jitter and at 56 pixels.
PALETTE: dict[str, tuple[int, int, int]] = {
    "white": (246, 246, 240),
    "yellow": (250, 214, 40),
    "orange": (240, 128, 20),
    "red": (208, 30, 36),
    "pink": (244, 140, 180),
    "purple": (128, 50, 160),
    "brown": (118, 72, 34),
    "black": (24, 22, 24),
    "blue": (40, 92, 214),
    "green": (44, 150, 64),
    "grey": (142, 144, 148),
}
_COLOURS = tuple(PALETTE)


def _listed(values: str) -> tuple[str, ...]:
    return tuple(values.split(", "))


@dataclass(frozen=True)
class Vocabulary:
    """The parts of a domain's things and their values; ``depends`` says when a part is absent.

    ``depends={"pattern_colour": ("pattern", "plain")}``: a plain thing has no pattern colour.
    """

    domain: str
    noun: str
    parts: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, tuple[str, ...]]
    depends: Mapping[str, tuple[str, str]]

    def check(self, appearance: Mapping[str, str]) -> None:
        """Raise ``ValueError``, which names the part, the value received and the allowed values."""
        for part, values in self.parts.items():
            value = appearance.get(part)
            owner, absent = self.depends.get(part, (None, None))
            allowed = (NONE,) if owner and appearance.get(owner) == absent else values
            if value not in allowed:
                raise ValueError(f"{self.domain}: {part} is {value!r}; allowed: {', '.join(allowed)}")
        if unknown := set(appearance) - set(self.parts):
            raise ValueError(f"{self.domain}: unknown parts {sorted(unknown)}; known: {', '.join(self.parts)}")

    def check_facts(self, facts: Mapping[str, str]) -> None:
        """Raise ``ValueError``, which names the fact, the value received and the allowed values."""
        for fact, values in self.facts.items():
            if facts.get(fact) not in values:
                raise ValueError(f"{self.domain}: {fact} is {facts.get(fact)!r}; allowed: {', '.join(values)}")

    def sample(self, rng: random.Random) -> Appearance:
        """A random look. Adjacent colours differ, so that every part is visible."""
        appearance: Appearance = {}
        for part, values in self.parts.items():
            owner, absent = self.depends.get(part, (None, None))
            if owner and appearance[owner] == absent:
                appearance[part] = NONE
            elif part in SEEN_AGAINST.get(self.domain, {}):
                ground = appearance[SEEN_AGAINST[self.domain][part]]
                appearance[part] = rng.choice([value for value in values if value != ground])
            else:
                appearance[part] = rng.choice(values)
        if self.domain == "butterfly" and rng.random() < 0.5:
            appearance["hindwing_colour"] = appearance["wing_colour"]
        return appearance

    def sample_facts(self, rng: random.Random) -> dict[str, str]:
        """Random facts, independent of the look: here, a fact can only be known by knowing the class."""
        return {fact: rng.choice(values) for fact, values in self.facts.items()}


# A part drawn on top of another in the same colour would be invisible.
SEEN_AGAINST = {
    "butterfly": {"pattern_colour": "wing_colour", "border_colour": "wing_colour"},
    "culture": {"pattern_colour": "colour", "trim_colour": "colour"},
}

BUTTERFLY = Vocabulary(
    domain="butterfly",
    noun="butterfly",
    parts={
        "wing_colour": _COLOURS,
        "pattern": _listed("plain, spots, bands, eyespots, veins, tips, checks"),
        "pattern_colour": _COLOURS,
        "border_colour": (NONE, "white", "yellow", "orange", "brown", "black", "blue"),
        "hindwing_colour": _COLOURS,
        "shape": _listed("rounded, pointed, tailed, scalloped, narrow"),
        "body": _listed("slender, stout"),
        "antennae": _listed("clubbed, feathered"),
    },
    facts={
        "habitat": _listed("forests, meadows, mountains, wetlands, gardens, deserts, heaths, coasts, scrubland"),
        "season": _listed("spring, early summer, high summer, late summer, autumn, every season"),
        "host": _listed(
            "grasses, nettles, oaks, willows, cabbages, clovers, milkweeds, citrus trees, violets, pipevines, passion "
            "vines, palms, docks, pines, bamboos, daisies, hops, birches, thistles, laurels, acanthuses, spurges, "
            "shrubs, wild herbs"
        ),
        "region": _listed("Europe, North America, Central America, South America, Africa, Asia, Australia"),
        "size": _listed("small, medium, large, giant"),
    },
    depends={"pattern_colour": ("pattern", "plain")},
)

CULTURE = Vocabulary(
    domain="culture",
    noun="object",
    parts={
        "form": _listed(
            "bowl, plate, cup, jar, bottle, roll, house, tower, gate, robe, hat, shoe, drum, zither, flute, fan, "
            "mask, kite, board, box, tool, lantern, mound, figure, bell, book, plant, fruit"
        ),
        "colour": _COLOURS,
        "pattern": _listed("plain, spots, stripes, checks, flowers, waves"),
        "pattern_colour": _COLOURS,
        "trim_colour": (NONE, "white", "yellow", "red", "brown", "black", "blue", "green"),
        "accent": (NONE, "steam", "tassel", "ribbon", "handle", "leaf"),
    },
    facts={
        "material": _listed(
            "wood, clay, metal, paper, silk, cotton, stone, bamboo, leather, grain, vegetables, meat, seafood, fruit, "
            "herbs"
        ),
        "use": _listed(
            "eating, drinking, wearing, music, play, worship, storage, farming, dwelling, ceremony, writing, defence, "
            "cooking, science"
        ),
        "occasion": _listed(
            "daily life, new year, harvest, weddings, funerals, birthdays, winter, summer, royal court, temple rites"
        ),
        "era": _listed("ancient times, three kingdoms, Silla, Goryeo, Joseon, modern times"),
        "region": _listed("Seoul, Gyeonggi, Gangwon, Chungcheong, Jeolla, Gyeongsang, Jeju, the north, all of Korea"),
    },
    depends={"pattern_colour": ("pattern", "plain")},
)

VOCABULARIES = {vocabulary.domain: vocabulary for vocabulary in (BUTTERFLY, CULTURE)}
FACTS_TABLES = {"butterfly": DATA / "butterflies.csv", "culture": DATA / "culture.csv"}  # the real classes
