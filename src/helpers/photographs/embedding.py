"""From a set of photographs and its texts to features: the kinds of text that are compared, each as one row per class.

- ``names``: "a photo of a Red Admiral, a type of butterfly."
- ``descriptions``: what the texts say. The short cells of a table become one sentence ("a butterfly, black and red,
  with bands"); a class's row is the mean of that sentence and of its other attributes.
- ``name masked``: the same without the class's name (`class_texts.masked`): what is left is not the name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.photographs.class_texts import Attributes, ClassTexts, is_short, masked
from helpers.photographs.features import FeatureStore
from helpers.photographs.mapping import unit
from helpers.photographs.photo_sets import Photographs
from helpers.photographs.study import Offered, SetFeatures, WithoutPart

NAMES, DESCRIPTIONS, MASKED = "names", "descriptions", "name masked"
_NAME = (
    "a photo of a {name}, a type of {noun}."  # CLIP's prompt for fine-grained sets (arXiv 2103.00020, section 3.1.4)
)


@dataclass(frozen=True)
class Embedded:
    """``features`` of the set; ``sentences`` x width with the class of each, ``owners``, for training on text alone.

    ``names``: the sentence that names each class.
    """

    features: SetFeatures
    names: list[str]
    sentences: np.ndarray
    owners: np.ndarray


def embed(
    photographs: Photographs, texts: ClassTexts | None, images: FeatureStore, words: FeatureStore, noun: str
) -> Embedded:
    """Encode what is not in the stores yet. Classes keep the order of ``photographs``."""
    classes, said = photographs.classes, attributes_of(photographs, texts)
    nouns = [texts.noun_of(name, noun) if texts else noun for name in classes]
    files = photographs.all_files()
    options = [photographs.options[file] for file in files if file in photographs.options]  # of all files, or of none
    distinct = list(dict.fromkeys(option for some in options for option in some))
    also = [texts.of(option) if texts else {} for option in distinct]
    sentences = [
        (sentence, owner)
        for owner, each in enumerate(said)
        for group in spoken(each, nouns[owner])
        for sentence in group
    ]
    offered = None
    if options:
        places = {option: place for place, option in enumerate(distinct)}
        rows = np.array([[places[option] for option in some] for some in options])
        offered = Offered(_kinds(distinct, also, words, [noun] * len(distinct), all(also)), rows)
    kinds = _kinds(classes, said, words, nouns, any(said))
    features = SetFeatures(images.images(files), photographs.labels(), classes, kinds, offered)
    owners = np.array([owner for _, owner in sentences], dtype=int)
    names = _named(classes, nouns)
    return Embedded(features, names, words.sentences([sentence for sentence, _ in sentences]), owners)


def _named(names: Sequence[str], nouns: Sequence[str]) -> list[str]:
    return [_NAME.format(name=name, noun=noun) for name, noun in zip(names, nouns, strict=True)]


def _kinds(
    names: Sequence[str], said: Sequence[Attributes], words: FeatureStore, nouns: Sequence[str], described: bool
) -> dict[str, np.ndarray]:
    """names x width, by kind of text; without descriptions, names only."""
    found = {NAMES: words.sentences(_named(names, nouns))}
    if described:
        hidden = [_masked(each, name) for each, name in zip(said, names, strict=True)]
        found |= {DESCRIPTIONS: _rows(said, words, nouns), MASKED: _rows(hidden, words, nouns)}
    return found


def without_each(
    photographs: Photographs, texts: ClassTexts | None, words: FeatureStore, noun: str
) -> list[WithoutPart]:
    """The descriptions without each attribute in turn, and with it alone; empty if there is one attribute only."""
    said = attributes_of(photographs, texts)
    nouns = [texts.noun_of(name, noun) if texts else noun for name in photographs.classes]
    attributes = list(dict.fromkeys(kind for each in said for kind in each))
    if len(attributes) < 2:
        return []
    return [
        WithoutPart(
            kind,
            _rows([_only(each, set(attributes) - {kind}) for each in said], words, nouns),
            _rows([_only(each, {kind}) for each in said], words, nouns),
        )
        for kind in attributes
    ]


def attributes_of(photographs: Photographs, texts: ClassTexts | None) -> list[Attributes]:
    """What is said about each class: by the set itself, then by ``texts``."""
    return [_merged(photographs.texts.get(name, {}), texts.of(name) if texts else {}) for name in photographs.classes]


def spoken(attributes: Attributes, noun: str) -> list[list[str]]:
    """The sentences of a class in groups that weigh the same: all short cells as one sentence, each other attribute."""
    cells = [words for some in attributes.values() for words in some if is_short(words)]
    groups = [[words for words in some if not is_short(words)] for some in attributes.values()]
    return [*([[f"a {noun}, {', '.join(cells)}"]] if cells else []), *filter(None, groups)]


def _rows(said: Sequence[Attributes], words: FeatureStore, nouns: Sequence[str]) -> np.ndarray:
    """classes x width, of length 1; zeros for a class of which nothing is said."""
    spelt = [spoken(each, noun) for each, noun in zip(said, nouns, strict=True)]
    words.sentences([sentence for groups in spelt for group in groups for sentence in group])  # in batches
    groups = [[words.sentences(group).mean(0) for group in some] for some in spelt]
    width = next(len(row) for some in groups for row in some)
    return unit(np.stack([unit(np.stack(some)).sum(0) if some else np.zeros(width) for some in groups]))


def _merged(first: Attributes, second: Attributes) -> Attributes:
    return {kind: [*first.get(kind, []), *second.get(kind, [])] for kind in dict.fromkeys([*first, *second])}


def _masked(attributes: Attributes, name: str) -> Attributes:
    return {kind: [masked(sentence, name) for sentence in some] for kind, some in attributes.items()}


def _only(attributes: Attributes, kinds: set[str]) -> Attributes:
    return {kind: some for kind, some in attributes.items() if kind in kinds}
