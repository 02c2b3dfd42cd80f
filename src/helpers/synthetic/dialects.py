"""Dialects: the looks of the drawn world in other words than the captions that its base models write.

| dialect | words | order, omissions | what a word list can do |
|---|---|---|---|
| captions | those of the captions (`helpers.synthetic.language`) | the captions' | everything |
| reordered | those of the captions | mixed | everything |
| synonyms | no word of a value or a part that a caption uses | mixed; every second text leaves one part out | nothing |
| similes | comparisons and relations: "the colour of rust", "in the colour of its edge" | as synonyms | nothing |

The base models learn to *read* all of these, about invented classes (`helpers.base_models.curriculum`), and to write
captions only. So whoever matches a caption with a text by its words fails, and whoever has understood both need not.
The wordings are composed at random: the same generator gives the same text.
"""

import random
import re
from collections.abc import Iterable, Mapping
from typing import get_args

from helpers.config.data import Dialect
from helpers.synthetic import language as say
from helpers.synthetic.appearances import NONE, VOCABULARIES, Appearance

DIALECTS: tuple[str, ...] = get_args(Dialect)
_OMITS = 0.5  # probability that a text of synonyms or similes leaves one part out

_Lexicon = Mapping[str, tuple[str, ...]]


def _words(table: str) -> dict[str, tuple[str, ...]]:
    """Lines of ``value: one, another`` as a dictionary."""
    pairs = (line.split(": ") for line in table.strip().splitlines())
    return {value.strip(): tuple(words.split(", ")) for value, words in pairs}


# Colours are shared by both domains; the other values belong to one part each.
_SYNONYMS: _Lexicon = _words("""
    white: ivory, snowy
    yellow: lemon, sulphur
    orange: amber, apricot
    red: crimson, scarlet
    pink: rosy, salmon
    purple: plum, mauve
    brown: tawny, russet
    black: sooty, jet
    blue: azure, cobalt
    green: mossy, emerald
    grey: ashen, slate
    spots: dots, flecks
    bands: bars, streaks
    eyespots: rings, ocelli
    veins: ribs, netting
    tips: ends, corners
    checks: squares, mosaic
    stripes: lines, rows
    flowers: petals, blossoms
    waves: ripples, curls
    rounded: oval, curved
    pointed: sharp, tapering
    tailed: trailing, streaming
    scalloped: notched, ragged
    narrow: thin, slim
    slender: lean, wiry
    stout: thick, plump
    clubbed: knobbed, beaded
    feathered: plumed, combed
    bowl: basin, tureen
    plate: dish, platter
    cup: beaker, goblet
    jar: pot, vase
    bottle: flask, carafe
    roll: wrap, scroll
    house: hut, cottage
    tower: spire, turret
    gate: portal, doorway
    robe: gown, coat
    hat: cap, bonnet
    shoe: boot, slipper
    drum: tabor, timbal
    zither: harp, lyre
    flute: pipe, whistle
    fan: cooler, breezer
    mask: visor, disguise
    kite: glider, flier
    board: panel, slab
    box: chest, casket
    tool: device, gadget
    lantern: lamp, beacon
    mound: hill, barrow
    figure: statue, doll
    bell: gong, chime
    book: tome, volume
    plant: bush, sapling
    fruit: berry, nut
    steam: vapour, mist
    tassel: a bobble, a cord
    ribbon: a sash, a bow
    handle: a grip, a knob
    leaf: a frond, a sprig
""")
_SIMILES: _Lexicon = _words("""
    white: the colour of milk, the colour of snow
    yellow: the colour of lemons, the colour of straw
    orange: the colour of carrots, the colour of embers
    red: the colour of blood, the colour of cherries
    pink: the colour of roses, the colour of dawn
    purple: the colour of plums, the colour of grapes
    brown: the colour of rust, the colour of bark
    black: the colour of coal, the colour of night
    blue: the colour of the sky, the colour of the sea
    green: the colour of grass, the colour of moss
    grey: the colour of ash, the colour of rain
    spots: marks like drops, marks like peas
    bands: marks like belts, marks like planks
    eyespots: marks like targets, marks like pupils
    veins: marks like nets, marks like roots
    tips: marks like dipped ends, marks like capped ends
    checks: marks like tiles, marks like a chess game
    stripes: marks like furrows, marks like railings
    flowers: marks like a garden, marks like a wreath
    waves: marks like the sea, marks like dunes
    rounded: like a coin, like an egg
    pointed: like a spear, like a thorn
    tailed: like a comet, like a pennant
    scalloped: like a frill, like a saw
    narrow: like a blade, like a needle
    slender: like a thread, like a straw
    stout: like a thumb, like a barrel
    clubbed: like matches, like pins
    feathered: like combs, like ferns
    steam: what rises from hot water, something like fog
    tassel: something like a broom, something like a beard
    ribbon: something like a scarf, something like a tie
    handle: something to hold, something like an ear
    leaf: something like a fern, something that grew
""") | {
    form: tuple(f"{kind} of {word}" for kind, word in zip(("kind", "sort"), _SYNONYMS[form], strict=True))
    for form in VOCABULARIES["culture"].parts["form"]
}
_PLAIN = "plain"
_MAIN = {"butterfly": "wing_colour", "culture": "form"}  # names the thing: never left out, and always first
# One clause per part, with the captions' words for the parts, and with others.
_IN_CAPTIONS_WORDS: dict[str, _Lexicon] = {
    "butterfly": {
        "wing_colour": ("{S} has {v} wings", "the wings of {s} are {v}"),
        "pattern": ("the wings carry {v}", "{v} mark the wings"),
        "no pattern": ("the wings carry no pattern", "no pattern marks the wings"),
        "border_colour": ("its border is {v}", "there is a {v} border"),
        "no border_colour": ("there is no border", "it lacks a border"),
        "hindwing_colour": ("its hindwings are {v}", "the hindwings look {v}"),
        "shape": ("its wings are {v} in shape", "the shape of its wings is {v}"),
        "body": ("its body is {v}", "the body looks {v}"),
        "antennae": ("its antennae are {v}", "the antennae look {v}"),
    },
    "culture": {
        "form": ("{S} is a {v}", "{s} takes the form of a {v}"),
        "colour": ("its colour is {v}", "it is {v} in colour"),
        "pattern": ("it carries {v}", "{v} cover it"),
        "no pattern": ("it carries no pattern", "no pattern covers it"),
        "trim_colour": ("its trim is {v}", "the trim looks {v}"),
        "no trim_colour": ("there is no trim", "it lacks a trim"),
        "accent": ("it comes with {v}", "its accent is {v}"),
        "no accent": ("it comes without accent", "it lacks an accent"),
    },
}
_IN_OTHER_WORDS: dict[str, _Lexicon] = {
    "butterfly": {
        "wing_colour": ("{S} is {v} above", "{s} looks {v} from above"),
        "pattern": ("{v} lie across it", "one sees {v}"),
        "no pattern": ("it is unmarked", "one sees no marks"),
        "border_colour": ("its edge is {v}", "its fringe is {v}"),
        "no border_colour": ("it lacks an edge", "no fringe runs round it"),
        "hindwing_colour": ("its rear pair is {v}", "it is {v} behind"),
        "same": ("its rear pair is the same", "it is no different behind"),
        "shape": ("its outline is {v}", "its cut is {v}"),
        "body": ("its trunk is {v}", "its torso is {v}"),
        "antennae": ("its feelers are {v}", "its horns are {v}"),
    },
    "culture": {
        "form": ("{S} is a {v}", "{s} looks like a {v}"),
        "colour": ("it is {v} all over", "all of it is {v}"),
        "pattern": ("{v} run round it", "one sees {v}"),
        "no pattern": ("it is undecorated", "one sees no marks"),
        "trim_colour": ("its brim is {v}", "its edge is {v}"),
        "no trim_colour": ("it lacks a brim", "it ends without an edge"),
        "accent": ("{v} completes it", "{v} goes with it"),
        "no accent": ("nothing completes it", "nothing goes with it"),
    },
}


def new_words() -> list[str]:
    """The words of all dialects that no caption has, sorted: those that a tokenizer of the captions would cut up."""
    captions = {
        word for domain in say.DESCRIPTIONS for words in _IN_CAPTIONS_WORDS[domain].values() for word in _split(words)
    }
    other = {
        word for domain in say.DESCRIPTIONS for words in _IN_OTHER_WORDS[domain].values() for word in _split(words)
    }
    values = {word for words in (*_SYNONYMS.values(), *_SIMILES.values()) for word in _split(words)}
    return sorted((captions | other | values) - _caption_words())


def _split(texts: Iterable[str]) -> set[str]:
    return set(re.findall(r"[a-z]+", " ".join(texts).replace("{S}", "").replace("{s}", "").replace("{v}", "")))


def tell(domain: str, appearance: Appearance, dialect: str, rng: random.Random, name: str | None = None) -> str:
    """What a thing looks like, in a dialect, as two to four sentences; ``name`` as in `helpers.synthetic.language`.

    Raises ``ValueError`` for an unknown dialect.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"dialect is {dialect!r}; known: {', '.join(DIALECTS)}")
    if dialect == "captions":
        return say.describe(domain, appearance, rng.choice(say.training_wordings(say.DESCRIPTIONS[domain])), name)
    main, *others = _clauses(domain, appearance, dialect, rng, say.subject(domain, name))
    rng.shuffle(others)
    if dialect != "reordered" and rng.random() < _OMITS:
        others.pop()
    clauses, said = [main, *others], []
    while clauses:
        taken = clauses[: rng.choice((2, 3))]
        del clauses[: len(taken)]
        said.append(say.capitalise(" and ".join([", ".join(taken[:-1]), taken[-1]] if taken[1:] else taken)) + ".")
    return say.tidy(" ".join(said))


def _clauses(domain: str, appearance: Appearance, dialect: str, rng: random.Random, who: str) -> list[str]:
    """One clause per part that can be seen, the main one first; a pattern takes its colour along."""
    frames = (_IN_CAPTIONS_WORDS if dialect == "reordered" else _IN_OTHER_WORDS)[domain]
    parts = sorted(VOCABULARIES[domain].parts, key=lambda part: part != _MAIN[domain])
    clauses = []
    for part in parts:
        if part == "pattern_colour":
            continue
        kind, value = part, appearance[part]
        if value in (NONE, _PLAIN):
            kind = f"no {part}"
        elif part == "hindwing_colour" and dialect == "similes" and value == appearance["wing_colour"]:
            kind = "same"
        said = _pattern(appearance, dialect, rng) if kind == "pattern" else _word(value, dialect, rng)
        if kind == "accent" and dialect == "reordered":
            said = say.phrases(VOCABULARIES[domain], appearance)["accent"]
        clauses.append(rng.choice(frames[kind]).format(S=say.capitalise(who), s=who, v=said))
    return clauses


def _pattern(appearance: Appearance, dialect: str, rng: random.Random) -> str:
    """A pattern and its colour; a simile says only that it is the edge's colour, if it is."""
    marks, colour = _word(appearance["pattern"], dialect, rng), appearance["pattern_colour"]
    if dialect != "similes":
        return f"{_word(colour, dialect, rng)} {marks}"
    if colour == appearance.get("border_colour", appearance.get("trim_colour")):
        return f"{marks} in the colour of its edge"
    return f"{marks} in {_word(colour, dialect, rng)}"


def _word(value: str, dialect: str, rng: random.Random) -> str:
    lexicon = {"synonyms": _SYNONYMS, "similes": _SIMILES}.get(dialect, {})
    return rng.choice(lexicon.get(value, (value,)))


def _caption_words() -> set[str]:
    """Every word that a description in a caption's wording can have."""
    vocabularies = VOCABULARIES.values()
    values = {value for vocabulary in vocabularies for values in vocabulary.parts.values() for value in values}
    frames = " ".join(frame for frames in say.DESCRIPTIONS.values() for frame in frames)
    said = " ".join(values) + " no pattern no border no trim no accent a an this butterfly object "
    return set(re.findall(r"[a-z]+", (said + re.sub(r"{\w+}", "", frames)).lower()))
