"""What is exported for other tools reads back as the same questions."""

import base64
import csv
import importlib.util
import io
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image
from pyarrow import parquet

from helpers.config.prompts import evaluation_prompts
from helpers.evaluation import export
from helpers.evaluation.protocols import LETTER_TOKENS
from helpers.images import open_image
from helpers.schemas import write_questions


def rows_of(path):
    """The rows of a TSV, each with its picture's bytes, also where it names another row's."""
    csv.field_size_limit(2**31 - 1)  # pictures are longer than the module's default allows
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, dialect="excel-tab"))
    images = {row["index"]: row["image"] for row in rows}
    return [(row, base64.b64decode(images.get(row["image"], row["image"]))) for row in rows]


def test_the_tsv_holds_the_same_questions_and_pictures(butterflies, tmp_path):
    questions = butterflies.questions
    path = export.write_vlmevalkit(tmp_path / "Butterfly.tsv", questions, butterflies.folder)
    rows = rows_of(path)
    assert len(rows) == len(questions)
    for (row, image), question in zip(rows, questions, strict=True):
        assert (row["question"], [row[key] for key in "ABCD"]) == (question.question, question.options)
        assert (row["answer"], row["category"]) == ("ABCD"[question.answer], question.category)
        shown = Image.open(io.BytesIO(image))
        assert shown.tobytes() == open_image(butterflies.folder / question.image).tobytes()


def test_the_tsv_is_what_the_tools_own_reader_expects(butterflies, tmp_path):
    path = export.write_vlmevalkit(tmp_path / "Butterfly.tsv", butterflies.questions, butterflies.folder)
    table = pd.read_csv(path, sep="\t")  # as vlmeval.smp.file.load does
    assert not table[["index", "question", *"ABCD", "answer", "image"]].isna().any().any()
    lengths = table["image"].astype(str).str.len()
    assert (lengths > 64).sum() == len({q.image for q in butterflies.questions})  # 64 or less: another row's index
    assert all(int(image) in set(table["index"]) for image in table["image"][lengths <= 64])


CHANGED = ["NA", "None", "NULL", "nan", "n/a", "#N/A", "<NA>", "007", "7.0", "1e5", "-1", "+5", "inf", "True", "false"]
UNCHANGED = [
    "1,000",
    "2020-01-01",
    "0x1F",
    "1_000",
    "a\tb",
    'the "blue" one',
    "two\nlines",
    "나비",
    "=1+1",
    "no",
    "7 cm",
]


def of_options(question, options):
    return question.model_copy(update={"options": options, "question_id": f"id/{options[0]}"})


@pytest.mark.parametrize("text", [*CHANGED, *UNCHANGED])
def test_pandas_reads_back_every_text_that_was_written(butterflies, tmp_path, text):
    """As vlmeval.smp.file.load reads it. A column of numbers alone is where pandas guesses most."""
    question = butterflies.questions[0]
    options = [text, f"{text}1", f"{text}2", f"{text}3"]
    given = question.model_copy(update={"options": options, "question": text, "category": text, "question_id": text})
    path = export.write_vlmevalkit(tmp_path / "Kept.tsv", [given], butterflies.folder)
    row = pd.read_csv(path, sep="\t").iloc[0]
    assert [row[letter].removesuffix(export.KEPT) for letter in "ABCD"] == options
    assert [row[name].removesuffix(export.KEPT) for name in ("question", "category", "question_id")] == [text] * 3
    marked = [row[name].endswith(export.KEPT) for name in (*"ABCD", "question", "category", "question_id")]
    assert set(marked) == {text in CHANGED}  # all four options or none: a mark must not give the answer away


def test_a_question_is_marked_for_its_own_options_only(butterflies, tmp_path):
    words, years = ["Red", "Blue", "Tan", "Grey"], ["1901", "1902", "1903", "1904"]
    asked = [of_options(butterflies.questions[0], options) for options in (words, years)]
    table = pd.read_csv(export.write_vlmevalkit(tmp_path / "x.tsv", asked, butterflies.folder), sep="\t")
    assert table[[*"ABCD"]].to_numpy().tolist() == [words, [year + export.KEPT for year in years]]


def test_a_question_without_an_image_is_refused(butterflies, tmp_path):
    question = butterflies.questions[0]
    with pytest.raises(ValueError, match="has no image"):
        export.write_vlmevalkit(tmp_path / "x.tsv", [question.model_copy(update={"image": None})], butterflies.folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", list(export.TASKS))
def test_a_task_keeps_texts_that_look_like_times_or_numbers(butterflies, tmp_path, form):
    """The JSON reader of `datasets` would make times of the first; parquet states its types."""
    for options in (["2020-01-01", "2021-01-01", "2022-01-01", "2023-01-01"], ["NA", "007", "null", "true"]):
        question = of_options(butterflies.questions[0], options).model_copy(update={"category": options[0]})
        path = export.TASKS[form](tmp_path / "task", [question], butterflies.folder, "task")
        (row,) = task_rows(path)
        assert (row["options"], row["category"]) == (options, options[0])


def task_rows(path: Path) -> list[dict]:
    """The rows of a task, as the tools read them: by the parquet file that its YAML names."""
    task = yaml.load(path.read_text().replace("!function ", ""), yaml.SafeLoader)
    assert task["dataset_path"] == "parquet"
    return parquet.read_table(task["dataset_kwargs"]["data_files"]["test"]).to_pylist()


def functions_beside(path: Path):
    spec = importlib.util.spec_from_file_location("exported_utils", path.parent / "utils.py")
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    return utils


@pytest.mark.parametrize(("tool", "images"), [("lmms-eval", "doc_to_visual"), ("lm-eval", "doc_to_image")])
def test_a_task_asks_and_scores_as_protocol_letter_does(butterflies, tmp_path, tool, images):
    questions = butterflies.questions[:4]
    path = export.TASKS[tool](tmp_path / "drawn", questions, butterflies.folder, "drawn")
    task = yaml.load(path.read_text().replace("!function ", ""), yaml.SafeLoader)
    utils = functions_beside(path)
    rows = task_rows(path)
    assert task["task"] == "drawn"
    assert LETTER_TOKENS in task["generation_kwargs"].values()
    assert task[images] == "utils.images_of"
    for row, question in zip(rows, questions, strict=True):
        place = "<image>" if tool == "lm-eval" else ""  # where that tool puts the picture
        assert utils.doc_to_text(row) == place + evaluation_prompts().with_letters(question.question, question.options)
        assert utils.images_of(row)[0].size == (56, 56)
        right = "ABCD"[question.answer]
        assert [utils.process_results(row, [r])["accuracy"] for r in (right, f"({right})", "Well")] == [1.0, 1.0, 0.0]


def test_a_question_without_picture_shows_none(butterflies, tmp_path):
    question = butterflies.questions[0].model_copy(update={"image": None})
    path = export.write_lm_eval(tmp_path / "drawn", [question], butterflies.folder, "drawn")
    (row,), utils = task_rows(path), functions_beside(path)
    assert utils.images_of(row) == []
    assert utils.doc_to_text(row) == evaluation_prompts().with_letters(question.question, question.options)


def test_the_command_line_writes_the_split_asked_for(butterflies, tmp_path, capsys):
    write_questions(butterflies.folder / "questions.jsonl", butterflies.questions)
    export.main(["vlmevalkit", str(butterflies.folder), str(tmp_path / "Test.tsv")])
    tested = [q for q in butterflies.questions if q.split == "test"]
    assert [row["question_id"] for row, _ in rows_of(tmp_path / "Test.tsv")] == [q.question_id for q in tested]
    assert f"{len(tested)} questions" in capsys.readouterr().out


@pytest.mark.parametrize("form", list(export.TASKS))
def test_the_command_line_names_a_task_as_its_folder(butterflies, tmp_path, capsys, form):
    write_questions(butterflies.folder / "questions.jsonl", butterflies.questions)
    export.main([form, str(butterflies.folder), str(tmp_path / "drawn"), "--split", "dev"])
    asked = [q for q in butterflies.questions if q.split == "dev"]
    rows = task_rows(tmp_path / "drawn" / "drawn.yaml")
    assert [row["question"] for row in rows] == [q.question for q in asked]
    assert capsys.readouterr().out == f"{len(asked)} questions in {tmp_path / 'drawn' / 'drawn.yaml'}\n"
