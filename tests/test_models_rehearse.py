"""Rehearsals: exact counts on the meta device, random weights through the code that loads real ones, the verdict."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.config.profiles import load_profile
from helpers.models import random_weights
from helpers.models.adapters import add_adapter, add_lora, trainable_groups
from helpers.models.export import save_quantised
from helpers.models.loading import linear_layers, load_model, load_processor, quantised_layers
from helpers.models.random_weights import CONFIGS, STAND_IN_FOLDERS, RandomTensor, is_random, make_folder, shrunk
from helpers.models.rehearsal import (
    Load,
    architectures,
    estimate,
    look_ahead,
    measured,
    rehearsal_verdict,
    shapes_only,
    smallest_card,
    tokens_of_image,
)
from helpers.training.trainer import finetune

NAMES = ("qwen2-vl-7b", "llava-1.6-vicuna-7b")
TEXT = Load(rank=64, batch=4, tokens=300, image_tokens=0, checkpointing=False)
SMALL = load_profile("rehearse_small").training


# Parameters of the published checkpoints; LoRA: rank x (in + out) of seven layers, times the number of blocks.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "layers", "lora"),
    [
        ("qwen2-vl-7b", 8_291_375_616, 28 * 7, 28 * 64 * (2 * 7168 + 2 * 4096 + 3 * 22528)),
        ("llava-1.6-vicuna-7b", 7.06e9, 32 * 7, 32 * 64 * (4 * 8192 + 3 * 15104)),
    ],
)
def test_the_architectures_have_the_published_size(name, parameters, layers, lora):
    model, family = shapes_only(STAND_IN_FOLDERS / name)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=2e-3)
    assert len(linear_layers(model, family)) == layers
    groups = trainable_groups(add_lora(model, family, 64, 128, 0.0, True, 0), family)
    assert groups["language_model"] == lora
    assert groups["projector"] > 0
    assert groups["vision_tower"] == groups["other"] == 0


@pytest.mark.slow
def test_more_costs_more_and_checkpointing_less():
    path = STAND_IN_FOLDERS / "qwen2-vl-7b"
    text, images = estimate(path, TEXT), estimate(path, Load(64, 4, 300, 1280, False))
    checkpointed = estimate(path, Load(64, 4, 300, 1280, True))
    assert checkpointed["activations"] < images["activations"]
    assert text["total"] < images["total"]
    assert 5 < text["base"] < 9  # 6.5e9 weights in half a byte, the rest in two
    once = estimate(path, replace(TEXT, unpacked=True))
    assert once["unpacked"] == pytest.approx(2 * text["in_four_bit"] / 1e9)
    assert once["total"] == pytest.approx(text["total"] + once["unpacked"])


def test_the_smallest_card_is_named():
    assert smallest_card(11.9) == "12 GB"
    assert smallest_card(500) == "none of the common cards"


def test_the_shipped_folders_are_of_the_published_configurations():
    assert architectures() == sorted(path.stem for path in CONFIGS.glob("*.json")) == sorted(NAMES)
    for name in NAMES:
        published = json.loads((CONFIGS / f"{name}.json").read_text())
        for folder, config in ((name, published), (f"{name}-shrunk", shrunk(published))):
            shipped = json.loads((STAND_IN_FOLDERS / folder / "config.json").read_text())
            assert is_random(STAND_IN_FOLDERS / folder)
            assert shipped["vision_config"] == config["vision_config"]
            assert config["text_config"].items() <= shipped["text_config"].items()
            assert not list((STAND_IN_FOLDERS / folder).glob("*.safetensors"))


@pytest.mark.parametrize("size", ["", "-shrunk"])
@pytest.mark.parametrize(("name", "tokens"), [("qwen2-vl-7b", 16 * 16), ("llava-1.6-vicuna-7b", 24 * 24 + 48 * 49)])
def test_a_picture_is_as_many_tokens_as_the_published_processors_make_of_it(name, tokens, size):
    assert tokens_of_image(STAND_IN_FOLDERS / f"{name}{size}", 448) == tokens


def test_a_random_tensor_is_the_same_each_time_and_norms_begin_as_ones():
    def tensor(name, *shape):
        return RandomTensor(name, torch.Size(shape), torch.float32, torch.device("cpu"))[...]

    assert torch.equal(tensor("layer.weight", 4, 4), tensor("layer.weight", 4, 4))
    assert not torch.equal(tensor("layer.weight", 4, 4), tensor("other.weight", 4, 4))
    assert tensor("norm.weight", 3).tolist() == [1, 1, 1]
    assert tensor("layer.bias", 2).tolist() == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_are_loaded_quantised_and_trained_like_real_ones(name, butterflies, tmp_path):
    path = STAND_IN_FOLDERS / f"{name}-shrunk"
    model, family = load_model(path)
    assert len(quantised_layers(model)) == 7 * 2
    chosen = SMALL.model_copy(update={"max_steps": 1, "batch_size": 2})
    tuned = add_adapter(model, family, chosen, 0)
    samples = butterflies.samples["text_only"]
    result = finetune(tuned, family, load_processor(path), samples, butterflies.folder, tmp_path, chosen, 0)
    assert result.resources["vision_tower_calls"] == 0
    assert result.losses["loss"][0] == pytest.approx(7.62, abs=0.2)  # ln 2048: nothing is known
    again, _ = load_model(path)
    assert torch.equal(again.lm_head.weight, tuned.get_base_model().lm_head.weight)


def test_a_source_without_a_folder_to_make_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(random_weights, "write_stand_ins", lambda: pytest.fail("the project's folders were made anew"))
    with pytest.raises(SystemExit):
        random_weights.main(["some/model"])
    assert "SOURCE is some/model, and OUT is missing: also name the folder to make" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_that_were_saved_in_4_bit_are_read_and_not_drawn_anew(name, tmp_path):
    folder = save_quantised(STAND_IN_FOLDERS / f"{name}-shrunk", tmp_path / "saved", "float32")
    assert not is_random(folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = torch.full_like(tensors["lm_head.weight"], 0.5)
    save_file(tensors, file, {"format": "pt"})
    model, _ = load_model(folder)
    drawn, _ = load_model(STAND_IN_FOLDERS / f"{name}-shrunk")
    assert model.lm_head.weight.eq(0.5).all()
    first, second = ({n: p for n, p in m.named_parameters() if "lm_head" not in n} for m in (model, drawn))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[n], second[n]) for n in first)


def test_a_7b_model_is_refused_on_a_cpu_before_a_weight_is_made(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"17 GB of weights and no CUDA device"):
        load_model(STAND_IN_FOLDERS / "qwen2-vl-7b", "bfloat16")


@pytest.mark.slow
def test_a_rehearsal_says_before_it_starts_whether_it_can_run(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"nothing of profile rehearse can run without a CUDA device"):
        look_ahead(load_profile("rehearse"))
    lines = look_ahead(load_profile("rehearse_small"))
    assert len(lines) == 4
    assert all("small enough for the CPU" in line for line in lines)


@pytest.mark.slow
def test_on_a_card_the_modes_that_fit_are_told_from_those_that_do_not(monkeypatch):
    monkeypatch.setattr("helpers.models.rehearsal.card", lambda: ("a card", 24.0))
    profile = load_profile("rehearse", {"training.gradient_checkpointing": False})
    lines = [line.rpartition(": ")[2] for line in look_ahead(profile)]
    assert lines == ["fits", "does not fit", "fits", "does not fit"]
    assert all(line.endswith("a card has 24 GB: fits") for line in look_ahead(load_profile("rehearse")))


def record(**changes):
    return {
        **{"model": "m", "domain": "d", "mode": "text_only", "seed": 0, "samples": 500, "steps": 125},
        **{"tokens": 50_000, "image_tokens": 0, "seconds": 50.0, "flops": 2e15, "peak_memory_mb": 4000.0},
        **{"peak_gpu_mb": 10_500.0, "peak_gpu_reserved_mb": 11_200.0, "hardware": "a card", **changes},
    }


def test_the_verdict_names_the_card_that_would_do_and_leaves_accuracy_empty(tmp_path):
    file = tmp_path / "training" / "m" / "resources.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(record()))
    (line,) = rehearsal_verdict(tmp_path)
    assert "500 samples in 50.0 s (1000 tokens/s, 40.0 TFLOP/s); peak 10.5 GB allocated, 11.2 GB reserved" in line
    assert "a card of 16 GB would do; one training of profile paper at this speed: 2.4 min" in line  # 237 x 2 x 3
    header, row = (tmp_path / "results" / "rehearsal.csv").read_text().splitlines()
    assert row.split(",")[header.split(",").index("accuracy")] == ""


def test_without_a_gpu_there_is_no_verdict_on_the_paper(tmp_path):
    file = tmp_path / "training" / "m" / "resources.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(record(peak_gpu_mb=None, peak_gpu_reserved_mb=None)))
    assert "no GPU, so no verdict on the profile paper" in rehearsal_verdict(tmp_path)[0]
    with pytest.raises(FileNotFoundError, match=r"run \./run_all\.sh rehearse first"):
        measured(tmp_path / "empty")


def test_a_folder_for_a_rehearsal_takes_a_model_s_own_configuration_and_tokenizer(model_path, tmp_path):
    folder = make_folder(model_path, tmp_path / "random")
    assert is_random(folder)
    assert not is_random(model_path)
    model, _ = load_model(folder)
    real, _ = load_model(model_path)
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in real.named_parameters()}


@pytest.mark.parametrize(
    ("value", "with_images", "without"), [(False, False, False), (True, True, True), ("with_images", True, False)]
)
def test_checkpointing_can_be_kept_for_samples_with_pictures(value, with_images, without):
    chosen = SMALL.model_copy(update={"gradient_checkpointing": value})
    assert (chosen.checkpointed(True), chosen.checkpointed(False)) == (with_images, without)
