"""The order of models, domains, modes and prompting strategies in every table and figure."""

import pandas as pd

from helpers.domains import domain_labels

_ORDER: dict[str, tuple[str, ...]] = {
    "model": ("qwen2_vl", "llava_next", "qwen2_vl_7b", "llava_next_7b"),
    "mode": (
        "base",
        "text_only",
        "printed",
        "hybrid",
        "image_text",
        "joint",
        *("options_described", "dictionary", "contrastive", "nearest_features", "nearest_pixels", "prior"),
        *("most_frequent_option", "longest_option"),
    ),
    "answering": (
        "direct",
        "describe_then_answer",
        "describe_then_answer_image_kept",
        "describe_then_answer_tuned",
        "one_pass_chain",
        "option_only",
    ),
    "image": ("with", "guided", "described", "other", "blank", "without", "named"),
}
_KEYS = ("model", "domain", "mode", "answering", "image")


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The table in that order; unknown values follow the known ones, alphabetically.

    Domains follow the order of their registration. Protocols and variants keep the order in which they appear, because
    a run's settings name the most important one first.
    """
    keys = [column for column in (*_KEYS, "seed") if column in table.columns]
    return table.sort_values(keys, key=_rank, kind="stable", ignore_index=True) if keys else table


def _rank(column: pd.Series) -> pd.Series:
    """Sort keys of a column; its name determines the order."""
    known = tuple(domain_labels()) if column.name == "domain" else _ORDER.get(str(column.name))
    if known is None:
        return column
    ranks = {value: f"{known.index(value):03}" if value in known else f"999{value}" for value in column.unique()}
    return column.map(ranks)
