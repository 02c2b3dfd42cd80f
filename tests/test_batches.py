"""Samples in one row, by hand."""

import torch

from helpers.batches import IGNORED, packed_batch


def sample(ids, labels, axes=1, **pictures):
    positions = torch.arange(len(ids)).expand(axes, -1)
    return {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels]), "positions": positions, **pictures}


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
