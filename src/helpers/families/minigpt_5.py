"""MiniGPT-5 (arXiv 2310.02239): MiniGPT-4 with words that stand for an image to be drawn."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers.families.codes import PixelCodes
from helpers.families.interface import Course
from helpers.families.language_model import SEEN
from helpers.families.minigpt_4 import MiniGpt4
from helpers.families.scenes import Scenes
from helpers.synthetic import language as say

_WORDS = 8  # generative words, as published
_WIDTH, _HEADS, _LAYERS = 96, 4, 2  # of the mapper


class _Mapper(nn.Module):
    """Of the generative words' states, the codes of an image: learned queries attend to the states."""

    def __init__(self, width: int, count: int, entries: int) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.randn(_WORDS, width) * 0.02)
        self.states = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, _WIDTH))
        self.queries = nn.Parameter(torch.randn(count, _WIDTH) * 0.02)
        layer = nn.TransformerDecoderLayer(_WIDTH, _HEADS, 3 * _WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, _LAYERS, nn.LayerNorm(_WIDTH))
        self.head = nn.Linear(_WIDTH, entries)

    def forward(self, states: Tensor) -> Tensor:
        """Images x codes x entries, of images x generative words x width."""
        found: Tensor = self.head(self.decoder(self.queries.expand(len(states), -1, -1), self.states(states)))
        return found


class MiniGpt5(MiniGpt4):
    """MiniGPT-4 as taught here, frozen; only what draws is new."""

    key, title, source = "minigpt_5", "MiniGPT-5", "2310.02239"
    idea = (
        "MiniGPT-4 sees and speaks. Eight generative words end what it says; a mapper turns their states into what a "
        "decoder of images needs. So it draws what it has put into words."
    )
    faithful = (
        "Generative words, a mapper with learned queries, a frozen decoder of images, training in which the language "
        "model stays as it is. The decoder is a VQ-VAE's, whose codes the mapper predicts, not a latent diffusion."
    )
    lesson = Course(300, 32, 2e-3)
    lends: ClassVar = {
        **MiniGpt4.lends,
        "language_projection.": ("minigpt_4", "language_projection."),
        "codes.": ("chameleon_pixels", "vqmodel."),
    }
    draws = True

    def build(self) -> nn.Module:
        model: Any = super().build()
        model.codes = PixelCodes()
        model.mapper = _Mapper(model.config.text_config.hidden_size, model.codes.count, model.codes.entries)
        return model

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        parameters: Iterable[nn.Parameter] = self.model.mapper.parameters()
        return parameters if stage == "lesson" else super().learns(stage)

    def states(self, texts: Sequence[str]) -> Tensor:
        """Texts x generative words x width: what the language model makes of these words after a text."""
        tokens = self._tokens([text + SEEN * _WORDS for text in texts], "left")
        return self.run(tokens, self.model.mapper.words.expand(len(texts), -1, -1))[:, -_WORDS:]

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        logits = self.model.mapper(self.states(scenes.told()))
        with torch.no_grad():
            codes = self.model.codes(scenes.shown)
        return cross_entropy(logits.flatten(0, 1), codes.flatten())

    @torch.inference_mode()
    def draw(self, sentences: Sequence[str], seed: int = 0) -> Tensor:
        """First it says what each looks like, then it draws that."""
        names = [sentence.removeprefix("This is ").removesuffix(".") for sentence in sentences]
        said = self.say([say.DESCRIBING_BY_NAME[0].format(s=name) for name in names])
        drawn: Tensor = self.model.codes.images(self.model.mapper(self.states(said)).argmax(dim=-1))
        return drawn
