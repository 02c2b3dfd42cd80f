"""Which wrong class is named instead of the right one, and whether it is the one that looks most like it.

A model that has understood the looks but is not sure of them errs towards look-alikes; one that guesses does not.
"""

from collections.abc import Sequence

import pandas as pd


def confusion_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Wrong readings of Type 1, most frequent first: `right` and `chosen` (the options in words), how often (over all
    seeds), and the percent of the times that the two stood in one question."""
    offered = _wrong_options(rows, by)
    keys = [*by, "right", "option"]
    counted = offered.groupby(keys, sort=False)["chosen"].agg(times="sum", offered="size").reset_index()
    counted = counted[counted["times"] > 0].assign(share=lambda table: 100 * table["times"] / table["offered"])
    ordered = counted.sort_values("times", ascending=False, kind="stable", ignore_index=True)
    return ordered.rename(columns={"option": "chosen"})


def look_alike_table(rows: pd.DataFrame, by: Sequence[str], looks: pd.DataFrame) -> pd.DataFrame:
    """By the number of parts in which a wrong option's look `differs` from the right one's (Type 1): how often such an
    option was `offered`, how often it was `chosen`, and the percent `share`. A guess gives one share to all.

    `looks`: one row a class, indexed by its name as in the options, one column a part. Options without a look there
    are left out.
    """
    offered = _wrong_options(rows, by)
    known = offered[offered["right"].isin(looks.index) & offered["option"].isin(looks.index)]
    right, option = (looks.loc[known[side]].to_numpy() for side in ("right", "option"))
    counted = known.assign(differs=(right != option).sum(axis=1)).groupby([*by, "differs"])["chosen"]
    table = counted.agg(offered="size", chosen="sum").reset_index()
    return table.assign(share=100 * table["chosen"] / table["offered"])


def _wrong_options(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row a wrong option of each Type-1 answer: what was right, what stood there, and whether it was chosen."""
    asked = rows[rows["question_type"] == 1]
    right = [options[answer] for options, answer in zip(asked["options"], asked["answer"], strict=True)]
    chosen = [
        None if pd.isna(parsed) else options[int(parsed)]
        for options, parsed in zip(asked["options"], asked["parsed"], strict=True)
    ]
    known = asked[list(by)].assign(right=right, read=chosen, option=list(asked["options"]))
    each = known.explode("option", ignore_index=True)
    each = each[each["option"] != each["right"]]
    return each.assign(chosen=(each["read"] == each["option"]).astype(int)).drop(columns="read")
