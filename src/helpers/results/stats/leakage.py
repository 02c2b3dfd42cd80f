"""How much of a score needs the image, and how much was learned without it: MMStar's two measures.

Source: Chen et al. (2024), arXiv 2403.20330, section 3.3. Multi-modal gain = score with the image - score without it.
Multi-modal leakage = max(0, score without the image - score of the underlying language model). This project does not
have that language model. The untuned vision-language model without the image takes its place, so leakage is what *this*
training taught without needing an image.
"""

from collections.abc import Sequence

import pandas as pd

from helpers.results.stats.accuracy import QUESTION_TYPES, accuracy_table

BASE = "base"


def leakage_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`gain_*` and `leakage_*` in points, by question type, of each group that was asked with and without the image.

    `by` must contain `mode`. Leakage is nan if the untuned model was not asked without the image.
    """
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
