"""Invented classes, on which the demo's base models learn to see and to read.

Names consist of syllables and of words that occur in real names too ("Banded", "Blue", "Moth"), so that only a real
name as a whole is new. No invented name contains, or is contained in, the name of a target class;
`tests/test_invented.py` checks this on the very classes that made the checkpoints.
"""

import random
from dataclasses import dataclass
from functools import cache

from helpers.rows import read_csv_rows
from helpers.synthetic.appearances import FACTS_TABLES, VOCABULARIES, Appearance

ONSETS = (
    *"b c d f g h j k l m n p r s t v w y z".split(),
    *"bl br ch cl cr dr fl fr gl gr kh pl pr ph qu sc sh sk sl sp st str sw th tr wh".split(),
    "", "", "", "",
)  # fmt: skip
VOWELS = (*"a e i o u".split() * 3, *"ae ai ao au ea ee eo eu ia ie io oo ou ui y ye yeo".split())
CODAS = ("",) * 8 + tuple("n m l r s t k ck ng nd nt rd rn rt ll ss st ch lk mp p g d".split())
COMMON_WORDS = {
    "butterfly": (
        "White", "Yellow", "Orange", "Red", "Pink", "Purple", "Brown", "Black", "Blue", "Green", "Grey", "Banded",
        "Spotted", "Barred", "Giant", "Great", "Large", "Common", "Eastern", "Moth", "Wing", "Tail", "Tip", "Flower",
        "Tree", "Silver", "Golden", "Bird", "Leaf", "Lady", "Wood", "Sister", "Tiger", "Skipper", "Hair", "Streak",
    ),
    "culture": ("Gu", "Ki", "Ga", "Jang", "Bap", "Guk", "Sin", "Mun", "Tal", "Gang"),
}  # fmt: skip


@dataclass(frozen=True)
class InventedClass:
    """A class that does not exist: a name, a look, facts."""

    domain: str
    name: str
    appearance: Appearance
    facts: dict[str, str]


@cache
def target_names() -> frozenset[str]:
    """The names of all target classes in the two tables, in lower case."""
    return frozenset(row["name"].lower() for table in FACTS_TABLES.values() for row in read_csv_rows(table))


def pseudo_word(rng: random.Random) -> str:
    """One to three syllables, capitalised."""
    word = ""
    for _ in range(rng.choice((1, 2, 2, 3))):
        word += rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
    return word.capitalize() if len(word) > 2 else pseudo_word(rng)


def invent_name(domain: str, rng: random.Random) -> str:
    """A name of one or two words that neither is, contains, nor is contained in a target's name."""
    words = [pseudo_word(rng)]
    if rng.random() < 0.6:
        second = rng.choice(COMMON_WORDS[domain]) if rng.random() < 0.5 else pseudo_word(rng)
        words.insert(rng.choice((0, 1)), second)
    name = " ".join(words)
    low = name.lower()
    clash = any(low in target or target in low for target in target_names())
    return invent_name(domain, rng) if clash else name


def invent_classes(domain: str, count: int, seed: int) -> list[InventedClass]:
    """``count`` classes, all with different names and different looks."""
    rng = random.Random(f"{domain}-{seed}")
    vocabulary = VOCABULARIES[domain]
    names: set[str] = set()
    appearances: set[tuple[str, ...]] = set()
    classes: list[InventedClass] = []
    while len(classes) < count:
        name, appearance = invent_name(domain, rng), vocabulary.sample(rng)
        if name in names or tuple(appearance.values()) in appearances:
            continue
        names.add(name)
        appearances.add(tuple(appearance.values()))
        classes.append(InventedClass(domain, name, appearance, vocabulary.sample_facts(rng)))
    return classes
