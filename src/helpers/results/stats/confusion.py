"""Which wrong class is chosen instead of the right one, and whether it looks like it.

A model that has learned the classes' appearance but is unsure confuses look-alikes; a model that guesses does not.
"""

from collections.abc import Sequence

import pandas as pd


def confusion_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Wrong Type-1 answers, most frequent first: the `right` and the `chosen` option, how often (`times`, over all
    seeds), how often both were `offered` together, and the `share` of the former in the latter in percent."""
    offered = _wrong_options(rows, by)
    keys = [*by, "right", "option"]
    counted = offered.groupby(keys, sort=False)["chosen"].agg(times="sum", offered="size").reset_index()
    counted = counted[counted["times"] > 0].assign(share=lambda table: 100 * table["times"] / table["offered"])
    ordered = counted.sort_values("times", ascending=False, kind="stable", ignore_index=True)
    return ordered.rename(columns={"option": "chosen"})


def look_alike_table(rows: pd.DataFrame, by: Sequence[str], appearances: pd.DataFrame) -> pd.DataFrame:
    """Type-1 answers by the number of parts in which a wrong option's appearance `differs` from that of the right one.

    Columns: how often such an option was `offered`, how often it was `chosen`, and the `share` in percent. Guessing
    gives equal shares. `appearances` has one row per class, indexed by its name as in the options, and one column per part.
    Options that are not in it are left out.
    """
    offered = _wrong_options(rows, by)
    known = offered[offered["right"].isin(appearances.index) & offered["option"].isin(appearances.index)]
    right, option = (appearances.loc[known[side]].to_numpy() for side in ("right", "option"))
    counted = known.assign(differs=(right != option).sum(axis=1)).groupby([*by, "differs"])["chosen"]
    table = counted.agg(offered="size", chosen="sum").reset_index()
    return table.assign(share=100 * table["chosen"] / table["offered"])


def _wrong_options(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row per Type-1 answer and wrong option: the right option, the wrong one, and whether it was chosen."""
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
