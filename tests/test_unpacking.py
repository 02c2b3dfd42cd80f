"""Weights unpacked once are the weights that bitsandbytes multiplies with, and layers compute as peft's own do."""

import bitsandbytes
import pytest
import torch
from peft import LoraConfig, get_peft_model

from helpers.models import unpacking
from helpers.models.adapters import add_lora
from helpers.models.loading import load_model, load_processor
from helpers.models.unpacking import (
    LowRankLinear,
    ThinProducts,
    Unpacked,
    products,
    unpacked,
    unpacked_bytes,
    unpacked_weights,
)
from helpers.training.packing import attention_by_sample, packed_loss
from helpers.training.trainer import Collator, Conversations, PackedCollator

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
WIDTH, OUT, RANK = 64, 96, 4


def four_bit(dtype, nested=True, bias=True):
    """A 4-bit layer of 64 inputs and 96 outputs."""
    plain = torch.nn.Linear(WIDTH, OUT, bias=bias)
    layer = bitsandbytes.nn.Linear4bit(
        WIDTH, OUT, bias=bias, compute_dtype=dtype, compress_statistics=nested, quant_type="nf4"
    )
    layer.load_state_dict(plain.state_dict())
    layer.support_avx512bf16_for_cpu = False
    return layer.to(dtype).to("cpu").requires_grad_(False)


def with_lora(layer, dropout=0.0):
    """The layer alone in a model, with an adapter that has learnt something."""
    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=6, lora_dropout=dropout, target_modules=["0"])
    tuned = get_peft_model(torch.nn.Sequential(layer), config)
    torch.nn.init.normal_(tuned.base_model.model[0].lora_B.default.weight, std=0.05)
    return tuned


def passes(tuned, x, dtype, autocast):
    """Output, and gradients of input, A and B, of a loss that weighs all outputs differently."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = tuned(x)
    (y.float() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    found = [y.detach(), x.grad, *(p.grad for name, p in tuned.named_parameters() if p.requires_grad)]
    tuned.zero_grad()
    assert found[0].dtype == dtype
    return [tensor.float() for tensor in found]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@DTYPES
@pytest.mark.parametrize("nested", [True, False], ids=["scales in 8 bit", "plain scales"])
def test_an_unpacked_weight_is_bit_by_bit_what_bitsandbytes_multiplies_with(dtype, nested):
    layer = four_bit(dtype, nested, bias=False)
    assert layer.weight.quant_state.nested == nested
    weight = unpacked(layer.weight)
    assert (weight.dtype, weight.shape) == (dtype, (OUT, WIDTH))
    assert torch.equal(layer(torch.eye(WIDTH, dtype=dtype)).t(), weight)  # forward: 1 * w + 0 * ...
    x = torch.zeros(OUT, WIDTH, dtype=dtype, requires_grad=True)
    layer(x).backward(torch.eye(OUT, dtype=dtype))
    assert torch.equal(x.grad, weight)  # and backward


@DTYPES
@pytest.mark.parametrize("bias", [True, False])
def test_a_4_bit_layer_without_adapter_computes_the_same_bits(dtype, bias):
    layer = four_bit(dtype, bias=bias)
    model, x = torch.nn.Sequential(layer), torch.randn(2, 3, WIDTH, dtype=dtype)
    expected = model(x)
    with unpacked_weights(model, True) as once:
        assert once == Unpacked(1, WIDTH * OUT * dtype.itemsize * (1 + (dtype == torch.float32)))
        assert torch.equal(model(x), expected)


def reference(layer, x):
    """The same by hand in float64, of the same NF4 weights and the adapter's own float32 numbers."""
    w, bias = unpacked(layer.base_layer.weight).double(), layer.base_layer.bias.double()
    x, a, b = (
        t.detach().double().requires_grad_() for t in (x, layer.lora_A.default.weight, layer.lora_B.default.weight)
    )
    with torch.enable_grad():
        y = x @ w.t() + bias + 6 / RANK * (x @ a.t()) @ b.t()
        (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    return [tensor.float() for tensor in (y.detach(), x.grad, a.grad, b.grad)]


def test_in_bfloat16_a_layer_trains_as_peft_s_own_and_rounds_less():
    tuned, x = with_lora(four_bit(torch.bfloat16)), torch.randn(3, 50, WIDTH, dtype=torch.bfloat16)
    layer = tuned.base_model.model[0]
    assert layer.lora_A.default.weight.dtype == torch.float32
    plain = passes(tuned, x, torch.bfloat16, autocast=True)
    with unpacked_weights(tuned, True) as once:
        assert once.layers == 1
        found = passes(tuned, x, torch.bfloat16, autocast=True)
    wanted = reference(layer, x)
    for ours, pefts, right in zip(found, plain, wanted, strict=True):
        torch.testing.assert_close(ours, pefts, atol=float(right.abs().max()) / 64, rtol=2**-6)
        assert (ours - right).norm() <= (pefts - right).norm()


@torch.no_grad()
def test_answering_in_bfloat16_rounds_as_peft_does():
    tuned, x = with_lora(four_bit(torch.bfloat16)), torch.randn(3, 50, WIDTH, dtype=torch.bfloat16)
    expected = tuned(x)
    with unpacked_weights(tuned, True):
        found = tuned(x)
    right = reference(tuned.base_model.model[0], x)[0]
    torch.testing.assert_close(found, expected, atol=2**-6, rtol=2**-6)
    assert (found - right).norm() <= 1.02 * (expected - right).norm()  # peft: thin products in float32


@DTYPES
def test_dropout_is_drawn_as_by_peft(dtype):
    tuned, x = with_lora(four_bit(dtype), dropout=0.5), torch.randn(4, 5, WIDTH, dtype=dtype)
    torch.manual_seed(3)
    expected = passes(tuned, x, dtype, dtype == torch.bfloat16)
    with unpacked_weights(tuned, True):
        torch.manual_seed(3)
        found = passes(tuned, x, dtype, dtype == torch.bfloat16)
    for ours, pefts in zip(found, expected, strict=True):
        scale = float(pefts.abs().max())
        torch.testing.assert_close(ours, pefts, atol=scale * (1e-5 if dtype == torch.float32 else 1 / 64), rtol=2**-6)


def batch(model_path, butterflies, mode):
    conversations = Conversations(butterflies.samples[mode], butterflies.folder)
    return Collator(load_processor(model_path), None)([conversations[i] for i in range(4)])


@torch.no_grad()
def test_answering_with_unpacked_weights_is_answering_with_plain_ones(tuned, model_path, butterflies):
    model, _ = tuned
    plain = batch(model_path, butterflies, "image_text")
    wanted = model(**plain).logits
    with model.disable_adapter():
        untuned = model(**plain).logits
    with unpacked_weights(model) as once:
        assert once.layers
        torch.testing.assert_close(model(**plain).logits, wanted, atol=1e-4, rtol=1e-4)
        with model.disable_adapter():
            assert torch.equal(model(**plain).logits, untuned)
        torch.testing.assert_close(model(**plain).logits, wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_unpacked_layers_notice_that_the_adapter_has_changed(tuned, model_path, butterflies):
    model, _ = tuned
    plain = batch(model_path, butterflies, "text_only")
    with unpacked_weights(model) as once:
        assert once.layers
        before = model(**plain).logits
        next(p for name, p in model.named_parameters() if "lora_B" in name).mul_(-1)
        after = model(**plain).logits
    torch.testing.assert_close(after, model(**plain).logits, atol=1e-4, rtol=1e-4)
    assert (after - before).abs().max() > 1e-3


def test_in_the_block_a_layer_that_is_turned_off_computes_without_its_adapter(tuned, model_path, butterflies):
    model, _ = tuned
    plain = batch(model_path, butterflies, "text_only")
    with model.disable_adapter():
        expected = model(**plain).loss.item()
        with unpacked_weights(model) as once:
            assert once.layers
            assert model(**plain).loss.item() == expected
    assert model(**plain).loss.item() != expected


def test_a_block_within_a_block_changes_nothing(tuned):
    def replaced():
        return [name for name, module in tuned[0].named_modules() if "forward" in vars(module)]

    before = replaced()  # the tower's
    with unpacked_weights(tuned[0]) as outer:
        with unpacked_weights(tuned[0]) as inner:
            assert (outer.layers > 0, inner) == (True, Unpacked(0, 0))
        assert len(replaced()) == len(before) + outer.layers
    assert replaced() == before


def test_a_low_rank_layer_by_hand():
    x, w = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    a, b = torch.tensor([[1.0, 1.0]], requires_grad=True), torch.tensor([[3.0]], requires_grad=True)
    y = LowRankLinear.apply(x, w, None, a, b, 0.5)  # 1 + 0.5 * 3 * (1 + 2)
    assert y.item() == 5.5
    y.backward()
    assert b.grad.item() == 1.5  # 0.5 * (1 + 2)
    assert a.grad.tolist() == [[1.5, 3.0]]  # 0.5 * 3 * x


def test_an_adapter_beside_its_weight_by_hand():
    x, w = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[1.0, 0.0]])
    a, b = torch.tensor([[1.0, 1.0]], requires_grad=True), torch.tensor([[3.0]], requires_grad=True)
    dropped = x * torch.tensor([[0.0, 2.0]])  # as a dropout of one half may leave it
    y = ThinProducts.apply(x, dropped, w, torch.tensor([1.0]), a, b, 0.5)  # 1 + 1 + 0.5 * 3 * 4
    assert y.item() == 8.0
    y.backward()
    assert b.grad.item() == 2.0  # 0.5 * 4
    assert a.grad.tolist() == [[0.0, 6.0]]  # 0.5 * 3 * dropped
    assert x.grad.tolist() == [[1.0, 3.0]]  # w + 0.5 * 3 * a * (0, 2)


def test_a_step_in_bfloat16_has_the_loss_and_the_gradients_that_it_has_in_peft_s_layers(model_path, butterflies):
    """As on a GPU: frozen weights and activations in bfloat16, what is trained in float32."""
    model, family = load_model(model_path, "bfloat16")
    tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0)
    torch.manual_seed(1)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    collator = PackedCollator(load_processor(model_path), None, tuned, family)
    conversations = Conversations(butterflies.samples["image_text"], butterflies.folder)
    packed, found = collator([conversations[i] for i in range(4)]), {}
    for unpack in (False, True):
        with attention_by_sample(tuned, family), unpacked_weights(tuned, unpack) as once:
            with torch.autocast("cpu", torch.bfloat16):
                loss = packed_loss(tuned, packed) / len(packed["supervised"])
            loss.backward()
        assert (once.layers > 0) == unpack
        gradients = torch.cat([p.grad.flatten() for name, p in tuned.named_parameters() if "lora" in name])
        found[unpack] = loss.item(), gradients.float()
        tuned.zero_grad()
    assert found[True][0] == pytest.approx(found[False][0], rel=5e-3)
    assert torch.cosine_similarity(found[True][1], found[False][1], dim=0) > 0.995


SUMMED = "frozen NF4 weight unpacked once, adapter added, one product"
BESIDE = "frozen NF4 weight unpacked once, one product, two thin LoRA products"
PEFTS = "bitsandbytes' 4-bit product, two thin LoRA products"


def test_of_a_base_in_full_precision_nothing_is_unpacked():
    tuned = with_lora(torch.nn.Linear(WIDTH, OUT).to(torch.bfloat16))
    assert products(tuned) == {"frozen weight, one product, two thin LoRA products": 1}
    with unpacked_weights(tuned) as once:
        assert once == Unpacked(1, 0)


@pytest.mark.parametrize(
    ("dtype", "dropout", "said"),
    [("float32", 0.0, SUMMED), ("float32", 0.1, BESIDE), ("bfloat16", 0.0, BESIDE)],
    ids=["float32", "dropout", "bfloat16"],
)
def test_the_products_of_a_step_are_said_in_words(model_path, dtype, dropout, said):
    base = load_model(model_path, dtype)
    count = 7 * base[0].config.text_config.num_hidden_layers
    assert products(base[0], unpack=False) == {"bitsandbytes' 4-bit product": count}
    assert products(base[0]) == {"frozen NF4 weight unpacked once, one product": count}
    tuned = add_lora(*base, rank=4, alpha=8, dropout=dropout, projector=True, seed=0).train()
    assert products(tuned) == {said: count}
    assert products(tuned, unpack=False) == {PEFTS: count}
    assert products(tuned.eval()) == {SUMMED if dtype == "float32" else BESIDE: count}
    with unpacked_weights(tuned) as once:
        assert once.layers == count


def test_what_unpacking_costs():
    """7B in bfloat16: 13 GB; in float32 the weights once, and once more with the adapter added."""
    assert unpacked_bytes(6_500_000_000, torch.bfloat16) == 13_000_000_000
    assert unpacked_bytes(10, torch.float32) == 80
    assert unpacked_bytes(10, torch.float32, four_bit=False) == 40
    assert unpacked_bytes(10, torch.bfloat16, four_bit=False) == 0  # nothing is unpacked


@pytest.mark.parametrize(("unpack", "layers"), [("auto", 0), (True, 1), (False, 0)])
def test_weights_that_do_not_fit_are_unpacked_where_that_is_set_alone(monkeypatch, unpack, layers):
    model = torch.nn.Sequential(four_bit(torch.bfloat16))
    monkeypatch.setattr(unpacking, "_room", lambda device: 2 * WIDTH * OUT - 1)
    with unpacked_weights(model, unpack) as once:
        assert once.layers == layers
    monkeypatch.setattr(unpacking, "_room", lambda device: 2 * WIDTH * OUT)
    with unpacked_weights(model) as once:
        assert once.layers == 1


def test_on_a_gpu_a_margin_stays_free(monkeypatch):
    """What torch has reserved and does not use is free too."""
    for name, number in {"mem_get_info": (30 * 10**9, 80 * 10**9), "memory_reserved": 9, "memory_allocated": 4}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, number=number: number)
    assert unpacking._room(torch.device("cuda", 0)) == 6_000_000_005
