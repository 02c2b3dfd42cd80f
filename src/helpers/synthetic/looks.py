"""The visual vocabulary of the drawn world: which parts a thing has and which values each part can take.

A *look* is one value for every part of a vocabulary, e.g. ``{"wing_colour": "orange", "pattern": "veins", ...}``.
Drawing turns a look into a picture, language turns it into sentences; neither knows of the other. Both domains
share one palette, so that a colour word means the same thing on a wing and on a pot.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from helpers.paths import DATA

Look = dict[str, str]

NONE = "none"

# Saturated and far apart: they must survive a hue jitter and 56 pixels.
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


@dataclass(frozen=True)
class Vocabulary:
    """The parts of one domain's things and their values; ``depends`` names parts that are absent with another.

    ``depends={"pattern_colour": ("pattern", "plain")}``: a plain thing has no pattern colour.
    """

    domain: str
    noun: str
    parts: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, tuple[str, ...]]
    depends: Mapping[str, tuple[str, str]]

    def check(self, look: Mapping[str, str]) -> None:
        """Raise ``ValueError`` naming the part, the value received and the values allowed."""
        for part, values in self.parts.items():
            value = look.get(part)
            owner, absent = self.depends.get(part, (None, None))
            allowed = (NONE,) if owner and look.get(owner) == absent else values
            if value not in allowed:
                raise ValueError(f"{self.domain}: {part} is {value!r}; allowed: {', '.join(allowed)}")
        if unknown := set(look) - set(self.parts):
            raise ValueError(f"{self.domain}: unknown parts {sorted(unknown)}; known: {', '.join(self.parts)}")

    def check_facts(self, facts: Mapping[str, str]) -> None:
        """Raise ``ValueError`` naming the fact, the value received and the values allowed."""
        for fact, values in self.facts.items():
            if facts.get(fact) not in values:
                raise ValueError(f"{self.domain}: {fact} is {facts.get(fact)!r}; allowed: {', '.join(values)}")

    def sample(self, rng: random.Random) -> Look:
        """A random look. Neighbouring colours differ, so that every part can be seen."""
        look: Look = {}
        for part, values in self.parts.items():
            owner, absent = self.depends.get(part, (None, None))
            if owner and look[owner] == absent:
                look[part] = NONE
            elif part in SEEN_AGAINST.get(self.domain, {}):
                ground = look[SEEN_AGAINST[self.domain][part]]
                look[part] = rng.choice([value for value in values if value != ground])
            else:
                look[part] = rng.choice(values)
        if self.domain == "butterfly" and rng.random() < 0.5:
            look["hindwing_colour"] = look["wing_colour"]
        return look

    def sample_facts(self, rng: random.Random) -> dict[str, str]:
        """Random facts, independent of looks: in this world nothing gives a fact away but knowing the class."""
        return {fact: rng.choice(values) for fact, values in self.facts.items()}


# A part that is drawn on top of another is invisible in the same colour.
SEEN_AGAINST = {
    "butterfly": {"pattern_colour": "wing_colour", "border_colour": "wing_colour"},
    "culture": {"pattern_colour": "colour", "trim_colour": "colour"},
}

BUTTERFLY = Vocabulary(
    domain="butterfly",
    noun="butterfly",
    parts={
        "wing_colour": _COLOURS,
        "pattern": ("plain", "spots", "bands", "eyespots", "veins", "tips", "checks"),
        "pattern_colour": _COLOURS,
        "border_colour": (NONE, "white", "yellow", "orange", "brown", "black", "blue"),
        "hindwing_colour": _COLOURS,
        "shape": ("rounded", "pointed", "tailed", "scalloped", "narrow"),
        "body": ("slender", "stout"),
        "antennae": ("clubbed", "feathered"),
    },
    facts={
        "habitat": (
            "forests",
            "meadows",
            "mountains",
            "wetlands",
            "gardens",
            "deserts",
            "heaths",
            "coasts",
            "scrubland",
        ),
        "season": ("spring", "early summer", "high summer", "late summer", "autumn", "every season"),
        "host": (
            "grasses",
            "nettles",
            "oaks",
            "willows",
            "cabbages",
            "clovers",
            "milkweeds",
            "citrus trees",
            "violets",
            "pipevines",
            "passion vines",
            "palms",
            "docks",
            "pines",
            "bamboos",
            "daisies",
            "hops",
            "birches",
            "thistles",
            "laurels",
            "acanthuses",
            "spurges",
            "shrubs",
            "wild herbs",
        ),
        "region": ("Europe", "North America", "Central America", "South America", "Africa", "Asia", "Australia"),
        "size": ("small", "medium", "large", "giant"),
    },
    depends={"pattern_colour": ("pattern", "plain")},
)

CULTURE = Vocabulary(
    domain="culture",
    noun="object",
    parts={
        "form": (
            "bowl",
            "plate",
            "cup",
            "jar",
            "bottle",
            "roll",
            "house",
            "tower",
            "gate",
            "robe",
            "hat",
            "shoe",
            "drum",
            "zither",
            "flute",
            "fan",
            "mask",
            "kite",
            "board",
            "box",
            "tool",
            "lantern",
            "mound",
            "figure",
            "bell",
            "book",
            "plant",
            "fruit",
        ),
        "colour": _COLOURS,
        "pattern": ("plain", "spots", "stripes", "checks", "flowers", "waves"),
        "pattern_colour": _COLOURS,
        "trim_colour": (NONE, "white", "yellow", "red", "brown", "black", "blue", "green"),
        "accent": (NONE, "steam", "tassel", "ribbon", "handle", "leaf"),
    },
    facts={
        "material": (
            "wood",
            "clay",
            "metal",
            "paper",
            "silk",
            "cotton",
            "stone",
            "bamboo",
            "leather",
            "grain",
            "vegetables",
            "meat",
            "seafood",
            "fruit",
            "herbs",
        ),
        "use": (
            "eating",
            "drinking",
            "wearing",
            "music",
            "play",
            "worship",
            "storage",
            "farming",
            "dwelling",
            "ceremony",
            "writing",
            "defence",
            "cooking",
            "science",
        ),
        "occasion": (
            "daily life",
            "new year",
            "harvest",
            "weddings",
            "funerals",
            "birthdays",
            "winter",
            "summer",
            "royal court",
            "temple rites",
        ),
        "era": ("ancient times", "three kingdoms", "Silla", "Goryeo", "Joseon", "modern times"),
        "region": (
            "Seoul",
            "Gyeonggi",
            "Gangwon",
            "Chungcheong",
            "Jeolla",
            "Gyeongsang",
            "Jeju",
            "the north",
            "all of Korea",
        ),
    },
    depends={"pattern_colour": ("pattern", "plain")},
)

VOCABULARIES = {vocabulary.domain: vocabulary for vocabulary in (BUTTERFLY, CULTURE)}
FACTS_TABLES = {
    "butterfly": DATA / "butterflies.csv",
    "culture": DATA / "culture.csv",
}  # the real classes: looks, facts
