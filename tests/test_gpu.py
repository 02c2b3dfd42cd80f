"""On a GPU: the same likelihoods, replies and losses as on the CPU, and what only a GPU has.

    TEST_GPU=1 ./run_all.sh test -- tests/test_gpu.py -n 0

All other tests hold CPU runs to each other bit by bit and do not see a GPU (`conftest.py`).
"""

import os
from importlib.util import find_spec

import pytest
import torch
from bitsandbytes.nn import Linear4bit

import helpers.training.packing as packed
import helpers.training.trainer as trainer
from helpers.config.profiles import load_profile
from helpers.evaluation.prompts import Prompt, Shown
from helpers.evaluation.reader import Reader
from helpers.models import loading, unpacking
from helpers.models.adapters import add_lora, load_adapter
from helpers.models.export import save_quantised
from helpers.training.trainer import finetune

pytestmark = pytest.mark.skipif(
    not (os.environ.get("TEST_GPU") and torch.cuda.is_available()), reason="needs a GPU, and TEST_GPU=1"
)
SETTINGS = load_profile("smoke").training
PLACES = ("cpu", "cuda")


@pytest.fixture
def load(model_path, monkeypatch):
    """Loads a tiny model and its processor on the CPU or the GPU."""

    def load(where, dtype="float32", four_bit=True, path=model_path):
        monkeypatch.setattr(loading, "device", lambda: torch.device(where))
        model, family = loading.load_model(path, dtype, four_bit)
        assert next(model.parameters()).device.type == where
        return model, family, loading.load_processor(model_path)

    return load


@pytest.fixture
def train(load, butterflies, tmp_path):
    """Trains an adapter for three steps on the GPU."""

    def train(mode, name="out", **changes):
        settings = SETTINGS.model_copy(update={"max_steps": 3, "logging_steps": 1, **changes})
        model, family, processor = load("cuda", settings.dtype)
        tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0)
        samples, folder = butterflies.samples[mode], butterflies.folder
        return finetune(tuned, family, processor, samples, folder, tmp_path / name, settings, seed=0)

    return train


@pytest.fixture
def prompts(butterflies):
    """Two questions each of three pictures, and one without."""
    asked = butterflies.questions[:6]
    shown = [Prompt(q.question, Shown(butterflies.folder / q.image)) for q in asked]
    return [*shown, Prompt("How large is the Monarch?")]


ANSWERS = ["It is small.", "This is the Monarch.", "It lives in meadows."]


def answers(model, processor, prompts):
    reader = Reader(model, processor, batch_size=4, max_new_tokens=12)
    found = reader.likelihoods(prompts, [ANSWERS] * len(prompts), "test")
    return [one.total for several in found for one in several], reader.write(prompts, "test")


@pytest.mark.parametrize("four_bit", [False, True])
def test_the_same_likelihoods_and_replies_as_on_the_cpu(load, prompts, four_bit):
    (scores, replies), (scores_gpu, replies_gpu) = (
        answers(model, processor, prompts)
        for model, _, processor in (load(where, four_bit=four_bit) for where in PLACES)
    )
    if four_bit:  # quantised on the GPU, a few weights fall on the other side of a boundary
        assert scores_gpu == pytest.approx(scores, rel=1e-3, abs=2e-2)
    else:
        assert scores_gpu == pytest.approx(scores, abs=2e-3)
        assert replies_gpu == replies


def test_bfloat16_gives_about_the_same_likelihoods(load, prompts):
    (scores, _), (rounded, _) = (
        answers(model, processor, prompts) for model, _, processor in (load("cpu"), load("cuda", "bfloat16"))
    )
    assert rounded == pytest.approx(scores, rel=0.05, abs=0.5)


def test_a_model_saved_in_4_bit_is_the_same(load, prompts, model_path, tmp_path):
    load("cuda")
    saved = save_quantised(model_path, tmp_path / "saved", "float32")
    model, _, processor = load("cuda")
    again, _, _ = load("cuda", path=saved)
    assert answers(again, processor, prompts) == answers(model, processor, prompts)


@pytest.mark.usefixtures("no_meter")
@pytest.mark.parametrize("mode", ["text_only", "image_text"])
def test_a_training_begins_with_the_loss_that_it_has_on_the_cpu(load, train, butterflies, tmp_path, mode):
    found = train(mode)
    model, family, processor = load("cpu")
    tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0)
    settings = SETTINGS.model_copy(update={"max_steps": 3})
    # the Trainer goes to where the model is, unless it is told to keep to the CPU
    with pytest.MonkeyPatch.context() as hidden:
        hidden.setattr(torch.cuda, "is_available", lambda: False)
        samples, folder = butterflies.samples[mode], butterflies.folder
        expected = finetune(tuned, family, processor, samples, folder, tmp_path / "cpu", settings, seed=0)
    assert found.losses.loss[0] == pytest.approx(expected.losses.loss[0], rel=2e-3)
    assert found.losses.grad_norm[0] == pytest.approx(expected.losses.grad_norm[0], rel=2e-2)


@pytest.mark.usefixtures("no_meter")
def test_packed_and_padded_steps_have_the_same_loss(train):
    one, other = train("image_text"), train("image_text", "padded", packing=False)
    assert list(one.losses.loss) == pytest.approx(list(other.losses.loss), rel=5e-3)


def test_text_alone_does_not_touch_the_tower_and_costs_are_the_gpus(train):
    resources = train("text_only", dtype="bfloat16").resources
    assert resources["vision_tower_calls"] == 0
    assert resources["memory_of"] == "GPU"
    assert 0 < resources["peak_gpu_mb"] <= resources["peak_gpu_reserved_mb"]
    assert resources["gpu_wh"] > 0


@pytest.mark.usefixtures("no_meter")
def test_float16_with_loss_scaling_begins_with_the_loss_of_float32_and_learns(train):
    full, half = train("image_text"), train("image_text", "half", dtype="float16")
    assert half.losses.loss[0] == pytest.approx(full.losses.loss[0], rel=1e-2)
    assert half.losses.grad_norm[0] == pytest.approx(full.losses.grad_norm[0], rel=5e-2)


@pytest.mark.usefixtures("no_meter")
def test_checkpointing_and_remembered_features_change_no_loss(train):
    plain = train("image_text", gradient_checkpointing=False)
    for name, changes in {"checkpointed": {"gradient_checkpointing": True}, "cached": {"tower_cache": True}}.items():
        found = train("image_text", name, **{"gradient_checkpointing": False, **changes})
        assert list(found.losses.loss) == pytest.approx(list(plain.losses.loss), rel=5e-3)


@pytest.mark.usefixtures("no_meter")
@pytest.mark.skipif(not find_spec("liger_kernel"), reason="needs the package liger-kernel")
def test_the_fused_loss_is_the_plain_one(train, monkeypatch):
    monkeypatch.setattr(packed, "FUSED_ROWS", 0)
    fused = train("text_only", cuda_graphs=False)
    monkeypatch.setattr(packed, "find_spec", lambda name: None)
    plain = train("text_only", "plain", cuda_graphs=False)
    assert list(fused.losses.loss) == pytest.approx(list(plain.losses.loss), rel=5e-3)


@pytest.mark.skipif(not find_spec("liger_kernel"), reason="needs the package liger-kernel")
def test_the_fused_loss_reads_the_head_few_times():
    head = torch.nn.Linear(64, 152_064, bias=False, device="cuda", dtype=torch.bfloat16).requires_grad_(False)
    hidden = torch.randn(1200, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    targets = torch.randint(152_064, (1200,), device="cuda")
    with torch.profiler.profile() as trace:
        packed.summed_cross_entropy(hidden, head, targets)
    products = sum(row.count for row in trace.key_averages() if row.key == "aten::mm")
    assert 0 < products <= 200  # two for each 16 labels; without chunk_mem_const two for each label


@pytest.mark.usefixtures("no_meter")
@pytest.mark.parametrize("mode", ["text_only", "image_text"])
def test_steps_in_graphs_have_the_loss_of_steps_without(train, mode):
    graphs = train(mode, dtype="bfloat16", max_steps=6)
    plain = train(mode, "plain", dtype="bfloat16", max_steps=6, cuda_graphs=False)
    assert (graphs.resources["no_graphs_because"], graphs.resources["graph_replays"] > 0) == ("", True)
    assert list(graphs.losses.loss) == pytest.approx(list(plain.losses.loss), rel=2e-2)


@pytest.mark.usefixtures("no_meter")
@pytest.mark.parametrize(
    "changes",
    [{"main_memory": True}, {"gradient_checkpointing": "selective"}, {"unpack_weights": False}, {"encode_threads": 0}],
    ids=["main memory", "selective", "never unpacked", "encoded in turn"],
)
def test_modes_of_less_memory_or_time_change_no_loss(train, changes):
    plain, found = train("text_only", "plain"), train("text_only", **changes)
    assert list(found.losses.loss) == pytest.approx(list(plain.losses.loss), rel=5e-3)


@pytest.mark.usefixtures("no_meter")
def test_an_adapter_trained_on_the_gpu_answers_on_the_cpu(load, train, prompts, tmp_path):
    train("text_only", learning_rate=1e-2)
    found = []
    for where in PLACES:
        model, _, processor = load(where)
        found.append(answers(load_adapter(model, tmp_path / "out" / "adapter"), processor, prompts)[0])
    assert found[1] == pytest.approx(found[0], rel=2e-3, abs=5e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_unpacked_once_are_those_that_bitsandbytes_multiplies_with(load, dtype):
    model, family, _ = load("cuda", dtype)
    for layer in model.get_submodule(family.language_model).modules():
        if isinstance(layer, Linear4bit):
            layer.bias = None
            ones = torch.eye(layer.in_features, dtype=loading.DTYPES[dtype], device="cuda")
            product = layer(ones.repeat(2048 // layer.in_features + 1, 1))  # so many rows that it unpacks the weight
            assert torch.equal(product[: layer.in_features].t(), unpacking.unpacked(layer.weight))


@pytest.mark.usefixtures("no_meter")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unpacking_once_changes_no_loss(train, monkeypatch, dtype):
    found = {}
    for unpack in (False, True):
        monkeypatch.setattr(
            trainer, "unpacked_weights", lambda model, *_, u=unpack: unpacking.unpacked_weights(model, u)
        )
        found[unpack] = train("image_text", str(unpack), dtype=dtype)
    assert list(found[True].losses.loss) == pytest.approx(list(found[False].losses.loss), rel=5e-3)
