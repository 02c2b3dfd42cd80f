"""Does a model see the images at all? Its untuned descriptions, compared with the texts of the classes.

A model that cannot see the images fails whatever it was trained on, and its failure says nothing about the texts. So
no verdict is given on a model before it has shown that it sees, in one of two ways:

- The *description* that the untuned model writes of an image is more like the text of the image's own class than chance
  allows. Likeness is that of the baseline ``dictionary``: TF-IDF. An image's share is how many of the other classes'
  texts are less like its description (ties count half), and chance is 50 %. Each class counts once, by the mean of its
  images.
- The model, trained in any way or untuned, *recognises* the classes (Type 1): Wilson's 95 % interval of its accuracy is
  above 25 %. Descriptions may use other words than the texts, and training may teach those words.

The test of the descriptions is a permutation test at 5 % (one-sided): the texts are dealt out to the classes anew, in
every way or in 9,999 random ones. Images of one class stay together, so that nothing is gained from many images that
are alike, and a text that is like every description does not help. With few classes no result could pass; the test then
says nothing. A model that fails it has not been shown to be blind: the number of images says how much that means.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.evaluation.baselines import likeness
from helpers.results.answer_cards import check_data_set
from helpers.results.stats.power import ALPHA
from helpers.schemas import ClassText, read_texts

_DEALS = 9_999  # random ways to deal out the texts, if there are more
_CHANCE = 50.0  # percent


@dataclass(frozen=True)
class Sight:
    """What a model's descriptions show; ``share`` and ``enough``, the smallest share that would pass, in percent."""

    model: str
    images: int
    classes: int  # with an image
    share: float
    enough: float | None
    p_value: float
    untested: str = ""  # why the test says nothing, if so

    @property
    def seen(self) -> bool:
        return not self.untested and self.p_value < ALPHA

    def __str__(self) -> str:
        shown = f"{self.images} image{'s' * (self.images != 1)} of {self.classes} class{'es' * (self.classes != 1)}"
        if self.untested:
            return f"untested with {shown}: {self.untested}"
        needs = f", {self.enough:.0f} % would pass" if self.enough is not None else ""
        return (
            f"the untuned model's descriptions of {shown} are more like the text of their own class than "
            f"{self.share:.0f} % of the other texts are (chance {_CHANCE:.0f} %{needs}; p = {self.p_value:.2g})"
        )


def read_class_texts(folder: Path, answers: pd.DataFrame) -> list[ClassText]:
    """The texts of the data set in the folder; none without it. Raises ``ValueError`` if the answers are to another."""
    check_data_set(answers, folder)
    file = folder / "texts.jsonl"
    return read_texts(file) if file.is_file() else []


def described_images(answers: pd.DataFrame, texts: Sequence[ClassText]) -> pd.DataFrame:
    """One row per model and image that the untuned model described, with the text that its description is most like.

    Columns: model, image_path, class_id, description, ``most_like`` (a class; empty if no text shares a word with the
    description) and ``share``: percent of the other classes' texts that are less like it, ties counting half. Images
    without a class, and classes without a text, are left out.
    """
    return _scored(answers, texts)[0]


def sight(answers: pd.DataFrame, texts: Sequence[ClassText]) -> list[Sight]:
    """What the descriptions of each model show; a model without descriptions is left out."""
    rows, shares = _scored(answers, texts)
    ids = _by_class(texts)
    place = {class_id: index for index, class_id in enumerate(ids)}
    found = []
    for model, group in rows.groupby("model", sort=False):
        own = group["class_id"].map(place).to_numpy()
        classes = np.unique(own)
        means = np.stack([shares[group.index[own == c]].mean(axis=0) for c in classes])
        share, enough, p_value = _permuted(means, classes)
        untested = ""
        if 1 / math.perm(len(ids), len(classes)) >= ALPHA:
            untested = f"with {len(ids)} texts, no result could pass at 5 %"
        elif (shares[group.index] == _CHANCE).all():
            untested = "the texts share no word with the descriptions, or all the same; are they in one language?"
        found.append(Sight(str(model), len(group), len(classes), share, enough, p_value, untested))
    return found


def sight_table(found: Iterable[Sight]) -> pd.DataFrame:
    """One row per model, as `Sight` has it, with its verdict ``sees``: yes, not shown, or untested."""
    columns = ["model", "images", "classes", "share", "enough", "p_value", "sees"]
    rows = [
        {name: getattr(one, name) for name in columns[:-1]}
        | {"sees": "yes" if one.seen else "untested" if one.untested else "not shown"}
        for one in found
    ]
    return pd.DataFrame(rows, columns=columns)


def _by_class(texts: Sequence[ClassText]) -> dict[str, str]:
    """The appearance of each class, by its id, in its first wording."""
    return {text.class_id: text.appearance for text in reversed(texts)}


def _scored(answers: pd.DataFrame, texts: Sequence[ClassText]) -> tuple[pd.DataFrame, np.ndarray]:
    """The table of `described_images`, and for each of its rows the share of every class's text (images x texts)."""
    from scipy.stats import rankdata  # slow to import

    ids = _by_class(texts)
    asked = answers[(answers["mode"] == "base") & (answers["answering"] == "describe_then_answer")]
    asked = asked[(asked["image"] == "with") & asked["class_id"].isin(ids) & asked["image_path"].notna()]
    asked = asked[asked["description"].fillna("").str.strip() != ""].drop_duplicates(["model", "image_path"])
    rows = asked[["model", "image_path", "class_id", "description"]].reset_index(drop=True)
    if rows.empty or len(ids) < 2:
        return rows.iloc[:0].assign(most_like="", share=math.nan), np.empty((0, len(ids)))
    alike = likeness(list(ids.values()), list(rows["description"]))
    shares = 100 * (rankdata(alike, axis=1) - 1) / (len(ids) - 1)  # mean ranks: ties count half
    names = np.array([*ids, ""])
    best = np.where(alike.max(axis=1) > 0, alike.argmax(axis=1), len(ids))
    own = [list(ids).index(class_id) for class_id in rows["class_id"]]
    return rows.assign(most_like=names[best], share=shares[np.arange(len(rows)), own]), shares


def _permuted(means: np.ndarray, classes: np.ndarray) -> tuple[float, float | None, float]:
    """The mean share of the own texts, the smallest one that would pass, and p. ``means``: classes x texts, percent."""
    rows, n = np.arange(len(classes)), means.shape[1]
    share = float(means[rows, classes].mean())
    every = math.factorial(n) <= _DEALS
    rng = np.random.default_rng(0)
    dealt = itertools.permutations(range(n)) if every else (rng.permutation(n) for _ in range(_DEALS))
    chance = np.sort([float(means[rows, np.asarray(deal)[classes]].mean()) for deal in dealt])
    extra = 0 if every else 1  # of random deals, the observed one is one more

    def p_value(of: float) -> float:
        return float(len(chance) - np.searchsorted(chance, of - 1e-9) + extra) / (len(chance) + extra)

    enough = next((float(value) for value in np.unique(chance) if p_value(value) < ALPHA), None)
    return share, enough, p_value(share)
