"""Samples in one row, by hand."""

import pytest
import torch

from helpers.models.batches import IGNORED, assistant, continued, image_tensors, packed_batch, training_batch, user
from helpers.models.loading import load_processor
from helpers.paths import DATA


def sample(ids, labels, axes=1, **images):
    positions = torch.arange(len(ids)).expand(axes, -1)
    return {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels]), "positions": positions, **images}


FIRST = ([5, 6, 7], [IGNORED, 6, 7])
SECOND = ([8, 9], [IGNORED, 9])


def test_samples_lie_one_after_the_other_and_count_from_their_own_start():
    batch = packed_batch([sample(*FIRST), sample(*SECOND)])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["lengths"] == (3, 2)


def test_no_label_is_predicted_from_another_sample():
    batch = packed_batch([sample(*FIRST), sample(*SECOND)])
    assert batch["supervised"].tolist() == [0, 1, 3]  # 6 from 5, 7 from 6, 9 from 8; nothing from the last of a sample
    assert batch["labels"][0, batch["supervised"] + 1].tolist() == [6, 7, 9]


def test_positions_along_several_axes_keep_them():
    assert packed_batch([sample(*FIRST, axes=4)])["position_ids"].shape == (4, 1, 3)


def test_pictures_are_joined_and_missing_ones_leave_no_key():
    tiles = torch.zeros(1, 2, 3, 4, 4)
    batch = packed_batch([sample(*FIRST, pixel_values=tiles), sample(*SECOND)])
    assert batch["pixel_values"].shape == (2, 3, 4, 4)
    assert "pixel_values" not in packed_batch([sample(*SECOND)])


def test_a_template_whose_prompt_does_not_begin_the_chat_is_refused():
    processor = load_processor(DATA / "models" / "tiny-qwen2-vl")
    turns = "{% for m in messages %}{{ m.role }} {% for c in m.content %}{{ c.text }} {% endfor %}{% endfor %}"
    processor.chat_template = turns + "{% if add_generation_prompt %}now you{% endif %}"
    said = "is not a prefix of the whole chat in tokens, so the answer cannot be told from the prompt; use a checkpoint"
    with pytest.raises(ValueError, match=said):
        training_batch(processor, [[user("What is it?"), assistant("A moth.")]], [None], 512)


def test_tiles_are_joined_along_the_second_axis_where_a_sample_may_have_several_images():
    tiles = torch.zeros(1, 2, 3, 4, 4)
    assert packed_batch([sample(*FIRST, pixel_values=tiles)] * 2, tiles_axis=1)["pixel_values"].shape == (1, 4, 3, 4, 4)


def test_images_of_different_sizes_are_padded_on_the_right_and_at_the_bottom():
    wide, tall = torch.ones(1, 3, 2, 4), torch.ones(1, 3, 3, 2)
    joined = packed_batch([sample(*FIRST, pixel_values=wide), sample(*SECOND, pixel_values=tall)])["pixel_values"]
    assert joined[:, 0].tolist() == [
        [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]],
        [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]],
    ]


PROMPT = {
    "input_ids": torch.tensor([[7, 8]]),
    "attention_mask": torch.tensor([[1, 1]]),
    "token_type_ids": torch.tensor([[0, 0]]),
    "cross_attention_mask": torch.tensor([[[[0, 0]], [[1, 0]]]]),  # 1 x tokens x images x tiles
    "pixel_values": torch.zeros(1, 3, 2, 2),
    "image_sizes": torch.tensor([[2, 2]]),
}


def test_what_is_not_there_once_per_token_belongs_to_the_images():
    assert set(image_tensors(PROMPT)) == {"pixel_values", "image_sizes"}


def test_a_prompt_goes_on_with_each_of_its_answers():
    rows = continued(PROMPT, [[1, 2], [3]], kind=1)
    assert rows["input_ids"].tolist() == [[7, 8, 1, 2], [7, 8, 3, 0]]
    assert rows["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert rows["token_type_ids"].tolist() == [[0, 0, 1, 1]] * 2
    assert rows["cross_attention_mask"][:, :, 0].tolist() == [[[0, 0], [1, 0], [1, 0], [1, 0]]] * 2
    assert rows["pixel_values"].shape == (2, 3, 2, 2) and rows["image_sizes"].tolist() == [[2, 2], [2, 2]]
