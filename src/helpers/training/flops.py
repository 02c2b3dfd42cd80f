"""The work done in a training: samples, tokens of each kind, and floating-point operations.

Operations are counted by the usual rule (Kaplan et al., arXiv 2001.08361, appendix): per weight and token, 2 forward, 2
for the gradient of the activations, 2 for the gradient of the weights. Each part needs only some of them:

| part | forward | gradient of activations | gradient of weights |
|---|---|---|---|
| language model, frozen weights | 2 | 2: the adapters below need it | 0 |
| adapters | 2 | 2 | 2 |
| projector, if trained | 2 | 0: nothing below it learns | 2 |
| vision tower | 2 | 0 | 0 |

Left out: attention's own products (small compared to the weights at these lengths), normalisation, the optimiser, the
unpacking of 4-bit weights, and gradient checkpointing (not used). So this is an estimate, good for comparing two ways
of training the same model. An embedding table is looked up, not multiplied, so its weights are not counted.
"""

import math
from dataclasses import dataclass
from typing import Any

from helpers.models.adapters import group_of
from helpers.models.batches import IGNORED
from helpers.models.family import Family
from helpers.models.rule import image_token_of

FORWARD = BACK_ACTIVATIONS = BACK_WEIGHTS = 2  # operations per weight and token


@dataclass(frozen=True)
class Weights:
    """How many weights are multiplied in a forward pass, by part."""

    language_model: int  # frozen, the head included
    adapters: int
    projector: int
    projector_trained: bool
    vision_tower: int


def training_flops(weights: Weights, text_tokens: int, image_tokens: int, patches: int) -> dict[str, int]:
    """Operations of a training, in total (``flops``) and by purpose.

    ``image_tokens``: tokens from the projector. ``patches``: positions that the tower processed. By hand: 10 frozen
    weights, 1 weight of an adapter and 3 text tokens give 3 x (10 x 4 + 1 x 6) = 138.
    """
    language = weights.language_model * (FORWARD + BACK_ACTIVATIONS)
    token = language + weights.adapters * (FORWARD + BACK_ACTIVATIONS + BACK_WEIGHTS)
    parts = {
        "flops_text_tokens": text_tokens * token,
        "flops_image_tokens": image_tokens * token,
        "flops_projector": image_tokens * weights.projector * (FORWARD + BACK_WEIGHTS * weights.projector_trained),
        "flops_tower": patches * weights.vision_tower * FORWARD,
    }
    return {"flops": sum(parts.values()), **parts}


def weights_of(model: Any, family: Family) -> Weights:
    """Count the matrices of a (peft) model. A 4-bit weight counts with its true shape, not with its packed bytes."""
    counts = {"language_model": 0, "adapters": 0, "projector": 0, "vision_tower": 0}
    trained = False
    named = dict(model.named_parameters())
    head_is_table = not any("lm_head" in name for name in named)  # tied: one matrix that is looked up and multiplied
    for name, parameter in named.items():
        looked_up = "embed" in name.split(".")[-2] and not (head_is_table and "embed_tokens" in name)
        if looked_up or "original_module" in name or len(_shape(parameter)) < 2:
            continue
        part = group_of(name, family)
        if part not in ("projector", "vision_tower"):  # a head outside all parts belongs to the language model
            part = "adapters" if parameter.requires_grad else "language_model"
        counts[part] += math.prod(_shape(parameter))
        trained |= part == "projector" and parameter.requires_grad
    return Weights(projector_trained=trained, **counts)


def _shape(parameter: Any) -> tuple[int, ...]:
    state = getattr(parameter, "quant_state", None)
    return tuple(state.shape if state is not None else parameter.shape)


class Traffic:
    """Counts what goes through a model, batch by batch: plain batches and packed ones (`packed_batch`).

    Sums stay on the device until `record`, so counting never has to wait. ``patches`` counts those in the batches; with
    cached features (`TowerFeatures`) the tower processes fewer.
    """

    NAMES = ("tokens", "image_tokens", "supervised_tokens")

    def __init__(self, config: Any) -> None:
        self.image_token = image_token_of(config)
        self.patch = _patch_size(config)
        self.sums: list[list[Any]] = []
        self.samples = self.patches = 0

    def add(self, batch: dict[str, Any]) -> None:
        """Count one batch."""
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        seen = ids == self.image_token if mask is None else (ids == self.image_token) * mask
        tokens = ids * 0 + 1 if mask is None else mask
        self.sums.append([part.sum() for part in (tokens, seen, batch["labels"] != IGNORED)])
        self.samples += len(batch.get("lengths", ids))
        if (pixels := batch.get("pixel_values")) is not None:
            # some processors cut images into rows of patches, others pass whole tiles
            self.patches += len(pixels) if pixels.dim() == 2 else pixels.numel() // (3 * self.patch**2)

    def record(self) -> dict[str, int]:
        """The sums so far, and the text tokens among them."""
        sums = [sum(int(part) for part in column) for column in zip(*self.sums, strict=True)] or [0, 0, 0]
        named = {"samples": self.samples, **dict(zip(self.NAMES, sums, strict=True))}
        return {**named, "text_tokens": named["tokens"] - named["image_tokens"], "patches": self.patches}


def _patch_size(config: Any) -> int:
    """Pixels per side of a patch; without any, as with a codebook, of what becomes a token."""
    size = getattr(getattr(config, "vision_config", None), "patch_size", None) or 16
    return int(size if isinstance(size, int) else size[0])
