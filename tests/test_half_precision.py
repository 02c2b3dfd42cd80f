"""Precision by machine: float32 on a CPU, bfloat16 on a card that has it, else float16 with loss scaling."""

from types import SimpleNamespace

import pytest
import torch

from helpers.config.profiles import load_profile
from helpers.models import loading
from helpers.models.adapters import add_lora
from helpers.models.loading import check_machine, chosen_dtype, load_processor
from helpers.models.random_weights import STAND_IN_FOLDERS
from helpers.training import trainer
from helpers.training.packing import attention_by_sample, packed_loss
from helpers.training.trainer import Conversations, PackedCollator

SCALE = 1024.0  # of the loss, as loss scaling has it


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(loading, "device", lambda: torch.device("cpu"))


@pytest.mark.parametrize(
    ("place", "bf16", "chosen"), [("cpu", True, "float32"), ("cuda", True, "bfloat16"), ("cuda", False, "float16")]
)
def test_auto_is_what_the_machine_computes_in(monkeypatch, place, bf16, chosen):
    monkeypatch.setattr(loading, "device", lambda: torch.device(place))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: bf16)
    assert chosen_dtype("auto") == chosen
    assert chosen_dtype("float32") == "float32"
    with pytest.raises(ValueError, match="dtype is 'int8'; known: auto, float32, bfloat16, float16"):
        chosen_dtype("int8")


@pytest.mark.usefixtures("on_cpu")
def test_a_cpu_refuses_float16():
    with pytest.raises(ValueError, match=r"dtype float16 needs a GPU.*set training.dtype and evaluation.dtype to auto"):
        check_machine(STAND_IN_FOLDERS / "qwen2-vl-7b-shrunk", "float16", four_bit=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_trained_is_float32_and_learns_as_in_float32(model_path, butterflies, monkeypatch, dtype):
    """As on a GPU, on a CPU that computes in half precision slowly: 4-bit weights, and a factor on the loss."""
    monkeypatch.setattr(loading, "check_machine", lambda *_: None)
    found = {}
    for name in ("float32", dtype):
        tuned, family = with_adapter(model_path, name)
        trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        assert {parameter.dtype for parameter in trained} == {torch.float32}
        collator = PackedCollator(load_processor(model_path), None, tuned, family)
        conversations = Conversations(butterflies.samples["image_text"], butterflies.folder)
        packed = collator([conversations[i] for i in range(4)])
        autocast = torch.autocast("cpu", loading.DTYPES[name], enabled=name != "float32")
        with attention_by_sample(tuned, family), autocast:
            loss = packed_loss(tuned, packed) / len(packed["supervised"])
        (loss * SCALE).backward()
        gradients = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
        found[name] = loss.item(), gradients / SCALE
    assert found[dtype][0] == pytest.approx(found["float32"][0], rel=1e-2)
    assert torch.cosine_similarity(found[dtype][1], found["float32"][1], dim=0) > 0.99


def with_adapter(path, dtype):
    """A tiny model in 4 bit, with an adapter that has learnt something."""
    model, family = loading.load_model(path, dtype)
    tuned = add_lora(model, family, 4, 8, 0.0, True, 0)
    torch.manual_seed(1)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return tuned, family


def test_a_card_without_bfloat16_trains_in_float16_with_loss_scaling(monkeypatch, tmp_path, model_path):
    monkeypatch.setattr(loading, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    family = loading.family_of(model_path)
    assert loading.nf4(family, "auto").bnb_4bit_compute_dtype == torch.float16
    monkeypatch.setattr(trainer, "TrainingArguments", lambda **given: given)  # the true ones want the card itself
    given = trainer.trainer_arguments(load_profile("paper").training, tmp_path, seed=0)
    assert (given["fp16"], given["bf16"]) == (True, False)


def logged(watch, norm, fp16=True, loss=1.0):
    state = SimpleNamespace(global_step=1, max_steps=9)
    watch.on_log(SimpleNamespace(fp16=fp16, learning_rate=1e-4), state, None, {"loss": loss, "grad_norm": norm})


def test_a_step_that_loss_scaling_skips_is_no_error_and_endless_ones_are():
    watch = trainer.FiniteLoss()
    for norm in [float("inf")] * 16 + [1.0] + [float("nan")] * 16:
        logged(watch, norm)
    with pytest.raises(RuntimeError, match=r"norm of the gradients became inf .* the model may overflow float16"):
        logged(watch, float("inf"))
    with pytest.raises(RuntimeError, match=r"norm of the gradients became inf in step 1 of 9; lower .* again$"):
        logged(trainer.FiniteLoss(), float("inf"), fp16=False)
    with pytest.raises(RuntimeError, match="the loss became nan"):
        logged(trainer.FiniteLoss(), 1.0, loss=float("nan"))
