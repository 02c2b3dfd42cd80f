"""SigLIP (arXiv 2303.15343): each pair of a text and an image is one question, answered with yes or no."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from helpers.families.contrastive import TwoTowers
from helpers.families.interface import Course
from helpers.families.scenes import IMAGE_SIDE
from helpers.families.tower import PATCH, WIDTH

LENGTH = 64  # of a text, in tokens


class Siglip(TwoTowers):
    """`SiglipModel` of transformers."""

    key, title, source = "siglip", "SigLIP", "2303.15343"
    idea = (
        "Two towers, as in CLIP, but no choice among the texts of a batch. Each text and each image are asked by "
        "themselves whether they belong together, with a sigmoid. A learned bias starts low, since most pairs do not."
    )
    faithful = (
        "The library's class, tiny, with its attention pooling; texts padded to 64 tokens and read without a mask, "
        "temperature 10 and bias -10 at the start, as published."
    )
    lesson, reading, looking = Course(700, 48), Course(120, 32), Course(60, 48, 2e-4)

    def build(self) -> nn.Module:
        from transformers import SiglipConfig, SiglipModel

        size = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_attention_heads": 4}
        text = {"vocab_size": len(self.tokenizer), "max_position_embeddings": LENGTH, "projection_size": WIDTH}
        image = {"image_size": IMAGE_SIDE, "patch_size": PATCH, "num_hidden_layers": 3}
        model = SiglipModel(
            SiglipConfig(text_config=size | text | {"num_hidden_layers": 2}, vision_config=size | image)
        )
        nn.init.constant_(model.logit_scale, math.log(10))
        nn.init.constant_(model.logit_bias, -10)
        return model

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        return self.model.text_model.parameters() if stage == "reading" else super().learns(stage)

    def teach(self, seed: int = 0, course: Course | None = None) -> list[float]:
        """In two rounds: the first ends soon after it has found out that texts have parts, and the rate rises again."""
        course = course or self.lesson
        return super().teach(seed, course) + super().teach(seed + 1, course)

    def image_vectors(self, shown: Tensor) -> Tensor:
        return normalize(self.model.get_image_features(pixel_values=shown).pooler_output, dim=-1)

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        return normalize(self.model.get_text_features(self.ids(texts)).pooler_output, dim=-1)

    def ids(self, texts: Sequence[str]) -> Tensor:
        """Texts x `LENGTH` tokens; what is padded is read like any token, so there is no mask."""
        padded = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        ids: Tensor = padded["input_ids"]
        return ids

    def pairing_loss(self, ones: Tensor, others: Tensor) -> Tensor:
        """The sum over all pairs, of which only those of the diagonal belong together, per text."""
        logits = self.model.logit_scale.exp() * self.similarity(ones, others) + self.model.logit_bias
        return -logsigmoid((2 * torch.eye(len(logits)) - 1) * logits).sum() / len(logits)
