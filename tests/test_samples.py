"""Samples keep to the chat format, text-only sets to text, and the audit finds what would make a test worthless."""

import json

import pytest
from PIL import Image
from pydantic import ValidationError

from helpers.questions import Question
from helpers.samples import (
    ClassText,
    Message,
    Sample,
    TextPart,
    audit,
    exchange,
    read_samples,
    read_texts,
    write_samples,
    write_texts,
)


def sample(number: int, picture: str | None = None, prompt: str = "Describe it.") -> Sample:
    direction = "name_to_description" if picture is None else "picture_to_name"
    messages = exchange(prompt, "A green moth with long tails.", picture)
    return Sample(id=f"s{number}", domain="butterfly", class_id="luna_moth", direction=direction, messages=messages)


def question(number: int, options: list[str], answer: int, kind: int = 1, picture: str | None = None) -> Question:
    return Question(
        question_id=f"q{number}",
        question_type=kind,
        category="moth",
        class_id=None,
        question=f"Question {number}?",
        options=options,
        answer=answer,
        picture=picture,
        split="test",
    )


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("red", "red"), ("green", "green"), ("also_red", "red")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    return tmp_path


def test_what_is_written_is_read(folder):
    rows = [sample(1), sample(2, "red.png")]
    assert read_samples(write_samples(folder / "image_text.jsonl", rows)) == rows


def test_a_sample_is_written_in_the_chat_format(folder):
    path = write_samples(folder / "image_text.jsonl", [sample(1, "red.png", "What is it?")])
    assert json.loads(path.read_text())["messages"] == [
        {"role": "user", "content": [{"type": "image", "path": "red.png"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A green moth with long tails."}]},
    ]


def test_a_text_only_set_has_no_picture(folder):
    path = write_samples(folder / "image_text.jsonl", [sample(1, "red.png")])
    with pytest.raises(ValueError, match=r"sample 's1' shows 'red\.png'; a text-only set has no picture"):
        read_samples(path, text_only=True)
    with pytest.raises(ValueError, match="a text-only set has no picture"):
        write_samples(folder / "text_only.jsonl", [sample(1, "red.png")], text_only=True)


@pytest.mark.parametrize("picture", ["missing.png", "../red.png", "/red.png"])
def test_a_picture_must_exist_inside_the_folder(folder, picture):
    path = write_samples(folder / "image_text.jsonl", [sample(1, "red.png")])
    path.write_text(path.read_text().replace("red.png", picture))
    with pytest.raises(ValueError, match=r"image_text\.jsonl:1: .*picture|image_text\.jsonl:1: .*must be a path"):
        read_samples(path)


def test_the_direction_says_whether_there_is_a_picture():
    with pytest.raises(ValidationError, match="if and only if the sample has a picture"):
        Sample(id="s", domain="d", class_id="c", direction="picture_to_name", messages=exchange("a", "b"))


def test_a_sample_is_one_exchange_that_ends_with_the_assistant():
    user, assistant = exchange("a", "b")
    for messages in ([user], [assistant, user], [user, assistant, user], [user, user]):
        with pytest.raises(ValidationError, match="one of the user and then one of the assistant"):
            Sample(id="s", domain="d", class_id="c", direction="x", messages=messages)


def test_an_answer_is_one_text():
    user, _ = exchange("a", "b")
    answer = Message(role="assistant", content=[TextPart(text="b"), TextPart(text="c")])
    with pytest.raises(ValidationError, match="the assistant's, a text"):
        Sample(id="s", domain="d", class_id="c", direction="x", messages=[user, answer])


def test_texts_are_read_as_written_and_a_wording_is_there_once(folder):
    common = {"class_id": "luna_moth", "name": "Luna moth", "domain": "butterfly", "writer": "offline"}
    text = ClassText(**common, look="It is green.", background="It flies in May.", wording=0, picture="green.png")
    assert read_texts(write_texts(folder / "texts.jsonl", [text])) == [text]
    with pytest.raises(ValueError, match="'luna_moth, wording 0' is there twice"):
        write_texts(folder / "texts.jsonl", [text, text])


def test_a_test_picture_in_training_stops_the_audit(folder):
    asked = [question(1, ["a", "b", "c", "d"], 0, picture="red.png")]
    with pytest.raises(ValueError, match=r"1 test picture.*red\.png = also_red\.png"):
        audit(asked, [sample(1, "also_red.png")], folder)
    assert audit(asked, [sample(1, "green.png")], folder)["training_pictures"] == 1


def test_the_audit_counts_and_measures_blind_baselines(folder):
    asked = [
        question(1, ["long one", "b", "c", "d"], 0),  # longest: right
        question(2, ["e", "f", "gg", "hh"], 2),  # longest: one of two, half a hit
        question(3, ["b", "i", "j", "k"], 3),  # the longest is any of four; "b", asked twice, the most frequent, wrong
        question(4, ["l", "m", "n", "o"], 3, kind=2),
    ]
    found = audit(asked, [sample(1), sample(2, prompt="As they ask: Question 2?")], folder)
    assert found["type1"] == {
        "questions": 3,
        "answer_positions": [1, 0, 1, 1],
        "longest_option": round(100 * (1 + 0.5 + 0.25) / 3, 1),
        "most_frequent_option": round(100 * (0 + 0.25 + 0) / 3, 1),
    }
    assert found["type2"]["longest_option"] == 25.0
    assert found["question_texts_in_training"] == ["Question 2?"]
    assert (found["samples"], found["samples_by_direction"]) == (2, {"name_to_description": 2})


def test_the_audit_of_one_type_alone_leaves_the_other_empty(folder):
    found = audit([question(1, ["a", "b", "c", "d"], 0)], [], folder)
    assert found["type2"]["questions"] == 0
    assert found["type2"]["longest_option"] is None
