"""The one order in which models, domains, modes and ways of asking come in every table and figure."""

import pandas as pd

from helpers.domains import domain_labels

_ORDER: dict[str, tuple[str, ...]] = {
    "model": ("qwen2_vl", "llava_next", "qwen2_vl_7b", "llava_next_7b"),
    "mode": ("base", "text_only", "printed", "hybrid", "image_text"),
    "answering": ("direct", "describe", "describe_tuned"),
    "image": ("with", "guided", "described", "other", "blank", "without"),
}
_KEYS = ("model", "domain", "mode", "answering", "image")


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The table in the one order; a value that it does not know comes after those it knows, alphabetically.

    Domains come as their sources are registered. Protocols and variants keep the order in which they appear: a run's settings name the important one first.
    """
    keys = [column for column in (*_KEYS, "seed") if column in table.columns]
    return table.sort_values(keys, key=_rank, kind="stable", ignore_index=True) if keys else table


def _rank(column: pd.Series) -> pd.Series:
    """`column` as sort keys; its name says which order applies."""
    known = tuple(domain_labels()) if column.name == "domain" else _ORDER.get(str(column.name))
    if known is None:
        return column
    ranks = {value: f"{known.index(value):03}" if value in known else f"999{value}" for value in column.unique()}
    return column.map(ranks)
