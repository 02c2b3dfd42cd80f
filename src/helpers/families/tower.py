"""The image tower that members borrow: the tiny CLIP's, frozen, as LLaVA, MiniGPT-4 and Qwen-VL borrow a CLIP's."""

import json
from typing import Any

import torch
from torch import Tensor, nn

from helpers.paths import DATA

CLIP = DATA / "models" / "tiny-clip"  # taught by `helpers.evaluation.clip`, as notebook 12 needs it too
WIDTH, PATCH = 128, 14  # of a feature; of a patch, in pixels


def tower_config() -> Any:
    """The library's configuration of the tower."""
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(**json.loads((CLIP / "config.json").read_text(encoding="utf-8"))["vision_config"])


def image_tower() -> nn.Module:
    """For members that borrow it: ``lends = {"tower.": ("clip", "vision_model.")}``.

    Its last hidden state is images x 16 patches x `WIDTH`, those of the last layer but one, as in LLaVA: CLIP's loss
    has taught the last layer nothing about patches. What it gives as the pooled image is the class token.
    """
    from transformers import CLIPVisionModel

    def patches_alone(_module: nn.Module, _given: Any, found: Any) -> Any:
        found.last_hidden_state = found.hidden_states[-2][:, 1:]
        return found

    config = tower_config()
    config.output_hidden_states = True
    tower: nn.Module = CLIPVisionModel(config)
    tower.register_forward_hook(patches_alone)
    return tower


def clip_weights() -> dict[str, Tensor]:
    """The tiny CLIP's weights, for images from -1 to 1.

    CLIP subtracts a mean from an image and divides by a deviation. Both are moved into the patches' embedding: the
    division into its weights, the mean, which is one number per feature, into the patches' places.
    """
    from safetensors.torch import load_file

    weights = {name: tensor.float() for name, tensor in load_file(CLIP / "model.safetensors").items()}
    scaling = json.loads((CLIP / "processor_config.json").read_text(encoding="utf-8"))["image_processor"]
    mean, deviation = (torch.tensor(scaling[f"image_{of}"]).view(3, 1, 1) for of in ("mean", "std"))
    patches, places = (f"vision_model.embeddings.{part}_embedding.weight" for part in ("patch", "position"))
    shift = (weights[patches] * (0.5 - mean) / deviation).sum(dim=(1, 2, 3))
    weights[patches] = weights[patches] / (2 * deviation)
    weights[places] = torch.cat([weights[places][:1], weights[places][1:] + shift])
    return weights
