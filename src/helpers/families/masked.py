"""What the members that fill in masked words have in common.

Their regions come from a frozen detector in the papers; here CLIP's image tower plays it, and a patch is a region.
On text alone, only the words are there. A sentence fits as well as its name can be filled in piece by piece, each piece
masked with all that come after it: were those shown, spelling would be scored.
"""

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from helpers.families.codes import FeatureCodes
from helpers.families.interface import Course, Member, Pair
from helpers.families.scenes import IMAGE_SIDE, Scenes, pool
from helpers.families.tower import PATCH

START, END, MASK = "<|im_start|>", "<|im_end|>", "<|video_pad|>"
SIDE_REGIONS, CATEGORIES = IMAGE_SIDE // PATCH, 64  # regions in a row of an image; what the detector tells apart
_NAMED = 100  # classes of each domain that the lesson names
UNSAID = -100  # label of what is not masked
WORDS_HIDDEN, REGIONS_HIDDEN = 0.3, 0.15  # probability of a mask, in a description and in an image
_BEFORE_NAME = 3  # start, "This" and "is"

MaskedText = tuple[list[int], list[int]]  # tokens and labels of a text


class Masked(Member):
    """A member that fills in words; a subclass says how its encoder reads words and regions."""

    family, names = "masked", _NAMED
    lends: ClassVar = {"tower.": ("clip", "vision_model.")}
    _named: Iterator[Scenes]

    @abstractmethod
    def encode(self, ids: Tensor, there: Tensor, regions: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the encoder makes of texts x length tokens, where they are ``there``, and of texts x regions x width.

        Returns texts x length x width for the words, and the same for the regions if there are any.
        """

    @abstractmethod
    def words(self, hidden: Tensor) -> Tensor:
        """Places x vocabulary."""

    @abstractmethod
    def describing_loss(self, shown: Tensor, covered: Tensor, rows: Sequence[MaskedText]) -> Tensor:
        """The published objective on images, with some regions ``covered``, and their masked descriptions."""

    # ---- the detector ----------------------------------------------------------------------------------------------

    def regions(self, shown: Tensor, covered: Tensor | None = None) -> Tensor:
        """Images x regions x width. ``covered``: images x regions, where the tower looks at grey."""
        if covered is not None:
            grid = covered.view(-1, 1, SIDE_REGIONS, SIDE_REGIONS)
            shown = shown.masked_fill(grid.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3), 0)
        with torch.no_grad():
            found: Tensor = self.model.tower(shown).last_hidden_state
        return found

    @cached_property
    def detector(self) -> FeatureCodes:
        """Gives each region one of `CATEGORIES`."""
        found = FeatureCodes(CATEGORIES, self.model.tower)
        found.learn()
        return found

    # ---- rows of tokens --------------------------------------------------------------------------------------------

    def named(self, sentence: str, first: int, after: str = "") -> MaskedText:
        """A sentence that names; piece ``first`` of the name is masked and all that come later. ``after`` is shown."""
        start, end, mask = self.tokenizer.convert_tokens_to_ids([START, END, MASK])
        ids = [start, *self.pieces(sentence), *(self.pieces(f" {after}") if after else []), end]
        masked = range(_BEFORE_NAME + first, _BEFORE_NAME + self.length_of_name(sentence))
        labels = [piece if place in masked else UNSAID for place, piece in enumerate(ids)]
        return [mask if place in masked else piece for place, piece in enumerate(ids)], labels

    def described(self, text: str, rng: random.Random, before: str = "") -> MaskedText:
        """A description with some of its words masked; ``before`` is shown."""
        start, end, mask = self.tokenizer.convert_tokens_to_ids([START, END, MASK])
        shown, words = [start, *self.pieces(before)], self.pieces(f" {text}" if before else text)
        labels = [word if rng.random() < WORDS_HIDDEN else UNSAID for word in words]
        ids = [word if label == UNSAID else mask for word, label in zip(words, labels, strict=True)]
        return [*shown, *ids, end], [UNSAID] * len(shown) + labels + [UNSAID]

    def about(self, sentence: str, text: str, rng: random.Random) -> MaskedText:
        """A class without its image: its name from its description, or the description from the name."""
        return self.hidden_name(sentence, rng, text) if rng.random() < 0.5 else self.described(text, rng, sentence)

    def hidden_name(self, sentence: str, rng: random.Random, after: str = "") -> MaskedText:
        """As `named`, from the first piece or, as often, from any."""
        length = self.length_of_name(sentence)
        return self.named(sentence, rng.choice((0, rng.randrange(length))), after)

    def length_of_name(self, sentence: str) -> int:
        """In pieces; the full stop is none of them."""
        return len(self.pieces(sentence)) - _BEFORE_NAME

    def pieces(self, text: str) -> list[int]:
        """The tokens of a text."""
        found: list[int] = self.tokenizer(text)["input_ids"]
        return found

    def batch(self, rows: Sequence[MaskedText]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, which of them are there, and labels: each rows x length."""
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [self.tokenizer.pad_token_id] * (longest - len(ids)) for ids, _ in rows])
        labels = torch.tensor([found + [UNSAID] * (longest - len(found)) for _, found in rows])
        return ids, torch.arange(longest) < torch.tensor([len(ids) for ids, _ in rows])[:, None], labels

    def words_loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Over what is masked."""
        return cross_entropy(self.words(hidden[labels != UNSAID]), labels[labels != UNSAID])

    def filling_loss(self, rows: Sequence[MaskedText], regions: Tensor | None = None) -> Tensor:
        """How badly masked words are filled in."""
        ids, there, labels = self.batch(rows)
        return self.words_loss(self.encode(ids, there, regions)[0], labels)

    # ---- stages ----------------------------------------------------------------------------------------------------

    def teach(self, seed: int = 0, course: Course | None = None) -> list[float]:
        course = course or self.lesson
        self._named = pool().batches(course.batch, seed + 1, self.names)
        return super().teach(seed, course)

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        """In turn: all classes are described; known ones are named from images; the same on text alone."""
        task = scenes.rng.choice(("describe", "name", "read"))
        if task == "describe":
            covered = torch.rand(len(scenes.shown), SIDE_REGIONS**2) < REGIONS_HIDDEN
            return self.describing_loss(scenes.shown, covered, [self.described(t, scenes.rng) for t in scenes.told()])
        known = next(self._named)
        pairs = [Pair(*both) for both in zip(known.namings(), known.told(), known.shown, strict=True)]
        return self.looking_loss(pairs, known.rng) if task == "name" else self.reading_loss(pairs, known.rng)

    def reading_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        return self.filling_loss([self.about(pair.naming, pair.description, rng) for pair in pairs])

    def looking_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        shown = torch.stack([pair.shown for pair in pairs if pair.shown is not None])
        return self.filling_loss([self.hidden_name(pair.naming, rng) for pair in pairs], self.regions(shown))

    @torch.inference_mode()
    def score(
        self, options: Sequence[Sequence[str]], shown: Tensor | None = None, words: Sequence[str] | None = None
    ) -> Tensor:
        """The log probability of each name, piece by piece."""
        seen = None if shown is None else self.regions(shown)
        found = []
        for place, four in enumerate(options):
            said = words[place] if words else ""
            rows = [(o, self.named(s, k, said), k) for o, s in enumerate(four) for k in range(self.length_of_name(s))]
            ids, there, labels = self.batch([row for _, row, _ in rows])
            hidden, _ = self.encode(ids, there, None if seen is None else seen[place].expand(len(rows), -1, -1))
            at = (torch.arange(len(rows)), torch.tensor([_BEFORE_NAME + k for _, _, k in rows]))
            likely = self.words(hidden[at]).log_softmax(dim=-1).gather(1, labels[at][:, None])[:, 0]
            found.append(torch.zeros(len(four)).index_add(0, torch.tensor([o for o, _, _ in rows]), likely))
        return torch.stack(found)


def corners() -> Tensor:
    """Regions x 4: left, top, right and bottom of each, as shares of the image."""
    edges = torch.arange(SIDE_REGIONS + 1) / SIDE_REGIONS
    top, left = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    return torch.stack([left, top, left + edges[1], top + edges[1]], dim=-1).flatten(0, 1)
