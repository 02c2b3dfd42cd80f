"""A model's size and what a profile needs are known before anything is downloaded, with a network and without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.config.profiles import load_profile
from helpers.models import loading, size
from helpers.models.adapters import add_lora, trainable_groups
from helpers.models.loading import check_machine, linear_layers
from helpers.models.random_weights import CONFIGS, STAND_IN_FOLDERS
from helpers.models.rehearsal import OUTLOOK, _fitting, image_tokens, loads, outlook, shapes_only, tokens_of_image
from helpers.models.shapes import shapes
from helpers.paths import PROFILES, is_hub_id

sys.path.insert(0, str(Path(__file__).parent))
from own_hub import serving, use

ID = "Qwen/Qwen2-VL-7B-Instruct"
SHARDS = (3_900_233_256, 3_864_726_320, 3_864_726_424, 3_864_733_680, 1_089_994_880)
FILES = {f"model-{n:05}-of-00005.safetensors": bytes_ for n, bytes_ in enumerate(SHARDS, 1)}
BESIDE = {"model.safetensors.index.json": b"{}", "original/model.safetensors": 9, "pytorch_model.bin": 16_000_000_000}
LARGE = ("laptop", "paper", "current", "large")


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(loading, "device", lambda: torch.device("cpu"))


@pytest.fixture
def hub(monkeypatch):
    """A hub that has one 7B model, as published."""
    config = (CONFIGS / "qwen2-vl-7b.json").read_bytes()
    with serving({ID: {"config.json": config, **FILES, **BESIDE}}) as (address, hub):
        use(monkeypatch, address)
        yield hub


# Numbers of parameters as the hub shows them for each model.
@pytest.mark.parametrize(
    ("hub_id", "parameters"),
    [
        ("HuggingFaceTB/SmolVLM-256M-Instruct", 256_484_928),
        ("HuggingFaceTB/SmolVLM-500M-Instruct", 507_482_304),
        ("Qwen/Qwen2-VL-2B-Instruct", 2_208_985_600),
        ("Qwen/Qwen3-VL-2B-Instruct", 2_127_532_032),
        (ID, 8_291_375_616),
        ("Qwen/Qwen3-VL-8B-Instruct", 8_767_123_696),
        ("google/gemma-3-4b-it", 4_300_079_472),
        ("OpenGVLab/InternVL3-8B-hf", 7_944_373_760),
        ("Qwen/Qwen2-VL-72B-Instruct", 73_405_560_320),
    ],
)
def test_a_listed_shape_has_the_published_number_of_parameters(hub_id, parameters):
    assert size.counts(hub_id).parameters == parameters


@pytest.mark.parametrize("name", ["qwen2-vl-7b-shrunk", "llava-1.6-vicuna-7b-shrunk"])
def test_what_is_counted_is_what_is_quantised_and_trained(name):
    model, family = shapes_only(STAND_IN_FOLDERS / name)
    layers = linear_layers(model, family)
    found = size.counts(str(STAND_IN_FOLDERS / name))
    assert (found.linear4bit, found.in_four_bit) == (len(layers), sum(m.weight.numel() for m in layers.values()))
    assert found.trained(8) == sum(trainable_groups(add_lora(model, family, 8, 16, 0.0, True, 0), family).values())


def test_each_model_of_a_profile_that_downloads_is_listed():
    for profile in map(load_profile, LARGE):
        assert {model.path for model in profile.models.values()} <= shapes().keys()


@pytest.mark.parametrize(
    ("hub_id", "name"), [(ID, "qwen2-vl-7b"), ("llava-hf/llava-v1.6-34b-hf", "llava-1.6-vicuna-7b")]
)
def test_image_tokens_are_those_of_the_processor(hub_id, name):
    assert image_tokens(hub_id, 448) == tokens_of_image(STAND_IN_FOLDERS / name, 448)


def test_smolvlm_cuts_an_image_into_17_tiles_of_64_tokens():
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    processor = Idefics3ImageProcessorPil(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    tiles, _, _ = processor.get_number_of_image_patches(448, 448, {})
    assert tiles * 64 == image_tokens("HuggingFaceTB/SmolVLM-256M-Instruct", 448)


# ---- the hub -------------------------------------------------------------------------------------------------------


def test_the_hub_is_asked_for_the_sizes_of_one_checkpoint_s_files(hub):
    assert size.model_bytes(ID) == sum(SHARDS) == 16_584_414_560
    assert [path.partition("?")[0] for path in hub.paths if "models" in path] == [f"/api/models/{ID}"]
    assert size.hub_bytes(f"{ID}@main") == sum(SHARDS)


@pytest.mark.usefixtures("hub")
def test_a_model_that_the_hub_does_not_have_is_left_to_its_client():
    assert size.hub_bytes("nobody/nothing") is None
    assert size.model_bytes("nobody/nothing") == 0


def test_without_a_network_the_parameters_are_counted():
    assert size.hub_bytes(ID) is None
    assert size.model_bytes(ID) == 2 * 8_291_375_616
    with pytest.raises(
        ValueError, match=r"nobody/nothing: its config.json is neither on this machine nor within reach"
    ):
        size.configuration("nobody/nothing")


@pytest.mark.usefixtures("on_cpu", "hub")
def test_a_cpu_refuses_a_7b_hub_id_with_its_size():
    with pytest.raises(ValueError, match=r"Qwen2-VL-7B-Instruct: 17 GB of weights and no CUDA device.*outlook PROFILE"):
        check_machine(ID, "float32", four_bit=True)


@pytest.mark.usefixtures("on_cpu")
def test_a_cpu_refuses_weights_that_its_memory_does_not_hold(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 16e9}))
    with pytest.raises(ValueError, match=r"its weights take 33 GB in float32, this machine has 16 GB"):
        check_machine(ID, "float32", four_bit=False)
    check_machine("Qwen/Qwen2-VL-2B-Instruct", "float32", four_bit=False)  # 8.8 GB


@pytest.mark.slow
def test_nothing_but_the_configuration_is_fetched_before_a_cpu_refuses(hub, tmp_path):
    """In a process of its own, which reads the hub's address from the environment."""
    code = f"from helpers.models.loading import load_model; load_model({ID!r}, 'float32')"
    address = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "CUDA_VISIBLE_DEVICES": ""}
    import huggingface_hub.constants

    address["HF_ENDPOINT"] = huggingface_hub.constants.ENDPOINT
    done = subprocess.run([sys.executable, "-c", code], env=address, capture_output=True, text=True, timeout=120)
    assert "17 GB of weights and no CUDA device" in done.stderr
    assert any(path.endswith("/config.json") for path in hub.paths)
    assert not [path for path in hub.paths if ".safetensors" in path or ".bin" in path]


# ---- the outlook ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [file.stem for file in sorted(PROFILES.glob("*.yaml"))])
def test_profiles_that_download_choose_the_precision_and_ask_in_both_ways(name):
    profile = load_profile(name)
    if any(is_hub_id(model.path) for model in profile.models.values()):
        assert name in LARGE
        assert profile.training.dtype == profile.evaluation.dtype == "auto"
    if not profile.rehearsal and name != "demo":  # the demo's grid `answering` asks in both
        assert {"describe_then_answer", "describe_then_answer_tuned"} <= set(profile.evaluation.answering)


@pytest.mark.parametrize("name", LARGE)
def test_an_outlook_names_every_model_in_both_modes_the_disk_and_the_hours(name):
    profile, lines = load_profile(name), outlook(load_profile(name))
    for model in profile.models.values():
        for mode in ("text_only", "image_text"):
            assert [line for line in lines if line.startswith(f"  {model.display}, {mode}: ")]
    download = sum(2 * size.counts(model.path).parameters for model in profile.models.values()) / 1e9
    assert f"  download {download:.0f} GB; the profile asks for {profile.disk_gb:g} GB of disk" in lines
    assert download < profile.disk_gb
    assert " h on 80 GB" in lines[-1]
    assert ("T4" in lines[-1]) == (name != "large")


def test_the_paper_fits_a_t4_with_more_passes_and_the_same_batch():
    paper = load_profile("paper")
    wanted = {
        ("Qwen2-VL 7B", "text_only"): "training.gradient_checkpointing=true",
        ("Qwen2-VL 7B", "image_text"): "",
        ("LLaVA-NeXT 7B", "text_only"): "training.gradient_checkpointing=true",
        ("LLaVA-NeXT 7B", "image_text"): "training.batch_size=4 training.gradient_accumulation=4",
    }
    gb = OUTLOOK["T4 (16 GB)"].gb
    found = {
        (model.display, mode): _fitting(paper, model.path, load, gb)
        for model in paper.models.values()
        for mode, load in loads(paper, model.path, 300, ("text_only", "image_text"))
    }
    assert found == wanted


def test_a_72b_model_needs_a_large_card():
    large = load_profile("large")
    path = large.models["qwen2_vl_72b"].path
    load = dict(loads(large, path, 300))["text_only"]
    assert [_fitting(large, path, load, gb) for gb in (24, 48, 80)] == [None, None, ""]


def test_the_docs_show_the_outlook_of_each_profile():
    from helpers.paths import ROOT

    text = (ROOT / "docs" / "seven_billion.md").read_text(encoding="utf-8")
    for name in LARGE:
        assert "\n".join(outlook(load_profile(name))) in text, f"run: python -m helpers.models.rehearsal outlook {name}"


def test_shapes_are_read_as_configurations_of_the_library():
    assert json.loads(json.dumps(shapes())) == shapes()  # plain values
    assert size.configuration("google/gemma-3-4b-it").model_type == "gemma3"
