"""Two conditions compared on the same questions: McNemar's exact test, Holm's correction, paired differences.

Sources: McNemar (1947), Psychometrika 12, 153-157; Holm (1979), Scandinavian Journal of Statistics 6, 65-70;
for several seeds, Vovk and Wang (2020), Biometrika 107, 791-808: twice the mean of several p-values is a p-value under
any dependence.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from helpers.results.stats.bootstrap import Resample, cluster_intervals, per_question
from helpers.results.stats.power import detectable_paired

Pairs = Sequence[tuple[str, str]]
COMPARED = ("seed", "question_id", "image_path", "correct")


@dataclass(frozen=True)
class Paired:
    """Two conditions on the same questions: how often only one of them was right, and the exact p-value."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar_exact(first: pd.Series, second: pd.Series) -> Paired:
    """McNemar's exact test (two-sided) of two series of right/wrong, both indexed by question.

    Only discordant questions count. Without a true difference, each of them is a fair coin toss. Without discordant
    questions, p = 1.
    """
    from scipy.stats import binomtest

    if not first.index.is_unique or not second.index.is_unique or set(first.index) != set(second.index):
        raise ValueError(
            f"the two series have {len(first)} and {len(second)} answers; a paired test needs the same questions, "
            "each once, in both: compare one seed with one seed on the same questions"
        )
    second = second.reindex(first.index)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
    return Paired(only_first, only_second, p_value)


def combined_p_value(p_values: Sequence[float]) -> float:
    """One p-value from the seeds' p-values: twice their mean, at most 1; a single p-value stays as it is."""
    return p_values[0] if len(p_values) == 1 else min(1.0, 2 * float(np.mean(p_values)))


def holm(p_values: Sequence[float] | pd.Series) -> np.ndarray:
    """The p-values after Holm's correction as one family; nan (no test) is not part of the family."""
    from statsmodels.stats.multitest import multipletests

    values = np.asarray(p_values, dtype=float)
    tested = ~np.isnan(values)
    corrected = np.full(len(values), math.nan)
    if tested.any():
        corrected[tested] = multipletests(values[tested], method="holm")[1]
    return corrected


def paired_table(rows: pd.DataFrame, by: Sequence[str], pairs: Pairs) -> pd.DataFrame:
    """`mcnemar_exact` of each pair of modes, per group, question type and seed.

    Seeds are tested separately, because answers to one question under several seeds are not independent. A mode with
    only one seed (the untuned base) is compared with every seed of the other. Groups that lack one of the two modes are
    left out. `p_holm` is corrected over all rows of the table.
    """
    found = []
    for names, first, second in _compared(rows, [*by, "question_type"], pairs, "mode"):
        for seed, one, other in seed_by_seed(first, second):
            found.append(names | {"seed": seed} | vars(mcnemar_exact(one, other)))
    columns = [*by, "question_type", "first", "second", "seed", "only_first", "only_second", "p_value"]
    table = pd.DataFrame(found, columns=columns)
    return table.assign(p_holm=holm(table["p_value"]))


DIFFERENCE_COLUMNS = (
    *("first", "second", "n", "seeds", "accuracy_first", "accuracy_second"),
    *("difference", "low", "high", "discordant", "detectable", "p_value", "p_holm"),
)


def difference_table(rows: pd.DataFrame, by: Sequence[str], pairs: Pairs, column: str = "mode") -> pd.DataFrame:
    """How many points the second value of each pair is above the first, per group and question type.

    In points (percent): `difference` of the means over the seeds; `low` and `high` of its bootstrap interval over
    images; `discordant`, the share of questions that only one of the two got right; `detectable`, the smallest
    difference that these questions can show at that discordance (80 % power; nan: none). `p_value` is McNemar's; for
    several seeds it is `combined_p_value`. `p_holm` is corrected over all rows of the table. If the two were asked
    different questions, only the accuracies and their difference are given.
    """
    found: list[dict[str, Any]] = []
    gains: dict[int, Resample] = {}  # by place in the table
    for names, first, second in _compared(rows, [*by, "question_type"], pairs, column):
        one, other = per_question(first), per_question(second)
        if set(one.index) == set(other.index):
            gains[len(found)] = other["correct"] - one["correct"].reindex(other.index), other["cluster"]
            names |= _tests(first, second, len(other))
        found.append(names | _difference(one, other) | {"seeds": second["seed"].nunique()})
    for place, (low, high) in zip(gains, cluster_intervals(list(gains.values())), strict=True):
        found[place] |= {"low": 100 * low, "high": 100 * high}
    columns = [*by, "question_type", *DIFFERENCE_COLUMNS]
    table = pd.DataFrame(found, columns=[name for name in columns if name != "p_holm"])
    return table.assign(p_holm=holm(table["p_value"]))[columns]


def _compared(
    rows: pd.DataFrame, by: list[str], pairs: Pairs, column: str
) -> Iterator[tuple[dict[str, object], pd.DataFrame, pd.DataFrame]]:
    """Each group's names and, for each pair, its rows of both values; only the columns that are compared."""
    rows = rows[[*by, column, *COMPARED]]
    for key, group in rows.groupby(by, sort=False):
        for first, second in pairs:
            one, other = group[group[column] == first], group[group[column] == second]
            if len(one) and len(other):
                yield dict(zip(by, key, strict=True)) | {"first": first, "second": second}, one, other


def seed_by_seed(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[tuple[object, pd.Series, pd.Series]]:
    """Both sides' right/wrong by question, per common seed; a single seed is used for every seed of the other side."""
    ones, others = ({seed: _right(part) for seed, part in side.groupby("seed")} for side in (first, second))
    if len(ones) == 1:
        ones = dict.fromkeys(others, next(iter(ones.values())))
    if len(others) == 1:
        others = dict.fromkeys(ones, next(iter(others.values())))
    for seed in others:
        if seed in ones:
            yield seed, ones[seed], others[seed]


def _right(rows: pd.DataFrame) -> pd.Series:
    return rows.set_index("question_id")["correct"].astype(bool)


def _difference(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, float]:
    first, second = 100 * one["correct"].mean(), 100 * other["correct"].mean()
    return {"n": len(other), "accuracy_first": first, "accuracy_second": second, "difference": second - first}


def _tests(first: pd.DataFrame, second: pd.DataFrame, n: int) -> dict[str, float]:
    """McNemar's test over the common seeds; empty if there are none."""
    tests = [mcnemar_exact(right, against) for _, right, against in seed_by_seed(first, second)]
    if not tests:
        return {}
    discordant = float(np.mean([test.only_first + test.only_second for test in tests])) / n
    detectable = 100 * detectable_paired(n, discordant)
    p_value = combined_p_value([test.p_value for test in tests])
    return {"discordant": 100 * discordant, "detectable": detectable, "p_value": p_value}
