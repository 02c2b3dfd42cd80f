"""What every member can do, so that one notebook runs all of them and their answers fit the project's tables.

A member is one module of `helpers.families`: how it is built, its loss in each stage, how it scores the options.
Whatever is alike in all of them is here.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from helpers.families.registry import CHECKPOINTS
from helpers.families.scenes import Scenes, pool
from helpers.families.tower import clip_weights
from helpers.paths import DATA, atomic_write
from helpers.workflow.progress import Ticker

SHIPPED = CHECKPOINTS[0]  # in float16; those made on demand lie in the other folder
TOKENIZER = DATA / "models" / "tiny-qwen2-vl"


@dataclass(frozen=True)
class Course:
    """How long and how fast a member is trained in one stage."""

    steps: int
    batch: int = 64
    rate: float = 1e-3


@dataclass(frozen=True)
class Pair:
    """What is learned about a class: the sentence that names it, its description, and its image, unless text is all."""

    naming: str
    description: str
    shown: Tensor | None = None  # 3 x 56 x 56


class Member(ABC):
    """One published system at the size of the drawn world.

    A subclass defines the class variables and the abstract methods. ``lends`` says which of its parts are another
    member's and frozen: {"tower.": ("clip", "vision_model.")} takes all weights whose names begin with "tower." from
    those of ``clip`` that begin with "vision_model.", so a checkpoint holds a shared part once.
    """

    key: ClassVar[str]  # its name in files, parameters and rows
    title: ClassVar[str]  # its name in tables and figures
    family: ClassVar[str]  # contrastive, masked, generative or backbone, as in the survey
    source: ClassVar[str]  # arXiv number
    idea: ClassVar[str]  # for docs/families.md: what it is, in three sentences
    faithful: ClassVar[str]  # for the same page: what is as published here, and what is not
    lesson: ClassVar[Course]
    reading: ClassVar[Course]  # text alone
    looking: ClassVar[Course]  # image and text
    speaks: ClassVar[bool] = False  # whether it describes an image in words, and can so answer in two steps
    names: ClassVar[int] = 0  # how many classes of each domain its lesson names, so that they can be asked for
    draws: ClassVar[bool] = False  # whether it draws what a sentence names
    lends: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def __init__(self, seed: int = 0, domain: str = "butterfly") -> None:
        self.domain = domain  # what it is asked about: a question says so
        torch.manual_seed(seed)
        self.tokenizer = self.own_tokenizer()
        self.model: Any = self.build()
        self.borrow()

    def own_tokenizer(self) -> Any:
        """The one that all share, unless overridden."""
        return shared_tokenizer()

    # ---- what a member defines -------------------------------------------------------------------------------------

    @abstractmethod
    def build(self) -> nn.Module:
        """The architecture, with random weights."""

    @abstractmethod
    def lesson_loss(self, scenes: Scenes) -> Tensor:
        """The published objective, on invented classes."""

    @abstractmethod
    def reading_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        """What the same objective is on text alone."""

    @abstractmethod
    def looking_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        """The objective on image and text: the upper line."""

    @abstractmethod
    def score(
        self, options: Sequence[Sequence[str]], shown: Tensor | None = None, words: Sequence[str] | None = None
    ) -> Tensor:
        """Questions x options: how well each sentence fits.

        The question is about an image (``shown``: questions x 3 x 56 x 56) or about a description (``words``).
        """

    def by_description(self, options: Sequence[Sequence[str]], shown: Tensor) -> Tensor | None:
        """The same for the options' descriptions, without training; None: it cannot compare them with an image."""
        return None

    def describe(self, shown: Tensor) -> list[str]:
        """Each image in the member's own words, if it ``speaks``."""
        raise NotImplementedError(f"{self.title} writes no descriptions")

    def draw(self, sentences: Sequence[str], seed: int = 0) -> Tensor:
        """Sentences x 3 x 56 x 56, from -1 to 1: what each names, if the member ``draws``."""
        raise NotImplementedError(f"{self.title} draws nothing")

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        """What is trained in a stage (lesson, reading, looking): everything that is not lent, unless overridden."""
        return [p for name, p in self.model.named_parameters() if not name.startswith(tuple(self.lends))]

    # ---- what all members have -------------------------------------------------------------------------------------

    def teach(self, seed: int = 0, course: Course | None = None) -> list[float]:
        """The lesson; returns the loss per step."""
        course = course or self.lesson
        batches = pool().batches(course.batch, seed)
        return self._fit("lesson", course, lambda _: self.lesson_loss(next(batches)))

    def read(self, pairs: Sequence[Pair], seed: int = 0, course: Course | None = None) -> list[float]:
        """Trains on text alone; returns the loss per step. Images, if the pairs have any, are taken away."""
        blind = [Pair(pair.naming, pair.description) for pair in pairs]
        return self._on_pairs("reading", self.reading_loss, blind, seed, course or self.reading)

    def look(self, pairs: Sequence[Pair], seed: int = 0, course: Course | None = None) -> list[float]:
        """Trains on image and text; returns the loss per step."""
        return self._on_pairs("looking", self.looking_loss, pairs, seed, course or self.looking)

    def _on_pairs(
        self,
        stage: str,
        loss: Callable[[Sequence[Pair], random.Random], Tensor],
        pairs: Sequence[Pair],
        seed: int,
        course: Course,
    ) -> list[float]:
        rng, size = random.Random(f"{stage}-{seed}"), min(course.batch, len(pairs))
        return self._fit(stage, course, lambda _: loss(rng.sample(pairs, size), rng))

    def _fit(self, stage: str, course: Course, loss: Callable[[int], Tensor]) -> list[float]:
        torch.manual_seed(0)
        learning = list(self.learns(stage))
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
        self.model.train()
        losses = descend(learning, course, loss)
        self.model.eval()
        return losses

    def borrow(self) -> None:
        """Takes over the parts that other members lend."""
        state = self.model.state_dict()
        for prefix, (lender, theirs) in self.lends.items():
            lent = read_checkpoint(lender)
            self.model.load_state_dict(
                {name: lent[theirs + name.removeprefix(prefix)] for name in state if name.startswith(prefix)},
                strict=False,
            )

    def save(self, folder: Path = SHIPPED) -> Path:
        """Writes what is its own, in float16."""
        from safetensors.torch import save_file

        own = {
            n: t.half().contiguous() for n, t in self.model.state_dict().items() if not n.startswith(tuple(self.lends))
        }
        with atomic_write(folder / f"{self.key}.safetensors") as temporary:
            save_file(own, temporary)
        return folder / f"{self.key}.safetensors"

    def load(self) -> "Member":
        """Takes over the checkpoint of its lesson; returns itself. Raises as `read_checkpoint` does."""
        missing, unexpected = self.model.load_state_dict(read_checkpoint(self.key), strict=False)
        lost = [name for name in missing if not name.startswith(tuple(self.lends))]
        if lost or unexpected:
            raise ValueError(
                f"the checkpoint of {self.key} is of another architecture ({', '.join((lost + unexpected)[:3])}); "
                f"teach it again: python -m helpers.families.lessons {self.key}"
            )
        self.model.eval()
        return self


def descend(parameters: Sequence[nn.Parameter], course: Course, loss: Callable[[int], Tensor]) -> list[float]:
    """AdamW with one warm-up and a cosine down to nothing; returns the loss per step."""
    optimiser = torch.optim.AdamW(parameters, course.rate, (0.9, 0.98), weight_decay=0.01)
    warm = min(0.3, 50 / course.steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.rate, total_steps=course.steps, pct_start=warm)
    losses, ticker = [], Ticker("step", course.steps)
    for step in range(course.steps):
        found = loss(step)
        found.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(found.item())
        ticker.tick(step + 1, f", loss {losses[-1]:.2f}")
    return losses


@cache
def shared_tokenizer() -> Any:
    """The tokenizer of the demo's models, which knows the words of all dialects."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(TOKENIZER)


def read_checkpoint(key: str) -> dict[str, Tensor]:
    """A member's own weights, in float32. Raises ``FileNotFoundError``, which says how to make them."""
    from safetensors.torch import load_file

    if key == "clip":
        return clip_weights()
    files = [folder / f"{key}.safetensors" for folder in CHECKPOINTS]
    for file in (*files, DATA / "models" / f"tiny-{key.replace('_', '-')}" / "model.safetensors"):
        if file.is_file():
            return {name: tensor.float() for name, tensor in load_file(file).items()}
    raise FileNotFoundError(
        f"{key} has had no lesson: there is no {key}.safetensors in {' or '.join(map(str, CHECKPOINTS))}; "
        f"make it with: python -m helpers.families.lessons {key}"
    )
