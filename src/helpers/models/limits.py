"""What a model cannot read, known from its processor before a model is loaded or trained: marks, and too long samples.

Nothing is ever truncated, so a sample that is too long ends a training; found in its batch, that may be hours later.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from helpers.images import shown_size
from helpers.models.batches import beginning, chat_texts
from helpers.models.loading import load_processor
from helpers.models.registry import family_config
from helpers.paths import is_hub_id, resolve
from helpers.schemas import Message, Question, Sample, chat_mark, exchange

_LISTED = 5  # samples or questions in one message


class Limits:
    """What fits into a model, by its ``processor``.

    ``max_length``: tokens per sample, as set; ``positions``: as many as the model was made for, if that is known.
    """

    def __init__(
        self, processor: Any, max_length: int, max_pixels: int | None = None, positions: int | None = None
    ) -> None:
        self.processor, self.max_pixels = processor, max_pixels
        self.longest = min(max_length, positions or max_length)
        own = positions is not None and positions < max_length
        self.reason = "the model's positions" if own else "training.max_length"

    @cached_property
    def tokens(self) -> list[str]:
        """The special tokens: a text that holds one is cut there, and means something else."""
        tokenizer = self.processor.tokenizer
        added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        image = getattr(self.processor, "image_token", None)
        return sorted({*added, *tokenizer.all_special_tokens, *([str(image)] if image else [])})

    def length(self, sample: Sample, folder: Path) -> int:
        """The sample's tokens in a training batch: its chat, with as many image tokens as its image takes."""
        return self._tokens_in(sample.messages) + sum(self._image_tokens(folder / image) - 1 for image in sample.images)

    def _tokens_in(self, messages: Iterable[Message]) -> int:
        """Tokens of a chat as a training batch has it, its end token and no second beginning included."""
        chats = chat_texts(self.processor, [[message.model_dump() for message in messages]])
        return len(self.processor.tokenizer(chats[0], verbose=False, **beginning(self.processor, chats))["input_ids"])

    def _image_tokens(self, image: Path) -> int:
        """One for a processor that cannot say; the batch is then the first to know."""
        count = getattr(self.processor, "_get_num_multimodal_tokens", None)
        if count is None:
            return 1
        width, height = shown_size(image, self.max_pixels)
        return int(count(image_sizes=[(height, width)]).num_image_tokens[0])

    @cached_property
    def _around(self) -> int:
        """Tokens of a chat around its texts."""
        return self._tokens_in(exchange("a", "a"))

    def _surely_fits(self, sample: Sample) -> bool:
        """A text has no more tokens than bytes, which spares most samples the counting."""
        return not sample.images and sum(len(t.encode()) for t in sample.texts) + self._around <= self.longest

    def faults(self, samples: Iterable[Sample], folder: Path) -> Iterator[tuple[Sample, str]]:
        """The samples that cannot be trained on, and why."""
        for sample in samples:
            for text in sample.texts:
                if mark := chat_mark(text, self.tokens):
                    yield sample, f"holds {mark!r}, a special token of the model; delete it, or say it in words"
            if not self._surely_fits(sample) and (length := self.length(sample, folder)) > self.longest:
                remedy = "shorten its text" + (" or lower training.max_pixels" if sample.images else "")
                yield sample, f"has {length} tokens; at most {self.longest} ({self.reason}) are allowed: {remedy}"


def check_samples(limits: Limits, samples: Sequence[Sample], folder: str | Path) -> None:
    """Raise ``ValueError``, naming samples and classes, if the model cannot be trained on all of them."""
    found = [f"sample {s.id!r} of class {s.class_id!r} {fault}" for s, fault in limits.faults(samples, Path(folder))]
    _refuse(found, "sample(s) cannot be trained on; samples are never truncated")


def check_questions(processor: Any, questions: Sequence[Question]) -> None:
    """Raise ``ValueError`` for questions that hold a special token of the processor."""
    tokens = Limits(processor, 1).tokens
    found = [
        f"question {question.question_id!r} holds {mark!r}, a special token of the model"
        for question in questions
        if (mark := next(filter(None, (chat_mark(text, tokens) for text in _texts(question))), None))
    ]
    _refuse(found, "question(s) cannot be asked; delete the mark, or say it in words")


def _texts(question: Question) -> list[str]:
    return [question.question, *question.options, *question.sentences()]


def _refuse(found: Sequence[str], what: str) -> None:
    if found:
        more = f"\n  and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise ValueError(f"{len(found)} {what}:" + "".join(f"\n  {line}" for line in found[:_LISTED]) + more)


def positions_of(config: Any) -> int | None:
    """How many positions a model was made for, by its configuration; None if it does not say."""
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(found) if found else None


def limits_at_hand(path: str | Path, max_length: int, max_pixels: int | None) -> Limits | None:
    """The limits of a model by its processor alone; None for one of the hub that was not downloaded yet."""
    if is_hub_id(path):
        from huggingface_hub import try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(str(path), "tokenizer_config.json"), str):
            return None
        folder = str(path)
    else:
        folder = str(resolve(path))
    return Limits(load_processor(folder), max_length, max_pixels, positions_of(family_config(folder)))
