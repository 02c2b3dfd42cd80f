"""What is trained is in float32, whatever the base is in, and stays so when it is saved and loaded."""

import json

import pytest
import torch
from safetensors.torch import load_file

from helpers.config.training import Training
from helpers.models.adapters import add_adapter, load_adapter, remove_adapter
from helpers.models.chat_templates import prompt_hashes
from helpers.models.family import plain_model
from helpers.models.loading import load_model, load_processor
from helpers.training.trainer import Collator, Conversations, finetune

METHODS = ("qlora", "lora", "ia3", "prompt_tuning", "projector")


def settings(method, **changes):
    small = {"method": method, "lora_rank": 4, "lora_alpha": 8, "train_projector": True, "dtype": "bfloat16"}
    return Training.model_validate({**small, "batch_size": 2, "max_steps": 2, **changes})


@pytest.fixture
def batch(model_path, butterflies):
    conversations = Conversations(butterflies.samples["image_text"], butterflies.folder)
    return Collator(load_processor(model_path), None)([conversations[i] for i in range(2)])


@pytest.mark.parametrize("method", METHODS)
def test_every_trained_number_is_in_float32_and_the_frozen_ones_are_not(model_path, batch, method):
    model, family = load_model(model_path, "bfloat16", four_bit=method == "qlora")
    tuned = add_adapter(model, family, settings(method), 0)
    trained = {name: p.dtype for name, p in tuned.named_parameters() if p.requires_grad}
    assert set(trained.values()) == {torch.float32}, trained
    assert any(family.projector_name in name for name in trained) == (method != "prompt_tuning")
    tower = plain_model(tuned).get_submodule(family.frozen[0])
    assert {p.dtype for p in tower.parameters()} == {torch.bfloat16}
    for autocast in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = tuned(**batch).loss
        loss.backward()
        assert torch.isfinite(loss)
    grads = [p.grad.dtype for name, p in tuned.named_parameters() if p.grad is not None]
    assert set(grads) == {torch.float32}


def test_an_update_that_bfloat16_would_swallow_reaches_the_projector(model_path):
    model, family = load_model(model_path, "bfloat16", four_bit=False)
    tuned = add_adapter(model, family, settings("lora"), 0)
    weights = [p for n, p in tuned.named_parameters() if p.requires_grad and family.projector_name in n and p.dim() > 1]
    before = [w.detach().clone() for w in weights]
    assert all(torch.equal((w.bfloat16() * (1 + 1e-4)), w.bfloat16()) for w in weights)
    with torch.no_grad():
        for w in weights:
            w.mul_(1 + 1e-4)
    moved = [(w != b)[b != 0].float().mean() for w, b in zip(weights, before, strict=True)]
    assert min(moved) > 0.99


def seen(model, batch):
    """What the projector makes of the images."""
    images = {name: batch[name] for name in ("pixel_values", "image_grid_thw", "image_sizes") if name in batch}
    with torch.inference_mode():
        return torch.cat(plain_model(model).model.get_image_features(**images).pooler_output)


@pytest.mark.usefixtures("no_meter")
def test_a_trained_projector_is_saved_loaded_and_removed_in_full(model_path, batch, butterflies, tmp_path):
    chosen = settings("lora")
    model, family = load_model(model_path, "bfloat16", four_bit=False)
    tuned = add_adapter(model, family, chosen, 0)
    processor, samples = load_processor(model_path), butterflies.samples["image_text"]
    finetune(tuned, family, processor, samples, butterflies.folder, tmp_path, chosen, 0)
    about = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert about["prompts"] == prompt_hashes(processor)
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert any(not torch.equal(t.bfloat16().float(), t) for n, t in saved.items() if family.projector_name in n)
    loaded = load_adapter(load_model(model_path, "bfloat16", four_bit=False)[0], tmp_path / "adapter")
    assert torch.equal(seen(loaded, batch), seen(tuned, batch))
    base, untouched = remove_adapter(tuned, family), load_model(model_path, "bfloat16", four_bit=False)[0]
    assert {p.dtype for p in base.parameters()} == {torch.bfloat16}
    assert torch.equal(seen(base, batch), seen(untouched, batch))
    assert not torch.equal(seen(loaded, batch), seen(untouched, batch))
