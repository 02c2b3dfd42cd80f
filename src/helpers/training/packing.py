"""A training step without padding and without unneeded logits, with the same loss and gradients as the plain step.

The samples of a batch form a single row, one after another. Linear layers and norms see each token once and no padding.
Attention treats each sample separately. Each sample counts its positions from its own start (in Qwen2-VL along three
axes). The head computes logits only where a label follows.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from helpers.models.attention import attention
from helpers.models.batches import LOGIT_ROWS, shapes_on_device
from helpers.models.family import Family, plain_model

ATTENTION = "sample_by_sample"
FUSED_ROWS = 1000  # labels up to which plain logits are quicker than Liger's kernel, which reads the head per chunk
CHUNKS = 16  # times the memory per chunk that Liger would take: few chunks, and the head is read few times
_OF_TOKENS = ("input_ids", "labels", "position_ids", "supervised", "lengths", "bucket")  # all else is of the images


def attend_sample_by_sample(
    module: Any,
    query: torch.Tensor,  # 1 x heads x tokens x width
    key: torch.Tensor,  # 1 x key heads x tokens x width
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    lengths: Sequence[int] = (),
    rows: torch.Tensor | None = None,  # samples x longest
    places: torch.Tensor | None = None,  # tokens
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each of the samples that share a row; returns 1 x tokens x heads x width.

    Samples are told apart by their ``lengths``, or by the indices of `helpers.training.step_graphs.bucketed`: then all
    are attended at once, samples x longest, and no number of the batch has to be known.
    """
    if attention_mask is not None or not (lengths or rows is not None):
        raise ValueError("samples in one row need their `lengths` and no mask; make the batch with `packed_batch`")
    grouped = key.shape[1] != query.shape[1]
    if rows is not None:
        apart = [_Moved.apply(t, rows.flatten(), places)[0].unflatten(1, rows.shape) for t in (query, key, value)]
        q, k, v = (tensor.transpose(0, 1) for tensor in apart)  # samples x heads x longest x width
        found = scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        together = found.transpose(0, 1).flatten(1, 2).unsqueeze(0)
        return _Moved.apply(together, places, rows.flatten()).transpose(1, 2), None
    parts = zip(*(tensor.split(list(lengths), dim=2) for tensor in (query, key, value)), strict=True)
    attended = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in parts
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None


class _Moved(torch.autograd.Function):
    """``x`` with its third axis in the order ``there``; ``back`` is the order in which the gradient comes back.

    Plain lookups both ways: an index that is used more than once is of a token without a gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, there: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(back)
        return x.index_select(2, there)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(2, back), None, None


AttentionInterface.register(ATTENTION, attend_sample_by_sample)


def attention_by_sample(model: Any, family: Family) -> AbstractContextManager[None]:
    """Within the block the language model accepts only packed rows."""
    return attention(plain_model(model).get_submodule(family.language_model).config, ATTENTION)


def packed_loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The sum of cross-entropy over a packed batch's labels; call it within `attention_by_sample`."""
    whole = plain_model(model)
    hidden = whole.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        mm_encoder_outputs=image_inputs(whole, batch),
        use_cache=False,
        lengths=batch["lengths"],
    ).last_hidden_state[0]  # tokens x hidden
    before = batch["supervised"]  # each label is predicted from the token before it
    return summed_cross_entropy(hidden[before], whole.get_output_embeddings(), batch["labels"][0, before + 1])


def image_inputs(whole: Any, batch: dict[str, Any]) -> dict[str, Any] | None:
    """The features of a packed batch's images, as an inner model takes them; None for text alone."""
    images = shapes_on_device(whole, {name: value for name, value in batch.items() if name not in _OF_TOKENS})
    return {"image": whole.model.get_image_features(**images, return_dict=True)} if images else None


def summed_cross_entropy(hidden: torch.Tensor, head: Any, targets: torch.Tensor, fused: bool = True) -> torch.Tensor:
    """The sum for ``head(hidden)`` (rows x words), `LOGIT_ROWS` rows at a time, recomputed in the backward pass.

    ``fused``: for more than `FUSED_ROWS` labels on a GPU, if the package liger-kernel is installed, its kernel is used,
    which never stores the logits. It makes the host wait, so it cannot be part of a CUDA graph.
    """
    if fused and len(hidden) > FUSED_ROWS and hidden.device.type == "cuda" and find_spec("liger_kernel"):
        return liger_cross_entropy(hidden, head, targets)
    if len(hidden) <= LOGIT_ROWS:
        return _cross_entropy(hidden, head, targets)
    parts = zip(hidden.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True)
    once_more: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}  # nothing is drawn
    sums = [checkpoint(_cross_entropy, rows, head, labels, **once_more) for rows, labels in parts]
    return torch.stack(sums).sum()


def liger_cross_entropy(hidden: torch.Tensor, head: Any, targets: torch.Tensor) -> torch.Tensor:
    """The sum by Liger's function. Raises ``RuntimeError`` for one that would not take `CHUNKS`, as some have it."""
    # from its own module: the package's name may stand for another backend's function, to which it passes no chunks
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Fused

    _, *parameters = signature(Fused.forward).parameters.values()
    given = {"_input": hidden.to(head.weight.dtype), "weight": head.weight, "target": targets, "reduction": "sum"}
    given["chunk_mem_const"] = CHUNKS
    if missing := given.keys() - {parameter.name for parameter in parameters}:
        raise RuntimeError(f"liger-kernel's fused loss takes no {min(missing)}; install liger-kernel 0.8.5, or none")
    found = Fused.apply(*(given.get(parameter.name, parameter.default) for parameter in parameters))
    return found[0] if isinstance(found, tuple) else found


def _cross_entropy(hidden: torch.Tensor, head: Any, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="sum")
