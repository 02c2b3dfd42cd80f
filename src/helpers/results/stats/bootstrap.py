"""Intervals from a cluster bootstrap: whole images are resampled, each with all the questions about it.

Questions about one image are not independent: a model that cannot make out the image gets all of them wrong. Wilson's
interval assumes independence; this one does not, so it may be wider. It covers the choice of images and questions, not
the choice of training seeds.

Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 14 (BCa); `scipy.stats.bootstrap`.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from helpers.results.stats.accuracy import QUESTION_TYPES, by_type, each_group

RESAMPLES = 10_000
# Divisible by every number of seeds up to 16. In such units, means over seeds are whole numbers and their sums are
# exact. BCa counts ties, which must not depend on the order in which a machine adds.
WHOLE = 720_720

Resample: TypeAlias = tuple[Sequence[float] | np.ndarray | pd.Series, Sequence[Any] | pd.Series]  # values, clusters
Interval: TypeAlias = tuple[float, float]


def cluster_interval(
    values: Sequence[float] | np.ndarray | pd.Series,
    clusters: Sequence[Any] | pd.Series,
    confidence: float = 0.95,
    method: str = "BCa",
) -> Interval:
    """The interval of the mean of `values` when whole `clusters` are resampled; `method` is "BCa" or "percentile".

    Both have one entry per question. Fewer than two clusters give (nan, nan). If all clusters have the same mean, both
    ends are that mean. The seed is fixed, so the same input gives the same interval.
    """
    return cluster_intervals([(values, clusters)], confidence, method)[0]


def cluster_intervals(samples: Sequence[Resample], confidence: float = 0.95, method: str = "BCa") -> list[Interval]:
    """`cluster_interval` of several samples, with the same results; samples of one size are resampled together."""
    found: dict[int, Interval] = {}
    alike: dict[tuple[int, bool], dict[int, np.ndarray]] = defaultdict(dict)
    for place, sample in enumerate(samples):
        totals = _totals(*sample)
        means = totals[0] / (totals[1] * WHOLE)
        if len(means) < 2:
            found[place] = (math.nan, math.nan)
        elif np.ptp(means) < 1e-12:  # BCa divides by the spread
            found[place] = (float(means[0]), float(means[0]))
        else:
            alike[len(means), not np.ptp(totals[1])][place] = totals
    for (_, even), group in alike.items():
        # Uneven clusters one sample at a time: scipy resamples pairs of arrays for one sample only
        for part in [list(group)] if even else [[place] for place in group]:
            totals = np.stack([group[place] for place in part])
            found |= zip(part, _drawn(totals, even, confidence, method), strict=True)
    return [found[place] for place in range(len(samples))]


def _totals(values: Sequence[float] | np.ndarray | pd.Series, clusters: Sequence[Any] | pd.Series) -> np.ndarray:
    """Per cluster: the sum of the values, in units of 1 / `WHOLE` (first row), and the number of questions (second)."""
    _, place = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = WHOLE * np.bincount(place, np.asarray(values, dtype=float))
    exact = np.round(sums)
    return np.stack([exact if np.allclose(sums, exact, rtol=0, atol=1e-3) else sums, np.bincount(place)])


def _drawn(totals: np.ndarray, even: bool, confidence: float, method: str) -> list[Interval]:
    """Intervals of totals (samples x 2 x clusters); `even`: all clusters of a sample have the same size."""
    from scipy.stats import bootstrap

    sums, counts = totals[:, 0], totals[:, 1]
    data: tuple[np.ndarray, ...] = (sums[0], counts[0])
    statistic: Any = _ratio
    unit = np.ones(1)
    if even:  # the same result in half the time
        data, statistic, unit = (sums,), np.mean, counts[:, 0]
    drawn = bootstrap(
        data,
        statistic,
        paired=len(data) > 1,
        vectorized=True,
        axis=-1,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method=method,
        batch=max(1, 4_000_000 // sums.size),  # 32 MB at a time
        rng=np.random.default_rng(0),
    )
    interval = drawn.confidence_interval
    lows, highs = (np.atleast_1d(end) / (unit * WHOLE) for end in interval)
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


def _ratio(total: np.ndarray, number: np.ndarray, axis: int) -> np.ndarray:
    return total.sum(axis=axis) / number.sum(axis=axis)


def bootstrap_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Per group, by question type: number of images, accuracy in percent (mean over the seeds), and its interval."""
    samples: list[Resample] = []  # by group, and in it by type

    def measure(group: pd.DataFrame) -> dict[str, float]:
        asked = {name: per_question(part) for name, part in by_type(group).items()}
        samples.extend((each["correct"], each["cluster"]) for each in asked.values())
        images = {f"images_{name}": each["cluster"].nunique() for name, each in asked.items()}
        return images | {name: 100 * each["correct"].mean() for name, each in asked.items()}

    table = each_group(rows, by, measure)
    intervals = 100 * np.array(cluster_intervals(samples)).reshape(len(table), len(QUESTION_TYPES), 2)
    for place, name in enumerate(QUESTION_TYPES):
        table[[f"{name}_low", f"{name}_high"]] = intervals[:, place]
    columns = ((f"images_{name}", name, f"{name}_low", f"{name}_high") for name in QUESTION_TYPES)
    return table[[*by, *chain.from_iterable(columns)]]


def per_question(rows: pd.DataFrame) -> pd.DataFrame:
    """`correct` (mean over the seeds) and `cluster` (the image; without one, the question), indexed by question."""
    cluster = rows["image_path"].where(rows["image_path"].notna(), "question " + rows["question_id"].astype(str))
    named = rows[["question_type", "question_id"]].assign(cluster=cluster, correct=rows["correct"].astype(float))
    return named.groupby(["question_type", "question_id"]).agg({"correct": "mean", "cluster": "first"})
