"""A table or a record as a notebook shows it: words for keys, few digits, and a sentence in place of an empty table.

This is for display only. The CSV files keep the keys, all columns and all digits.
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from helpers.results.figures.style import label

DIGITS = 4  # significant digits: more would be noise with this many questions
SMALL_P = 0.001  # smaller p-values are shown as "< 0.001"

_LABELLED = ("model", "domain", "mode", "answering", "protocol", "image", "first", "second", "against")
_KEYS = (*_LABELLED, "variant", "seed", "question_type", "category", "class_id", "phase", "cause", "part", "hardware")
_HEADINGS = {  # headings that are not the column's name in words
    "mode": "training",
    "answering": "prompting",
    "class_id": "class",
    "question_type": "type",
    "type1": "Type 1 (%)",
    "type2": "Type 2 (%)",
    "overall": "overall (%)",
    "n_type1": "questions, Type 1",
    "n_type2": "questions, Type 2",
    "type1_sd": "SD",
    "type1_min": "lowest",
    "type1_max": "highest",
    "type1_difference": "difference (points)",
    "type1_p_holm": "p (Holm)",
    "type1_detectable": "detectable, Type 1",
    "type2_detectable": "detectable, Type 2",
    "reported_type1": "reported Type 1 (%)",
    "reported_type2": "reported Type 2 (%)",
    "reported_overall": "reported overall (%)",
    "accuracy": "accuracy (%)",
    "text_above": "text above (points)",
    "kappa": "Cohen's kappa",
    "difference": "difference (points)",
    "gain": "gain (points)",
    "p_value": "p",
    "p_holm": "p (Holm)",
    "seconds": "time (s)",
    "compute_seconds": "compute time (s)",
    "cpu_seconds": "CPU time (s)",
    "train_seconds": "training time (s)",
    "train_steps": "steps",
    "train_samples": "samples",
    "train_image_percent": "of these with image (%)",
    "peak_memory_mb": "peak memory (MB)",
    "memory_above_model_mb": "memory above the model (MB)",
    "energy_wh": "energy (Wh)",
    "energy_estimate_wh": "energy, estimated (Wh)",
    "cpu_wh": "CPU energy (Wh)",
    "ram_wh": "memory energy (Wh)",
    "gpu_wh": "GPU energy (Wh)",
    "carbon_g": "CO₂ (g)",
}
_SIGNED = {"difference", "gain", "above"}  # points above or below something: shown with a sign, as bytes are not


class Sentence(str):
    """What a cell shows instead of an empty table: prose without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__str__(self)

    def _repr_markdown_(self) -> str:
        return str.__str__(self)


def shown(
    table: "pd.DataFrame | pd.Series[Any]", empty: str = "There is nothing to show.", zero: str | None = None
) -> pd.DataFrame | Sentence:
    """`table` for a reader; a series is one record, shown with one field per line.

    Keys (model, mode ...) become words and move to the left, in the order of the columns. Columns without values are
    left out. An interval (`x_low`, `x_high`) follows its `x` in brackets. Numbers have at most four significant digits.
    ``empty`` replaces a table without rows or values; ``zero``, if given, replaces one whose numbers are all 0.
    """
    if isinstance(table, pd.Series):
        return _record(table)
    frame = table.reset_index() if any(table.index.names) else table
    keys = [column for column in frame.columns if column in _KEYS]
    values = frame.drop(columns=keys).dropna(axis="columns", how="all")
    if values.empty:
        return Sentence(empty)
    if zero is not None and not values.select_dtypes("number").fillna(0).to_numpy().any():
        return Sentence(zero)
    words = {key: [_key(key, value) for value in frame[key]] for key in keys} | _cells(values)
    named = pd.DataFrame({_heading(name, table.columns.name): column for name, column in words.items()})
    return named.set_index(list(named.columns[: len(keys) or 1]))


def labelled(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """`table` with the keys of these columns in words, for text made from it."""
    return table.assign(**{column: [_key(column, value) for value in table[column]] for column in columns})


def _record(record: "pd.Series[Any]") -> pd.DataFrame:
    lines = {_heading(name): _field(str(name), value) for name, value in record.items()}
    return pd.DataFrame({"": {name: words for name, words in lines.items() if words}})


def _field(name: str, value: Any) -> str:
    """One value of a record in words; empty if it was not recorded."""
    if isinstance(value, list | tuple):
        return "; ".join(_field(name, part) for part in value)
    if _missing(value):
        return ""
    return _key(name, value) if isinstance(value, str) else _column(name, pd.Series([value]))[0]


def _heading(name: Any, of: Any = None) -> str:
    """A column's name in words, with its unit; in a pivoted table, `of` is the key whose values are the columns."""
    text = str(name)
    return _HEADINGS.get(text) or (_in_words(text, label(text)) if of is None else _key(str(of), text))


def _key(name: str, value: Any) -> str:
    """A key in words: its label in the figures, or the key with spaces."""
    text = str(value)
    return _in_words(text, label(text)) if name in _LABELLED else text


def _in_words(key: str, words: str) -> str:
    return words if words != key else key.replace("_", " ")


def _cells(values: pd.DataFrame) -> dict[str, list[str]]:
    """Each column's cells as text; the ends of an interval go into the column that they belong to."""
    values, found, ends = values.rename(columns=str), {}, set[str]()
    for name in values.columns:
        low, high = ("low", "high") if name == "difference" else (f"{name}_low", f"{name}_high")
        if {low, high} <= set(values.columns):
            ends |= {low, high}
            every = _column(name, pd.concat([values[name], values[low], values[high]], ignore_index=True))
            parts = (every[start : start + len(values)] for start in range(0, len(every), len(values)))
            found[name] = [
                f"{at}\u00a0[{first},\u00a0{last}]" if at else "" for at, first, last in zip(*parts, strict=True)
            ]
        else:
            found[name] = _column(name, values[name])
    return {name: cells for name, cells in found.items() if name not in ends}


def _column(name: str, values: "pd.Series[Any]") -> list[str]:
    """A column's cells as text, all with the same number of decimals; a missing value is an empty cell."""
    if pd.api.types.is_bool_dtype(values):
        return ["yes" if value else "no" for value in values]
    if not pd.api.types.is_numeric_dtype(values):
        return ["" if _missing(value) else str(value) for value in values]
    numbers = [math.nan if pd.isna(value) else float(value) for value in values]
    if "p" in name.split("_"):
        return ["" if math.isnan(p) else f"{p:.3f}" if p >= SMALL_P else f"<\u00a0{SMALL_P}" for p in numbers]
    parts = set(name.split("_"))
    decimals, sign = _decimals(numbers), "+" if parts & _SIGNED and "memory" not in parts else ""
    return ["" if math.isnan(number) else _number(number, decimals, sign) for number in numbers]


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _decimals(numbers: Sequence[float]) -> int:
    """As many as give the largest number four significant digits, but no zeros at the end of every number."""
    finite = [number for number in numbers if math.isfinite(number)]
    largest = max(map(abs, finite), default=0.0)
    most = max(0, DIGITS - 1 - math.floor(math.log10(largest))) if largest else 0
    return next(d for d in range(most + 1) if d == most or all(round(n, d) == round(n, most) for n in finite))


def _number(number: float, decimals: int, sign: str = "") -> str:
    if number and abs(number) < 0.5 * 10**-decimals:
        return f"{number:{sign}.1g}"  # small compared with the rest of its column, but not zero
    if abs(number) >= 10**DIGITS:
        number = float(f"{number:.{DIGITS}g}")
    return f"{number:{sign},.{decimals}f}"
