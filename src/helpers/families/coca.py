"""CoCa (arXiv 2205.01917): one decoder in two halves, of which the first never sees the image."""

import random
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from helpers.families.contrastive import TwoTowers
from helpers.families.interface import Course, Pair
from helpers.families.scenes import Scenes
from helpers.families.tower import WIDTH as _SEEN
from helpers.families.tower import image_tower

_WIDTH, _HEADS, _LENGTH = 96, 4, 80  # _LENGTH: of a text, in tokens
_QUERIES = 16  # of the pooler for captions; published: 256 for 18 x 18 patches or more
_CAPTIONING = 2.0  # its weight beside the contrastive loss, as published


class _Pooler(nn.Module):
    """Attentional pooling: ``count`` learned queries look at vectors of width ``seen``."""

    def __init__(self, count: int, seen: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(count, _WIDTH) * 0.02)
        self.look = nn.MultiheadAttention(_WIDTH, _HEADS, batch_first=True, kdim=seen, vdim=seen)
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, patches: Tensor) -> Tensor:
        found: Tensor = self.look(self.queries.expand(len(patches), -1, -1), patches, patches, need_weights=False)[0]
        return self.norm(found)


class _Towers(nn.Module):
    """An image tower with two poolers, and a text decoder: its first half alone, its second with the pooled image."""

    def __init__(self, words: int) -> None:
        super().__init__()
        layer = (_WIDTH, _HEADS, 3 * _WIDTH, 0.0, "gelu", 1e-5, True, True)  # batch first, norm first
        self.tower = image_tower()
        self.for_captions, self.for_contrast = _Pooler(_QUERIES, _SEEN), _Pooler(1, _WIDTH)
        self.words = nn.Embedding(words, _WIDTH)
        self.order = nn.Parameter(torch.randn(_LENGTH, _WIDTH) * 0.02)
        self.cls = nn.Parameter(torch.randn(_WIDTH) * 0.02)
        self.alone = nn.TransformerEncoder(nn.TransformerEncoderLayer(*layer), 2, enable_nested_tensor=False)
        self.seeing = nn.TransformerDecoder(nn.TransformerDecoderLayer(*layer), 2, nn.LayerNorm(_WIDTH))
        self.of_text = nn.Sequential(nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, _WIDTH, bias=False))
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        nn.init.normal_(self.words.weight, std=0.02)

    def image(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """The vector for contrast, images x width, and what captions see, images x _QUERIES x width."""
        seen = self.for_captions(self.tower(shown).last_hidden_state)
        return normalize(self.for_contrast(seen)[:, 0], dim=-1), seen  # one pooler after the other, as published

    def text(self, ids: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
        """The vector for contrast, texts x width, from a CLS at the end; and the first half's words."""
        words = self.words(ids) + self.order[: ids.shape[1]]
        rows = torch.cat([words, self.cls.expand(len(ids), 1, -1)], dim=1)
        hidden = nn.functional.pad(padded, (0, 1))
        mask = nn.Transformer.generate_square_subsequent_mask(rows.shape[1]) < 0
        found = self.alone(rows, mask=mask, src_key_padding_mask=hidden)
        return normalize(self.of_text(found[:, -1]), dim=-1), found[:, :-1]

    def logits(self, words: Tensor, seen: Tensor | None) -> Tensor:
        """Texts x tokens x words: what the second half expects next. Without an image it sees one pool of zeros."""
        seen = torch.zeros(len(words), 1, _WIDTH) if seen is None else seen
        mask = nn.Transformer.generate_square_subsequent_mask(words.shape[1]) < 0
        found: Tensor = self.seeing(words, seen, tgt_mask=mask) @ self.words.weight.T
        return found


class CoCa(TwoTowers):
    """Written out here, since the libraries that this project has hold none."""

    key, title, source, family = "coca", "CoCa", "2205.01917", "generative"
    idea = (
        "A text decoder in two halves. The first half reads a text without the image and ends in a vector, which is "
        "compared with the image's as in CLIP. The second half attends to the image as well and writes the caption."
    )
    faithful = (
        "Two attentional poolers in cascade, the CLS token at the text's end, half of the decoder without "
        "cross-attention and the weights of the two losses are as published. The image tower is CLIP's, frozen; "
        "the published one is trained too. No class labels serve as captions."
    )
    lends: ClassVar = {"tower.": ("clip", "vision_model.")}
    lesson, reading, looking = Course(400, 48, 2e-3), Course(240, rate=5e-4), Course(60, rate=3e-4)

    def build(self) -> _Towers:
        return _Towers(len(self.tokenizer))

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        model = self.model
        if stage == "reading":  # the half that compares: what it learns is where a name belongs
            return [*model.alone.parameters(), *model.of_text.parameters(), *model.words.parameters(), model.cls]
        return super().learns(stage)

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        return self._both(scenes.shown, self.texts_of(scenes))

    def looking_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        shown = torch.stack([pair.shown for pair in pairs if pair.shown is not None])
        return self._both(shown, [pair.naming for pair in pairs])

    def _both(self, shown: Tensor, texts: Sequence[str]) -> Tensor:
        """The contrastive loss, and that of captioning, a group of texts of similar length after the other."""
        vectors, seen = self.model.image(shown)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        compared, captioning, count = [], torch.tensor(0.0), 0
        for some in (order[i : i + 12] for i in range(0, len(order), 12)):
            ids, padded = self._ids([texts[i] for i in some])
            vector, words = self.model.text(ids, padded)
            logits, right = self.model.logits(words[:, :-1], seen[some]), ids[:, 1:].masked_fill(padded[:, 1:], -100)
            captioning = captioning + cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="sum")
            count += int((right >= 0).sum())
            compared.append(vector)
        return self.pairing_loss(vectors[order], torch.cat(compared)) + _CAPTIONING * captioning / count

    def _ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens between a beginning and an end, and where they are padded."""
        tokens = self.tokenizer([f"<|im_start|>{text}<|im_end|>" for text in texts], padding=True, return_tensors="pt")
        return tokens["input_ids"], tokens["attention_mask"] == 0

    def image_vectors(self, shown: Tensor) -> Tensor:
        return self.model.image(shown)[0]

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        return self.model.text(*self._ids(texts))[0]

    def pairing_loss(self, ones: Tensor, others: Tensor) -> Tensor:
        logits = self.model.scale.exp() * ones @ others.T
        right = torch.arange(len(logits))
        return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2

    @torch.inference_mode()
    def likelihood(self, options: Sequence[Sequence[str]], shown: Tensor) -> Tensor:
        """Questions x options: the second way, how likely the caption's half finds each sentence."""
        (_, seen), count = self.model.image(shown), len(options[0])
        ids, padded = self._ids([sentence for four in options for sentence in four])
        words = self.model.text(ids, padded)[1]
        chosen = self.model.logits(words[:, :-1], seen.repeat_interleave(count, dim=0)).log_softmax(dim=-1)
        chosen = chosen.gather(2, ids[:, 1:, None])[..., 0].masked_fill(padded[:, 1:], 0)
        return chosen.sum(dim=1).view(len(options), -1)
