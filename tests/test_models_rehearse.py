"""The 7B architectures on the meta device: no weights, exact counts."""

import pytest

from helpers.models.lora import add_lora, trainable_groups
from helpers.models.rehearse import Load, estimate, linear_layers, measure, on_meta, smallest_card

TEXT = Load(rank=64, batch=4, tokens=300, picture_tokens=0, checkpointing=False)


# Parameters of the published checkpoints; LoRA: rank x (in + out) of seven layers, times the number of blocks.
@pytest.mark.parametrize(
    ("name", "parameters", "layers", "lora"),
    [
        ("qwen2-vl-7b", 8_291_375_616, 28 * 7, 28 * 64 * (2 * 7168 + 2 * 4096 + 3 * 22528)),
        ("llava-1.6-vicuna-7b", 7.06e9, 32 * 7, 32 * 64 * (4 * 8192 + 3 * 15104)),
    ],
)
def test_the_architectures_have_the_published_size(name, parameters, layers, lora):
    model, family = on_meta(name)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=2e-3)
    assert len(linear_layers(model, family)) == layers
    groups = trainable_groups(add_lora(model, family, 64, 128, 0.0, True, 0), family)
    assert groups["language_model"] == lora
    assert groups["projector"] > 0
    assert groups["vision_tower"] == groups["other"] == 0


def test_more_costs_more_and_checkpointing_less():
    name = "qwen2-vl-7b"
    text, pictures = estimate(name, TEXT), estimate(name, Load(64, 4, 300, 1280, False))
    checkpointed = estimate(name, Load(64, 4, 300, 1280, True))
    assert checkpointed["activations"] < pictures["activations"]
    assert text["total"] < pictures["total"]
    assert 5 < text["base"] < 9  # 6.5e9 weights in half a byte, the rest in two


def test_the_smallest_card_is_named():
    assert smallest_card(11.9) == "12 GB"
    assert smallest_card(500) == "none of the usual cards"


def test_nothing_is_measured_without_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device here"):
        measure("qwen2-vl-7b", TEXT, 1)
    with pytest.raises(ValueError, match=r"known: llava-1\.6-vicuna-7b, qwen2-vl-7b"):
        on_meta("gpt")
