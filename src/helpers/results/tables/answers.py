"""The saved answers, one row a question, way of answering and protocol: read, checked, selected."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import MAIN
from helpers.results.tables.order import ORDER, in_order

ANSWER_COLUMNS = (
    *("model", "domain", "mode", "variant", "seed", "image", "answering", "protocol"),
    *("question_id", "question_type", "category", "picture", "class_id", "prompt_hash"),
    *("options", "answer", "scores", "description", "named", "reply", "parsed", "correct", "new_tokens"),
)
_NEEDED = frozenset(ANSWER_COLUMNS)


def read_answers(paths: Iterable[str | Path]) -> pd.DataFrame:
    """All rows of some `answers.jsonl` files, checked and in order; no files give an empty table with the columns."""
    frames = [_read_answers_file(Path(path)) for path in paths]
    return in_order(pd.concat(frames)) if frames else pd.DataFrame(columns=list(ANSWER_COLUMNS))


def of_variant(rows: pd.DataFrame, variant: str = MAIN) -> pd.DataFrame:
    """The rows of one variant: the paper's tables show the profile as it stands, and no ablation beside it."""
    kept = rows[rows["variant"] == variant]
    if kept.empty and len(rows):
        raise ValueError(
            f"no answer is of variant {variant!r}; there are {', '.join(map(repr, rows['variant'].unique()))}"
        )
    return kept.reset_index(drop=True)


def of_protocol(rows: pd.DataFrame, protocol: str | None = None) -> pd.DataFrame:
    """The rows read by one protocol; None: by the first of each variant, which is the one that its settings name first.

    A table mixes no protocols: the same answers read in two ways are two accuracies.
    """
    wanted = protocol if protocol is not None else rows.groupby("variant")["protocol"].transform("first")
    kept = rows[rows["protocol"] == wanted]
    if kept.empty and len(rows):
        raise ValueError(
            f"no answer was read by {protocol!r}; the protocols are {', '.join(rows['protocol'].unique())}"
        )
    return kept.reset_index(drop=True)


def _read_answers_file(path: Path) -> pd.DataFrame:
    rows = pd.DataFrame(_rows(path, _lines(path)))
    if rows.empty:
        raise ValueError(f"{path} holds no answers; delete it and run its evaluation again")
    rows = rows.astype({"parsed": "Int64"})  # the integers that can be missing: a reply may be unreadable
    _refuse(path, ~rows["question_type"].isin((1, 2)), rows["question_type"], "1 (recognition) or 2 (reasoning)")
    known = "one of " + ", ".join(map(repr, ORDER["image"]))
    _refuse(path, ~rows["image"].isin(ORDER["image"]), rows["image"], known)
    right = (rows["parsed"] == rows["answer"]).fillna(False)  # an unreadable reply is wrong
    _refuse(path, rows["correct"] != right, rows["correct"], "true exactly when parsed equals answer")
    return rows


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run the evaluation that writes it, or correct the name")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); delete the file and run its evaluation again") from error
    return [line for line in text.split("\n") if line.strip()]  # splitlines would cut at signs within a reply


def _rows(path: Path, lines: Sequence[str]) -> list[dict[str, Any]]:
    try:  # all at once takes half the time; one by one finds the bad one
        rows = json.loads(f"[{','.join(lines)}]")
        if len(rows) == len(lines) and all(isinstance(row, dict) and row.keys() >= _NEEDED for row in rows):
            return rows
    except json.JSONDecodeError:
        pass
    return [_row(path, number, line) for number, line in enumerate(lines, start=1)]


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, row {number} is not JSON ({error}); delete the file and run it again") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path}, row {number} is {line[:80]}; a row of answers is an object with named fields")
    if not row.keys() >= _NEEDED:
        missing = [column for column in ANSWER_COLUMNS if column not in row]
        raise ValueError(f"{path}, row {number} lacks {', '.join(missing)}; a row of answers has all of them")
    return row


def _refuse(path: Path, bad: pd.Series, values: pd.Series, rule: str) -> None:
    """Raise for the first row that is marked bad, naming the file, the row, the value and the rule."""
    if bad.any():
        at = int(bad.idxmax())
        raise ValueError(f"{path}, row {at + 1}: {values.name} is {values[at]!r}; it must be {rule}")
