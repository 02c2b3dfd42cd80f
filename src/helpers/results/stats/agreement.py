"""Whether two protocols read the same answers from a model: the share of equal answers, and Cohen's kappa.

First-token probabilities and generated text can disagree on most questions, so an accuracy means little without its
protocol. Source: Cohen (1960), Educational and Psychological Measurement 20, 37-46.
"""

import itertools
import math
from collections.abc import Sequence

import pandas as pd

UNREADABLE = -1  # counts as a reading: two protocols agree if neither can read a reply
OTHER_FORM = "alternative_parsed"  # the reading by letters with a leading space if the first was without, or vice versa
AGREEMENT_COLUMNS = ("first", "second", "n", "same", "kappa", "accuracy_first", "accuracy_second")


def agreement_table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Agreement of each two protocols, per group; a group with one protocol has no row.

    Columns: `n` answers (questions times seeds) read by both, the percentage in which both read the `same` option,
    `kappa` (that share beyond chance; nan if both always read one option), and both accuracies in percent. Letters that
    were read in two forms, with and without a leading space, count as two protocols.
    """
    found = []
    for key, group in rows.groupby(list(by), sort=False):
        readings: dict[str, pd.DataFrame] = {}
        for protocol, part in group.groupby("protocol", sort=False):
            readings[str(protocol)] = _readings(part)
            if OTHER_FORM in part and len(again := part[part[OTHER_FORM].notna()]):
                other = again.assign(parsed=again[OTHER_FORM], correct=again[OTHER_FORM] == again["answer"])
                readings[f"{protocol}, other form"] = _readings(other)
        for first, second in itertools.combinations(readings, 2):
            names = dict(zip(by, key, strict=True)) | {"first": first, "second": second}
            found.append(names | _agreement(readings[first], readings[second]))
    return pd.DataFrame(found, columns=[*by, *AGREEMENT_COLUMNS])


def _readings(rows: pd.DataFrame) -> pd.DataFrame:
    indexed = rows.set_index(["question_type", "question_id", "seed"])
    return indexed.assign(parsed=indexed["parsed"].fillna(UNREADABLE).astype(int))[["parsed", "correct"]]


def _agreement(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, float]:
    both = first.merge(second, left_index=True, right_index=True, suffixes=("_first", "_second"))
    accuracies = {f"accuracy_{side}": 100 * both[f"correct_{side}"].mean() for side in ("first", "second")}
    same = 100 * (both["parsed_first"] == both["parsed_second"]).mean()
    return {"n": len(both), "same": same, "kappa": kappa(both["parsed_first"], both["parsed_second"])} | accuracies


def kappa(first: pd.Series, second: pd.Series) -> float:
    """Cohen's kappa of two readings of the same answers; nan if both always read the same single option."""
    from statsmodels.stats.inter_rater import cohens_kappa

    values = sorted(set(first) | set(second))
    if len(values) < 2:
        return math.nan
    counts = pd.crosstab(first, second).reindex(index=values, columns=values, fill_value=0)
    return float(cohens_kappa(counts.to_numpy(), return_results=False))
