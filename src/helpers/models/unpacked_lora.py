"""LoRA layers in fewer and larger products: the same numbers as peft's own layers, in less time on a CPU.

peft runs a LoRA layer as one product with the frozen weight, two thin ones with the adapter, a scaling and an addition,
and bitsandbytes unpacks the frozen weight anew in each forward and backward pass. Here the frozen weight, rounded to
NF4 as before, is unpacked once; the adapter is added to it, in training anew each time, and one product is left. Only
where the sum loses nothing (float32) and the unpacked weights are small (`UNPACKED_BYTES`), that is for models of the
demo's size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.function import once_differentiable

UNPACKED_BYTES = 200_000_000  # of all frozen weights together in float32, and as much again where nothing is trained


class LowRankLinear(torch.autograd.Function):
    """``x (W + s B A)^T + bias`` with gradients of x, A and B alone. W: out x in; A: r x in; B: out x r."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> torch.Tensor:
        adapted = torch.addmm(weight, b, a, alpha=scaling)
        ctx.save_for_backward(x, adapted, a, b)
        ctx.scaling = scaling
        return torch.nn.functional.linear(x, adapted, bias)

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


@contextmanager
def fuse_lora(model: Any) -> Iterator[int]:
    """Within the block the LoRA layers of a peft model compute as above; yields how many do.

    None do on a GPU, in another precision than float32, with dropout, with several active adapters, or in a large model
    (7B in float32: 26 GB). What is saved, quantised or counted does not change: the modules and their parameters stay
    as they were. Within another such block nothing is left to do.
    """
    layers = [module for module in model.modules() if _can_be_fused(module)] if hasattr(model, "peft_config") else []
    if 4 * sum(layer.in_features * layer.out_features for layer in layers) > UNPACKED_BYTES:
        layers = []
    try:
        for layer in layers:
            layer.forward = _Fused(layer)
        yield len(layers)
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


class _Fused:
    """A LoRA layer's forward pass; what the layer is not in a plain state for is left to its own."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.plain = layer, layer.forward
        self.name = layer.active_adapters[0]
        self.weight = unpacked(layer.base_layer.weight)
        self.state: tuple[int, int, float] | None = None  # of A, B and scaling, for which `adapted` holds

    def __call__(self, x: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        layer = self.layer
        if layer.merged or layer.active_adapters != [self.name] or x.dtype != torch.float32:
            return self.plain(x, *arguments, **keywords)
        bias = layer.base_layer.bias
        if layer.disable_adapters:
            return torch.nn.functional.linear(x, self.weight, bias)
        a, b, scaling = layer.lora_A[self.name].weight, layer.lora_B[self.name].weight, layer.scaling[self.name]
        if torch.is_grad_enabled():
            return LowRankLinear.apply(x, self.weight, bias, a, b, scaling)
        if (state := (a._version, b._version, scaling)) != self.state:
            self.state, self.adapted = state, torch.addmm(self.weight, b, a, alpha=scaling)
        return torch.nn.functional.linear(x, self.adapted, bias)


def unpacked(weight: Any) -> torch.Tensor:
    """A frozen weight, 4-bit or not, in float32: out x in."""
    import bitsandbytes

    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight.detach().float()
    return bitsandbytes.functional.dequantize_4bit(weight.data, state).float()


def _precision(weight: Any) -> torch.dtype:
    """What a weight, 4-bit or not, computes in."""
    state = getattr(weight, "quant_state", None)
    dtype: torch.dtype = weight.dtype if state is None else state.dtype
    return dtype


def _can_be_fused(module: Any) -> bool:
    from peft.tuners.lora import LoraLayer

    if not isinstance(module, LoraLayer) or len(module.active_adapters) != 1 or module.lora_variant:
        return False
    if "forward" in vars(module) or _precision(module.base_layer.weight) != torch.float32:
        return False
    name = module.active_adapters[0]
    if name not in module.lora_A or not isinstance(module.lora_dropout[name], torch.nn.Identity):
        return False
    weight = module.lora_A[name].weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not module.lora_bias[name]
