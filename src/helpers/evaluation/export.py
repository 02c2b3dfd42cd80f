"""The questions in the formats of three other evaluation tools, so that others can put them to their models.

    python -m helpers.evaluation.export vlmevalkit DATASET_DIR OUT.tsv
    python -m helpers.evaluation.export lmms-eval DATASET_DIR OUT_DIR
    python -m helpers.evaluation.export lm-eval DATASET_DIR OUT_DIR

VLMEvalKit (github.com/open-compass/VLMEvalKit, docs/en/Development.md) reads a single TSV: index, question, A to D,
answer, category, image in base64. Put it into its data folder; an unknown name counts as a multiple-choice test.
lmms-eval (github.com/EvolvingLMMs-Lab/lmms-eval, docs/task_guide.md) reads a task: a YAML, its functions, and rows.
lm-evaluation-harness (github.com/EleutherAI/lm-evaluation-harness, docs/new_task_guide.md) reads a very similar task,
for its runner ``hf-multimodal``: ``lm_eval run --include_path OUT_DIR --tasks NAME --apply_chat_template``.

Both kinds of reader guess types. VLMEvalKit's ``pandas.read_csv`` takes "None" for a missing value and 007 for 7, in
quotes too, so such a text gets a no-break space at its end (`KEPT`). The JSON reader behind the other two takes
2020-01-01 for a time; their rows are a parquet file, which states its types.
"""

import argparse
import base64
import csv
import io
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from helpers.config.prompts import EvaluationPrompts, evaluation_prompts
from helpers.images import open_image
from helpers.paths import atomic_write
from helpers.schemas import LETTER_TOKENS, OPTION_LETTERS, Question
from helpers.workflow.splits import QUESTION_SPLITS, open_questions

TSV_COLUMNS = (
    *("index", "question", *OPTION_LETTERS, "answer", "category", "split", "question_id", "question_type", "image"),
)
KEPT = "\u00a0"  # after a text, it keeps pandas from reading a number, a truth value or a missing value


def write_vlmevalkit(path: str | Path, questions: Sequence[Question], folder: str | Path) -> Path:
    """One row per question. An image is written once; later rows give the index of the row that has it.

    A text that pandas would change ends in `KEPT`; of options, all four do, so that none stands out. Raises
    ``ValueError`` for a question without an image, which the tool would skip.
    """
    for question in questions:
        if question.image is None:
            raise ValueError(f"question {question.question_id!r} has no image; the tool skips such rows: leave it out")
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, TSV_COLUMNS, dialect="excel-tab")
        writer.writeheader()
        writer.writerows(_tsv_rows(questions, Path(folder)))
    return Path(path)


def _changed_by_pandas(texts: Collection[str]) -> set[str]:
    """The texts that pandas reads as something else, each in a column of its own."""
    import pandas as pd

    written = list(texts)
    row = io.StringIO()
    csv.writer(row, dialect="excel-tab").writerows([range(len(written)), written])
    row.seek(0)
    read = pd.read_csv(row, sep="\t").iloc[0].tolist() if written else []
    return {text for text, found in zip(written, read, strict=True) if not isinstance(found, str) or found != text}


def _tsv_rows(questions: Sequence[Question], folder: Path) -> Iterator[dict[str, Any]]:
    texts = {text for q in questions for text in (q.question, q.category, q.question_id, *q.options)}
    changed = _changed_by_pandas(texts)
    first: dict[str, int] = {}
    for index, question in enumerate(questions):
        image = str(question.image)
        known = first.setdefault(image, index)
        end = KEPT if changed & set(question.options) else ""
        named = {name: str(getattr(question, name)) for name in ("question", "category", "question_id")}
        yield {
            "index": index,
            **{name: text + KEPT * (text in changed) for name, text in named.items()},
            **{letter: option + end for letter, option in zip(OPTION_LETTERS, question.options, strict=True)},
            "answer": OPTION_LETTERS[question.answer],
            "split": question.split,
            "question_type": question.question_type,
            "image": known if known < index else base64.b64encode(_png(folder / image)).decode("ascii"),
        }


def _png(path: Path) -> bytes:
    """The image as this project opens it: transparency on white, the camera's rotation applied."""
    buffer = io.BytesIO()
    open_image(path).save(buffer, "PNG")
    return buffer.getvalue()


def write_lmms_eval(
    folder: str | Path, questions: Sequence[Question], source: str | Path, task: str, prompts: str = "evaluation"
) -> Path:
    """A task folder for lmms-eval; see `_write_task`."""
    return _write_task(folder, questions, source, task, LMMS_TASK, LMMS_TEXT, prompts)


def write_lm_eval(
    folder: str | Path, questions: Sequence[Question], source: str | Path, task: str, prompts: str = "evaluation"
) -> Path:
    """A task folder for lm-evaluation-harness; see `_write_task`."""
    return _write_task(folder, questions, source, task, LM_EVAL_TASK, LM_EVAL_TEXT, prompts)


def _write_task(
    folder: str | Path,
    questions: Sequence[Question],
    source: str | Path,
    task: str,
    form: str,
    to_text: str,
    prompts: str,
) -> Path:
    """Write ``<task>.yaml``, ``utils.py``, ``questions.parquet`` and the images; returns the YAML's path.

    Prompts and the reading of replies follow the protocol ``letter``; ``prompts`` is as in the setting
    evaluation.prompts. The YAML holds absolute paths, as the tools require: export again on the machine that uses it.
    """
    folder, asking = Path(folder).resolve(), evaluation_prompts(prompts)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = {p: f"images/{i:05}.png" for i, p in enumerate(dict.fromkeys(q.image for q in questions if q.image))}
    for image, name in names.items():
        (folder / name).write_bytes(_png(Path(source) / image))
    _write_parquet(folder / "questions.parquet", [_task_row(question, names, asking) for question in questions])
    (folder / "utils.py").write_text(FUNCTIONS + to_text, encoding="utf-8")
    path = folder / f"{task}.yaml"
    filled = form.format(
        task=json.dumps(task), rows=json.dumps(str(folder / "questions.parquet")), tokens=LETTER_TOKENS
    )
    path.write_text(filled, encoding="utf-8")
    return path


def _task_row(question: Question, names: dict[str, str], asking: EvaluationPrompts) -> dict[str, Any]:
    kept = question.model_dump(include={"question_id", "question_type", "category", "question", "options"})
    kept["prompt"] = asking.with_letters(question.question, question.options)
    return {**kept, "answer": OPTION_LETTERS[question.answer], "image": names.get(question.image or "")}


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """With its types stated: a file without a row, or with no image at all, has them too."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {"question_type": pa.int64(), "options": pa.list_(pa.string())}
    names = ("question_id", "question_type", "category", "question", "options", "prompt", "answer", "image")
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    with atomic_write(path) as temporary:
        parquet.write_table(pa.Table.from_pylist(rows, schema), temporary)


TASK = """task: {task}
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: generate_until
doc_to_text: !function utils.doc_to_text
doc_to_target: answer
process_results: !function utils.process_results
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
generation_kwargs:
  do_sample: false
"""

LMMS_TASK = f"""{TASK}  max_new_tokens: {{tokens}}
  temperature: 0
doc_to_visual: !function utils.images_of
metadata:
  - version: 1.0
"""

LM_EVAL_TASK = f"""{TASK}  until: []
  max_gen_toks: {{tokens}}
doc_to_image: !function utils.images_of
metadata:
  version: 1.0
"""

FUNCTIONS = '''"""Functions of the task beside this file: anything but a bare letter is wrong."""

import re
from pathlib import Path

from PIL import Image


def images_of(doc):
    return [Image.open(Path(__file__).parent / doc["image"]).convert("RGB")] if doc["image"] else []


def process_results(doc, results):
    found = re.fullmatch(r"\\(?([ABCD])[.):]?", results[0].strip())
    return {"accuracy": float(found is not None and found[1] == doc["answer"])}


'''

LMMS_TEXT = """def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["prompt"]
"""

LM_EVAL_TEXT = """def doc_to_text(doc):
    return "<image>" * bool(doc["image"]) + doc["prompt"]
"""


TASKS = {"lmms-eval": write_lmms_eval, "lm-eval": write_lm_eval}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("form", choices=("vlmevalkit", *TASKS))
    parser.add_argument("dataset", type=Path, help="a folder with questions.jsonl, as notebook 02 writes it")
    parser.add_argument("output", type=Path, help="vlmevalkit: the TSV; else the task's folder, which names the task")
    parser.add_argument(
        "--prompts", default="evaluation", help="prompts of a task, as in the setting evaluation.prompts"
    )
    parser.add_argument("--split", default="test", choices=QUESTION_SPLITS)
    given = parser.parse_args(arguments)
    questions = open_questions(given.dataset / "questions.jsonl", given.split, use="export")
    if given.form == "vlmevalkit":
        path = write_vlmevalkit(given.output, questions, given.dataset)
    else:
        path = TASKS[given.form](given.output, questions, given.dataset, given.output.resolve().name, given.prompts)
    print(f"{len(questions)} questions in {path}")


if __name__ == "__main__":
    main()
