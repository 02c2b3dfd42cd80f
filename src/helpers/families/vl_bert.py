"""VL-BERT (arXiv 1908.08530): one stream of words and regions, and every word carries the whole image."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers.families.interface import Course
from helpers.families.masked import CATEGORIES, Masked, MaskedText, corners
from helpers.families.tower import WIDTH, image_tower

_LENGTH = 96  # words at most
_PLACES = 16  # numbers that say where a box is


class VlBert(Masked):
    """`BertForMaskedLM` of transformers, with the embeddings of the paper."""

    key, title, source = "vl_bert", "VL-BERT", "1908.08530"
    idea = (
        "Words and regions of an image stand in one row, and one transformer reads them. To each word the features of "
        "the whole image are added, to each region its own and where its box is. It fills in masked words and says "
        "what a masked region shows; from plain texts it learns words alone."
    )
    faithful = (
        "Embeddings, shared position of all regions, learned visual feature of plain texts, pixels of masked regions "
        "hidden from the detector, both losses, no matching task: as published. CLIP's frozen tower is the detector, "
        "its patches are the boxes, k-means of its features are the categories; a masked word is always a mask."
    )
    lesson, reading, looking = Course(4000, 32), Course(300, 48, 5e-4), Course(100, 48, 5e-4)

    def build(self) -> nn.Module:
        from transformers import BertConfig, BertForMaskedLM

        size: dict[str, Any] = dict(
            hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_attention_heads=4, num_hidden_layers=3
        )
        drop: dict[str, Any] = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        model = BertForMaskedLM(
            BertConfig(**size, **drop, vocab_size=len(self.tokenizer), max_position_embeddings=_LENGTH + 1)
        )
        model.tower = image_tower()
        model.whole = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH))  # features of the image, for words
        model.region = nn.Sequential(nn.Linear(WIDTH + 4 * _PLACES, WIDTH), nn.LayerNorm(WIDTH))
        model.plain = nn.Parameter(0.02 * torch.randn(WIDTH))  # what words carry if there is no image
        model.category = nn.Linear(WIDTH, CATEGORIES)
        model.register_buffer("boxes", _boxes(), persistent=False)
        return model

    def encode(self, ids: Tensor, there: Tensor, regions: Tensor | None) -> tuple[Tensor, Tensor | None]:
        model, length = self.model, ids.shape[1]
        words = model.bert.embeddings.word_embeddings(ids)
        if regions is None:
            return model.bert(inputs_embeds=words + model.plain, attention_mask=there).last_hidden_state, None
        count = regions.shape[1]
        words = words + model.whole(regions.mean(dim=1, keepdim=True))
        things = self._image_token() + model.region(
            torch.cat([regions, self.model.boxes.expand(len(ids), -1, -1)], dim=-1)
        )
        found = model.bert(
            inputs_embeds=torch.cat([words, things], dim=1),
            attention_mask=torch.cat([there, there.new_ones(len(ids), count)], dim=1),
            token_type_ids=torch.cat([torch.zeros(length), torch.ones(count)]).long().expand(len(ids), -1),
            position_ids=torch.cat([torch.arange(length), torch.full((count,), _LENGTH)])[
                None
            ],  # regions have no order
        ).last_hidden_state
        return found[:, :length], found[:, length:]

    def _image_token(self) -> Tensor:
        place = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        return self.model.bert.embeddings.word_embeddings.weight[place]

    def words(self, hidden: Tensor) -> Tensor:
        return self.model.cls(hidden)

    def describing_loss(self, shown: Tensor, covered: Tensor, rows: Sequence[MaskedText]) -> Tensor:
        """Masked words from what is seen, and what covered regions show from the words."""
        ids, there, labels = self.batch(rows)
        words, things = self.encode(ids, there, self.regions(shown, covered))
        assert things is not None
        with torch.no_grad():
            true = self.detector(shown)
        return self.words_loss(words, labels) + cross_entropy(self.model.category(things[covered]), true[covered])


def _boxes() -> Tensor:
    """Regions x 64: their corners in sines and cosines."""
    waves = corners()[:, :, None] * math.pi * 2 ** torch.arange(_PLACES // 2)
    return torch.cat([waves.sin(), waves.cos()], dim=-1).flatten(1)
