"""From a set of photographs and its texts to features: the kinds of text that are compared, each as one row per class.

- ``names``: "a photo of a Red Admiral, a type of butterfly."
- ``descriptions``: everything that the texts say, one vector per attribute, their mean per class
- ``name masked``: the same sentences without the class's name (`class_texts.masked`): what is left is not the name
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.photographs.class_texts import Attributes, ClassTexts, masked
from helpers.photographs.encoders import unit
from helpers.photographs.features import FeatureStore
from helpers.photographs.photo_sets import Photographs
from helpers.photographs.study import SetFeatures

NAMES, DESCRIPTIONS, MASKED = "names", "descriptions", "name masked"
_NAME = (
    "a photo of a {name}, a type of {noun}."  # CLIP's prompt for fine-grained sets (arXiv 2103.00020, section 3.1.4)
)


@dataclass(frozen=True)
class Embedded:
    """``features`` of the set; ``attributes``: classes x width by attribute, zeros where a class lacks it.

    ``sentences`` x width with the class of each, ``owners``: for training on text alone.
    """

    features: SetFeatures
    attributes: dict[str, np.ndarray]
    sentences: np.ndarray
    owners: np.ndarray


def embed(
    photographs: Photographs, texts: ClassTexts | None, images: FeatureStore, words: FeatureStore, noun: str
) -> Embedded:
    """Encode what is not in the stores yet. Classes keep the order of ``photographs``."""
    said = attributes_of(photographs, texts)
    hidden = [
        {kind: [masked(sentence, name) for sentence in some] for kind, some in each.items()}
        for name, each in zip(photographs.classes, said, strict=True)
    ]
    words.sentences(
        [sentence for each in (*said, *hidden) for some in each.values() for sentence in some]
    )  # in batches
    kinds = {NAMES: words.sentences([_NAME.format(name=name, noun=noun) for name in photographs.classes])}
    attributes = _attributes(said, words)
    if attributes:
        kinds[DESCRIPTIONS] = whole(attributes)
        kinds[MASKED] = whole(_attributes(hidden, words))
    every = [(sentence, owner) for owner, each in enumerate(said) for some in each.values() for sentence in some]
    rows = words.sentences([sentence for sentence, _ in every])
    features = SetFeatures(images.images(photographs.all_files()), photographs.labels(), photographs.classes, kinds)
    return Embedded(features, attributes, rows, np.array([owner for _, owner in every], dtype=int))


def attributes_of(photographs: Photographs, texts: ClassTexts | None) -> list[Attributes]:
    """What is said about each class: by the set itself, then by ``texts``."""
    return [_merged(photographs.texts.get(name, {}), texts.of(name) if texts else {}) for name in photographs.classes]


def whole(attributes: Mapping[str, np.ndarray]) -> np.ndarray:
    """classes x width: the mean of a class's attributes."""
    return unit(np.sum(list(attributes.values()), axis=0))


def _merged(first: Attributes, second: Attributes) -> Attributes:
    return {kind: [*first.get(kind, []), *second.get(kind, [])] for kind in dict.fromkeys([*first, *second])}


def _attributes(said: Sequence[Attributes], words: FeatureStore) -> dict[str, np.ndarray]:
    """Per attribute, the mean of each class's sentences at length 1, or zeros."""
    found: dict[str, np.ndarray] = {}
    for kind in dict.fromkeys(kind for each in said for kind in each):
        rows = [words.sentences(each[kind]).mean(0) if each.get(kind) else None for each in said]
        width = next(len(row) for row in rows if row is not None)
        found[kind] = unit(np.stack([np.zeros(width) if row is None else row for row in rows]))
    return found
