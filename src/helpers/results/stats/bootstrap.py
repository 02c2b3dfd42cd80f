"""Intervals that resample what the study is a sample of: its classes and its training seeds.

Questions about one class are not independent, since a model that never learned the class gets all of them wrong; nor
are the answers of one trained model. So whole classes are drawn with replacement, and whole seeds, and the accuracy is
computed anew (10,000 times). A 95 % interval lies between the 2.5 % and 97.5 % quantiles of these. With one seed it
covers the choice of classes alone. Sums of right and
wrong are whole numbers, so every machine gets the same interval.

Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13 (percentiles); for two crossed
factors Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1, 386-411 (errs on the wide side).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from helpers.results.stats.accuracy import QUESTION_TYPES, by_type, each_group

RESAMPLES = 10_000
_AT_ONCE = 1_000  # resamples: the memory of one batch stays below 10 MB for a thousand classes

PerAnswer: TypeAlias = Sequence[Any] | np.ndarray | pd.Series
Interval: TypeAlias = tuple[float, float]


def resampled_interval(values: PerAnswer, classes: PerAnswer, seeds: PerAnswer | None = None) -> Interval:
    """The 95 % interval of the mean of ``values`` (one per answer) when whole classes and whole seeds are resampled.

    ``values``: 0 or 1 for an answer, -1, 0 or 1 for a difference of two, or a share. Fewer than two classes give
    (nan, nan). The draws are fixed, so the same input gives the same interval.
    """
    found, names = pd.factorize(np.asarray(classes, dtype=str))
    if len(names) < 2:
        return (math.nan, math.nan)
    of_seed = np.zeros(len(found), dtype=int) if seeds is None else pd.factorize(np.asarray(seeds))[0]
    shape = (int(of_seed.max()) + 1, len(names))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (of_seed, found), np.asarray(values, dtype=float))
    np.add.at(counts, (of_seed, found), 1)
    means = np.concatenate([_means(sums, counts, batch) for batch in range(RESAMPLES // _AT_ONCE)])
    low, high = np.nanquantile(means, [0.025, 0.975])
    return float(low), float(high)


def _means(sums: np.ndarray, counts: np.ndarray, batch: int) -> np.ndarray:
    """The mean of each resample of a batch, from seeds x classes."""
    seeds, classes = (_drawn(number, batch, axis) for axis, number in enumerate(sums.shape))
    with np.errstate(invalid="ignore"):  # a draw may miss all answers where classes have them under one seed only
        means: np.ndarray = ((seeds @ sums) * classes).sum(axis=1) / ((seeds @ counts) * classes).sum(axis=1)
    return means


@lru_cache(maxsize=64)
def _drawn(number: int, batch: int, axis: int) -> np.ndarray:
    """Resamples x number: how often each seed (axis 0) or class (axis 1) was drawn."""
    drawn = np.random.default_rng([axis, batch]).multinomial(number, np.full(number, 1 / number), _AT_ONCE)
    return drawn.astype(float)


def class_of(rows: pd.DataFrame) -> pd.Series:
    """What is resampled as one: the class; where a data set does not say it, the image; without one, the question."""
    question = "question " + rows["question_id"].astype(str)
    return rows["class_id"].fillna(rows["image_path"]).fillna(question)


def bootstrap_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Per group, by question type: number of classes, accuracy in percent (mean over the seeds), and its interval."""

    def measure(group: pd.DataFrame) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, part in by_type(group).items():
            classes = class_of(part)
            low, high = resampled_interval(part["correct"], classes, part["seed"])
            found |= {f"classes_{name}": classes.nunique(), name: 100 * part["correct"].mean()}
            found |= {f"{name}_low": 100 * low, f"{name}_high": 100 * high}
        return found

    columns = ((f"classes_{name}", name, f"{name}_low", f"{name}_high") for name in QUESTION_TYPES)
    return each_group(rows, by, measure)[[*by, *chain.from_iterable(columns)]]
