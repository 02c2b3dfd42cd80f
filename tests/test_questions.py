"""A file of questions is read as it was written; whatever is wrong in it is named by file, line, field and value."""

import json
from pathlib import Path

import pytest
from PIL import Image

from helpers.questions import Question, read_questions, write_questions

ROW = {
    "question_id": "q1",
    "question_type": 1,
    "category": "moth",
    "class_id": "io_moth",
    "question": "Which species is this?",
    "options": ["Io moth", "Atlas moth", "Luna moth", "Comet moth"],
    "answer": 0,
    "picture": None,
    "split": "test",
}


def written(folder: Path, *rows: dict) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "moth.png")
    rows = [Question(**ROW), Question(**ROW | {"question_id": "q2", "picture": "moth.png", "question": "나방은?"})]
    assert read_questions(write_questions(tmp_path / "questions.jsonl", rows)) == rows


def test_the_right_option_is_the_one_at_the_answer():
    assert Question(**ROW | {"answer": 2}).right_option == "Luna moth"


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("question_type", 3, "1 or 2"),
        ("answer", 4, "less than or equal to 3"),
        ("answer", "1", "valid integer"),
        ("answer", True, "valid integer"),
        ("options", ["a", "b", "c"], "four different"),
        ("options", ["a", "b", "c", "a"], "four different"),
        ("options", ["a", "b", "c", " "], "not empty"),
        ("question", "", "not empty"),
        ("split", "train", "'test' or 'dev'"),
        ("picture", "/etc/passwd", "inside that folder"),
        ("picture", "../moth.png", "inside that folder"),
        ("picture", "C:\\moth.png", "inside that folder"),
        ("colour", "red", "Extra inputs"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_field_rule_and_value(tmp_path, field, value, rule):
    path = written(tmp_path, ROW, ROW | {"question_id": "q2", field: value})
    with pytest.raises(ValueError, match=field) as error:
        read_questions(path)
    assert f"{path}:2: {field}" in str(error.value)
    assert rule in str(error.value)
    shown = value[-1] if isinstance(value, list) and value[-1] == " " else value
    assert repr(shown) in str(error.value)


def test_a_missing_field_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"questions\.jsonl:1: split: Field required"):
        read_questions(written(tmp_path, {name: value for name, value in ROW.items() if name != "split"}))


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text('\n{"question_id": \n', encoding="utf-8")  # the empty line counts, but is no fault
    with pytest.raises(ValueError, match=r"questions\.jsonl:2: the row: Invalid JSON"):
        read_questions(path)


def test_an_id_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"jsonl:2: 'q1' is there twice"):
        read_questions(written(tmp_path, ROW, ROW))


def test_a_missing_picture_is_refused_in_reading_and_in_writing(tmp_path):
    row = ROW | {"picture": "pictures/moth.png"}
    with pytest.raises(ValueError, match=r"jsonl:1: picture 'pictures/moth\.png' is not in"):
        read_questions(written(tmp_path, row))
    with pytest.raises(ValueError, match="q1: picture"):
        write_questions(tmp_path / "new.jsonl", [Question(**row)])


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "moth.png")
    (tmp_path / "set" / "moth.png").symlink_to(tmp_path / "moth.png")
    with pytest.raises(ValueError, match="by a link"):
        read_questions(written(tmp_path / "set", ROW | {"picture": "moth.png"}))


def test_a_failure_leaves_the_former_file_whole(tmp_path):
    path = write_questions(tmp_path / "questions.jsonl", [Question(**ROW)])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="twice"):
        write_questions(path, [Question(**ROW), Question(**ROW)])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["questions.jsonl"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl does not exist"):
        read_questions(tmp_path / "none.jsonl")
