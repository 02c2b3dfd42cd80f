"""Frozen weights unpacked once for many steps: same NF4-rounded values, fewer matrix products per layer.

bitsandbytes unpacks a 4-bit weight in every forward and backward pass, and peft adds its adapter with two thin
products, a scaling, a copy and an addition. Within `unpacked_weights` the frozen weight is unpacked once. Then:

- In float32 without dropout, the adapter is added to the weight, again in each training step, and one product is left.
- Otherwise, as in bfloat16, that sum would lose the adapter's small numbers. Instead the adapter's second thin product
  is accumulated into the product with the frozen weight: nothing is copied, and there is less rounding than in peft.

Where there is no room for the weights, their scales alone are unpacked once (double quantisation packs them too), and a
training step unpacks each weight in either pass for the second of these ways.

The same code serves the demo's models on a CPU and 7B models on a GPU (QLoRA: arXiv 2305.14314). What is saved,
quantised or counted does not change: modules and parameters stay as they were.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

Unpack: TypeAlias = bool | Literal["auto"]  # auto: if it is estimated to fit

CPU_ROOM = 400_000_000  # bytes, enough for models of the demo's size; larger ones are slow on a CPU in any case
GPU_MARGIN = 24_000_000_000  # bytes kept free for activations, gradients and the optimiser: 7B needs 37 GB free


class Unpacked(NamedTuple):
    """How many layers compute with unpacked weights, and the bytes that these, or unpacked scales alone, take."""

    layers: int
    bytes: int


class LowRankLinear(torch.autograd.Function):
    """``x (W + s B A)^T + bias`` with gradients for x, A and B only. W: out x in; A: r x in; B: out x r."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> torch.Tensor:
        adapted = torch.addmm(weight, b, a, alpha=scaling)
        ctx.save_for_backward(x, adapted, a, b)
        ctx.scaling = scaling
        return linear(x, adapted, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, adapted, a, b = ctx.saved_tensors
        g = gradients[0].reshape(-1, adapted.shape[0])  # tokens x out
        flat = x.reshape(-1, adapted.shape[1])  # tokens x in
        to_x = (g @ adapted).view(x.shape) if ctx.needs_input_grad[0] else None
        to_a = torch.mm((g @ b).t(), flat).mul_(ctx.scaling)
        to_b = torch.mm((flat @ a.t()).t(), g).t().mul_(ctx.scaling)  # faster than its transpose
        return to_x, None, None, to_a, to_b, None


class ThinProducts(torch.autograd.Function):
    """``x W^T + bias + s (d A^T) B^T`` with gradients for x, d, A and B only; d: x after dropout, None without.

    The first product is accumulated into the last, which is small and thus little rounded. A and B are kept in float32
    and multiplied in the precision of x. A W in 4 bit is unpacked in either pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, d: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> torch.Tensor:
        rows = (x if d is None else d).flatten(0, -2)  # tokens x in
        thin_a, thin_b = a.to(x.dtype), b.to(x.dtype)
        thin = linear(rows, thin_a)  # tokens x r
        ctx.save_for_backward(rows, thin, thin_a, thin_b)
        ctx.weight, ctx.scaling, ctx.dtype, ctx.shape, ctx.dropped = weight, scaling, a.dtype, x.shape, d is not None
        if bias is None:
            found, beta = thin @ thin_b.t(), scaling
        else:
            found, beta = torch.addmm(bias, thin, thin_b.t(), alpha=scaling), 1.0
        return found.addmm_(x.flatten(0, -2), unpacked(weight).t(), beta=beta).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, thin, a, b = ctx.saved_tensors
        g = gradients[0].flatten(0, -2)  # tokens x out
        to_thin = g @ b
        to_x = to_d = None
        if ctx.needs_input_grad[0]:
            to_x = g @ unpacked(ctx.weight)
            if ctx.dropped:
                to_d = (to_thin @ a).mul_(ctx.scaling).view(ctx.shape)
            else:
                to_x.addmm_(to_thin, a, alpha=ctx.scaling)
            to_x = to_x.view(ctx.shape)
        to_a, to_b = ((one.t() @ two).to(ctx.dtype).mul_(ctx.scaling) for one, two in ((to_thin, rows), (g, thin)))
        return to_x, to_d, None, None, to_a, to_b, None


@contextmanager
def unpacked_weights(model: Any, unpack: Unpack = "auto") -> Iterator[Unpacked]:
    """Within the block, the model's 4-bit and LoRA layers compute as described above; yields how many do.

    ``unpack``: "auto" if the weights fit (`CPU_ROOM`; on a GPU the free memory less `GPU_MARGIN`), True always, False
    never. A layer that is not plain (several active adapters, DoRA, trained biases) is left to peft, and so is one
    whose adapter has been merged. Within another such block there is nothing left to do.
    """
    layers = _chosen(_layers(model), unpack)
    each_pass = [] if layers or unpack != "auto" else [layer for layer in _layers(model) if layer.is_plain]
    packed = [layer.base.weight.quant_state for layer in each_pass if layer.four_bit]
    scales = [(state, state.absmax) for state in packed if state.nested]
    try:
        for state, _ in scales:
            state.absmax, state.nested = unpacked_scales(state), False
        for layer in layers:
            layer.weight = unpacked(layer.base.weight)
        for layer in (*layers, *each_pass):
            layer.module.forward = layer
        grown = sum(state.absmax.nbytes - before.nbytes for state, before in scales)
        yield Unpacked(len(layers), sum(layer.bytes for layer in layers) + grown)
    finally:
        for layer in (*layers, *each_pass):
            vars(layer.module).pop("forward", None)
        for state, before in scales:
            state.absmax, state.nested = before, True


def unpacked_bytes(weights: int, dtype: torch.dtype, four_bit: bool = True) -> int:
    """Extra memory for this many weights: unpacked if they are in 4 bit, and in float32 also the sums."""
    return weights * dtype.itemsize * (four_bit + (dtype == torch.float32))


def products(model: Any, unpack: Unpack = "auto") -> dict[str, int]:
    """The products in a forward pass of a linear layer, in words, and how many layers compute them that way.

    For the model's 4-bit and LoRA layers in its current mode (training or not), as within `unpacked_weights`.
    """
    layers = _layers(model)
    chosen = _chosen(layers, unpack)
    each_pass = unpack == "auto" and not chosen
    return dict(Counter(layer.in_words(layer in chosen, each_pass and layer.is_plain) for layer in layers))


def unpacked(weight: Any) -> torch.Tensor:
    """A frozen weight, out x in, in the precision it computes in; a 4-bit weight is unpacked by bitsandbytes."""
    import bitsandbytes

    state = getattr(weight, "quant_state", None)
    return weight.detach() if state is None else bitsandbytes.functional.dequantize_4bit(weight.data, state)


def unpacked_scales(state: Any) -> torch.Tensor:
    """The scales of a 4-bit weight, one per block, that double quantisation keeps in 8 bit."""
    from bitsandbytes.functional import dequantize_blockwise

    return (dequantize_blockwise(state.absmax, state.state2) + state.offset).float()


def _layers(model: Any) -> "list[_Layer]":
    """LoRA layers, and 4-bit layers outside any adapter's layer."""
    from bitsandbytes.nn import Linear4bit
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    modules = list(model.modules())
    within = {id(module.get_base_layer()) for module in modules if isinstance(module, BaseTunerLayer)}
    lora = [m for m in modules if isinstance(m, LoraLayer) and isinstance(m.get_base_layer(), torch.nn.Linear)]
    bare = [_Layer(m, []) for m in modules if isinstance(m, Linear4bit) and id(m) not in within]
    return [*(_Layer(m, list(m.active_adapters)) for m in lora if len(m.active_adapters) == 1), *bare]


def _chosen(layers: "list[_Layer]", unpack: Unpack) -> "list[_Layer]":
    """The layers that will compute with unpacked weights: all that can, or none."""
    layers = [layer for layer in layers if layer.is_plain] if unpack is not False else []
    room = _room(layers[0].base.weight.device) if layers and unpack == "auto" else math.inf
    return layers if sum(layer.bytes for layer in layers) <= room else []


def _room(device: torch.device) -> int:
    """Bytes that unpacked weights may take."""
    if device.type == "cpu":
        return CPU_ROOM
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused - GPU_MARGIN


class _Layer:
    """A linear layer's alternative forward pass; it falls back on the layer's own if the layer is not plain."""

    weight: torch.Tensor | None = None  # out x in; None: the base's, unpacked in each pass

    def __init__(self, module: Any, adapters: list[str]) -> None:
        self.module, self.plain, self.adapters = module, module.forward, adapters
        self.base = module.base_layer if adapters else module
        state = getattr(self.base.weight, "quant_state", None)
        self.four_bit, self.dtype = state is not None, (state or self.base.weight).dtype
        self.state: tuple[int, int, float] | None = None  # of A, B and scaling, for which `adapted` is valid

    @property
    def is_plain(self) -> bool:
        """Whether the layer only computes products, in one precision, and has not been replaced already."""
        module, bias = self.module, self.base.bias
        if "forward" in vars(module) or not self.dtype.is_floating_point:
            return False
        if bias is not None and bias.dtype != self.dtype:
            return False
        if self.four_bit and self.base.compute_dtype not in (None, self.dtype):
            return False
        return all(a in module.lora_A and not module.lora_variant and not module.lora_bias[a] for a in self.adapters)

    @property
    def bytes(self) -> int:
        return unpacked_bytes(self.base.in_features * self.base.out_features, self.dtype, self.four_bit)

    @property
    def is_summed(self) -> bool:
        """Whether the adapter is added to the weight: only if that loses nothing and both get the same input."""
        (name,) = self.adapters
        if _drops(self.module.lora_dropout[name]):
            return False
        return self.dtype == self.module.lora_A[name].weight.dtype == torch.float32

    def in_words(self, once: bool, each_pass: bool = False) -> str:
        """The layer's products in words, with weights unpacked once, or in each pass of a training step, or as ever."""
        frozen = (
            f"frozen NF4 weight unpacked {'once' if once else 'in each pass'}" if self.four_bit else "frozen weight"
        )
        if once and self.adapters and self.is_summed:
            return f"{frozen}, adapter added, one product"
        unpacks = once or (each_pass and self.adapters) or not self.four_bit
        product = f"{frozen}, one product" if unpacks else "bitsandbytes' 4-bit product"
        return f"{product}, two thin LoRA products" if self.adapters else product

    def __call__(self, x: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        module, adapters, bias = self.module, self.adapters, self.base.bias
        if x.dtype != self.dtype or (adapters and (module.merged or module.active_adapters != adapters)):
            return self.plain(x, *arguments, **keywords)
        off, weight = not adapters or module.disable_adapters, self.weight
        if weight is None:
            if off or not torch.is_grad_enabled():
                return self.plain(x, *arguments, **keywords)  # bitsandbytes is quicker where no pass comes back
            weight = self.base.weight
        if off:
            return linear(x, weight, bias)
        (name,) = adapters
        a, b, scaling = module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name]
        if self.weight is None or not self.is_summed:
            dropout = module.lora_dropout[name]
            return ThinProducts.apply(x, dropout(x) if _drops(dropout) else None, weight, bias, a, b, scaling)
        if torch.is_grad_enabled():
            return LowRankLinear.apply(x, weight, bias, a, b, scaling)
        if (state := (a._version, b._version, scaling)) != self.state:
            self.state, self.adapted = state, torch.addmm(weight, b, a, alpha=scaling)
        return linear(x, self.adapted, bias)


def _drops(dropout: Any) -> bool:
    return dropout.training and not isinstance(dropout, torch.nn.Identity)
