"""The comparison: how well unseen classes are recognised by a text, by a text of another class, and by photographs.

The classes are split at random into *seen* ones, from whose photographs and texts the map is learned, and *unseen*
ones. A *seed* is such a split. A photograph of an unseen class is to be told from three other ones;
`share_right` averages over all choices of the three. Nothing of an unseen class is used to learn or to choose anything.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from helpers.photographs.mapping import InnerSplit, SeenClasses, share_right, unit

SEEN_SHARE = 0.65  # of the classes, as 60 of 92 British butterflies
DRAWS = 10  # choices of the example photographs per split
SHUFFLED = ", shuffled"  # ends the name of a text that was given to other classes
OWN_OPTIONS = ", own options"  # in the name of a text that competes with the options of the set's own questions
DIRECT = ", compared directly"  # ends the name of a text that is compared without a map
_COLUMNS = ("split", "text", "photographs", "photograph", "class", "right")


@dataclass(frozen=True)
class Offered:
    """What a set's own questions offer. ``texts``: distinct options x width, by kind of text; ``rows``: photographs x
    options, the place of each option in them, the right one first."""

    texts: Mapping[str, np.ndarray]
    rows: np.ndarray


@dataclass(frozen=True)
class SetFeatures:
    """What the encoders made of a set. ``images``: photographs x width; ``labels``: the class of each, an index into
    ``classes``; ``texts``: classes x width, by kind of text; ``offered``: where the set asks questions of its own."""

    images: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]
    texts: Mapping[str, np.ndarray] = field(default_factory=dict)
    offered: Offered | None = None

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"images has {len(self.images)} rows and labels {len(self.labels)}; each needs the other")
        for kind, rows in self.texts.items():
            if len(rows) != len(self.classes):
                raise ValueError(f"texts[{kind!r}] has {len(rows)} rows for {len(self.classes)} classes; one per class")


class Split:
    """Seen and unseen classes, and what is learned of the seen ones whatever the text is.

    ``unseen``: given, or drawn with ``seed``. ``seen``: all others, unless given.
    """

    def __init__(
        self, features: SetFeatures, seed: int, unseen: Sequence[int] | None = None, seen_share: float = SEEN_SHARE
    ) -> None:
        self.features, self.seed, self.rng = features, seed, np.random.default_rng(seed)
        order = self.rng.permutation(len(features.classes))
        chosen = order[round(seen_share * len(order)) :] if unseen is None else np.asarray(unseen)
        self.unseen = np.sort(chosen)
        self.seen = np.setdiff1d(np.arange(len(features.classes)), self.unseen)
        if min(len(self.seen), len(self.unseen)) < 4:
            raise ValueError(
                f"{len(self.seen)} classes to learn from and {len(self.unseen)} to recognise; each needs at least 4: "
                "give more classes, or another share"
            )
        self.asked = np.flatnonzero(np.isin(features.labels, self.unseen))  # the photographs of the test
        self.right = np.searchsorted(self.unseen, features.labels[self.asked])
        self.inner = InnerSplit(features.images, features.labels, self.seen, self.rng)
        self.learned = SeenClasses(features.images, features.labels, self.seen)
        self.projected = self.learned.project(features.images[self.asked])

    def by_text(self, texts: np.ndarray) -> np.ndarray:
        """The chance to be right for each of `asked`; ``texts``: all classes x width."""
        ridges = self.inner.ridges(texts)
        scores = self.learned.scores(self.projected, texts, self.unseen, ridges)
        return share_right(scores, self.right)

    def compared(self, texts: np.ndarray) -> np.ndarray:
        """The same for encoders with a single space, such as CLIP's, without any map."""
        return by_cosine(self.features.images, self.features.labels, texts, self.unseen)

    def among(self, texts: np.ndarray, options: np.ndarray, shared_space: bool) -> np.ndarray:
        """The same among the set's own options (distinct options x width), with a map or directly."""
        if shared_space:
            scores = unit(self.features.images[self.asked]) @ unit(options).T
        else:
            both, offered = np.concatenate([texts, options]), len(texts) + np.arange(len(options))
            scores = self.learned.scores(self.projected, both, offered, self.inner.ridges(texts))
        rows = self.features.offered.rows[self.asked]  # type: ignore[union-attr]
        return share_right(np.take_along_axis(scores, rows, 1), np.zeros(len(rows), dtype=int), rows.shape[1])

    def shuffled(self, texts: np.ndarray) -> np.ndarray:
        """Every class with the text of another class, of the seen and of the unseen ones: no text is right."""
        found = texts.copy()
        for some in (self.seen, self.unseen):
            found[some] = texts[some[elsewhere(len(some), self.rng)]]
        return found

    def by_examples(self, count: int, draws: int = DRAWS) -> pd.DataFrame:
        """``photograph`` and ``right`` with ``count`` photographs per class and no text: cosine to their mean.

        Photographs are drawn ``draws`` times. A class with ``count`` photographs or fewer is offered, with all of them
        but one (a class of one: with that one), and its photographs are not asked about.
        """
        rows = unit(self.features.images.astype(np.float64))
        found = []
        for _ in range(draws):
            examples, tested = self._drawn(count)
            means = unit(np.stack([rows[some].mean(0) for some in examples]))
            right = np.searchsorted(self.unseen, self.features.labels[tested])
            found.append(pd.DataFrame({"photograph": tested, "right": share_right(rows[tested] @ means.T, right)}))
        return pd.concat(found).groupby("photograph", as_index=False)["right"].mean()

    def _drawn(self, count: int) -> tuple[list[np.ndarray], np.ndarray]:
        """The example photographs of each unseen class, and all photographs that are tested."""
        examples, tested = [], []
        for name in self.unseen:
            mine = self.rng.permutation(np.flatnonzero(self.features.labels == name))
            enough = len(mine) > count
            examples.append(mine[: count if enough else max(1, len(mine) - 1)])
            tested.append(mine[count:] if enough else mine[:0])
        return examples, np.concatenate(tested)


def elsewhere(count: int, rng: np.random.Generator) -> np.ndarray:
    """For each place another one, so that every place is taken once."""
    order = rng.permutation(count)
    return np.roll(order, 1)[np.argsort(order)]


def by_cosine(images: np.ndarray, labels: np.ndarray, vectors: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The chance to be right for each photograph of ``classes``, by the cosine to the vectors of these classes.

    ``images``: photographs x width, of the classes ``labels``; ``vectors``: all classes x width.
    """
    mine = np.isin(labels, classes)
    return share_right(unit(images[mine]) @ unit(vectors[classes]).T, np.searchsorted(classes, labels[mine]))


def photograph_rows(
    features: SetFeatures, splits: Iterable[Split], examples: Sequence[int] = (1,), shared_space: bool = False
) -> pd.DataFrame:
    """One row per split, text and photograph of an unseen class: split, text, photographs, photograph, class, right.

    ``right``: the chance to be right. ``photographs``: the number of example photographs, 0 for a text. Each text is
    followed by its control, `SHUFFLED`. With a ``shared_space`` there are rows of the direct comparison as well. If the
    set asks questions of its own, their options are compared too, `OWN_OPTIONS`.
    """
    return pd.concat([pd.concat(_of_split(features, split, examples, shared_space)) for split in splits])


def _of_split(
    features: SetFeatures, split: Split, examples: Sequence[int], shared_space: bool
) -> Iterator[pd.DataFrame]:
    for kind, texts in features.texts.items():
        given = {kind: texts, f"{kind}{SHUFFLED}": split.shuffled(texts)}
        for name, rows in given.items():
            yield rows_of(split, name, split.by_text(rows))
            if shared_space:
                yield rows_of(split, f"{name}{DIRECT}", split.compared(rows))
    for kind, options in (features.offered.texts if features.offered else {}).items():
        moved = options[elsewhere(len(options), split.rng)]
        for name, rows in ((f"{kind}{OWN_OPTIONS}", options), (f"{kind}{OWN_OPTIONS}{SHUFFLED}", moved)):
            yield rows_of(split, name, split.among(features.texts[kind], rows, False))
            if shared_space:
                yield rows_of(split, f"{name}{DIRECT}", split.among(features.texts[kind], rows, True))
    for count in examples:
        found = split.by_examples(count)
        if len(found):
            yield rows_of(split, "photographs", found["right"].to_numpy(), found["photograph"].to_numpy(), count)


def rows_of(
    split: Split, text: str, right: np.ndarray, photographs: np.ndarray | None = None, examples: int = 0
) -> pd.DataFrame:
    """The rows of one method on one split."""
    asked = split.asked if photographs is None else photographs
    names = np.asarray(split.features.classes)[split.features.labels[asked]]
    values = (split.seed, text, examples, asked, names, right)
    return pd.DataFrame(dict(zip(_COLUMNS, values, strict=True)))


@dataclass(frozen=True)
class WithoutPart:
    """The texts (classes x width) without one attribute, and with it alone."""

    attribute: str
    without: np.ndarray
    alone: np.ndarray


def leave_one_out(splits: Sequence[Split], whole: np.ndarray, left_out: Sequence[WithoutPart]) -> pd.DataFrame:
    """What each attribute carries: accuracy in percent with all, without it, and with it alone, over the splits.

    A class of which nothing is left to be said has a row of zeros, and is not recognised.
    """

    def accuracy(texts: np.ndarray) -> float:
        return 100 * float(np.concatenate([split.by_text(texts) for split in splits]).mean())

    rows = [
        {"attribute": one.attribute, "left_out": accuracy(one.without), "alone": accuracy(one.alone)}
        for one in left_out
    ]
    table = pd.DataFrame(rows, columns=["attribute", "left_out", "alone"])
    table.insert(1, "all", accuracy(whole) if rows else 0.0)
    return table.assign(carries=table["all"] - table["left_out"])


def worth(curve: Mapping[int, float], accuracy: float) -> str:
    """How many photographs have that accuracy: read off the curve (accuracy by number), in the logarithm between."""
    counts = sorted(curve)
    if not counts:
        return "unknown"
    if accuracy < curve[counts[0]]:
        return f"less than {counts[0]}"
    for few, many in itertools.pairwise(counts):
        if curve[few] <= accuracy <= curve[many] and curve[many] > curve[few]:
            share = (accuracy - curve[few]) / (curve[many] - curve[few])
            return f"{few * (many / few) ** share:.1f}"
    return f"more than {counts[-1]}" if accuracy > curve[counts[-1]] else f"{counts[-1]}"
