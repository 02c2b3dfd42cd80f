"""CLIP (arXiv 2103.00020): a softmax over the batch says which text belongs to which image."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from helpers.evaluation.clip import load_comparer
from helpers.families.contrastive import TwoTowers
from helpers.families.interface import Course
from helpers.paths import DATA

CHECKPOINT = DATA / "models" / "tiny-clip"  # taught by `helpers.evaluation.clip`, as notebook 12 needs it too


class ClipTower(nn.Module):
    """Its image tower for members that borrow it, without the last layer, whose patches no loss has taught."""

    LENDS = ("clip", "vision_model.")

    def __init__(self) -> None:
        from transformers import CLIPConfig, CLIPVisionModel
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        super().__init__()
        config: Any = CLIPConfig.from_pretrained(CHECKPOINT).vision_config
        config.num_hidden_layers -= 1
        self.eye = CLIPVisionModel(config)
        self.count, self.width = (config.image_size // config.patch_size) ** 2, config.hidden_size
        self._scale = [torch.tensor(x).view(3, 1, 1) for x in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)]

    def forward(self, shown: Tensor) -> Tensor:
        """Images x 16 patches x 128."""
        mean, std = self._scale
        found: Tensor = self.eye(pixel_values=((shown + 1) / 2 - mean) / std).last_hidden_state[:, 1:]
        return found


class Clip(TwoTowers):
    """`CLIPModel` of transformers."""

    key, title, source = "clip", "CLIP", "2103.00020"
    idea = (
        "One tower makes a vector of an image, another of a text. In a batch, each image has to find its text among "
        "all texts, and each text its image. A class is recognised by comparing the image with a sentence per class."
    )
    faithful = "The library's class, tiny; its loss and its learned temperature as published."
    lesson, reading, looking = Course(1500), Course(240, rate=5e-4), Course(60, rate=2e-4)

    def build(self) -> nn.Module:
        comparer = load_comparer(CHECKPOINT)
        self.tokenizer = comparer.processor.tokenizer
        mean, std = (torch.tensor(getattr(comparer.processor.image_processor, f"image_{x}")) for x in ("mean", "std"))
        self._mean, self._std = mean.view(3, 1, 1), std.view(3, 1, 1)
        return comparer.model.float()

    def load(self) -> "Clip":
        """Its checkpoint is there from the start."""
        return self

    def save(self, folder: Path = CHECKPOINT) -> Path:
        """Raises ``ValueError``: notebook 12 shares its checkpoint, which another command makes."""
        raise ValueError(f"CLIP's checkpoint is made by: python -m helpers.evaluation.clip train {CHECKPOINT}")

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        model = self.model
        if stage == "reading":
            return [*model.text_model.parameters(), *model.text_projection.parameters()]
        return list(model.parameters())

    def image_vectors(self, shown: Tensor) -> Tensor:
        scaled = ((shown + 1) / 2 - self._mean) / self._std
        return normalize(self.model.get_image_features(pixel_values=scaled).pooler_output, dim=-1)

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        found = self.model.get_text_features(tokens["input_ids"], tokens["attention_mask"])
        return normalize(found.pooler_output, dim=-1)

    def pairing_loss(self, ones: Tensor, others: Tensor) -> Tensor:
        logits = self.model.logit_scale.exp() * ones @ others.T
        right = torch.arange(len(logits))
        return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
