"""Llip (arXiv 2405.00740): what an image's vector says depends on the text that it is compared with."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from helpers.families.interface import Course
from helpers.families.siglip import Siglip
from helpers.families.tower import WIDTH

_MIXTURE, _HEADS, _SHARPNESS = 8, 4, 5  # tokens that summarise an image; heads and inverse temperature of the mixer


class Mixer(nn.Module):
    """Weighs the mixture tokens of an image by a text, head by head (section 3.1 of the paper)."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Parameter(0.02 * torch.randn(_MIXTURE, WIDTH))  # what the tower reads beside the patches
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, found: Tensor, texts: Tensor) -> Tensor:
        """``found``: images x tokens x width, ``texts``: texts x width; returns images x texts x width, of length 1."""
        query, key, value = (
            x.unflatten(-1, (_HEADS, -1)) for x in (self.query(texts), self.key(found), self.value(found))
        )
        weights = torch.einsum("thd,ikhd->ithk", query, key).mul(_SHARPNESS).softmax(dim=-1)
        return normalize(self.out(torch.einsum("ithk,ikhd->ithd", weights, value).flatten(-2)), dim=-1)


class Llip(Siglip):
    """Mixture tokens and a mixer on SigLIP's frozen image tower; text tower and loss are SigLIP's."""

    key, title, source = "llip", "Llip", "2405.00740"
    idea = (
        "One image fits many texts, so one vector is not enough for it. The tower makes several tokens of an image, "
        "and each text weighs them by cross-attention before it is compared. The loss is SigLIP's."
    )
    faithful = (
        f"The {_MIXTURE} tokens pass through the tower beside the patches and a text weighs them, as published. The "
        "towers are SigLIP's, where the paper trains them too: only tokens and mixer learn in the lesson."
    )
    lesson, reading, looking = Course(300, 48), Course(120, 32), Course(60, 48, 2e-4)
    lends: ClassVar = {part: ("siglip", part) for part in ("text_model.", "vision_model.", "logit_")}

    def build(self) -> nn.Module:
        model = super().build()
        model.mixer = Mixer()
        return model

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        return self.model.parameters() if stage == "looking" else super().learns(stage)

    def image_vectors(self, shown: Tensor) -> Tensor:
        """Images x `_MIXTURE` tokens x width."""
        tower, mixer = self.model.vision_model, self.model.mixer
        read = torch.cat([mixer.tokens.expand(len(shown), -1, -1), tower.embeddings(shown)], dim=1)
        return tower.post_layernorm(tower.encoder(inputs_embeds=read).last_hidden_state[:, :_MIXTURE])

    def similarity(self, seen: Tensor, texts: Tensor) -> Tensor:
        """Texts among each other are compared as they are: without an image there is nothing to mix."""
        if seen.dim() == 2:
            return seen @ texts.T
        return torch.einsum("itd,td->it", self.model.mixer(seen, texts), texts)
