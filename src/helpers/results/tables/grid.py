"""A grid of variants as one table: each variant's accuracies, costs, and difference from the reference variant.

A variant is defined by the settings in which it differs from its profile. Settings that all variants of a grid share do
not count: the variant without any other difference is the reference.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import MAIN
from helpers.results.stats.accuracy import accuracy_table, wilson
from helpers.results.stats.paired import difference_table
from helpers.results.tables.answers import SameQuestions, of_protocol
from helpers.results.tables.files import rounded
from helpers.results.tables.order import in_order
from helpers.rows import iterate_rows
from helpers.schemas import AnswerRow

_Overrides = Mapping[str, Any]

RETENTION_COLUMNS = (
    *("model", "domain", "mode", "variant", "seed", "protocol", "category", "correct"),
    *("image", "answering", "question_type", "question_id", "class_id", "image_path"),
)
_KINDS = {"type1": 1, "type2": 2}
DIFFERENCES = {
    "difference": "difference",
    "low": "difference_low",
    "high": "difference_high",
    "detectable": "detectable",
    "p_value": "p",
    "p_holm": "p_holm",
}
_TRAINING = {
    "seconds": "train_seconds",
    "steps": "train_steps",
    "different_samples": "train_samples",
    "image_percent": "train_image_percent",
}  # fields of `resources.json`, and their columns
NAMED = 12  # differences that the summary lists
_RUN = ["variant", "model", "domain", "mode"]


@dataclass(frozen=True)
class Variant:
    """A variant, with the name that tables and figures show."""

    name: str
    reference: bool = False
    settings: _Overrides = field(default_factory=dict)  # how it differs from the others in its grid
    overrides: _Overrides | None = None  # how it differs from the profile; None: unknown
    x: float | None = None  # its value on the grid's numeric axis


def name_variants(
    variants: Mapping[str, _Overrides],
    defaults: _Overrides | None = None,
    x: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Variant]:
    """The variant of each key in the rows.

    Keys with the same differences are one variant, because a run's key can differ between its steps. `defaults` are the
    profile's own values of the settings that vary. `x` is a setting, in full (`training.lora_rank`) or only its last
    part. `labels` names variants by key where the settings in words are not enough.
    """
    defaults, labels = defaults or {}, labels or {}
    every = variants.values()
    shared = {
        n for n, value in next(iter(every), {}).items() if all(n in other and other[n] == value for other in every)
    }
    own = {
        key: {name: value for name, value in overrides.items() if key != MAIN and name not in shared}
        for key, overrides in variants.items()
    }
    varying = sorted({name for settings in own.values() for name in settings})
    names: dict[str, str] = {}
    found = {}
    for key, settings in own.items():
        words = labels.get(key) or _name(settings, defaults, varying)
        name = names.setdefault(json.dumps(settings, sort_keys=True), words)
        found[key] = Variant(name, not settings, settings, variants[key], _place(settings, defaults, x))
    return found


def _name(settings: _Overrides, defaults: _Overrides, varying: Sequence[str]) -> str:
    """The variant in words; the reference gives its own value if exactly one setting varies."""
    if settings:
        return ", ".join(_words(name, value) for name, value in settings.items())
    if len(varying) == 1 and varying[0] in defaults:
        return f"{_words(varying[0], defaults[varying[0]])} ({MAIN})"
    return MAIN


def _words(name: str, value: Any) -> str:
    """A setting in words: "lora rank 4", "shuffled", "not shuffled"; of a text or list, only the value."""
    short = name.rpartition(".")[2].replace("_", " ")
    if isinstance(value, bool):
        return short if value else f"not {short}"
    if isinstance(value, list | tuple):
        return " + ".join(str(part).replace("_", " ") for part in value) or f"no {short}"
    return value.replace("_", " ") if isinstance(value, str) else f"{short} {value:g}"


def _place(settings: _Overrides, defaults: _Overrides, x: str | None) -> float | None:
    values = {**defaults, **settings}
    at = next((value for name, value in values.items() if x in (name, name.rpartition(".")[2])), None)
    return float(at) if isinstance(at, int | float) and not isinstance(at, bool) else None


def read_retention(paths: Iterable[str | Path], protocol: str | None = None) -> pd.DataFrame:
    """The rows of some `retention_answers.jsonl` files: does an old ability (`category`) survive training?

    The rows are of one protocol, as selected by `of_protocol`. Raises ``ValueError`` as `SameQuestions` does.
    """
    same, found = SameQuestions(), []
    for path in map(Path, paths):
        for row in iterate_rows(path, AnswerRow):
            same.check(row, path)
            found.append(vars(row))
    return of_protocol(pd.DataFrame(found, columns=list(RETENTION_COLUMNS)), protocol)


def grid_table(
    rows: pd.DataFrame,
    resources: pd.DataFrame,
    retention: pd.DataFrame,
    variants: Mapping[str, Variant],
    facets: Sequence[str] = (),
) -> pd.DataFrame:
    """One row per variant, model, domain, mode, image state and prompting strategy (and value of each facet).

    Columns: `reference`, `settings` (JSON) and `x` of the variant; accuracies with Wilson's intervals and n as in Table
    1; generated `tokens` per question; `type1_difference` and so on, in points above the reference on the same
    questions, with its bootstrap interval, the smallest detectable difference, McNemar's p, and p after Holm's
    correction over all differences of the table; seconds and steps of training, how many different samples it had, and
    the share of these with an image (`train_*`); one `retention_*` per old ability. What was not measured is empty.

    `rows` have one protocol per variant. A variant that is not in `variants` is named by its key.
    """
    known = {key: variants.get(key, Variant(key, key == MAIN)) for key in rows["variant"].unique()}
    named = renamed(rows, known)
    by = ["variant", "model", "domain", *facets, "mode", "image", "answering"]
    table = accuracy_table(named, [*by, "protocol"])
    tokens = named.groupby(by)["new_tokens"].mean().rename("tokens").reset_index()
    table = _joined(table, tokens, by)
    for part in _differences(named, by, known):
        table = _joined(table, part, by)
    table = _joined(table, _training(rows, resources, known), _RUN)
    table = _joined(table, _retained(renamed(retention, known)), _RUN)
    return _arranged(table, known)


def renamed(rows: pd.DataFrame, known: Mapping[str, Variant]) -> pd.DataFrame:
    """The rows with their variants' names in place of the keys, and each variant's place ``x`` on a numeric axis."""
    names = {key: variant.name for key, variant in known.items()}
    places = {key: variant.x for key, variant in known.items()}
    keys = rows["variant"]
    return rows.assign(variant=keys.map(lambda key: names.get(key, key)), x=keys.map(places))


def _joined(table: pd.DataFrame, part: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The table with the part's columns. They are empty if the part has no rows, and so no types to merge on."""
    if part.empty:
        return table.assign(**{column: math.nan for column in part.columns if column not in by})
    return table.merge(part, on=list(by), how="left")


def _differences(rows: pd.DataFrame, by: Sequence[str], known: Mapping[str, Variant]) -> list[pd.DataFrame]:
    """The differences from the reference, one table per question type, with the grid's column names."""
    references = {variant.name for variant in known.values() if variant.reference}
    column, reference = compared(rows.assign(reference=rows["variant"].isin(references)))
    pairs = [(reference, name) for name in rows[column].unique() if reference not in (None, name)]
    fixed = [name for name in by if name != column]
    found = difference_table(rows, fixed, pairs, column).rename(columns={"second": column})
    parts = []
    for kind, number in _KINDS.items():
        columns = {old: f"{kind}_{new}" for old, new in DIFFERENCES.items()}
        parts.append(found[found["question_type"] == number][[*by, *DIFFERENCES]].rename(columns=columns))
    return parts


def _training(rows: pd.DataFrame, resources: pd.DataFrame, known: Mapping[str, Variant]) -> pd.DataFrame:
    """What training took and saw, by variant and mode (means over the seeds); variants may share a training run."""
    pairs = rows[["variant", "mode"]].drop_duplicates().itertuples(index=False, name=None)
    trained = [(known[key].name, mode, *_trained_as(key, mode, known[key])) for key, mode in pairs]
    measured = resources.reindex(columns=[*_RUN, *_TRAINING]).groupby(_RUN).mean().rename(columns=_TRAINING)
    measured = measured.reset_index().rename(columns={"variant": "key", "mode": "trained"})
    names = pd.DataFrame(trained, columns=["variant", "mode", "trained", "key"])
    return names.merge(measured, on=["key", "trained"])[[*_RUN, *_TRAINING.values()]].drop_duplicates(_RUN)


def _trained_as(key: str, mode: str, variant: Variant) -> tuple[str, str]:
    """The mode and key of the training run. Settings of the evaluation are not part of that key."""
    from helpers.config import grids

    if variant.overrides is None:
        return mode, key
    mode, overrides = grids.at("training", mode, variant.overrides)
    return mode, grids.key(overrides)


def _retained(retention: pd.DataFrame) -> pd.DataFrame:
    """Accuracy per old ability in percent, with Wilson's interval; n is the number of questions, as everywhere."""
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for (*run, category), group in retention.groupby([*_RUN, "category"]):
        n = len(group) // group["seed"].nunique()
        low, high = wilson(group["correct"].mean(), n)
        name = f"retention_{category}"
        numbers = {name: 100 * group["correct"].mean(), f"{name}_low": 100 * low, f"{name}_high": 100 * high}
        found.setdefault(tuple(run), {}).update({f"n_{name}": n, **numbers})
    return pd.DataFrame([dict(zip(_RUN, run, strict=True)) | numbers for run, numbers in found.items()])


def _arranged(table: pd.DataFrame, known: Mapping[str, Variant]) -> pd.DataFrame:
    """The rounded table in the usual order, then by x or in the grid's order of variants."""
    named = {variant.name: variant for variant in reversed(list(known.values()))}
    variants = [named[name] for name in table["variant"]]
    table.insert(1, "reference", [variant.reference for variant in variants])
    table.insert(2, "settings", [json.dumps(variant.settings, sort_keys=True) for variant in variants])
    table.insert(3, "x", pd.Series([variant.x for variant in variants], dtype=float))
    order = [variant.name for variant in known.values()]
    table = table.sort_values("variant", key=lambda names: names.map(order.index), kind="stable")
    return rounded(in_order(table.sort_values("x", kind="stable")))


def compared(table: pd.DataFrame) -> tuple[str, str | None]:
    """The compared column and its reference value: the variant or, if there is only one, the image state."""
    if table["variant"].nunique() == 1 and table["image"].nunique() > 1:
        return "image", "with" if "with" in set(table["image"]) else None
    return "variant", next(iter(table.loc[table["reference"], "variant"]), None)


def grid_reading(table: pd.DataFrame) -> str:
    """The grid in one paragraph: the differences from the reference whose interval excludes zero, largest first."""
    long = pd.concat([_of_kind(table, kind) for kind in _KINDS], ignore_index=True).dropna(subset="low")
    if long.empty:
        return "No variant could be compared: this grid has no reference, or the reference answered other questions."
    subject, reference = compared(table)
    clear = long[(long["low"] > 0) | (long["high"] < 0)]
    clear = clear.sort_values("difference", key=abs, ascending=False, kind="stable")
    said = f"Differences from “{reference}” ({subject}) whose 95 % interval excludes zero: {len(clear)} of {len(long)}"
    if len(clear):
        names = [name for name in ("model", "domain", "mode", "image", "answering") if name != subject]
        varying = [name for name in names if table[name].nunique() > 1]
        items = [_item(row, subject, varying) for _, row in clear.head(NAMED).iterrows()]
        rest = [f"and {len(clear) - NAMED} more"] if len(clear) > NAMED else []
        said += f", {(clear['p_holm'] < 0.05).sum()} of them with p < 0.05 after Holm's correction: " + "; ".join(
            [*items, *rest]
        )
    unclear = long.drop(clear.index)["detectable"].dropna()
    if len(unclear):
        said += ". The others are inconclusive: the power to detect a true difference is below 80 % for differences "
        said += f"below {' to '.join(dict.fromkeys(f'{end:.0f}' for end in (unclear.min(), unclear.max())))} points"
    return said + "."


def _of_kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    short = {f"{kind}_difference": "difference", f"{kind}_difference_low": "low", f"{kind}_difference_high": "high"}
    short |= {f"{kind}_detectable": "detectable", f"{kind}_p_holm": "p_holm"}
    names = ["variant", "model", "domain", "mode", "image", "answering"]
    return table[[*names, *short]].rename(columns=short).assign(kind=f"Type {_KINDS[kind]}")


def _item(row: pd.Series, subject: str, varying: Sequence[str]) -> str:
    where = ", ".join([*(str(row[name]).replace("_", " ") for name in varying), row["kind"]])
    return f"{row[subject]} ({where}) {row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
