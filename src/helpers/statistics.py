"""From answer rows to accuracies with their uncertainty. Rows in, numbers out; nothing here is drawn or written.

A *row* is one question answered once (see `helpers.tables.read_answers`). Two decisions run through this module:

- Accuracy over several seeds is the mean over the seeds, and its interval is Wilson's 95 % interval at n = the number
  of *questions*, not questions times seeds: the same questions are asked again, and asking again makes no new ones.
- An unreadable reply is wrong. It lowers the accuracy, and `unreadable_table` says how often it happened.

Source of the interval: Wilson (1927), Journal of the American Statistical Association 22, 209-212.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest, norm

CHANCE = 25.0  # percent: four options, one of them right

_QUESTION = ["question_type", "question_id"]  # a question's identity within one group of rows
_TYPES = {"type1": (1,), "type2": (2,), "overall": (1, 2)}


def wilson(share: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (0 to 1) observed over `n` questions, as shares; (nan, nan) for no question.

    `scipy.stats.binomtest` has it for whole counts only. A mean over three seeds may stand for 128.3 right answers of
    200, so the closed form is written out; a test holds it equal to scipy's wherever scipy has one.
    """
    if n == 0:
        return math.nan, math.nan
    if n < 0 or not 0 <= share <= 1:
        raise ValueError(f"share is {share} and n is {n}; a share lies in 0..1 (it is not in percent), n is 0 or more")
    z2 = norm.ppf((1 + confidence) / 2) ** 2 / n
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * share * (1 - share) + z2**2 / 4) / (1 + z2)
    # At a share of 0 or 1 an end lies exactly there, save for the last bit.
    return max(0.0, middle - half), min(1.0, middle + half)


def accuracy_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Accuracies of each group of `rows` that agrees on the columns `by`, in percent, not rounded.

    Columns: `by`, `seeds` and `n_type1`, `n_type2` (counts), then `type1`, `type2`, `overall`, each with `_low` and
    `_high`. Overall is over all questions, so the larger type weighs more, as in the paper (469 of 657). A type that
    was not asked has n = 0 and empty (nan) accuracies.
    """
    return _each_group(rows, by, _accuracies)


def unreadable_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Percent of replies that could not be read, by type and overall; they are among the wrong ones already."""
    return _each_group(rows, by, _unreadable)


@dataclass(frozen=True)
class Paired:
    """Two ways of answering on the same questions: how often only one of them was right, and the exact p-value."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar_exact(first: pd.Series, second: pd.Series) -> Paired:
    """McNemar's exact test (two-sided) of two series of right/wrong, both indexed by question.

    Only questions on which the two disagree tell them apart; if there is no difference, each such question is a fair
    coin. No disagreement at all gives p = 1.
    """
    if not first.index.is_unique or not second.index.is_unique or set(first.index) != set(second.index):
        raise ValueError(
            f"the two series hold {len(first)} and {len(second)} answers; a paired test needs the same questions, "
            "each once, in both: compare one seed with one seed, on one set of questions"
        )
    second = second.reindex(first.index)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
    return Paired(only_first, only_second, p_value)


def paired_table(rows: pd.DataFrame, by: Sequence[str], first: str, second: str) -> pd.DataFrame:
    """`mcnemar_exact` of mode `first` against mode `second`, for each group, question type and seed of `second`.

    Seed by seed, since answers to one question under several seeds are not independent. A mode that has one seed only
    (the untuned base) is compared with every seed of the other. Groups that lack one of the two modes are left out.
    """
    found = []
    for key, group in rows.groupby([*by, "question_type"], sort=False):
        firsts, seconds = (dict(iter(group[group["mode"] == mode].groupby("seed"))) for mode in (first, second))
        for seed, answers in seconds.items():
            against = next(iter(firsts.values())) if len(firsts) == 1 else firsts.get(seed)
            if against is not None:
                paired = mcnemar_exact(_right_by_question(against), _right_by_question(answers))
                names = dict(zip([*by, "question_type"], key, strict=True))
                found.append(names | {"first": first, "second": second, "seed": seed} | vars(paired))
    columns = [*by, "question_type", "first", "second", "seed", "only_first", "only_second", "p_value"]
    return pd.DataFrame(found, columns=columns)


def _right_by_question(rows: pd.DataFrame) -> pd.Series:
    return rows.set_index("question_id")["correct"].astype(bool)


def _each_group(
    rows: pd.DataFrame, by: Sequence[str], measure: Callable[[pd.DataFrame], dict[str, float]]
) -> pd.DataFrame:
    """One row a group: its key, then what `measure` says of it; groups in their order of appearance."""
    if rows.empty:
        raise ValueError("there are no answers to make a table of; run the evaluation first, or name its answers.jsonl")
    found = []
    for key, group in rows.groupby(list(by), sort=False):
        _check_each_question_once(key, group)
        found.append(dict(zip(by, key, strict=True)) | measure(group))
    return pd.DataFrame(found)


def _check_each_question_once(key: Hashable, group: pd.DataFrame) -> None:
    """Raise unless every question of the group was answered exactly once under every seed of the group."""
    counts = group.pivot_table(index=_QUESTION, columns="seed", values="correct", aggfunc="size", fill_value=0)
    uneven = counts[(counts != 1).any(axis=1)]
    if not uneven.empty:
        (kind, question), times = uneven.index[0], uneven.iloc[0].to_dict()
        said = ", ".join(f"{count} times under seed {seed}" for seed, count in times.items())
        raise ValueError(
            f"{'/'.join(map(str, key)) if isinstance(key, tuple) else key}: question {question!r} (type {kind}) was "
            f"answered {said}, and so were {len(uneven) - 1} more; each question must be answered exactly once under "
            "every seed: finish the missing evaluation, and name each answers.jsonl only once"
        )


def _accuracies(group: pd.DataFrame) -> dict[str, float]:
    seeds = group["seed"].nunique()
    found: dict[str, float] = {"seeds": seeds}
    for name, kinds in _TYPES.items():
        asked = group[group["question_type"].isin(kinds)]
        n = len(asked) // seeds
        share = float(asked["correct"].mean()) if n else math.nan
        low, high = wilson(share, n)
        found |= {f"n_{name}": n, name: 100 * share, f"{name}_low": 100 * low, f"{name}_high": 100 * high}
    return {column: found[column] for column in ACCURACY_COLUMNS}


def _unreadable(group: pd.DataFrame) -> dict[str, float]:
    asked = {name: group[group["question_type"].isin(kinds)] for name, kinds in _TYPES.items()}
    return {f"unreadable_{name}": 100 * part["parsed"].isna().mean() for name, part in asked.items()}


ACCURACY_COLUMNS = (
    "seeds",
    "n_type1",
    "n_type2",
    *(f"{name}{end}" for name in _TYPES for end in ("", "_low", "_high")),
)
