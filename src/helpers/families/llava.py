"""LLaVA (arXiv 2304.08485) and LLaVA-1.5 (2310.03744): each patch of the image becomes the vector of a word."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from helpers.families.connectors import Connector
from helpers.families.language_model import llama
from helpers.families.tower import tower_config


class Llava(Connector):
    """`LlavaForConditionalGeneration` of transformers, with a projector that is linear."""

    key, title, source = "llava", "LLaVA", "2304.08485"
    idea = (
        "A linear map takes each patch of the image, as the tower sees it, to the vector of a word. The language model "
        "reads these vectors like words, in front of the question. Nothing else connects the two."
    )
    faithful = (
        "The library's class, tiny, with the penultimate layer's patches and a projector without activation. The "
        "language model is frozen here, so that all connectors share it; as published, it is tuned in a second stage."
    )
    lends: ClassVar = {
        "model.vision_tower.": ("clip", "vision_model."),
        "model.language_model.": ("llava_next", "language_model.model."),
        "lm_head.": ("llava_next", "language_model.lm_head."),
    }
    ACTIVATION = "linear"

    def build(self) -> nn.Module:
        from transformers import LlavaConfig, LlavaForConditionalGeneration

        config = LlavaConfig(
            vision_config=tower_config(),
            text_config=llama().config,
            image_token_index=self.mark,
            image_seq_length=self.LOOKS,
            projector_hidden_act=self.ACTIVATION,
            vision_feature_select_strategy="default",
            vision_feature_layer=-2,
        )
        return LlavaForConditionalGeneration(config)

    @property
    def decoder(self) -> Any:
        return self.model.model.language_model

    @property
    def head(self) -> Any:
        return self.model.lm_head

    def see(self, shown: Tensor) -> Tensor:
        return torch.stack(self.model.get_image_features(pixel_values=shown).pooler_output)


class Llava15(Llava):
    """The same class with a projector of two layers."""

    key, title, source = "llava_1_5", "LLaVA-1.5", "2310.03744"
    idea = (
        "LLaVA with two linear maps and a GELU between them instead of one map. The better projector was found to be "
        "worth more than a larger language model. The rest is LLaVA."
    )
    ACTIVATION = "gelu"
    faithful = Llava.faithful.replace("a projector without activation", "a projector of two layers")
