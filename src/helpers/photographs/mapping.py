"""The closed-form bilinear map between photographs and texts (ESZSL), and its two ridge values.

Romera-Paredes and Torr (2015), "An embarrassingly simple approach to zero-shot learning", equation 7:
W = (X'X + g I)^-1 X' Y S (S'S + l I)^-1. X are the photographs of the seen classes (photographs x width), Y their
classes (photographs x classes, 1 for the right one) and S the texts of the classes (classes x width of a text). The
score of a text s for a photograph x is x' W s, so a class without photographs can be compared as soon as it has a text.

Two things differ from the paper. Rows have length 1, as is usual for embeddings. Y holds 0 where the paper has -1: with
-1 the map first has to explain a constant, which is not a matter of any text.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

OPTIONS = 4
IMAGE_RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)
TEXT_RIDGES = (0.01, 0.1, 1.0, 10.0)
_FOLDS = 3


@dataclass(frozen=True)
class Ridges:
    """How much the map is held back on either side; both are above 0."""

    image: float
    text: float


class SeenClasses:
    """The photographs of the seen classes, prepared once for every text and every pair of ridge values.

    ``images``: photographs x width. ``labels``: the class of each, in the numbering of the texts. ``classes``: the seen
    classes; the rest of the photographs is left out.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: Sequence[int] | np.ndarray) -> None:
        self.classes = np.sort(np.asarray(classes))
        mine = np.isin(labels, self.classes)
        rows, which = unit(images[mine].astype(np.float64)), np.searchsorted(self.classes, labels[mine])
        sums = np.zeros((rows.shape[1], len(self.classes)))  # X' Y
        np.add.at(sums.T, which, rows)
        self.values, self.vectors = _eigen(rows)  # of X' X: rank, width x rank
        self.sums = self.vectors.T @ sums  # rank x classes

    def map(self, texts: np.ndarray, ridges: Ridges) -> np.ndarray:
        """W: width of a photograph x width of a text; ``texts``: all classes x width."""
        seen = self._seen(texts)
        # S (S'S + l I)^-1 = (S S' + l I)^-1 S, and there are fewer classes than features
        return self.vectors @ self._held_back(ridges.image) @ np.linalg.solve(_ridged(seen, ridges.text), seen)

    def into_text(self, texts: np.ndarray, ridge: float) -> np.ndarray:
        """The same with an endless text ridge: ridge regression from a photograph to the text of its class."""
        return self.vectors @ self._held_back(ridge) @ self._seen(texts)

    def project(self, images: np.ndarray) -> np.ndarray:
        """photographs x rank: all that is needed of photographs, once for every text and ridge."""
        return unit(images.astype(np.float64)) @ self.vectors

    def near_seen(self, projected: np.ndarray, ridge: float) -> np.ndarray:
        """photographs x seen classes: what the scores of any text are made of."""
        return projected @ self._held_back(ridge)

    def alike(self, texts: np.ndarray, asked: Sequence[int] | np.ndarray, ridge: float) -> np.ndarray:
        """seen classes x asked classes: `near_seen` times this are the scores x' W s."""
        seen = self._seen(texts)
        return np.linalg.solve(_ridged(seen, ridge), seen @ unit(texts[np.asarray(asked)].astype(np.float64)).T)

    def scores(
        self, projected: np.ndarray, texts: np.ndarray, asked: Sequence[int] | np.ndarray, ridges: Ridges
    ) -> np.ndarray:
        """x' W s: photographs x asked classes."""
        return self.near_seen(projected, ridges.image) @ self.alike(texts, asked, ridges.text)

    def _seen(self, texts: np.ndarray) -> np.ndarray:
        return unit(texts[self.classes].astype(np.float64))

    def _held_back(self, ridge: float) -> np.ndarray:
        return self.sums / (self.values + ridge)[:, None]


def _ridged(seen: np.ndarray, ridge: float) -> np.ndarray:
    return seen @ seen.T + ridge * np.eye(len(seen))


def _eigen(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of rows' rows, from the smaller of the two Gram matrices; zero values left out."""
    count, width = rows.shape
    values, vectors = np.linalg.eigh(rows @ rows.T if count < width else rows.T @ rows)
    kept = values > 1e-9 * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    return values, rows.T @ vectors / np.sqrt(values) if count < width else vectors


@dataclass(frozen=True)
class _Fold:
    seen: SeenClasses
    near_seen: dict[float, np.ndarray]  # of the photographs held out, by image ridge
    right: np.ndarray
    classes: np.ndarray


class InnerSplit:
    """Thirds of the seen classes, held out in turn. It alone chooses the ridge values, never a class of the test."""

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, classes: Sequence[int] | np.ndarray, rng: np.random.Generator
    ) -> None:
        self.folds = []
        for held_out in map(np.sort, np.array_split(rng.permutation(classes), _FOLDS)):
            mine = np.isin(labels, held_out)
            seen = SeenClasses(images, labels, np.setdiff1d(classes, held_out))
            projected = seen.project(images[mine])
            near = {ridge: seen.near_seen(projected, ridge) for ridge in IMAGE_RIDGES}
            self.folds.append(_Fold(seen, near, np.searchsorted(held_out, labels[mine]), held_out))

    def ridges(self, texts: np.ndarray) -> Ridges:
        """The pair with the highest accuracy on the classes held out; of equal pairs the one that holds back more."""
        found = self.accuracies(texts)
        return max(sorted(found, key=lambda pair: (-pair.image, -pair.text)), key=lambda pair: found[pair])

    def accuracies(self, texts: np.ndarray) -> dict[Ridges, float]:
        """The mean accuracy over the classes held out, for each pair of ridge values."""
        found: dict[Ridges, list[float]] = defaultdict(list)
        for fold, text in itertools.product(self.folds, TEXT_RIDGES):
            alike = fold.seen.alike(texts, fold.classes, text)
            for image, near in fold.near_seen.items():
                found[Ridges(image, text)].append(share_right(near @ alike, fold.right).mean())
        return {pair: float(np.mean(each)) for pair, each in found.items()}


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows at length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def share_right(scores: np.ndarray, right: np.ndarray, options: int = OPTIONS) -> np.ndarray:
    """Per photograph: the chance that the right class scores highest among ``options``, the others drawn at random.

    ``scores``: photographs x classes; ``right``: the right class of each. The chance is exact, over all draws, so there
    is no luck of the draw in it. A class that scores as high as the right one counts as above it. With fewer classes
    than options, all are offered.
    """
    count = scores.shape[1]
    others = min(options, count) - 1
    above = (scores >= scores[np.arange(len(scores)), right][:, None]).sum(1) - 1
    chances = np.array([comb(count - 1 - beaten, others) / comb(count - 1, others) for beaten in range(count)])
    return chances[above]
