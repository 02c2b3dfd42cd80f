"""From conversations to tensors: the one place where text, pictures and labels become a model's input.

Used alike by pre-training, fine-tuning and scoring, for every family. Nothing is ever truncated: a cut through the
picture tokens would leave a model that sees half a picture and says nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image

IGNORED = -100  # the label that cross-entropy passes over
Message = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def user(text: str, picture: bool = False) -> Message:
    """A user's turn; the picture, if any, comes before the text, as both families' templates have it."""
    parts: list[dict[str, str]] = [{"type": "image"}] if picture else []
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def assistant(text: str) -> Message:
    """An assistant's turn."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def training_batch(
    processor: Any, conversations: Sequence[Sequence[Message]], pictures: Sequence[Image | None], max_length: int
) -> Tensors:
    """Input and labels of a batch of conversations, each ending in the assistant's answer; loss on that answer only.

    Labels are found by the length of the prompt: the template's own assistant mask is all zeros where there is a
    picture (transformers#46559). Right-padded. Keys: ``input_ids``, ``attention_mask``, ``labels`` (all batch x
    length), and whatever the family's processor adds for pictures; a batch of text alone has no picture key at all.
    Raises ``ValueError`` for a sample longer than ``max_length`` tokens.
    """
    chats = [processor.apply_chat_template(list(c), tokenize=False) for c in conversations]
    prompts = prompt_texts(processor, [c[:-1] for c in conversations])
    batch = encode(processor, chats, pictures)
    lengths = batch["attention_mask"].sum(dim=1)
    if int(lengths.max()) > max_length:
        raise ValueError(
            f"a sample has {int(lengths.max())} tokens; at most {max_length} are allowed (`max_length`). "
            "Samples are never truncated: lower `max_pixels` or shorten the text"
        )
    labels = torch.full_like(batch["input_ids"], IGNORED)
    for row, (chat, prompt) in enumerate(zip(chats, prompts, strict=True)):
        end = int(lengths[row])
        start = end - _answer_length(processor.tokenizer, chat, prompt)
        labels[row, start:end] = batch["input_ids"][row, start:end]
    return {**batch, "labels": labels}


def prompt_texts(processor: Any, conversations: Sequence[Sequence[Message]]) -> list[str]:
    """The conversations as text, up to the point where the assistant begins."""
    return [processor.apply_chat_template(list(c), tokenize=False, add_generation_prompt=True) for c in conversations]


def encode(
    processor: Any, texts: Sequence[str], pictures: Sequence[Image | None], padding_side: str = "right"
) -> Tensors:
    """Tokens, mask and picture tensors; padded on the right for reading, on the left for writing."""
    seen = [picture for picture in pictures if picture is not None]
    images = {"images": seen} if seen else {}
    return dict(processor(text=list(texts), **images, padding=True, padding_side=padding_side, return_tensors="pt"))


def _answer_length(tokenizer: Any, chat: str, prompt: str) -> int:
    """How many of the chat's tokens lie after the prompt. Picture tokens are in the prompt, so they cancel out."""
    whole, start = tokenizer(chat)["input_ids"], tokenizer(prompt)["input_ids"]
    if whole[: len(start)] != start:
        raise ValueError(
            f"the chat template's prompt is not a prefix of the whole chat in tokens, so the answer cannot be told "
            f"from the prompt: {prompt!r}"
        )
    return len(whole) - len(start)
