"""FLAVA (arXiv 2112.04482): an encoder of images, one of texts, and one above both; contrast and masks at once."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from helpers.families.codes import Codes
from helpers.families.contrastive import TwoTowers
from helpers.families.interface import Course
from helpers.families.scenes import IMAGE_SIDE, Scenes

_WIDTH, _PATCH, _LENGTH, _CODES = 96, 14, 96, 128
_START, _MASK = "<|im_start|>", "<|video_pad|>"
_HIDDEN_WORDS, _HIDDEN_PATCHES, _UNSAID = 0.15, 0.4, -100


class PatchCodes(Codes):
    """k-means over the pixels of patches: what a hidden patch was."""

    def __init__(self) -> None:
        super().__init__(_CODES, (IMAGE_SIDE // _PATCH) ** 2, 3 * _PATCH**2)

    def features(self, shown: Tensor) -> Tensor:
        return (
            shown.unfold(2, _PATCH, _PATCH).unfold(3, _PATCH, _PATCH).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        )


class Flava(TwoTowers):
    """`FlavaForPreTraining` of transformers, by its contrastive road."""

    key, title, source = "flava", "FLAVA", "2112.04482"
    family = "masked"  # as in the survey, though it also compares
    idea = (
        "One encoder reads images, one texts, a third reads what both have made. Images and texts are compared as in "
        "CLIP; beside it, masked words and patches are filled in, and wrong pairs are told from right ones. A text "
        "alone cannot reach the third encoder, so it reads by comparing."
    )
    faithful = (
        "The library's class and all its losses (contrast, matching, masked words and patches, of pairs and of either "
        "side alone), tiny; contrast in three steps of four, the others in fewer. Codes of "
        "patches are k-means over pixels, not DALL-E's."
    )
    lesson, reading, looking = Course(1000, 48), Course(120, 32), Course(60, 48, 2e-4)

    def build(self) -> nn.Module:
        from transformers import FlavaConfig, FlavaForPreTraining

        size = {"hidden_size": _WIDTH, "intermediate_size": 2 * _WIDTH, "num_attention_heads": 4}
        text = {"vocab_size": len(self.tokenizer), "max_position_embeddings": _LENGTH, "num_hidden_layers": 2}
        image = {"image_size": IMAGE_SIDE, "patch_size": _PATCH, "vocab_size": _CODES, "num_hidden_layers": 3}
        return FlavaForPreTraining(
            FlavaConfig(
                text_config=size | text,
                image_config=size | image,
                multimodal_config=size | {"num_hidden_layers": 1},
                hidden_size=_WIDTH,
                projection_dim=_WIDTH,
                init_codebook=False,
            )
        )

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        flava = self.model.flava
        if stage == "reading":
            return [*flava.text_model.parameters(), *flava.text_projection.parameters()]
        return super().learns(stage)

    @cached_property
    def codebook(self) -> PatchCodes:
        """Needed in lessons only."""
        found = PatchCodes()
        found.learn()
        return found

    def image_vectors(self, shown: Tensor) -> Tensor:
        return normalize(self.model.flava.get_image_features(shown).pooler_output[:, 0], dim=-1)

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        ids, there = self.ids(texts)
        found = self.model.flava.get_text_features(ids, attention_mask=there).pooler_output
        return normalize(found[:, 0], dim=-1)

    def ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts x length tokens behind a start, and which of them are there."""
        tokens = self.tokenizer([_START + text for text in texts], padding=True, return_tensors="pt")
        return tokens["input_ids"], tokens["attention_mask"]

    def pairing_loss(self, ones: Tensor, others: Tensor) -> Tensor:
        logits = self.model.flava.logit_scale.exp() * ones @ others.T
        right = torch.arange(len(logits))
        return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        """In two steps of four, images and texts are compared; in one, pairs are masked too; in one, either side alone.

        A third of the masked pairs are wrong, and masked as the right ones are.
        """
        kind = scenes.rng.choice(("compare", "compare", "pairs", "alone"))
        if kind == "compare":
            return super().lesson_loss(scenes)
        texts, shown, wrong = self.texts_of(scenes), scenes.shown, len(scenes.things) // 3
        ids, there = self.ids([*texts[1:wrong], texts[0], *texts[wrong:]])
        words = (torch.rand(ids.shape) < _HIDDEN_WORDS) & there.bool() & (torch.arange(ids.shape[1]) > 0)
        masked = ids.masked_fill(words, self.tokenizer.convert_tokens_to_ids(_MASK))
        written = {"input_ids": ids, "attention_mask": there, "input_ids_masked": masked}
        written["mlm_labels"] = ids.masked_fill(~words, _UNSAID)
        hidden = torch.rand(len(shown), (IMAGE_SIDE // _PATCH) ** 2) < _HIDDEN_PATCHES
        seen = {"pixel_values": shown, "bool_masked_pos": hidden, "mim_labels": self.codebook(shown)}
        if kind == "pairs":
            right = (torch.arange(len(texts)) >= wrong).long()
            found: Tensor = self.model(**written, **seen, itm_labels=right, return_loss=True).loss
            return found
        return self.model(**written, return_loss=True).loss + self.model(**seen, return_loss=True).loss
