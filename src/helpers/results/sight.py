"""Does a model see the images at all? Its untuned descriptions, compared with the texts of the classes.

A model that cannot see the images fails whatever it was trained on, and its failure says nothing about the texts. So
no verdict is given on a model before it has shown that it sees, in one of two ways:

- Its *descriptions* tell the classes apart. Of four texts, that of the right class and three others at random, one
  chooses the text that is most like what the untuned model writes of an image (TF-IDF, as in the baseline
  ``dictionary``). That is right more often than chance allows, and by 10 points or more: the margin of the verdicts.
  Each class counts once, by the mean of its images.
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
from helpers.results.stats import MARGIN
from helpers.results.stats.accuracy import CHANCE
from helpers.results.stats.power import ALPHA
from helpers.schemas import ClassText, read_texts

_DEALS = 9_999  # random ways to deal out the texts, if there are more


@dataclass(frozen=True)
class Sight:
    """What a model's descriptions show; ``picked``, the accuracy of choosing by them, and the least that would pass
    (``enough``), in percent."""

    model: str
    images: int
    classes: int  # with an image
    picked: float
    enough: float | None
    p_value: float
    untested: str = ""  # why the test says nothing, if so

    @property
    def seen(self) -> bool:
        return not self.untested and self.p_value < ALPHA and self.picked >= CHANCE + MARGIN

    def __str__(self) -> str:
        shown = f"{self.images} image{'s' * (self.images != 1)} of {self.classes} class{'es' * (self.classes != 1)}"
        if self.untested:
            return f"untested with {shown}: {self.untested}"
        needs = f", {self.enough:.0f} % would pass" if self.enough is not None else ""
        return (
            f"choosing among four texts by the untuned model's descriptions of {shown} is right in "
            f"{self.picked:.0f} % (chance {CHANCE:.0f} %{needs}; p = {self.p_value:.2g})"
        )


def texts_answered(folder: Path, answers: pd.DataFrame) -> list[ClassText]:
    """The texts of the data set in the folder; none without it. Raises ``ValueError`` if the answers are to another."""
    check_data_set(answers, folder)
    file = folder / "texts.jsonl"
    return read_texts(file) if file.is_file() else []


def described_images(answers: pd.DataFrame, texts: Sequence[ClassText]) -> pd.DataFrame:
    """One row per model and image that the untuned model described, with the text that its description is most like.

    Columns: model, image_path, class_id, description, ``most_like`` (a class; empty if no text shares a word with the
    description) and ``picked``: how often, in percent, the right class is chosen by it among four. Images without a
    class, and classes without a text, are left out.
    """
    return _scored(answers, texts)[0]


def sight(answers: pd.DataFrame, texts: Sequence[ClassText]) -> list[Sight]:
    """What the descriptions of each model show; a model without descriptions is left out."""
    rows, picked = _scored(answers, texts)
    ids = _by_class(texts)
    place = {class_id: index for index, class_id in enumerate(ids)}
    found = []
    for model, group in rows.groupby("model", sort=False):
        own = group["class_id"].map(place).to_numpy()
        classes = np.unique(own)
        means = np.stack([picked[group.index[own == c]].mean(axis=0) for c in classes])
        mean, enough, p_value = _permuted(means, classes)
        untested = ""
        if 1 / math.perm(len(ids), len(classes)) >= ALPHA:
            untested = f"with {len(ids)} texts, no result could pass at 5 %"
        elif np.allclose(picked[group.index], CHANCE):
            untested = "the texts share no word with the descriptions, or all the same; are they in one language?"
        found.append(Sight(str(model), len(group), len(classes), mean, enough, p_value, untested))
    return found


def sight_table(found: Iterable[Sight]) -> pd.DataFrame:
    """One row per model, as `Sight` has it, with its verdict ``sees``: yes, not shown, or untested."""
    columns = ["model", "images", "classes", "picked", "enough", "p_value", "sees"]
    rows = [
        {name: getattr(one, name) for name in columns[:-1]}
        | {"sees": "yes" if one.seen else "untested" if one.untested else "not shown"}
        for one in found
    ]
    return pd.DataFrame(rows, columns=columns).round({"picked": 1, "enough": 1})


def _by_class(texts: Sequence[ClassText]) -> dict[str, str]:
    """The appearance of each class, by its id, in its first wording."""
    return {text.class_id: text.appearance for text in reversed(texts)}


def _scored(answers: pd.DataFrame, texts: Sequence[ClassText]) -> tuple[pd.DataFrame, np.ndarray]:
    """The table of `described_images`, and how often each text is chosen by each description (images x texts)."""
    ids = _by_class(texts)
    asked = answers[(answers["mode"] == "base") & (answers["answering"] == "describe_then_answer")]
    asked = asked[(asked["image"] == "with") & asked["class_id"].isin(ids) & asked["image_path"].notna()]
    asked = asked[asked["description"].fillna("").str.strip() != ""].drop_duplicates(["model", "image_path"])
    rows = asked[["model", "image_path", "class_id", "description"]].reset_index(drop=True)
    if rows.empty:
        return rows.assign(most_like="", picked=math.nan), np.empty((0, len(ids)))
    alike = likeness(list(ids.values()), list(rows["description"]))
    picked = _picked(alike)
    names = np.array([*ids, ""])
    best = np.where(alike.max(axis=1) > 0, alike.argmax(axis=1), len(ids))
    own = [list(ids).index(class_id) for class_id in rows["class_id"]]
    return rows.assign(most_like=names[best], picked=picked[np.arange(len(rows)), own]), picked


def _picked(alike: np.ndarray) -> np.ndarray:
    """How often, in percent, a text is chosen beside three others at random, if the most alike is; ties at random.

    ``alike``: descriptions x texts, as is the result. NaN for fewer than four texts. The mean over the texts is 25.
    """
    from scipy.special import comb
    from scipy.stats import rankdata  # slow to import

    less = rankdata(alike, method="min", axis=1) - 1
    same = rankdata(alike, method="max", axis=1) - 1 - less
    ways = sum(comb(same, tied) * comb(less, 3 - tied) / (tied + 1) for tied in range(4))
    return np.asarray(100 * ways / (comb(alike.shape[1] - 1, 3) or math.nan))


def _permuted(means: np.ndarray, classes: np.ndarray) -> tuple[float, float | None, float]:
    """How often the own texts are chosen, the least that would pass, and p. ``means``: classes x texts, percent."""
    rows, n = np.arange(len(classes)), means.shape[1]
    found = float(means[rows, classes].mean())
    every = math.factorial(n) <= _DEALS
    rng = np.random.default_rng(0)
    dealt = itertools.permutations(range(n)) if every else (rng.permutation(n) for _ in range(_DEALS))
    chance = np.sort([float(means[rows, np.asarray(deal)[classes]].mean()) for deal in dealt])
    extra = 0 if every else 1  # of random deals, the observed one is one more

    def p_value(of: float) -> float:
        return float(len(chance) - np.searchsorted(chance, of - 1e-9) + extra) / (len(chance) + extra)

    enough = next((max(value, CHANCE + MARGIN) for value in np.unique(chance).tolist() if p_value(value) < ALPHA), None)
    return found, enough, p_value(found)
