"""From conversations to tensors: the one place where text, images and labels become a model's input.

Pre-training, fine-tuning and scoring all use it, for every family. Nothing is ever truncated: a cut through the image
tokens would silently show the model half an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL.Image import Image

LOGIT_ROWS = 1024  # rows of logits held at a time: 0.6 GB in float32 for Qwen2-VL's 152,000 words
IGNORED = -100  # the label that cross-entropy ignores
ChatMessage = dict[str, Any]
Tensors = dict[str, torch.Tensor]
IMAGE_SHAPES = ("image_grid_thw", "image_sizes")  # of each image, by family: patches (time, height, width), or pixels


def user(text: str, image: bool = False) -> ChatMessage:
    """A user's turn; the image, if any, comes before the text, as in both families' templates."""
    parts: list[dict[str, str]] = [{"type": "image"}] if image else []
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def assistant(text: str) -> ChatMessage:
    """An assistant's turn."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def training_batch(
    processor: Any, conversations: Sequence[Sequence[ChatMessage]], images: Sequence[Image | None], max_length: int
) -> Tensors:
    """Input and labels of a batch of conversations, each ending in the assistant's answer; only the answer has labels.

    An answer's labels end in an end token and the white space that the template writes after it. They are found from
    the length of the prompt: the template's own assistant mask is all zeros if there is an image (transformers#46559).
    Right-padded. Keys: ``input_ids``, ``attention_mask``, ``labels`` (all batch x
    length), and whatever the family's processor adds for images; a text-only batch has no image key at all.
    Raises ``ValueError`` for a sample longer than ``max_length`` tokens, and for labels from which the model would not
    learn to stop.
    """
    chats = chat_texts(processor, conversations)
    prompts = prompt_texts(processor, [c[:-1] for c in conversations])
    batch = encode(processor, chats, images)
    lengths = batch["attention_mask"].sum(dim=1)
    if int(lengths.max()) > max_length:
        raise ValueError(
            f"a sample has {int(lengths.max())} tokens; at most {max_length} are allowed (training.max_length). "
            "Samples are never truncated: lower training.max_pixels or shorten the text"
        )
    labels = torch.full_like(batch["input_ids"], IGNORED)
    for row, (chat, prompt) in enumerate(zip(chats, prompts, strict=True)):
        end = int(lengths[row])
        start = end - _answer_length(processor.tokenizer, chat, prompt)
        labels[row, start:end] = batch["input_ids"][row, start:end]
        _check_end(processor, labels[row, start:end].tolist())
    if kind := getattr(processor, "answer_kind", 0):  # in some families the answer's tokens are of another kind
        batch["token_type_ids"][labels != IGNORED] = kind
    return {**batch, "labels": labels}


def _check_end(processor: Any, labels: list[int]) -> None:
    ends = set(end_tokens(processor))
    after = next((i for i, token in enumerate(reversed(labels)) if token in ends), None)
    if after is None or processor.tokenizer.decode(labels[len(labels) - after :]).strip():
        raise ValueError(
            f"an answer's labels end in {processor.tokenizer.decode(labels[-8:])!r}, not in an end token ("
            f"{', '.join(end_texts(processor))}), so the model would never learn to stop; correct the chat template, "
            "or `eos_token_id` in generation_config.json"
        )


def image_tensors(batch: Tensors) -> Tensors:
    """What a processor made of the images: everything that is not there once per token."""
    tokens = batch["input_ids"].shape
    by_name = ("pixel", "image", "aspect_ratio")  # a short text may happen to be as long as such a tensor
    return {name: value for name, value in batch.items() if value.shape[:2] != tokens or name.startswith(by_name)}


def continued(batch: Tensors, answers: Sequence[Sequence[int]], kind: int = 0) -> Tensors:
    """A prompt (a batch of one) followed by each of some answers, padded on the right; answers x longest.

    Whatever there is per token grows along: masks by ones, kinds of tokens by ``kind`` (`mm_token_type_ids` by 0, for
    text), and anything else by what holds for the prompt's last token. The images' tensors are repeated.
    """
    ids, images = batch["input_ids"], image_tensors(batch)
    longest = max(map(len, answers))
    new = {"input_ids": [[*answer, *[0] * (longest - len(answer))] for answer in answers]}
    new["attention_mask"] = [[1] * len(answer) + [0] * (longest - len(answer)) for answer in answers]
    new["token_type_ids"], new["mm_token_type_ids"] = [[kind] * longest] * len(answers), [[0] * longest] * len(answers)
    grown = {}
    for name, tensor in batch.items():
        rows = torch.cat([tensor] * len(answers))
        if name not in images:
            after = tensor[:, -1:].expand(len(answers), longest, *tensor.shape[2:])
            rows = torch.cat([rows, torch.tensor(new[name]).to(ids) if name in new else after], dim=1)
        grown[name] = rows
    return grown


def packed_batch(samples: Sequence[Tensors], tiles_axis: int = 0) -> dict[str, Any]:
    """Samples in a single row, one after another. Each is encoded by `training_batch` alone and has its ``positions``.

    Keys: ``input_ids`` and ``labels`` (1 x tokens), ``position_ids`` (axes x 1 x tokens, or 1 x tokens for a model with
    one axis), ``supervised`` (indices of the tokens from which a label is predicted), ``lengths`` (of the samples,
    plain numbers), and the images' tensors, joined along ``tiles_axis`` (`Family.tiles_axis`);
    of these, shapes become plain numbers too (`shapes_on_device`).
    """
    positions = torch.cat([sample["positions"] for sample in samples], dim=-1)  # axes x tokens
    labels = torch.cat([sample["labels"] for sample in samples], dim=1)
    seen = [image_tensors({name: s[name] for name in s if name != "positions"}) for s in samples]
    images = {name: [s[name] for s in seen if name in s] for name in dict.fromkeys(name for s in seen for name in s)}
    given = [name for name in IMAGE_SHAPES if name in images]
    shapes = {name: tuple(tuple(row) for one in images.pop(name) for row in one.tolist()) for name in given}
    return {
        "input_ids": torch.cat([sample["input_ids"] for sample in samples], dim=1),
        "labels": labels,
        "position_ids": positions if len(positions) == 1 else positions.unsqueeze(1),
        "supervised": (labels[0, 1:] != IGNORED).nonzero().squeeze(1),
        "lengths": tuple(sample["input_ids"].shape[1] for sample in samples),
        **{name: _joined(found, tiles_axis) for name, found in images.items()},
        **shapes,
    }


def _joined(tensors: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
    """All samples' tensors in one, of the largest height and width.

    Without an axis for tiles, those of LLaVA (1 x tiles x colours x height x width) become rows of their own.
    """
    if not axis:
        tensors = [tensor.flatten(0, 1) if tensor.ndim == 5 else tensor for tensor in tensors]
    if tensors[0].ndim < 4:
        return torch.cat(list(tensors), dim=axis)
    height, width = (max(tensor.shape[side] for tensor in tensors) for side in (-2, -1))
    padded = [torch.nn.functional.pad(t, (0, width - t.shape[-1], 0, height - t.shape[-2])) for t in tensors]
    return torch.cat(padded, dim=axis)


def shapes_on_device(model: Any, images: Mapping[str, Any]) -> dict[str, Any]:
    """Images as `packed_batch` has them, ready for the model: shapes as tensors (images x numbers).

    They are on the CPU if the model can read them there, else where it is. It reads them number by number, and each
    number on a GPU would wait for all work before it.
    """
    device = "cpu" if getattr(model, "shapes_on_cpu", False) else model.device
    return {**images, **{name: torch.tensor(images[name], device=device) for name in IMAGE_SHAPES if name in images}}


def prompt_texts(processor: Any, conversations: Sequence[Sequence[ChatMessage]]) -> list[str]:
    """The conversations as text, up to the beginning of the assistant's turn."""
    return [processor.apply_chat_template(list(c), tokenize=False, add_generation_prompt=True) for c in conversations]


def chat_texts(processor: Any, conversations: Sequence[Sequence[ChatMessage]]) -> list[str]:
    """The conversations as text, each ending in an end token and perhaps white space.

    Some templates write white space in place of the end token after the last answer (`helpers.models.chat_templates`).
    """
    texts = [processor.apply_chat_template(list(c), tokenize=False) for c in conversations]
    ends = end_texts(processor)
    return [text if text.rstrip().endswith(ends) else text.rstrip() + ends[0] for text in texts]


def end_tokens(processor: Any) -> list[int]:
    """The tokens that end a turn, the first of them for answers; the tokenizer's own if the processor names none."""
    ends: list[int] = getattr(processor, "end_tokens", None) or [processor.tokenizer.eos_token_id]
    if None in ends:
        raise ValueError(
            "neither generation_config.json nor the tokenizer names a token that ends a turn, so a model could not "
            "learn to stop; set `eos_token_id`"
        )
    return ends


def end_texts(processor: Any) -> tuple[str, ...]:
    """`end_tokens` as they are written."""
    return tuple(processor.tokenizer.convert_ids_to_tokens(end_tokens(processor)))


def encode(
    processor: Any, texts: Sequence[str], images: Sequence[Image | None], padding_side: str = "right", **given: Any
) -> Tensors:
    """Tokens, mask and image tensors, as the family's processor makes them; ``given``: its further arguments.

    Padded on the right for reading, on the left for writing.
    """
    seen = [[image] for image in images if image is not None]  # a list per text: each has at most one
    shown = {"images": seen} if seen else {}
    given = {**beginning(processor, texts), **given}
    made = processor(text=list(texts), **shown, padding=True, padding_side=padding_side, return_tensors="pt", **given)
    return dict(made)


def beginning(processor: Any, texts: Sequence[str]) -> dict[str, bool]:
    """What the tokenizer must be told where the chat template writes the token that begins a text: not to add it."""
    token = processor.tokenizer.bos_token
    return {"add_special_tokens": False} if token and all(text.startswith(token) for text in texts) else {}


def _answer_length(tokenizer: Any, chat: str, prompt: str) -> int:
    """How many of the chat's tokens follow the prompt. Image tokens are in the prompt, so they cancel out."""
    whole, start = tokenizer(chat)["input_ids"], tokenizer(prompt)["input_ids"]
    if whole[: len(start)] != start:
        raise ValueError(
            f"the chat template's prompt is not a prefix of the whole chat in tokens, so the answer cannot be told "
            f"from the prompt; use a checkpoint of a known family, or correct its chat template: {prompt!r}"
        )
    return len(whole) - len(start)
