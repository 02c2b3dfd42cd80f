"""One evaluation run: a model, with or without an adapter, answers questions; every answer becomes a row."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from helpers.config.evaluation import Evaluation
from helpers.config.prompts import evaluation_prompts
from helpers.datasets.left_out import count_left_out
from helpers.evaluation.descriptions import Descriptions
from helpers.evaluation.reader import Reader
from helpers.evaluation.strategies import Exam, ReadAnswer, impossible, own_words, protocol_rows
from helpers.models.limits import check_questions
from helpers.paths import atomic_write
from helpers.rows import write_rows
from helpers.schemas import AnswerRow, Question, questions_hash
from helpers.workflow.provenance import portable
from helpers.workflow.stopwatch import Stopwatch, clock

Timing = dict[str, float | int | str | None]


class Answers(NamedTuple):
    """Rows, and what each strategy cost: seconds by the wall and of computing (`helpers.workflow.stopwatch`; None if
    unknown), questions and new tokens, by "answering/protocol/image".

    Times are not in the rows, so that the same run writes the same rows. The seconds of a description count in every
    protocol that uses it, even if an earlier run wrote it: on its own, each protocol would need it.
    """

    rows: list[ReadAnswer]
    timings: dict[str, Timing]


def load_reader(
    model_path: str | Path, adapter_dir: str | Path | None, settings: Evaluation, four_bit: bool = True
) -> Reader:
    """The model as it was trained, with base weights in 4 bit if ``four_bit``; without an adapter the untuned base.

    Warns if prompts are no longer written as when the adapter was trained.
    """
    from helpers.models.loading import load_model, load_processor

    processor = load_processor(model_path)
    model, _ = load_model(model_path, settings.dtype, four_bit)
    if adapter_dir is not None:
        from helpers.models.adapters import load_adapter
        from helpers.models.chat_templates import check_prompts

        check_prompts(processor, adapter_dir)
        model = load_adapter(model, adapter_dir)
    return Reader(model, processor, settings.batch_size, settings.max_new_tokens, unpack=settings.unpack_weights)


def untuned_descriptions(
    model_path: str | Path, settings: Evaluation, four_bit: bool, earlier: str | Path | None = None
) -> Descriptions:
    """Descriptions by this evaluation's untuned model; those of an ``earlier`` file, if it was made the same way."""
    made_by = {"model": str(portable(model_path)), "four_bit": four_bit, "dtype": settings.dtype}
    descriptions = Descriptions({**made_by, "max_new_tokens": settings.max_new_tokens})
    if earlier is not None:
        descriptions.read(earlier)
    return descriptions


def answer_rows(
    reader: Reader,
    questions: Sequence[Question],
    folder: str | Path,
    images: Sequence[str],
    settings: Evaluation,
    run: Mapping[str, Any],
    appearances: Mapping[str, str] | None = None,
    untuned: Descriptions | None = None,
) -> Answers:
    """All questions, with the image in each state, by all prompting strategies and protocols of the settings.

    ``run``: model, domain, mode, variant, seed. ``appearances``: each class's description, for image "described".
    ``untuned``: what the untuned model wrote earlier, for answering "describe_then_answer"; None: nothing yet.
    Combinations that do not go together (`strategies.impossible`) are left out; raises ``ValueError``, with the
    reasons, if none is left.
    """
    check_questions(reader.processor, questions)
    asking = evaluation_prompts(settings.prompts)
    whole = Exam(
        questions,
        Path(folder),
        settings.max_pixels,
        appearances or {},
        settings.guidance,
        settings.circular,
        asking,
        class_names(folder),
        settings.name_by,
    )
    untuned = Descriptions() if untuned is None else untuned
    of_data = {"dataset_hash": questions_hash(questions), "left_out": count_left_out(folder)}
    rows: list[ReadAnswer] = []
    timings: dict[str, Timing] = {}
    for image in images:
        exam = whole.shown_as(image)
        for answering, protocols in _asked(image, settings).items():
            watch, taken = Stopwatch(), untuned.taken
            words = own_words(reader, exam, image, answering, untuned)
            writing = watch.read() + (untuned.taken - taken)
            for protocol in protocols:
                watch = Stopwatch()
                found = protocol_rows(reader, exam, image, answering, protocol, words)
                spent = writing + watch.read()
                timings[f"{answering}/{protocol}/{image}"] = {
                    "seconds": _rounded(spent.seconds),
                    "compute_seconds": _rounded(spent.compute_seconds),
                    "compute_of": clock(),
                    "questions": len(found),
                    "new_tokens": sum(row["new_tokens"] for row in found),
                }
                rows.extend({**run, **of_data, **row} for row in found)
    return Answers(rows, timings)


def _rounded(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds, 3)


def _asked(image: str, settings: Evaluation) -> dict[str, list[str]]:
    """For each prompting strategy, the protocols that go with the image state."""
    tried = {(a, p): impossible(image, a, p) for a in settings.answering for p in settings.protocols}
    if tried and all(tried.values()):
        raise ValueError(f"nothing can be asked with image {image!r}: {'; '.join(filter(None, tried.values()))}")
    possible: dict[str, list[str]] = {}
    for (answering, protocol), why in tried.items():
        if why is None:
            possible.setdefault(answering, []).append(protocol)
    return possible


def retention_rows(
    reader: Reader, questions: Sequence[Question], folder: str | Path, settings: Evaluation, run: Mapping[str, Any]
) -> Answers | None:
    """Questions on what the model knew before training, asked directly with the image; None without any."""
    direct = settings.model_copy(update={"answering": ["direct"]})
    return answer_rows(reader, questions, folder, ["with"], direct, run) if questions else None


def read_appearances(folder: str | Path) -> dict[str, str]:
    """Each class's first description, from the ``texts.jsonl`` that notebook 02 writes."""
    from helpers.schemas import read_texts

    file = Path(folder) / "texts.jsonl"
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: no texts.jsonl, which holds the descriptions; run notebook 02")
    return {text.class_id: text.appearance for text in reversed(read_texts(file))}


def class_names(folder: str | Path) -> dict[str, str]:
    """Each class's name as used in a sentence, from the ``texts.jsonl`` beside the questions; none without it."""
    from helpers.schemas import read_texts

    file = Path(folder) / "texts.jsonl"
    return {text.class_id: text.name for text in read_texts(file)} if file.is_file() else {}


def write_answers(path: str | Path, rows: Iterable[ReadAnswer]) -> None:
    """Write the rows as JSON lines, all or nothing; each must be an `AnswerRow` without further fields."""
    write_rows(path, (AnswerRow.model_validate(row, extra="forbid") for row in rows))


def write_timings(path: str | Path, timings: Mapping[str, Timing]) -> None:
    """Write what each prompting strategy cost."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(timings, indent=2) + "\n", encoding="utf-8")
