"""How a model's answer to a four-option question is read. The protocol is a parameter and is saved with every row.

- ``option_likelihood``: the option whose sentence the model finds most likely after the question, by the sum of the log
  probabilities of its tokens, end of turn included. Every question gets an answer.
- ``letter``: the options are listed as A to D and the model writes at most three tokens; anything but a bare letter is
  wrong (the K-VISCUIT authors' protocol). Nothing is drawn at random in its place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image

from helpers.batches import IGNORED, Message, Tensors, assistant, encode, prompt_texts, training_batch, user
from helpers.progress import Ticker

LETTERS = "ABCD"
LETTER_TOKENS = 3
MAX_LENGTH = 8192


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: text, and perhaps a picture."""

    text: str
    picture: Image | None = None

    @property
    def message(self) -> Message:
        return user(self.text, self.picture is not None)


@dataclass
class Reader:
    """A model in use for answering: batches, device, limits."""

    model: Any
    processor: Any
    batch_size: int
    max_new_tokens: int

    def log_likelihoods(self, prompts: Sequence[Prompt], answers: Sequence[str], what: str) -> list[float]:
        """For each pair the sum of the answer tokens' log probabilities after the prompt."""
        scores: list[float] = []
        ticker = Ticker(what, len(prompts))
        for start in range(0, len(prompts), self.batch_size):
            rows = slice(start, start + self.batch_size)
            conversations = [[p.message, assistant(a)] for p, a in zip(prompts[rows], answers[rows], strict=True)]
            batch = training_batch(self.processor, conversations, [p.picture for p in prompts[rows]], MAX_LENGTH)
            scores.extend(self._sums(batch))
            ticker.tick(len(scores))
        return scores

    @torch.inference_mode()
    def _sums(self, batch: Tensors) -> list[float]:
        labels = batch.pop("labels")[:, 1:].to(self.model.device)
        logits = self.model(**self._placed(batch)).logits[:, :-1].float()
        chosen = labels.clamp(min=0).unsqueeze(-1)
        each = logits.log_softmax(dim=-1).gather(-1, chosen).squeeze(-1)  # batch x (length - 1)
        return (each * (labels != IGNORED)).sum(dim=1).tolist()

    def write(self, prompts: Sequence[Prompt], what: str, max_new_tokens: int | None = None) -> list[str]:
        """The model's replies, greedy, without special tokens or surrounding space."""
        replies: list[str] = []
        ticker = Ticker(what, len(prompts))
        for start in range(0, len(prompts), self.batch_size):
            rows = prompts[start : start + self.batch_size]
            replies.extend(self._generated(rows, max_new_tokens or self.max_new_tokens))
            ticker.tick(len(replies))
        return replies

    @torch.inference_mode()
    def _generated(self, prompts: Sequence[Prompt], max_new_tokens: int) -> list[str]:
        texts = prompt_texts(self.processor, [[p.message] for p in prompts])
        batch = encode(self.processor, texts, [p.picture for p in prompts], padding_side="left")
        tokens = self.model.generate(**self._placed(batch), do_sample=False, max_new_tokens=max_new_tokens)
        new = tokens[:, batch["input_ids"].shape[1] :]
        return [reply.strip() for reply in self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)]

    def _placed(self, batch: Tensors) -> Tensors:
        return {name: tensor.to(self.model.device) for name, tensor in batch.items()}


@dataclass(frozen=True)
class Choice:
    """What was read from the model: scores or a reply, and the option (None = unreadable)."""

    scores: list[float] | None
    reply: str | None
    parsed: int | None


def option_likelihood(reader: Reader, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[Choice]:
    """``options``: for each prompt its four answer sentences."""
    repeated = [prompt for prompt in prompts for _ in range(4)]
    flat = reader.log_likelihoods(repeated, [sentence for four in options for sentence in four], "option")
    fours = [flat[i : i + 4] for i in range(0, len(flat), 4)]
    return [Choice(scores, None, max(range(4), key=scores.__getitem__)) for scores in fours]


def letter(reader: Reader, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[Choice]:
    """``options``: for each prompt the four options as they are listed behind their letters."""
    listed = [Prompt(lettered(p.text, four), p.picture) for p, four in zip(prompts, options, strict=True)]
    replies = reader.write(listed, "question", max_new_tokens=LETTER_TOKENS)
    return [Choice(None, reply, read_letter(reply)) for reply in replies]


def lettered(question: str, options: Sequence[str]) -> str:
    """The question with its options, as the K-VISCUIT authors ask it."""
    lines = [f"{key}. {option}" for key, option in zip(LETTERS, options, strict=True)]
    return "\n".join([question, *lines, "Answer with the option's letter from the given choices directly."])


def read_letter(reply: str) -> int | None:
    """The option of a bare letter ("B", "B.", "(B)"); None for anything else."""
    found = re.fullmatch(r"\(?([ABCD])[.):]?", reply.strip())
    return LETTERS.index(found[1]) if found else None


PROTOCOLS = {"option_likelihood": option_likelihood, "letter": letter}
