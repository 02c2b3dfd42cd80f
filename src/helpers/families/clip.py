"""CLIP (arXiv 2103.00020): a softmax over the batch says which text belongs to which image."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from helpers.evaluation.clip import load_comparer
from helpers.families.contrastive import TwoTowers
from helpers.families.interface import Course
from helpers.families.tower import CLIP, clip_weights


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
        comparer = load_comparer(CLIP)
        self.tokenizer = comparer.processor.tokenizer
        model: nn.Module = comparer.model.float()
        model.load_state_dict(clip_weights())
        return model

    def load(self) -> "Clip":
        """Its checkpoint is there from the start."""
        return self

    def save(self, folder: Path = CLIP) -> Path:
        """Raises ``ValueError``: notebook 12 shares its checkpoint, which another command makes."""
        raise ValueError(f"CLIP's checkpoint is made by: python -m helpers.evaluation.clip train {CLIP}")

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        model = self.model
        if stage == "reading":
            return [*model.text_model.parameters(), *model.text_projection.parameters()]
        return list(model.parameters())

    def image_vectors(self, shown: Tensor) -> Tensor:
        return normalize(self.model.get_image_features(pixel_values=shown).pooler_output, dim=-1)

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        found = self.model.get_text_features(tokens["input_ids"], tokens["attention_mask"])
        return normalize(found.pooler_output, dim=-1)

    def pairing_loss(self, ones: Tensor, others: Tensor) -> Tensor:
        logits = self.model.logit_scale.exp() * ones @ others.T
        right = torch.arange(len(logits))
        return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
