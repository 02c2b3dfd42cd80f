"""The appearance of the drawn domains' classes, to find out whether a wrong answer is a look-alike."""

from collections.abc import Sequence

import pandas as pd

from helpers.results.stats.confusion import look_alike_table
from helpers.synthetic.appearances import FACTS_TABLES, VOCABULARIES


def read_drawn_appearances(domain: str) -> pd.DataFrame | None:
    """One row per class, indexed by name, one column per visual part; None if no table describes the domain."""
    if domain not in FACTS_TABLES:
        return None
    classes = pd.read_csv(FACTS_TABLES[domain], index_col="name", keep_default_na=False)
    return classes[list(VOCABULARIES[domain].parts)]


def look_alikes(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`look_alike_table` of every domain whose appearance a table describes; empty if there is none."""
    appearances = {str(domain): read_drawn_appearances(str(domain)) for domain in rows["domain"].unique()}
    known = [
        look_alike_table(rows[rows["domain"] == name], by, appearance)
        for name, appearance in appearances.items()
        if appearance is not None
    ]
    columns = [*by, "differs", "offered", "chosen", "share"]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=columns)
