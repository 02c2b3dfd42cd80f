"""Samples keep to the chat format, and text-only sets to text."""

import json

import pytest
from PIL import Image
from pydantic import ValidationError

from helpers.schemas import (
    ClassText,
    Message,
    Sample,
    TextPart,
    exchange,
    read_samples,
    read_texts,
    write_samples,
    write_texts,
)


def sample(number: int, image: str | None = None, prompt: str = "Describe it.") -> Sample:
    direction = "name_to_description" if image is None else "image_to_name"
    messages = exchange(prompt, "A green moth with long tails.", image)
    return Sample(id=f"s{number}", domain="butterfly", class_id="luna_moth", direction=direction, messages=messages)


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
    with pytest.raises(ValueError, match=r"sample 's1' shows 'red\.png'; a text-only set has no images"):
        read_samples(path, text_only=True)
    with pytest.raises(ValueError, match="a text-only set has no images"):
        write_samples(folder / "text_only.jsonl", [sample(1, "red.png")], text_only=True)


@pytest.mark.parametrize("image", ["missing.png", "../red.png", "/red.png"])
def test_a_picture_must_exist_inside_the_folder(folder, image):
    path = write_samples(folder / "image_text.jsonl", [sample(1, "red.png")])
    path.write_text(path.read_text().replace("red.png", image))
    with pytest.raises(ValueError, match=r"image_text\.jsonl:1: .*picture|image_text\.jsonl:1: .*must be a path"):
        read_samples(path)


def test_the_direction_says_whether_there_is_a_picture():
    with pytest.raises(ValidationError, match="if and only if the sample has an image"):
        Sample(id="s", domain="d", class_id="c", direction="image_to_name", messages=exchange("a", "b"))


def test_a_sample_is_one_exchange_that_ends_with_the_assistant():
    user, assistant = exchange("a", "b")
    for messages in ([user], [assistant, user], [user, assistant, user], [user, user]):
        with pytest.raises(ValidationError, match="one from the user, then one from the assistant"):
            Sample(id="s", domain="d", class_id="c", direction="x", messages=messages)


def test_an_answer_is_one_text():
    user, _ = exchange("a", "b")
    answer = Message(role="assistant", content=[TextPart(text="b"), TextPart(text="c")])
    with pytest.raises(ValidationError, match="the assistant's, a text"):
        Sample(id="s", domain="d", class_id="c", direction="x", messages=[user, answer])


def test_texts_are_read_as_written_and_a_wording_is_there_once(folder):
    common = {"class_id": "luna_moth", "name": "Luna moth", "domain": "butterfly", "writer": "offline"}
    text = ClassText(**common, appearance="It is green.", background="It flies in May.", wording=0, image="green.png")
    assert read_texts(write_texts(folder / "texts.jsonl", [text])) == [text]
    assert text.prompt_hash is None
    with pytest.raises(ValueError, match="'luna_moth, wording 0' is there twice"):
        write_texts(folder / "texts.jsonl", [text, text])
