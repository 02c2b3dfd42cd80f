"""Intervals by drawing the questions again, with all questions about one picture drawn together.

Questions about one picture are not independent: a model that cannot make out the picture misses them all. Wilson's
interval takes them as independent; this one does not, and so may be the wider of the two. What is drawn is the
pictures: the interval speaks of other questions of this kind, not of other training seeds.

Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 14 (BCa); `scipy.stats.bootstrap`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.statistics.accuracy import by_type, each_group

RESAMPLES = 10_000


def cluster_interval(
    values: Sequence[float] | np.ndarray | pd.Series,
    clusters: Sequence[Any] | pd.Series,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    method: str = "BCa",
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of the mean of `values` when whole `clusters` are drawn; `method` is "BCa" or "percentile".

    Both have one entry a question. (nan, nan) for fewer than two clusters, as nothing can be drawn; where all clusters
    have one mean, that mean twice. The same input gives the same interval: the draws have a fixed seed.
    """
    from scipy.stats import bootstrap

    _, place = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums, counts = np.bincount(place, np.asarray(values, dtype=float)), np.bincount(place).astype(float)
    if len(sums) < 2:
        return math.nan, math.nan
    if np.ptp(sums / counts) < 1e-12:  # BCa divides by the spread
        return float(sums[0] / counts[0]), float(sums[0] / counts[0])
    data: tuple[np.ndarray, ...] = (sums, counts)
    statistic: Any = _ratio
    unit = 1.0
    if not np.ptp(counts):  # the same, in half the time; divided in the end, as whole numbers tie exactly
        data, statistic, unit = (sums,), np.mean, counts[0]
    drawn = bootstrap(
        data,
        statistic,
        paired=len(data) > 1,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=resamples,
        method=method,
        batch=max(1, 4_000_000 // len(sums)),  # 32 MB at a time
        rng=np.random.default_rng(seed),
    )
    return float(drawn.confidence_interval.low / unit), float(drawn.confidence_interval.high / unit)


def _ratio(total: np.ndarray, number: np.ndarray, axis: int) -> np.ndarray:
    return total.sum(axis=axis) / number.sum(axis=axis)


def bootstrap_table(rows: pd.DataFrame, by: Sequence[str], method: str = "BCa") -> pd.DataFrame:
    """For each group, by type: number of pictures, accuracy in percent (mean over the seeds), and its interval."""
    return each_group(rows, by, lambda group: _intervals(group, method))


def _intervals(group: pd.DataFrame, method: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, asked in by_type(group).items():
        each = per_question(asked)
        low, high = cluster_interval(each["correct"], each["cluster"], method=method)
        pictures = each["cluster"].nunique()
        found |= {f"pictures_{name}": pictures, name: 100 * each["correct"].mean()}
        found |= {f"{name}_low": 100 * low, f"{name}_high": 100 * high}
    return found


def per_question(rows: pd.DataFrame) -> pd.DataFrame:
    """`correct` (the mean over the seeds) and `cluster` (the picture; itself if it has none), indexed by question."""
    cluster = rows["picture"].where(rows["picture"].notna(), "question " + rows["question_id"].astype(str))
    named = rows.assign(cluster=cluster, correct=rows["correct"].astype(float))
    return named.groupby(["question_type", "question_id"]).agg({"correct": "mean", "cluster": "first"})
