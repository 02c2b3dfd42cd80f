"""How the language model's layers compute in a training: kernels, compilation, and what is kept for the backward pass.

All are off on a CPU unless a setting asks for them; none changes what is trained, saved or counted.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import TrainerCallback

from helpers.models.family import Family, plain_model
from helpers.models.loading import tower_modules
from helpers.models.rehearsal import activation_bytes

WIDE = 256  # inner width from which a product is kept: below are LoRA's, which are made again in no time
SPARE = 6_000_000_000  # bytes on a GPU that stay free beside activations
_aten = torch.ops.aten
_PRODUCTS = {_aten.mm.default, _aten.addmm.default, _aten.addmm_.default}
_ATTENTION = {
    getattr(_aten, f"_scaled_dot_product_{kind}").default
    for kind in ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")
}


class Kernels(NamedTuple):
    """Fused functions: ``norm`` of (x, weight, eps), ``gated`` of (gate, up): silu(gate) * up."""

    norm: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
    gated: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def liger_kernels() -> Kernels | None:
    """Those of the package liger-kernel; None without it or without a GPU."""
    if not (torch.cuda.is_available() and find_spec("liger_kernel")):
        return None
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        return LigerRMSNormFunction.apply(x, weight, eps, 0.0, "llama", False)

    return Kernels(norm, LigerSiLUMulFunction.apply)


@contextmanager
def fused_layers(decoder: Any, kernels: Kernels | None) -> Iterator[int]:
    """Within the block, norms and gated MLPs of a language model use the kernels; yields how many do.

    A layer is replaced only if its kernel gives what it gives: some norms add one to their weight, some MLPs are gated
    by another function.
    """
    replaced = []
    if kernels is not None:
        for module in decoder.modules():
            fused = _fused(module, kernels)
            if fused is not None and _same(module, fused):
                module.forward = fused
                replaced.append(module)
    try:
        yield len(replaced)
    finally:
        for module in replaced:
            del module.forward


def _fused(module: Any, kernels: Kernels) -> Callable[[torch.Tensor], torch.Tensor] | None:
    if type(module).__name__.endswith("RMSNorm"):
        eps = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None)
        return None if eps is None else lambda x: kernels.norm(x, module.weight, eps)
    if all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj")):
        return lambda x: module.down_proj(kernels.gated(module.gate_proj(x), module.up_proj(x)))
    return None


@torch.no_grad()
def _same(module: Any, fused: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    if (norm := getattr(module, "weight", None)) is not None:
        width, like = len(norm), norm
    else:
        width, like = module.gate_proj.in_features, next(module.parameters())
    dtype = like.dtype if like.is_floating_point() else torch.bfloat16
    x = torch.linspace(-2, 2, 4 * width, device=like.device).view(1, 4, width).to(dtype)
    rough = 2**-6 if dtype != torch.float32 else 1e-5
    return torch.allclose(module(x), fused(x), rtol=rough, atol=rough)


@contextmanager
def compiled_layers(layers: Sequence[Any], on: bool, **how: Any) -> Iterator[None]:
    """Within the block, each layer is compiled when it is first called, once per shape; ``how``: torch's options."""
    for layer in layers if on else ():
        layer.compile(dynamic=False, **how)
    try:
        yield
    finally:
        for layer in layers if on else ():
            layer._compiled_call_impl = None


def least_recomputed(text: Any, tokens: int, width: int, free: int) -> str:
    """What of a step's activations has to be computed twice to fit ``free`` bytes: "none", "selective" or "full".

    ``text``: the language model's configuration; ``width``: bytes of an activation.
    """
    room = free - SPARE
    kinds = ("none", "selective")
    return next((kind for kind in kinds if activation_bytes(text, tokens, width, kind) <= room), "full")


@contextmanager
def recomputed(model: Any, kind: str, draws: bool) -> Iterator[None]:
    """Within the block, the model computes again in the backward pass what `least_recomputed` says.

    "selective" keeps wide products and attention, and computes norms and activations twice. ``draws``: whether layers
    drop values, which are then to be dropped twice alike.
    """
    if kind == "none":
        yield
        return
    how: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": draws}
    if kind == "selective":
        # a product that is accumulated in place counts as changed after it was kept, although it was not
        how["context_fn"] = lambda: create_selective_checkpoint_contexts(_kept, allow_cache_entry_mutation=True)
    model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    try:
        yield
    finally:
        model.activation_checkpointing_disable()


class MainMemory(TrainerCallback):
    """Keeps the frozen tower and the embeddings in main memory while a text-only training runs.

    Embeddings are looked up there, so each step waits for the GPU: the least memory, not the best speed. A table that
    the head shares stays where it is. Moved when the training begins: before, the Trainer puts all on the GPU.
    """

    def __init__(self, model: Any, family: Family) -> None:
        whole = plain_model(model)
        self.embedding, head = whole.get_input_embeddings(), whole.get_output_embeddings()
        self.place = head.weight.device
        shared = self.embedding.weight is head.weight
        self.moved = [*tower_modules(model, family), *([] if shared else [self.embedding])]
        self.hooks: list[Any] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for module in self.moved:
            module.to("cpu")
        if self.embedding in self.moved:
            self.hooks = [
                self.embedding.register_forward_pre_hook(lambda _, given: (given[0].cpu(),)),
                self.embedding.register_forward_hook(lambda _, __, found: found.to(self.place)),
            ]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def back(self) -> None:
        """Put all back where it was."""
        for hook in self.hooks:
            hook.remove()
        for module in self.moved:
            module.to(self.place)


def _kept(_: Any, function: Any, *arguments: Any, **__: Any) -> CheckpointPolicy:
    wide = function in _PRODUCTS and arguments[function is not _aten.mm.default].shape[-1] >= WIDE
    return CheckpointPolicy.MUST_SAVE if wide or function in _ATTENTION else CheckpointPolicy.PREFER_RECOMPUTE
