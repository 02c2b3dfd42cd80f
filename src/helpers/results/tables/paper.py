"""Tables 1 and 2, and our numbers beside the reported numbers."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.results.stats.accuracy import ACCURACY_COLUMNS, accuracy_table
from helpers.results.tables.answers import of_protocol, of_variant
from helpers.results.tables.order import in_order

GROUP = ("model", "domain", "mode", "answering")
REPORTED_COLUMNS = ("model", "domain", "mode", "image", "type1", "type2", "overall", "source")

# The names of our models and domains in data/reported.csv. Both of our Korean domains match the paper's.
PAPER_NAMES = {
    "qwen2_vl": "Qwen2-VL-7B",
    "llava_next": "LLaVA-1.6-7B",
    "qwen2_vl_7b": "Qwen2-VL-7B",
    "llava_next_7b": "LLaVA-1.6-7B",
    "butterfly": "BUTTERFLY",
    "culture": "K-VISCUIT",
    "kviscuit": "K-VISCUIT",
}


def table1(rows: pd.DataFrame, protocol: str | None = None, baselines: pd.DataFrame | None = None) -> pd.DataFrame:
    """The paper's Table 1: accuracy with the image shown, one row per model, domain, mode and prompting strategy.

    Only the unchanged profile counts (variant `main`), read by one protocol; None: the first in the rows. The rows of
    ``baselines`` (notebook 12) follow those of their model.
    """
    rows = of_protocol(of_variant(rows), protocol)
    rows = rows[rows["image"] == "with"]
    if baselines is not None and len(baselines):
        rows = pd.concat([rows, baselines], ignore_index=True)
    return _accuracies(rows, (*GROUP, "protocol"))


def table2(rows_with: pd.DataFrame, rows_without: pd.DataFrame, protocol: str | None = None) -> pd.DataFrame:
    """The paper's Table 2: the image withheld, beside the same runs with the image, by one protocol as in Table 1.

    With the true name in place of the image, where that was asked: the ceiling of Type 2. Runs that were never
    evaluated without the image are omitted; without any ablation the table is empty.
    """
    by = (*GROUP, "protocol", "image")
    without = of_variant(rows_without[rows_without["image"].isin(("without", "named"))])
    if without.empty:
        return pd.DataFrame(columns=[*by, *ACCURACY_COLUMNS])
    shown = of_protocol(of_variant(rows_with[rows_with["image"] == "with"]), protocol)
    without = of_protocol(without, shown["protocol"].iloc[0])
    asked = set(without.loc[without["image"] == "without", list(GROUP)].itertuples(index=False, name=None))
    partners = [key in asked for key in shown[list(GROUP)].itertuples(index=False, name=None)]
    return _accuracies(pd.concat([shown[partners], without], ignore_index=True), by)


def _accuracies(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    table = in_order(accuracy_table(rows, by)).round(1)
    asked_both = (table["n_type1"] > 0) & (table["n_type2"] > 0)
    overall = ["overall", "overall_low", "overall_high"]
    table[overall] = table[overall].where(asked_both | ~asked_both.any())  # one type alone is no overall beside both
    return table


def read_reported(path: Path) -> pd.DataFrame:
    """The numbers that the paper reports (`data/reported.csv`); unknown cells are empty."""
    reported = pd.read_csv(path)
    if missing := [column for column in REPORTED_COLUMNS if column not in reported.columns]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; its header is {','.join(REPORTED_COLUMNS)}")
    numbers = reported[["type1", "type2", "overall"]].astype(float)
    if ((numbers < 0) | (numbers > 100)).any(axis=None):
        raise ValueError(f"{path} has a number outside 0..100; accuracies are in percent, and unknown cells are empty")
    return reported


def comparison(table: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Table 1 or 2 beside the reported numbers of the same model family, domain and mode; unknown cells are empty.

    The paper asks directly, so a describe-then-answer row has no counterpart. In the demo the two sides are different
    models in different worlds: the order of the modes can be compared, the numbers cannot.
    """
    ours = table if "image" in table.columns else table.assign(image="with")
    ours = ours[[*GROUP, "image", "type1", "type2", "overall"]]
    names = {"model": ours["model"].map(PAPER_NAMES), "domain": ours["domain"].map(PAPER_NAMES)}
    keys = ours.assign(**names).where(ours["answering"] == "direct")[["model", "domain", "mode", "image"]]
    theirs = reported[list(REPORTED_COLUMNS)].drop_duplicates(["model", "domain", "mode", "image"])
    matched = keys.merge(theirs, how="left", on=["model", "domain", "mode", "image"])
    matched = matched[["model", "domain", "type1", "type2", "overall", "source"]].add_prefix("reported_")
    return pd.concat([ours.reset_index(drop=True), matched], axis=1)
