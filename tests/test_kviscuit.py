"""The reader of K-VISCUIT on the real sample, if it lies beside the repository, and on a small copy of its layout."""

import json

import pytest
from PIL import Image

from helpers.domains.kviscuit import load_kviscuit
from helpers.paths import ROOT
from helpers.pictures import open_picture
from helpers.questions import Question, read_questions, write_questions
from helpers.samples import audit

SAMPLE = ROOT.parent / "shared" / "data" / "kviscuit_sample"
CATEGORIES = {
    "Food": (4, 4),
    "Beverage": (4, 10),
    "GamePlayPerformance": (4, 10),
    "Celebrations": (4, 4),
    "Religion": (4, 7),
    "Tool": (4, 6),
    "Clothes": (4, 6),
    "Heritage": (4, 6),
    "ArchitecturePlaces": (4, 11),
    "Agriculture": (4, 12),
}


@pytest.fixture(scope="module")
def sample():
    if not SAMPLE.is_dir():
        pytest.skip("the sample of K-VISCUIT is not beside the repository (../shared/data/kviscuit_sample)")
    return load_kviscuit(SAMPLE)


def test_the_sample_has_116_questions_on_40_pictures(sample):
    assert len(sample.questions) == 116
    assert len({question.picture for question in sample.questions}) == 40
    assert (sample.faults, sample.left_out) == ({}, 0)
    assert sample.counts() == CATEGORIES


def test_the_sample_has_one_type_1_question_a_picture_and_its_answer_is_the_class(sample):
    first = [question for question in sample.questions if question.question_type == 1]
    assert len({question.picture for question in first}) == len(first) == 40
    assert all(question.class_id == question.right_option for question in first)
    assert len(sample.keywords()) == 39  # Suwon Hwaseong is the answer of two pictures
    assert {question.class_id for question in sample.questions} == set(sample.keywords())


def test_every_picture_of_the_sample_opens_in_rgb(sample):
    opened = {name: open_picture(SAMPLE / name) for name in {question.picture for question in sample.questions}}
    assert {picture.mode for picture in opened.values()} == {"RGB"}
    assert opened["images/78.png"].size == (60, 98)  # the smallest, and one of two with transparency


def test_the_sample_passes_the_audit_and_shows_its_blind_baseline(sample):
    found = audit(sample.questions, [], sample.folder)
    assert found["test_pictures"] == 40
    assert found["type1"]["longest_option"] == 30.0


def annotation(id_: str, kind: int, picture: str, answer: int = 0, **other) -> dict:
    return {
        "question": f"What is it, {id_}?",
        "options": ["hanbok", "gat", "norigae", "beoseon"],
        "answer": answer,
        "category": "Clothes",
        "id_": id_,
        "question_type": kind,
        "image_url": "https://example.org/a.jpg",
        "image_path": picture,
        **other,
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGBA", (60, 98), (0, 0, 0, 0)).save(tmp_path / "images" / "1.png")
    Image.new("RGB", (120, 80), "red").save(tmp_path / "images" / "2.jpg")
    rows = [
        annotation("Clothes.1.0", 1, "1.png"),
        annotation("Clothes.1.1", 2, "1.png", 3),
        annotation("Clothes.1.1", 2, "1.png", 2),  # the authors' ids are not unique
        annotation("Clothes.2.0", 1, "2.jpg", 1),
    ]
    return write(tmp_path, rows)


def write(folder, rows):
    (folder / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def rows_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]


def test_ids_are_made_unique_and_stay_the_same(folder):
    ids = [question.question_id for question in load_kviscuit(folder).questions]
    assert ids == ["Clothes.1.0#0", "Clothes.1.1#0", "Clothes.1.1#1", "Clothes.2.0#0"]
    assert ids == [question.question_id for question in load_kviscuit(folder).questions]


def test_a_row_becomes_a_question_of_the_common_form(folder):
    assert load_kviscuit(folder).questions[1] == Question(
        question_id="Clothes.1.1#0",
        question_type=2,
        category="Clothes",
        class_id="hanbok",
        question="What is it, Clothes.1.1?",
        options=["hanbok", "gat", "norigae", "beoseon"],
        answer=3,
        picture="images/1.png",
        split="test",
    )


def test_keywords_are_the_answers_of_type_1(folder):
    assert load_kviscuit(folder).keywords() == ["hanbok", "gat"]


def test_the_questions_can_be_written_beside_their_pictures_and_read_again(folder):
    questions = load_kviscuit(folder).questions
    assert read_questions(write_questions(folder / "questions.jsonl", questions)) == questions


def test_all_missing_and_broken_pictures_are_named_and_counted(folder):
    (folder / "images" / "1.png").write_bytes((folder / "images" / "1.png").read_bytes()[:60])
    (folder / "images" / "2.jpg").unlink()
    with pytest.raises(ValueError, match=r"2 picture\(s\) missing or unreadable") as error:
        load_kviscuit(folder)
    assert "images/1.png: " in str(error.value)
    assert "images/2.jpg: " in str(error.value)


def test_faulty_pictures_can_be_left_out_but_not_in_silence(folder):
    (folder / "images" / "1.png").unlink()
    data = load_kviscuit(folder, leave_out_faulty=True)
    assert [question.question_id for question in data.questions] == ["Clothes.2.0#0"]
    assert (list(data.faults), data.left_out) == (["images/1.png"], 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [("answer", 4), ("options", ["a", "b"]), ("question_type", 0), ("image_path", "../a.jpg"), ("question", "")],
)
def test_a_malformed_row_is_named(folder, field, value):
    rows = rows_of(folder)
    rows[2][field] = value
    with pytest.raises(ValueError, match=rf"annotations\.jsonl:3: {field}"):
        load_kviscuit(write(folder, rows))


def test_a_picture_without_its_type_1_question_is_refused(folder):
    with pytest.raises(ValueError, match=r"exactly one Type-1 question; there are \{'1\.png': 0\}"):
        load_kviscuit(write(folder, rows_of(folder)[1:]))


def test_a_folder_of_another_kind_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold annotations\.jsonl and images/"):
        load_kviscuit(tmp_path)
