"""One evaluation run: a model, perhaps with an adapter, answers a set of questions; every answer becomes a row."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.models.loading import load_model, load_processor
from helpers.models.lora import load_adapter
from helpers.paths import atomic_write
from helpers.questions import Question
from helpers.scoring.answering import Row, answer_all
from helpers.scoring.protocols import Reader
from helpers.settings import Evaluation


def load_reader(model_path: str | Path, adapter_dir: str | Path | None, settings: Evaluation) -> Reader:
    """The model as it was trained, base weights in 4 bit; without an adapter the untuned base."""
    model, _ = load_model(model_path, settings.dtype)
    if adapter_dir is not None:
        model = load_adapter(model, adapter_dir)
    return Reader(model, load_processor(model_path), settings.batch_size, settings.max_new_tokens)


def answer_rows(
    reader: Reader,
    questions: Sequence[Question],
    folder: str | Path,
    image: str,
    settings: Evaluation,
    run: Mapping[str, Any],
) -> list[Row]:
    """All questions in all ways of answering that the settings name; ``run``: model, domain, mode, seed."""
    return [
        {**run, **row}
        for answering in settings.answering
        for row in answer_all(
            reader,
            questions,
            folder,
            image,
            answering,
            settings.protocol,
            settings.describe_with,
            settings.max_pixels,
        )
    ]


def write_answers(path: str | Path, rows: Iterable[Row]) -> None:
    """Write the rows as JSON lines, all or nothing."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def example_answers(rows: Sequence[Row], count: int = 4) -> list[dict[str, Any]]:
    """A few rows in words, for looking at: what was asked, chosen and right."""
    step = max(1, len(rows) // count)
    return [
        {
            "question": row["question_id"],
            "answering": row["answering"],
            "own words": row["description"],
            "named": row["named"],
            "chosen": None if row["parsed"] is None else row["options"][row["parsed"]],
            "right": row["options"][row["answer"]],
        }
        for row in rows[::step][:count]
    ]
