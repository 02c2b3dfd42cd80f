"""A file of questions is read as it was written; whatever is wrong in it is named by file, line, field and value."""

import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from helpers.rows import Row, RowFile
from helpers.schemas import Question, questions_hash, read_questions, write_questions

ROW = {
    "domain": "butterfly",
    "question_id": "q1",
    "question_type": 1,
    "category": "moth",
    "class_id": "io_moth",
    "question": "Which species is this?",
    "options": ["Io moth", "Atlas moth", "Luna moth", "Comet moth"],
    "answer": 0,
    "image": None,
    "split": "test",
}


def written(folder: Path, *rows: dict) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "moth.png")
    rows = [Question(**ROW), Question(**ROW | {"question_id": "q2", "image": "moth.png", "question": "나방은?"})]
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
        ("options", ["a", "b", "c", " "], "non-empty text"),
        ("question", "", "non-empty text"),
        ("split", "train", "'test' or 'dev'"),
        ("image", "/etc/passwd", "inside that folder"),
        ("image", "../moth.png", "inside that folder"),
        ("image", "C:\\moth.png", "inside that folder"),
        ("colour", "red", "Extra inputs"),
        ("answer_form", "It is this.", "{option}"),
        ("answer_form", "It is {option.__class__}.", "no other braces"),
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


def test_a_file_of_an_earlier_version_without_the_domain_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(
        ValueError, match=r"jsonl:1: domain: Field required; if an earlier version wrote .* run its note"
    ):
        read_questions(written(tmp_path, {name: value for name, value in ROW.items() if name != "domain"}))


def test_the_hash_of_some_questions_is_theirs_and_not_their_files():
    one, other = Question(**ROW), Question(**ROW | {"question_id": "q2"})
    assert questions_hash([one, other]) == questions_hash(iter([one, other]))
    different = ([one], [other], [one, other], [other, one], [one.model_copy(update={"answer": 1})])
    assert len({questions_hash(some) for some in different}) == len(different)


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text('\n{"question_id": \n', encoding="utf-8")  # the empty line counts, but is no fault
    with pytest.raises(ValueError, match=r"questions\.jsonl:2: the row: Invalid JSON"):
        read_questions(path)


def test_an_id_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"jsonl:2: 'q1' is there twice"):
        read_questions(written(tmp_path, ROW, ROW))


def test_a_missing_picture_is_refused_in_reading_and_in_writing(tmp_path):
    row = ROW | {"image": "pictures/moth.png"}
    with pytest.raises(ValueError, match=r"jsonl:1: picture 'pictures/moth\.png' is not in"):
        read_questions(written(tmp_path, row))
    with pytest.raises(ValueError, match="q1: picture"):
        write_questions(tmp_path / "new.jsonl", [Question(**row)])


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "moth.png")
    (tmp_path / "set" / "moth.png").symlink_to(tmp_path / "moth.png")
    with pytest.raises(ValueError, match="by a link"):
        read_questions(written(tmp_path / "set", ROW | {"image": "moth.png"}))


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


DAMAGED = [
    ("no_utf8", b'{"question": "Caf\xe9?"}\n', "question: must be UTF-8", "byte 18 of the line is 0xe9"),
    ("utf16", '{"question": "x"}\n'.encode("utf-16"), "the row: must be UTF-8", "0xff"),
    ("byte_order_mark", b'\xef\xbb\xbf{"question": "x"}\n', "the row: begins with a byte-order mark", "without one"),
    ("half_a_character", b'{"options": ["a", "\\ud800"]}\n', "options.1: must hold whole characters", "surrogate"),
    ("cut_off", b'{"question_id": "q1", "ques', "the row: Invalid JSON: EOF", "the file ends within the row"),
    ("too_deep", b"[" * 5000 + b"]" * 5000 + b"\n", "the row: Invalid JSON", "recursion limit"),
]


@pytest.mark.parametrize(("damage", "content", "rule", "detail"), DAMAGED, ids=[row[0] for row in DAMAGED])
def test_a_damaged_line_is_named_by_file_line_field_and_rule(tmp_path, damage, content, rule, detail):
    path = written(tmp_path, ROW)
    path.write_bytes(path.read_bytes() + content)
    with pytest.raises(ValueError, match="jsonl:2") as error:
        read_questions(path)
    assert f"{path}:2: {rule}" in str(error.value)
    assert detail in str(error.value)
    str(error.value).encode()  # can be printed


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_what_is_no_number_is_refused(tmp_path, value):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(ROW).replace('"answer": 0', f'"answer": {value}') + "\n")
    with pytest.raises(ValueError, match=r"jsonl:1: answer: .*\(it is (nan|inf)\)"):
        read_questions(path)


def test_a_fraction_that_is_no_number_is_refused_in_every_row():
    class Measured(Row):
        seconds: float

    with pytest.raises(ValidationError, match="finite number"):
        Measured(seconds=float("nan"))


def test_half_a_character_is_refused_in_writing_too():
    with pytest.raises(ValidationError, match="question"):
        Question(**ROW | {"question": "\ud800"})


def test_an_object_of_very_many_columns_gives_a_short_error(tmp_path):
    many = {f"c{number}": 0 for number in range(50_000)}
    with pytest.raises(ValueError, match=r"jsonl:1: domain: Field required.*and 50007 more") as error:
        read_questions(written(tmp_path, many))
    assert len(str(error.value)) < 2000


def test_an_object_of_a_million_columns_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("{" + '"c":0,' * 999_999 + '"c":0}\n')
    with pytest.raises(ValueError, match=r"jsonl:1: the row: must have at most 1048576 bytes"):
        read_questions(path)


def test_a_last_line_without_its_end_is_read_if_it_is_whole(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(ROW))
    assert read_questions(path) == [Question(**ROW)]


def test_a_file_of_rows_can_be_gone_through_twice(tmp_path):
    rows = RowFile(written(tmp_path, ROW), Question)
    assert list(rows) == list(rows) == [Question(**ROW)]
