"""Accuracies of groups of rows with Wilson's interval, their spread over seeds, and the share of unreadable replies.

Source for the interval: Wilson (1927), Journal of the American Statistical Association 22, 209-212.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

CHANCE = 25.0  # percent: four options, one of them right
QUESTION_TYPES = {"type1": (1,), "type2": (2,), "overall": (1, 2)}

LEFT_OUT = "left_out"
_QUESTION = ["question_type", "question_id"]  # identifies a question within a group of rows
ACCURACY_COLUMNS = (
    "seeds",
    "n_type1",
    "n_type2",
    *(f"{name}{end}" for name in QUESTION_TYPES for end in ("", "_low", "_high")),
)


def wilson(share: ArrayLike, n: ArrayLike) -> tuple[Any, Any]:
    """Wilson's 95 % intervals of shares (0 to 1), each observed on `n` questions; as shares, nan if n is 0.

    Counts need not be whole numbers: a mean over three seeds may be 128.3 correct answers out of 200.
    """
    from statsmodels.stats.proportion import proportion_confint  # slow to import, as is scipy.stats

    shares, counts = np.asarray(share, dtype=float), np.asarray(n, dtype=float)
    if (counts < 0).any() or ((shares < 0) | (shares > 1)).any():
        raise ValueError(
            f"share is {share!r} and n is {n!r}; a share lies in 0..1 (not in percent), and n is at least 0"
        )
    asked = np.where(counts > 0, counts, np.nan)
    low, high = np.clip(proportion_confint(shares * asked, asked, method="wilson"), 0, 1)
    return low, high


def accuracy_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Accuracies in percent, not rounded, of each group of `rows` with equal values in the columns `by`.

    Columns: `by`, `seeds` and `n_type1`, `n_type2` (counts), then `type1`, `type2`, `overall`, each with `_low` and
    `_high`. Overall covers all questions, so the larger type weighs more, as in the paper (469 of 657). A question type
    that was not asked has n = 0 and empty (nan) accuracies. Put `category` or `class_id` in `by` for finer accuracies.
    If questions of a data set were left out, their number is the last column, `left_out`.
    """
    _check_rows(rows, by)
    by = list(by)
    groups = rows.groupby(by, sort=False)
    found = groups["seed"].nunique().rename("seeds").to_frame()
    for name, kinds in QUESTION_TYPES.items():  # all groups at once: there are thousands when grouped by class
        asked = rows[rows["question_type"].isin(kinds)].groupby(by, sort=False)["correct"]
        found[f"n_{name}"] = asked.size().reindex(found.index, fill_value=0) // found["seeds"]
        shares = (asked.sum().astype(float) / asked.size()).reindex(found.index)
        low, high = wilson(shares, found[f"n_{name}"])
        found = found.assign(**{name: 100 * shares, f"{name}_low": 100 * low, f"{name}_high": 100 * high})
    columns = list(ACCURACY_COLUMNS)
    if LEFT_OUT in rows:
        found[LEFT_OUT] = groups[LEFT_OUT].max().fillna(0).astype(int)
        columns.append(LEFT_OUT)
    return found[columns].reset_index()


def unreadable_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Percent of unreadable replies, by question type and overall. They already count as wrong."""
    return each_group(rows, by, _unreadable)


def seed_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The spread over seeds, by question type: mean accuracy in percent, sample standard deviation (nan for one seed),
    lowest and highest."""
    return each_group(rows, by, _spread)


def each_group(
    rows: pd.DataFrame, by: Sequence[str], measure: Callable[[pd.DataFrame], dict[str, float]]
) -> pd.DataFrame:
    """One row per group: its key, then what `measure` returns for it; groups in order of appearance."""
    _check_rows(rows, by)
    groups = rows.groupby(list(by), sort=False)
    return pd.DataFrame([dict(zip(by, key, strict=True)) | measure(group) for key, group in groups])


def _check_rows(rows: pd.DataFrame, by: Sequence[str]) -> None:
    """Raise unless there are rows and each group answered each of its questions exactly once per seed."""
    if rows.empty:
        raise ValueError(
            "there are no answers to make a table from; run the evaluation first, or name its answers.jsonl"
        )
    by = list(by)
    groups = rows.groupby(by, sort=False)
    questions = rows.drop_duplicates([*by, *_QUESTION]).groupby(by, sort=False).size()
    whole = groups.size() == questions * groups["seed"].nunique()
    if whole.all() and not rows.duplicated([*by, *_QUESTION, "seed"]).any():
        return
    for key, group in groups:  # to say which question is wrong
        _check_each_question_once(key, group)


def _check_each_question_once(key: Hashable, group: pd.DataFrame) -> None:
    """Raise unless the group answered every question exactly once per seed."""
    counts = group.pivot_table(index=_QUESTION, columns="seed", values="correct", aggfunc="size", fill_value=0)
    uneven = counts[(counts != 1).any(axis=1)]
    if not uneven.empty:
        (kind, question), times = uneven.index[0], uneven.iloc[0].to_dict()
        said = ", ".join(f"{count} times under seed {seed}" for seed, count in times.items())
        raise ValueError(
            f"{'/'.join(map(str, key)) if isinstance(key, tuple) else key}: question {question!r} (type {kind}) was "
            f"answered {said}, and {len(uneven) - 1} more questions are affected; each question must be answered "
            f"exactly once per seed: {_remedy(group)}"
        )


def _remedy(group: pd.DataFrame) -> str:
    """The columns that set apart rows of a group which only look like repeated questions."""
    mixed = [
        name for name in ("protocol", "variant", "image", "answering") if group.get(name, pd.Series()).nunique() > 1
    ]
    if mixed:
        return f"these rows mix several values of {', '.join(mixed)}: select one, or also group by {mixed[0]}"
    return "finish the missing evaluation, and name each answers.jsonl only once"


def by_type(group: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of type 1, of type 2, and all rows, by the names of the table columns."""
    return {name: group[group["question_type"].isin(kinds)] for name, kinds in QUESTION_TYPES.items()}


def _unreadable(group: pd.DataFrame) -> dict[str, float]:
    return {f"unreadable_{name}": 100 * part["parsed"].isna().mean() for name, part in by_type(group).items()}


def _spread(group: pd.DataFrame) -> dict[str, float]:
    found: dict[str, float] = {"seeds": group["seed"].nunique()}
    for name, asked in by_type(group).items():
        each = 100 * asked.groupby("seed")["correct"].mean()
        found |= {name: each.mean(), f"{name}_sd": each.std(), f"{name}_min": each.min(), f"{name}_max": each.max()}
    return found
