"""Tables of the study with photographs: accuracy by text with its interval, what a text is worth, accuracy by class.

The rows are those of `helpers.photographs.study.photograph_rows`; a column `set` keeps several sets apart.
"""

import pandas as pd

from helpers.photographs.study import SHUFFLED, worth
from helpers.results.stats.bootstrap import resampled_interval

BY_EXAMPLE = "photographs"  # the text of rows that have none


def accuracy_by_text(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per set, text and number of example photographs, in percent.

    `accuracy` is the mean over photographs and splits, `sd` the deviation of the splits' means, `n` the number of
    photographs of unseen classes per split, `classes` how many classes were ever unseen. The interval (95 %) resamples
    whole classes, each with all its photographs: those of one class are right or wrong together.
    """
    found = []
    for (name, text, count), group in _with_set(rows).groupby(["set", "text", "photographs"], sort=False):
        each = group.groupby("split")["right"].agg(["mean", "size"])
        low, high = resampled_interval(group["right"], group["class"])
        found.append(
            {
                "set": name,
                "text": text,
                "photographs": count,
                "accuracy": 100 * group["right"].mean(),
                "sd": 100 * each["mean"].std(),
                "accuracy_low": 100 * low,
                "accuracy_high": 100 * high,
                "n": round(each["size"].mean()),
                "classes": group["class"].nunique(),
                "splits": len(each),
            }
        )
    return pd.DataFrame(found)


def accuracy_by_class(rows: pd.DataFrame) -> pd.DataFrame:
    """The accuracy on each class while it was unseen, the worst first: set, text, class, n (photographs), accuracy."""
    groups = _with_set(rows).groupby(["set", "text", "class"], sort=False)
    table = groups.agg(n=("photograph", "nunique"), accuracy=("right", "mean")).reset_index()
    table["accuracy"] *= 100
    return table.sort_values(["set", "text", "accuracy"], kind="stable", ignore_index=True)


def worth_table(table: pd.DataFrame) -> pd.DataFrame:
    """How many photographs per class each text but a control is worth, by the set's own curve in `accuracy_by_text`."""
    found = []
    for name, group in table.groupby("set", sort=False):
        shown = group[group["text"] == BY_EXAMPLE]
        curve = dict(zip(shown["photographs"].astype(int), shown["accuracy"], strict=True))
        controls = group["text"].str.contains(SHUFFLED, regex=False)
        texts = group[(group["text"] != BY_EXAMPLE) & ~controls] if curve else group[:0]
        found += [
            {"set": name, "text": text, "accuracy": value, "photographs_worth": worth(curve, value)}
            for text, value in zip(texts["text"], texts["accuracy"], strict=True)
        ]
    return pd.DataFrame(found, columns=["set", "text", "accuracy", "photographs_worth"])


def _with_set(rows: pd.DataFrame) -> pd.DataFrame:
    return rows if "set" in rows else rows.assign(set="photographs")
