"""Read, check and select the saved answers: one row per question, prompting strategy, image state and protocol."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from helpers.paths import MAIN
from helpers.results.tables.order import in_order
from helpers.rows import read_rows
from helpers.schemas import AnswerRow

ANSWER_COLUMNS = tuple(name for name, field in AnswerRow.model_fields.items() if field.is_required())
_OPTIONAL = [name for name, field in AnswerRow.model_fields.items() if not field.is_required()]


def read_answers(paths: Iterable[str | Path]) -> pd.DataFrame:
    """All rows of some `answers.jsonl` files, in order; without files, an empty table with the columns.

    Raises ``ValueError`` for a row that is not a `helpers.schemas.AnswerRow`, for a file without rows, and as
    `SameQuestions` does. Warns of questions that were left out.
    """
    frames: list[pd.DataFrame] = []
    same = SameQuestions()
    for path in map(Path, paths):
        rows = read_rows(path, AnswerRow)
        if not rows:
            raise ValueError(f"{path} has no answers; delete it and run its evaluation again")
        for row in rows:
            same.check(row, path)
        frames.append(_frame(rows))
    rows_of_all = in_order(pd.concat(frames)) if frames else pd.DataFrame(columns=list(ANSWER_COLUMNS))
    _tell_left_out(rows_of_all)
    return rows_of_all


class SameQuestions:
    """Refuses answers to different data sets, whose accuracies could not be compared.

    Within a domain and variant, all rows name one data set, and a question has the same options and answer in all rows;
    older rows name no data set, so only the latter is known of them. Other variants may have other questions
    (``data.distractors``).
    """

    def __init__(self) -> None:
        self._sets: dict[tuple[str, str], tuple[str, Path]] = {}
        self._questions: dict[tuple[str, str, str], tuple[int, Path]] = {}

    def check(self, row: AnswerRow, path: Path) -> None:
        """Raise ``ValueError``, which names both files, if the row belongs to another data set than the rows so far."""
        if row.dataset_hash is not None:
            first, where = self._sets.setdefault((row.domain, row.variant), (row.dataset_hash, path))
            if first != row.dataset_hash:
                self._refuse(row, path, f"data set {row.dataset_hash}", f"{where} answered {first}")
        asked = hash((row.answer, *row.options))
        known, where = self._questions.setdefault((row.domain, row.variant, row.question_id), (asked, path))
        if known != asked:
            self._refuse(row, path, f"question {row.question_id!r}", f"{where} with other options")

    def _refuse(self, row: AnswerRow, path: Path, what: str, other: str) -> None:
        raise ValueError(
            f"{path}: {row.model} answered {what} of domain {row.domain!r}, variant {row.variant!r}, but {other}: "
            "these are two data sets. Run both evaluations again on one, or name the files of one"
        )


def _tell_left_out(rows: pd.DataFrame) -> None:
    if "left_out" not in rows:
        return
    for domain, count in rows.groupby("domain", sort=False)["left_out"].max().dropna().items():
        warnings.warn(
            f"domain {domain}: {count:.0f} questions are left out, as their images are missing; its accuracies are not "
            "comparable with those on the whole data set",
            stacklevel=3,
        )


def _frame(rows: Iterable[AnswerRow]) -> pd.DataFrame:
    """The rows as a table. An optional column is kept only if some row has a value in it."""
    frame = pd.DataFrame([vars(row) for row in rows])
    empty = [name for name in _OPTIONAL if frame[name].isna().all()]
    return frame.drop(columns=empty).astype({"parsed": "Int64"})  # nullable integers: an unreadable reply has none


def of_variant(rows: pd.DataFrame, variant: str = MAIN) -> pd.DataFrame:
    """The rows of one variant. The paper's tables show the unchanged profile, without ablations."""
    kept = rows[rows["variant"] == variant]
    if kept.empty and len(rows):
        raise ValueError(
            f"no answers of variant {variant!r}; the variants are {', '.join(map(repr, rows['variant'].unique()))}"
        )
    return kept.reset_index(drop=True)


def of_protocol(rows: pd.DataFrame, protocol: str | None = None) -> pd.DataFrame:
    """The rows of one protocol; None: the first protocol of each variant, which is the first in its settings.

    A table never mixes protocols: the same answers read in two ways have two accuracies.
    """
    wanted = protocol if protocol is not None else rows.groupby("variant")["protocol"].transform("first")
    kept = rows[rows["protocol"] == wanted]
    if kept.empty and len(rows):
        raise ValueError(
            f"no answer was read by {protocol!r}; the protocols are {', '.join(rows['protocol'].unique())}"
        )
    return kept.reset_index(drop=True)
