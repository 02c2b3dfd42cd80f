"""Images' shapes stay on the CPU: reading one from a GPU would wait for all work before it.

The model is on torch's meta device, which, like a GPU, refuses to mix with tensors on the CPU, and which cannot be read
at all.
"""

import pytest
import torch
from PIL import Image

from helpers.models.batches import assistant, packed_batch, shapes_on_device, training_batch, user
from helpers.models.loading import keep_shapes_on_cpu, load_processor
from helpers.models.random_weights import on_meta
from helpers.models.registry import family_of
from helpers.models.vision_cache import TowerFeatures

SIDES = ((56, 56), (112, 56))


@pytest.fixture
def batch(model_path):
    """Two images of different shapes, packed."""
    processor = load_processor(model_path)
    said = [user("What is it?", True), assistant("A moth.")]
    samples = [training_batch(processor, [said], [Image.new("RGB", side)], 512) for side in SIDES]
    return packed_batch([{**sample, "positions": torch.zeros(1, 1)} for sample in samples])


@pytest.fixture
def meta(model_path):
    model, family = on_meta(model_path), family_of(model_path)
    keep_shapes_on_cpu(model, family)
    return model.eval(), family


def given(model, batch):
    names = ("pixel_values", "image_grid_thw", "image_sizes")
    images = shapes_on_device(model, {name: batch[name] for name in names if name in batch})
    return {**images, "pixel_values": images["pixel_values"].to("meta")}


def test_a_packed_batch_holds_shapes_as_plain_numbers(batch):
    (shapes,) = (batch[name] for name in ("image_grid_thw", "image_sizes") if name in batch)
    assert len(shapes) == len(SIDES)
    assert all(isinstance(number, int) for shape in shapes for number in shape)


def test_no_shape_is_read_from_the_device(meta, batch):
    model, _ = meta
    features = model.model.get_image_features(**given(model, batch)).pooler_output
    assert [f.device.type for f in features] == ["meta"] * len(SIDES)


def test_on_the_device_a_shape_could_not_be_read_without_waiting(model_path, batch):
    model = on_meta(model_path)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        model.model.get_image_features(**given(model, batch))


def test_shapes_stay_on_the_cpu_beside_a_cached_tower(meta, batch, monkeypatch):
    model, family = meta
    monkeypatch.setattr("helpers.models.vision_cache._bytes", lambda _: b"")  # its keys are the pixels, here unknown
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: tensor)
    with TowerFeatures(model, family):
        model.model.get_image_features(**given(model, batch))
