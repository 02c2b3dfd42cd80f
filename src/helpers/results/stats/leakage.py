"""How much of a score needs the picture, and how much was learnt without it: MMStar's two measures.

Source: Chen et al. (2024), arXiv 2403.20330, section 3.3. Multi-modal gain = score with the picture - score without.
Multi-modal leakage = max(0, score without the picture - score of the language model that it was built on). That bare
language model is not part of this project; its place is taken by the untuned vision-language model with the picture
withheld, so that leakage is what *this* training taught without any picture.
"""

from collections.abc import Sequence

import pandas as pd

from helpers.results.stats.accuracy import QUESTION_TYPES, accuracy_table

BASE = "base"


def leakage_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """For each group of `by` (which names `mode`) that was asked with and without the picture: by type, in points,
    `gain_*` and `leakage_*` (nan where the untuned model was not asked without the picture)."""
    columns = [*by, *(f"{measure}_{name}" for name in QUESTION_TYPES for measure in ("gain", "leakage"))]
    asked = rows[rows["image"].isin(("with", "without"))]
    if set(asked["image"]) != {"with", "without"}:
        return pd.DataFrame(columns=columns)
    scores = accuracy_table(asked, [*by, "image"])
    shown, withheld = (scores[scores["image"] == image] for image in ("with", "without"))
    both = shown.merge(withheld, on=list(by), suffixes=("", "_without"))
    others = [name for name in by if name != "mode"]
    bare = withheld[withheld["mode"] == BASE][[*others, *QUESTION_TYPES]].rename(
        columns={name: f"{name}_bare" for name in QUESTION_TYPES}
    )
    both = both.merge(bare, on=others, how="left")
    for name in QUESTION_TYPES:
        both[f"gain_{name}"] = both[name] - both[f"{name}_without"]
        both[f"leakage_{name}"] = (both[f"{name}_without"] - both[f"{name}_bare"]).clip(lower=0)
    return both[columns]
