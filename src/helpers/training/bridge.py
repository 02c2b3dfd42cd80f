"""A bridge from what a text-only training reads to what the model will see: the words of a description, moved.

In text-only training the prompt holds a description, in use it holds an image. Two settings bring the first closer to
the second, in training alone and on the description's tokens alone:

- ``training.text_noise`` adds Gaussian noise, so that a name is learned for a neighbourhood of the words and not for
  the words (CapDec, arXiv 2211.00575, and DeCap, arXiv 2303.03032, train a decoder of captions so).
- ``training.text_shift`` adds the mean difference between image tokens and words, which is nearly the same vector for
  every image (Mind the Gap, arXiv 2203.02053); shift and noise together are the remedy of arXiv 2401.08567 (C3).

Both act on the input embeddings, because that is where image tokens enter the language model; deeper layers mix the
description with the question and the answer. The difference is measured on drawn images of classes that do not exist,
so that no image of a class under study is seen.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image

from helpers.config.training import Training
from helpers.models.batches import ChatMessage, beginning, chat_texts
from helpers.models.family import plain_model
from helpers.models.vision_cache import IMAGES_AT_ONCE, image_features
from helpers.schemas import Sample
from helpers.synthetic import language as say
from helpers.synthetic.drawing import DRAWINGS, draw
from helpers.synthetic.invented import invent_classes

GAP_CLASSES = 256  # invented classes that the difference is measured on: seconds, and others give nearly the same


@dataclass
class TextBridge:
    """What is added to the description's embeddings while `over` is active.

    ``noise``: standard deviation, relative to that of the embeddings at hand. ``shift``: a vector (hidden), or None.
    ``marks``: which of the next pass's tokens are of a description (batch x length); None: none, nothing is changed.
    """

    noise: float = 0.0
    shift: torch.Tensor | None = None
    marks: torch.Tensor | None = None

    @contextmanager
    def over(self, model: Any) -> Iterator[None]:
        """Within the block, marked tokens are changed; afterwards the model is as it was."""
        hook = plain_model(model).get_input_embeddings().register_forward_hook(self._moved)
        try:
            yield
        finally:
            hook.remove()

    def _moved(self, module: Any, given: Any, embedded: torch.Tensor) -> torch.Tensor | None:
        if self.marks is None or embedded.shape[:2] != self.marks.shape or not bool(self.marks.any()):
            return None
        words = embedded[self.marks]  # tokens x hidden
        moved = words if self.shift is None else words + self.shift.to(words)
        if self.noise:  # drawn from torch's own generator: it is seeded, and a checkpoint keeps its state
            moved = moved + self.noise * words.detach().std() * torch.randn_like(words)
        changed = embedded.clone()
        changed[self.marks] = moved
        return changed


def text_bridge(model: Any, processor: Any, settings: Training, domain: str) -> TextBridge | None:
    """The settings' bridge; None if they ask for none. ``domain``: of the drawn images, all drawn domains if not one.

    Raises ``ValueError`` for a tokenizer that cannot say which characters a token stands for.
    """
    if not (settings.text_noise or settings.text_shift):
        return None
    if not processor.tokenizer.is_fast:
        raise ValueError(
            f"training.text_noise is {settings.text_noise} and training.text_shift {settings.text_shift}, but this "
            "model's tokenizer cannot say where a description ends; set both to 0"
        )
    gap = modality_gap(model, processor, *invented_views(domain)) if settings.text_shift else None
    return TextBridge(settings.text_noise, None if gap is None else settings.text_shift * gap)


def described_in(sample: Sample) -> str | None:
    """The description in a sample's prompt: all but its last line, which asks. None where the prompt describes nothing.

    Raises ``ValueError`` for a prompt of one line: its description cannot be told from its question.
    """
    if sample.direction != "description_to_name":
        return None
    description, _, _ = sample.texts[0].rpartition("\n")
    if not description:
        raise ValueError(
            f"sample {sample.id!r}: the prompt has one line; training.text_noise and training.text_shift need the "
            "question on a line of its own behind the description (field `described` of the file build.prompts)"
        )
    return description


def description_marks(
    processor: Any, chats: Sequence[tuple[Sequence[ChatMessage], str | None]], ids: torch.Tensor
) -> torch.Tensor:
    """Which tokens of a right-padded batch hold a letter of their chat's description: batch x length, bool.

    ``chats``: messages and description; None marks nothing. Raises ``ValueError`` if the description cannot be found.
    """
    marks = torch.zeros(ids.shape, dtype=torch.bool)
    for row, (messages, description) in enumerate(chats):
        if description is None:
            continue
        (text,) = chat_texts(processor, [messages])
        read = processor.tokenizer(text, return_offsets_mapping=True, **beginning(processor, [text]))
        start = text.find(description)
        if start < 0 or read["input_ids"] != ids[row, : len(read["input_ids"])].tolist():
            raise ValueError(
                f"the description {description!r} cannot be found in the tokens of its chat; set training.text_noise "
                "and training.text_shift to 0 for this model"
            )
        stop = start + len(description)
        for place, (begin, end) in enumerate(read["offset_mapping"]):
            marks[row, place] = begin < stop and end > start
    return marks


@torch.no_grad()
def modality_gap(model: Any, processor: Any, images: Sequence[Image], captions: Sequence[str]) -> torch.Tensor:
    """The mean image token minus the mean token of the captions, as the language model gets them: hidden."""
    batches = [images[start : start + IMAGES_AT_ONCE] for start in range(0, len(images), IMAGES_AT_ONCE)]
    seen = [one.embeddings for some in batches for one in image_features(model, processor, list(some))]
    read = processor.tokenizer(list(captions), add_special_tokens=False)["input_ids"]
    embed = plain_model(model).get_input_embeddings()
    words = embed(torch.tensor([token for one in read for token in one], device=embed.weight.device))
    return torch.cat(seen).float().mean(dim=0) - words.float().mean(dim=0)


def invented_views(domain: str, count: int = GAP_CLASSES, seed: int = 0) -> tuple[list[Image], list[str]]:
    """Drawn images of invented classes, and a description of each; of all drawn domains if this is not one."""
    domains = [domain] if domain in DRAWINGS else list(DRAWINGS)
    rng = random.Random(f"views/{seed}")
    classes = [(of, invented.appearance) for of in domains for invented in invent_classes(of, count, seed)]
    images = [draw(of, appearance, rng) for of, appearance in classes]
    wordings = {of: say.training_wordings(say.DESCRIPTIONS[of]) for of in domains}
    return images, [say.describe(of, appearance, rng.choice(wordings[of])) for of, appearance in classes]
