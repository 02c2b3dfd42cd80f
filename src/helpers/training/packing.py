"""A training step without padding and without unneeded logits, with the same loss and gradients as the plain step.

The samples of a batch form a single row, one after another. Linear layers and norms see each token once and no padding.
Attention treats each sample separately. Each sample counts its positions from its own start (in Qwen2-VL along three
axes). The head computes logits only where a label follows.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from helpers.models.attention import attention
from helpers.models.batches import LOGIT_ROWS, shapes_on_device
from helpers.models.family import Family, plain_model

ATTENTION = "sample_by_sample"
_OF_TOKENS = ("input_ids", "labels", "position_ids", "supervised", "lengths")  # all else is of the images


def attend_sample_by_sample(
    module: Any,
    query: torch.Tensor,  # 1 x heads x tokens x width
    key: torch.Tensor,  # 1 x key heads x tokens x width
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    lengths: Sequence[int] = (),
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each of the samples that share a row; returns 1 x tokens x heads x width."""
    if attention_mask is not None or not lengths:
        raise ValueError("samples in one row need their `lengths` and no mask; make the batch with `packed_batch`")
    parts = zip(*(tensor.split(list(lengths), dim=2) for tensor in (query, key, value)), strict=True)
    grouped = key.shape[1] != query.shape[1]
    attended = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in parts
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None


AttentionInterface.register(ATTENTION, attend_sample_by_sample)


def attention_by_sample(model: Any, family: Family) -> AbstractContextManager[None]:
    """Within the block the language model accepts only packed rows."""
    return attention(plain_model(model).get_submodule(family.language_model).config, ATTENTION)


def packed_loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The sum of cross-entropy over a packed batch's labels; call it within `attention_by_sample`."""
    whole = plain_model(model)
    images = shapes_on_device(whole, {name: value for name, value in batch.items() if name not in _OF_TOKENS})
    features = {"image": whole.model.get_image_features(**images, return_dict=True)} if images else None
    hidden = whole.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        mm_encoder_outputs=features,
        use_cache=False,
        lengths=batch["lengths"],
    ).last_hidden_state[0]  # tokens x hidden
    before = batch["supervised"]  # each label is predicted from the token before it
    return summed_cross_entropy(hidden[before], whole.get_output_embeddings(), batch["labels"][0, before + 1])


def summed_cross_entropy(hidden: torch.Tensor, head: Any, targets: torch.Tensor) -> torch.Tensor:
    """The sum for ``head(hidden)`` (rows x words), `LOGIT_ROWS` rows at a time, recomputed in the backward pass.

    On a GPU, if the package liger-kernel is installed, its fused kernel is used, which never stores the logits.
    """
    if hidden.device.type == "cuda" and find_spec("liger_kernel"):
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        return LigerFusedLinearCrossEntropyLoss(reduction="sum")(head.weight, hidden.to(head.weight.dtype), targets)
    if len(hidden) <= LOGIT_ROWS:
        return _cross_entropy(hidden, head, targets)
    parts = zip(hidden.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True)
    sums = [checkpoint(_cross_entropy, rows, head, labels, use_reentrant=False) for rows, labels in parts]
    return torch.stack(sums).sum()


def _cross_entropy(hidden: torch.Tensor, head: Any, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="sum")
