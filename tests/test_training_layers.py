"""What computes less or keeps less in a training gives the same loss and the same gradients."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy, silu
from torch.utils.flop_counter import FlopCounterMode

from helpers.config.profiles import load_profile
from helpers.models import unpacking, vision_cache
from helpers.models.adapters import add_adapter, add_lora
from helpers.models.loading import load_model, load_processor
from helpers.models.rehearsal import activation_bytes
from helpers.models.unpacking import unpacked, unpacked_weights
from helpers.paths import DATA
from helpers.schemas import write_samples
from helpers.training import layers, packing, trainer
from helpers.training.layers import (
    Kernels,
    MainMemory,
    compiled_layers,
    fused_layers,
    least_recomputed,
    recomputed,
)
from helpers.training.packing import attention_by_sample, packed_loss
from helpers.training.trainer import Conversations, PackedCollator, default_optimizer, finetune

pytestmark = pytest.mark.usefixtures("no_meter")
SETTINGS = load_profile("smoke").training


def packed(tuned, model_path, butterflies, mode="text_only", count=4):
    collator = PackedCollator(load_processor(model_path), None, *tuned)
    conversations = Conversations(butterflies.samples[mode], butterflies.folder)
    return collator([conversations[i] for i in range(count)])


def step(tuned, batch):
    """Loss and gradients of a packed step."""
    with attention_by_sample(*tuned):  # what is computed twice attends twice
        loss = packed_loss(tuned[0], batch)
        loss.backward()
    found = {name: p.grad for name, p in tuned[0].named_parameters() if p.grad is not None}
    for parameter in tuned[0].parameters():
        parameter.grad = None
    return loss.item(), found


def assert_same(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    for name, gradient in one[1].items():
        torch.testing.assert_close(other[1][name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()) + 1e-8)


def decoder_of(tuned):
    return tuned[0].get_base_model().get_submodule(tuned[1].language_model)


# ---- kernels ---------------------------------------------------------------------------------------------------------


def plain_norm(x, weight, eps):
    return torch.nn.functional.rms_norm(x, weight.shape, weight, eps)


PLAIN = Kernels(plain_norm, lambda gate, up: silu(gate) * up)


def test_norms_and_mlps_by_kernels_give_the_same_step(tuned, model_path, butterflies):
    batch = packed(tuned, model_path, butterflies)
    expected, decoder = step(tuned, batch), decoder_of(tuned)
    with fused_layers(decoder, PLAIN) as replaced:
        assert replaced == 3 * len(decoder.layers) + 1  # two norms and an MLP in each, and the last norm
        assert_same(expected, step(tuned, batch))
    assert not [module for module in decoder.modules() if "forward" in vars(module)]
    with fused_layers(decoder, None) as replaced:
        assert replaced == 0


def test_a_kernel_that_computes_something_else_is_not_used(tuned):
    others = Kernels(lambda x, weight, eps: plain_norm(x, weight + 1, eps), lambda gate, up: gate * up)
    with fused_layers(decoder_of(tuned), others) as replaced:
        assert replaced == 0


@pytest.mark.filterwarnings("ignore")  # torch's own, while it traces
def test_compiled_layers_give_the_same_step(tuned, model_path, butterflies):
    """Traced and not translated, which takes a compiler and minutes."""
    batch, decoder = packed(tuned, model_path, butterflies), decoder_of(tuned)
    expected = step(tuned, batch)
    torch._dynamo.reset()
    with compiled_layers(decoder.layers, True, backend="aot_eager"):
        assert_same(expected, step(tuned, batch))
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert all(layer._compiled_call_impl is None for layer in decoder.layers)


# ---- what is kept for the backward pass ------------------------------------------------------------------------------


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that a forward pass keeps."""

    def __init__(self):
        self.bytes = 0
        super().__init__(self.keep, lambda tensor: tensor)

    def keep(self, tensor):
        self.bytes += tensor.nbytes
        return tensor

    def __enter__(self):
        super().__enter__()
        return self


@pytest.mark.parametrize("unpack", [True, False])
@pytest.mark.parametrize("kind", ["selective", "full"])
def test_computing_activations_twice_changes_no_gradient(tuned, model_path, butterflies, monkeypatch, kind, unpack):
    monkeypatch.setattr(layers, "WIDE", 32)  # the model is narrow
    model, family = tuned
    batch = packed(tuned, model_path, butterflies)
    model.train()
    with unpacked_weights(model, unpack):
        expected = step(tuned, batch)
        with recomputed(model.get_base_model(), kind, draws=False):
            assert_same(expected, step(tuned, batch))
            with attention_by_sample(model, family), Kept() as kept:
                packed_loss(model, batch)
        with attention_by_sample(model, family), Kept() as whole:
            packed_loss(model, batch)
    assert kept.bytes < whole.bytes


def test_selective_recomputation_does_not_repeat_wide_products(model_path, butterflies, monkeypatch):
    monkeypatch.setattr(layers, "WIDE", 32)
    model, family = load_model(model_path, "bfloat16")
    tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0).train(), family
    batch, found, products = packed(tuned, model_path, butterflies), {}, {}
    for kind in ("none", "selective", "full"):
        cast, counter = torch.autocast("cpu", torch.bfloat16), FlopCounterMode(display=False)
        with unpacked_weights(tuned[0], True), recomputed(model, kind, draws=False), counter, cast:
            found[kind] = step(tuned, batch)
        products[kind] = counter.get_total_flops()
    assert found["selective"][0] == found["full"][0] == found["none"][0]
    assert products["none"] < products["selective"] < products["full"]  # LoRA's are repeated


def test_recomputed_is_only_what_does_not_fit():
    text = SimpleNamespace(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28)
    needs = {kind: activation_bytes(text, 4096, 2, kind) for kind in ("none", "selective", "full")}
    assert needs["none"] > needs["selective"] > needs["full"]
    assert needs["none"] / 4096 == pytest.approx(7.5e6, rel=0.01)  # 7B: 7.5 MB per token
    assert least_recomputed(text, 4096, 2, 80_000_000_000) == "none"
    assert least_recomputed(text, 4096, 2, 24_000_000_000) == "selective"
    assert least_recomputed(text, 4096, 2, 12_000_000_000) == "full"


# ---- weights and scales ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_room_scales_alone_are_unpacked_and_the_bits_stay(model_path, butterflies, monkeypatch, dtype):
    monkeypatch.setattr(unpacking, "_room", lambda device: 0)
    model, family = load_model(model_path, dtype)
    tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0), family
    batch = packed(tuned, model_path, butterflies)
    states = {n: m for n, m in model.named_modules() if hasattr(getattr(m, "weight", None), "quant_state")}
    weights = {name: unpacked(module.weight) for name, module in states.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        expected = step(tuned, batch)
        with unpacked_weights(tuned[0]) as once:
            assert once.layers == 0
            assert once.bytes > 0
            for name, module in states.items():
                assert not module.weight.quant_state.nested
                assert torch.equal(unpacked(module.weight), weights[name])
            found = step(tuned, batch)
    assert all(module.weight.quant_state.nested for module in states.values())
    assert found[0] == pytest.approx(expected[0], rel=1e-5 if dtype == "float32" else 5e-3)
    if dtype == "float32":
        assert_same(expected, found)
    norms = [sum(float(g.float().pow(2).sum()) for g in one[1].values()) ** 0.5 for one in (expected, found)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-4 if dtype == "float32" else 2e-2)


# ---- a training's settings -------------------------------------------------------------------------------------------


def run(model_path, butterflies, output, mode="text_only", **changes):
    settings = SETTINGS.model_copy(update={"max_steps": 3, **changes})
    model, family = load_model(model_path)
    tuned = add_adapter(model, family, settings, seed=0)
    samples, processor = butterflies.samples[mode], load_processor(model_path)
    result = finetune(tuned, family, processor, samples, butterflies.folder, output, settings, seed=0)
    return result, (output / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "changes", [{"encode_threads": 3}, {"main_memory": True}], ids=["encoded ahead", "in main memory"]
)
def test_settings_that_change_no_number(model_path, butterflies, tmp_path, changes):
    plain, adapter = run(model_path, butterflies, tmp_path / "plain")
    found, same = run(model_path, butterflies, tmp_path / "found", **changes)
    assert same == adapter
    assert found.losses.loss.tolist() == plain.losses.loss.tolist()


def test_steps_that_are_logged_together_have_their_mean_and_the_end_is_logged(model_path, butterflies, tmp_path):
    plain, adapter = run(model_path, butterflies, tmp_path / "plain")
    found, same = run(model_path, butterflies, tmp_path / "found", logging_steps=2)
    assert same == adapter
    assert found.losses.step.tolist() == [2, 3]
    assert found.losses.loss.tolist() == pytest.approx([plain.losses.loss[:2].mean(), plain.losses.loss[2]])


def test_samples_with_images_are_encoded_ahead_as_far_as_there_is_room(model_path, butterflies, tmp_path, monkeypatch):
    _, adapter = run(model_path, butterflies, tmp_path / "plain", "image_text")
    monkeypatch.setattr(trainer, "KEPT_BYTES", 200_000)
    _, same = run(model_path, butterflies, tmp_path / "ahead", "image_text", encode_threads=3)
    assert same == adapter


def test_a_loss_that_is_no_number_is_seen_among_steps_that_are_logged_together(model_path, butterflies, tmp_path):
    with pytest.raises(RuntimeError, match=r"became (nan|inf) in step 4 of 4"):
        run(model_path, butterflies, tmp_path, max_steps=4, logging_steps=10, learning_rate=1e30, checkpoint_steps=100)
    assert not (tmp_path / "adapter").exists()


def test_main_memory_is_refused_with_images(model_path, butterflies, tmp_path):
    with pytest.raises(ValueError, match=r"training\.main_memory is for text alone, but \d+ samples have images"):
        run(model_path, butterflies, tmp_path, "image_text", main_memory=True)


def test_what_is_kept_in_main_memory_is_looked_up_there(tuned, model_path, butterflies):
    model, family = tuned
    batch = packed(tuned, model_path, butterflies)
    expected, asked = step(tuned, batch), []
    memory = MainMemory(model, family)
    memory.on_train_begin(None, None, None)
    for module in memory.moved:
        module.to = lambda place: asked.append(place)
    assert_same(expected, step(tuned, batch))
    memory.back()
    assert asked == [memory.place] * len(memory.moved)
    embedding = model.get_input_embeddings()
    shared = embedding.weight is model.get_output_embeddings().weight
    assert (embedding in memory.moved) == (not shared)


def test_the_optimiser_is_chosen_by_the_room_that_its_states_need(tuned, monkeypatch):
    assert default_optimizer(tuned[0]) == "adamw_torch_fused"
    states = 8 * sum(p.numel() for p in tuned[0].parameters() if p.requires_grad)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for missing, chosen in ((0, "adamw_torch_fused"), (1, "adamw_8bit")):
        free = trainer.STATES_ROOM + states - missing
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 0))
        assert default_optimizer(tuned[0]) == chosen


@pytest.mark.parametrize(("name", "waits"), [("adamw_8bit", False), ("paged_adamw_8bit", True), ("adamw_torch", True)])
def test_bitsandbytes_waits_for_the_gpu_only_where_states_are_paged(monkeypatch, name, waits):
    from bitsandbytes.optim import optimizer

    asked = []
    monkeypatch.setattr(optimizer, "sync_gpu", asked.append)
    with trainer.never_waiting(name):
        optimizer.sync_gpu(1)
    optimizer.sync_gpu(2)
    assert asked == ([1, 2] if waits else [2])


# ---- Liger's loss ----------------------------------------------------------------------------------------------------


def test_liger_s_loss_gets_few_chunks_or_is_refused(monkeypatch):
    given = {}

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx, _input, weight, target, bias=None, reduction="mean", chunk_mem_const=1):
            given.update(reduction=reduction, chunks=chunk_mem_const)
            return cross_entropy(_input @ weight.t(), target, reduction=reduction), None

    home = SimpleNamespace(LigerFusedLinearCrossEntropyFunction=Fused)
    monkeypatch.setitem(sys.modules, "liger_kernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "liger_kernel.ops", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "liger_kernel.ops.fused_linear_cross_entropy", home)
    head, hidden, targets = torch.nn.Linear(8, 5, bias=False), torch.randn(7, 8), torch.arange(7) % 5
    with torch.no_grad():
        found = packing.liger_cross_entropy(hidden, head, targets)
        assert found.item() == pytest.approx(packing.summed_cross_entropy(hidden, head, targets).item(), rel=1e-6)
    assert given == {"reduction": "sum", "chunks": packing.CHUNKS}

    class Other(torch.autograd.Function):
        @staticmethod
        def forward(ctx, _input, weight, target, bias=None, reduction="mean"):
            raise AssertionError

    home.LigerFusedLinearCrossEntropyFunction = Other
    with pytest.raises(RuntimeError, match="takes no chunk_mem_const; install liger-kernel"):
        packing.liger_cross_entropy(hidden, head, targets)


# ---- the tower's features --------------------------------------------------------------------------------------------


def test_images_of_a_batch_are_looked_up_by_names_without_their_pixels(model_path, butterflies, tmp_path, monkeypatch):
    plain, adapter = run(model_path, butterflies, tmp_path / "plain", "image_text", tower_cache=True)
    monkeypatch.setattr(vision_cache, "_digest", counted := Counted(vision_cache._digest))
    found, same = run(model_path, butterflies, tmp_path / "found", "image_text", tower_cache=True)
    assert same == adapter
    assert found.resources["vision_tower_calls"] == plain.resources["vision_tower_calls"]
    assert counted.calls == len(set(counted.seen))  # each tensor once, when its sample was encoded


class Counted:
    """A function that counts its calls, by the tensors that it was given."""

    def __init__(self, function):
        self.function, self.calls, self.seen = function, 0, []

    def __call__(self, tensor):
        self.calls += 1
        self.seen.append((tensor.data_ptr(), tensor.shape))
        return self.function(tensor)


TRAIN = """
import sys
from pathlib import Path
from helpers.config.profiles import load_profile
from helpers.models.adapters import add_adapter
from helpers.models.loading import load_model, load_processor
from helpers.schemas import read_samples
from helpers.training.trainer import finetune
path, data, output = map(Path, sys.argv[1:4])
settings = load_profile("smoke", {"training.max_steps": 2}).training
model, family = load_model(path)
tuned = add_adapter(model, family, settings, seed=int(sys.argv[4]))
samples = read_samples(data / "samples.jsonl")
finetune(tuned, family, load_processor(path), samples, data, output, settings, seed=int(sys.argv[4]))
"""


@pytest.mark.slow
def test_runs_side_by_side_train_what_they_train_alone(butterflies, tmp_path):
    """As with `--resources gpu=4`: jobs that share a machine share no number."""
    write_samples(tmp_path / "samples.jsonl", butterflies.samples["text_only"])
    path = DATA / "models" / "tiny-qwen2-vl"

    def start(name, seed):
        command = [sys.executable, "-c", TRAIN, path, tmp_path, tmp_path / name, str(seed)]
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)

    assert [start(f"alone{seed}", seed).wait() for seed in range(2)] == [0, 0]
    assert [job.wait() for job in [start(f"beside{seed}", seed) for seed in range(2)]] == [0, 0]
    for seed in range(2):
        alone, beside = (tmp_path / f"{name}{seed}/adapter/adapter_model.safetensors" for name in ("alone", "beside"))
        assert alone.read_bytes() == beside.read_bytes()
