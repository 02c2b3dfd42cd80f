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

from helpers.results.stats.accuracy import CHANCE
from helpers.results.stats.bootstrap import class_of, resampled_interval
from helpers.results.stats.power import detectable_paired

MARGIN = 10.0  # points that one would give up to need no images: a convention, stated before anything was measured
Pairs = Sequence[tuple[str, str]]
COMPARED = ("seed", "question_id", "class_id", "image_path", "correct")


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

    Columns as `difference` gives them, and `p_holm`, corrected over all rows of the table. If the two were asked
    different questions, only the accuracies and their difference are given.
    """
    found = [
        names | difference(first, second)
        for names, first, second in _compared(rows, [*by, "question_type"], pairs, column)
    ]
    columns = [*by, "question_type", *DIFFERENCE_COLUMNS]
    table = pd.DataFrame(found, columns=[name for name in columns if name != "p_holm"])
    return table.assign(p_holm=holm(table["p_value"]))[columns]


def difference(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """How many points the second rows are above the first, on the same questions of one type; without them, no tests.

    In points (percent): ``difference`` of the means over the seeds; ``low`` and ``high`` of its 95 % interval over
    classes and seeds (`resampled_interval`); ``discordant``, the share of questions that only one of the two got right;
    ``detectable``, the smallest difference that these questions can show at that discordance (80 % power; nan: none).
    ``p_value`` is McNemar's; for several seeds it is `combined_p_value`.
    """
    accuracies = [100 * rows.groupby("question_id")["correct"].mean().mean() for rows in (first, second)]
    found: dict[str, Any] = dict(zip(("accuracy_first", "accuracy_second"), accuracies, strict=True))
    found |= {"difference": accuracies[1] - accuracies[0], "seeds": second["seed"].nunique()}
    found["n"] = n = second["question_id"].nunique()
    if set(first["question_id"]) != set(second["question_id"]):
        return found
    of = class_of(second.drop_duplicates("question_id")).set_axis(second["question_id"].drop_duplicates())
    gains, tests = [], []
    for seed, right, against in seed_by_seed(first, second):
        gain = against.astype(int) - right.reindex(against.index).astype(int)
        gains.append(pd.DataFrame({"gain": gain, "class": of.reindex(gain.index), "seed": seed}))
        tests.append(mcnemar_exact(right, against))
    if not tests:  # no common seed
        return found
    paired = pd.concat(gains)
    discordant = float(np.mean([test.only_first + test.only_second for test in tests])) / n
    found |= {"discordant": 100 * discordant, "detectable": 100 * detectable_paired(n, discordant)}
    found["p_value"] = combined_p_value([test.p_value for test in tests])
    low, high = resampled_interval(paired["gain"], paired["class"], paired["seed"])
    return found | {"low": 100 * low, "high": 100 * high}


def from_chance(rows: pd.DataFrame) -> dict[str, Any]:
    """How many points the rows are above chance: the columns of `difference` that need no second set of answers.

    Chance is 25 %, or differs by question: the share in the column ``chance``, if the rows have one.
    """
    chance = rows["chance"] if "chance" in rows else pd.Series(CHANCE / 100, index=rows.index)
    above = rows["correct"].astype(float) - chance
    means = rows.assign(chance=chance, above=above).groupby("question_id")[["chance", "correct", "above"]].mean()
    first, second, gain = 100 * means.astype(float).mean()
    found = {"accuracy_first": first, "accuracy_second": second, "difference": gain}
    found |= {"n": rows["question_id"].nunique(), "seeds": rows["seed"].nunique()}
    low, high = resampled_interval(above, class_of(rows), rows["seed"])
    return found | {"low": 100 * low, "high": 100 * high}


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
