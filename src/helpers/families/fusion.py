"""Early fusion: one decoder over one vocabulary, in which the codes of an image follow the words.

A document is two *views* of one thing, one after the other: its image, its description, the sentence that names it.
Whatever comes first leads to what comes second, so a name can follow an image or a description in the same way.
"""

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from helpers.families.codes import Codes
from helpers.families.interface import Course, Member, Pair
from helpers.families.scenes import Scenes, pool
from helpers.synthetic import language as say

_BEGIN, _END, _TOLD, _IMAGE = (
    "<|endoftext|>",
    "<|im_end|>",
    "<|im_start|>",
    "<|vision_start|>",
)  # of a document, of a view
_WIDTH, _LAYERS = 128, 3
_AMONG = 20  # likeliest codes that a drawing throws dice for
_MOST_WORDS = 48  # of a description that the member writes, in tokens
Ids = list[int]


class EarlyFusion(Member):
    """A member with one decoder; a subclass says what makes codes of an image."""

    family = "generative"
    speaks, names = True, 100
    reading, looking = Course(150, 32, 1e-3), Course(150, 32, 1e-3)
    FIRST: ClassVar[float] = 0.2  # weight of the loss on a document's first view
    GUIDANCE: ClassVar[float] = 1.0  # by which a drawing follows its sentence more than no sentence (arXiv 2207.12598)

    @abstractmethod
    def sight(self) -> Codes:
        """What makes codes of an image."""

    def build(self) -> nn.Module:
        from transformers import ChameleonConfig, ChameleonModel

        sight = self.sight()
        shape: dict[str, Any] = {"hidden_size": _WIDTH, "intermediate_size": 3 * _WIDTH, "num_hidden_layers": _LAYERS}
        shape |= {"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 512}
        shape["vq_config"] = {
            "base_channels": 32,
            "channel_multiplier": [1],
            "num_res_blocks": 1,
            "latent_channels": 32,
        }
        shape["vocabulary_map"] = {"<image>": self.tokenizer.convert_tokens_to_ids("<|image_pad|>")}
        model = ChameleonModel(ChameleonConfig(vocab_size=len(self.tokenizer) + sight.entries, **shape))
        model.vqmodel = sight  # the library's has no decoder
        return model

    @property
    def codes(self) -> Codes:
        """What makes codes of an image."""
        found: Codes = self.model.vqmodel
        return found

    def learns(self, stage: str) -> list[nn.Parameter]:
        return [p for name, p in self.model.named_parameters() if not name.startswith("vqmodel.")]

    def teach(self, seed: int = 0, course: Course | None = None) -> list[float]:
        """First the codes, unless they are lent, then the decoder."""
        if not "vqmodel.codebook".startswith(tuple(self.lends) or ("-",)):
            self.codes.learn(seed)
        self._named: Iterator[Scenes] = pool().batches((course or self.lesson).batch // 3, seed + 1, self.names)
        return super().teach(seed, course)

    # ---- documents -------------------------------------------------------------------------------------------------

    def ids(self, text: str) -> Ids:
        """Tokens of words."""
        found: Ids = self.tokenizer(text)["input_ids"]
        return found

    @torch.no_grad()
    def seen(self, shown: Tensor) -> list[Ids]:
        """Each image as a view: a mark, and its codes behind the words of the vocabulary."""
        (mark,) = self.ids(_IMAGE)
        return [[mark, *codes] for codes in (self.codes(shown) + len(self.tokenizer)).tolist()]

    def described(self, description: str) -> Ids:
        """A description as a view."""
        return self.ids(f"{_TOLD}{description}")

    def document(self, *views: Ids) -> Ids:
        """Views, one after the other."""
        return [*self.ids(_BEGIN), *(token for view in views for token in view), *self.ids(_END)]

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        rng, named = scenes.rng, next(self._named)
        seen, captions, told = self.seen(scenes.shown), scenes.captions(), scenes.told()
        pairs: list[tuple[Ids, Ids]] = []
        views = zip(seen, map(self.described, captions), map(self.described, told), strict=True)
        for image, caption, other in views:
            pairs.append(rng.choice(((image, caption), (image, caption), (other, image), (other, caption))))
        for image, thing in zip(
            seen[::2], scenes.things[::2], strict=True
        ):  # every second image is also asked about a part
            part = rng.choice(list(say.VISUAL[thing.domain]))
            question = say.pick(rng, say.VISUAL[thing.domain][part].asked)
            answer = say.visual_answer(thing.domain, thing.appearance, part)
            pairs.append((image, self.ids(f"{question} {answer}")))
        for image, text, name in zip(self.seen(named.shown), named.told(), named.namings(), strict=True):
            pairs.append(self._named_view(image if rng.random() < 0.5 else self.described(text), name, rng))
        return self.loss(pairs, rng)

    def reading_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        return self.loss([self._named_view(self.described(pair.description), pair.naming, rng) for pair in pairs], rng)

    def looking_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        images = self.seen(torch.stack([pair.shown for pair in pairs if pair.shown is not None]))
        return self.loss([self._named_view(i, pair.naming, rng) for i, pair in zip(images, pairs, strict=True)], rng)

    def _named_view(self, view: Ids, name: str, rng: random.Random) -> tuple[Ids, Ids]:
        return (view, self.ids(name)) if rng.random() < 0.75 else (self.ids(name), view)

    def lesson_document(self, one: Ids, two: Ids, rng: random.Random) -> tuple[Ids, list[float]]:
        """A document, and the weights of all tokens but the first. Nothing leads to the first view: it weighs less."""
        return self.document(one, two), [self.FIRST] * len(one) + [1.0] * (len(two) + 1)

    def loss(self, pairs: Sequence[tuple[Ids, Ids]], rng: random.Random) -> Tensor:
        """Of the next token, whether a word or a code."""
        total, weight = torch.tensor(0.0), 0.0
        documents = sorted((self.lesson_document(*pair, rng) for pair in pairs), key=lambda document: len(document[0]))
        for start in range(0, len(documents), 12):  # of similar length, so that few tokens only pad
            some = documents[start : start + 12]
            ids, weights = (
                pad_sequence([torch.tensor(row) for row in rows], batch_first=True) for rows in zip(*some, strict=True)
            )
            losses = cross_entropy(self.logits(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none")
            total, weight = total + (losses * weights).sum(), weight + weights.sum().item()
        return total / weight

    def logits(self, ids: Tensor, past: Any = None) -> Tensor:
        """Documents x tokens x vocabulary. The library's own head forbids codes; here they can be said."""
        found = self.model(input_ids=ids, past_key_values=past, use_cache=past is not None)
        return found.last_hidden_state @ self.model.embed_tokens.weight.T

    # ---- answers ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def score(
        self, options: Sequence[Sequence[str]], shown: Tensor | None = None, words: Sequence[str] | None = None
    ) -> Tensor:
        """How much likelier each sentence is after the view than at the start of a document."""
        views = [self.described(text) for text in words or []] if shown is None else self.seen(shown)
        return self.gains(views, [[self.ids(sentence) for sentence in four] for four in options])

    @torch.inference_mode()
    def by_description(self, options: Sequence[Sequence[str]], shown: Tensor) -> Tensor:
        """The same of descriptions in the sentences' place, which are what the lesson has after an image."""
        return self.gains(self.seen(shown), [[self.described(text) for text in four] for four in options])

    def gains(self, views: Sequence[Ids], options: Sequence[Sequence[Ids]]) -> Tensor:
        """Views x options: the logarithm of how much likelier an option is after its view than after nothing."""
        distinct = sorted({tuple(option) for four in options for option in four})
        alone = dict(zip(distinct, self.likelihoods([[] for _ in distinct], distinct), strict=True))
        rows = [(view, option) for view, four in zip(views, options, strict=True) for option in four]
        found = self.likelihoods([view for view, _ in rows], [option for _, option in rows])
        gained = [x - alone[tuple(option)] for x, (_, option) in zip(found, rows, strict=True)]
        return torch.tensor(gained).view(len(options), -1)

    def likelihoods(self, views: Sequence[Ids], options: Sequence[Sequence[int]]) -> list[float]:
        """The logarithm of each option's probability after the view in its place."""
        found: list[float] = []
        for start in range(0, len(views), 64):
            some = list(zip(views[start : start + 64], options[start : start + 64], strict=True))
            rows = [torch.tensor(self.document(view, list(option))) for view, option in some]
            ids = pad_sequence(rows, batch_first=True)
            chosen = self.logits(ids)[:, :-1].log_softmax(dim=-1).gather(2, ids[:, 1:, None])[..., 0]
            parts = (row[len(view) : len(view) + len(option)] for row, (view, option) in zip(chosen, some, strict=True))
            found += [part.sum().item() for part in parts]
        return found

    @torch.inference_mode()
    def describe(self, shown: Tensor) -> list[str]:
        return self._told_after(self.seen(shown))

    @torch.inference_mode()
    def recall(self, sentences: Sequence[str]) -> list[str]:
        """What the member has read of each thing that a sentence names, in its own words."""
        return self._told_after([self.ids(sentence) for sentence in sentences])

    def _told_after(self, views: Sequence[Ids]) -> list[str]:
        written = self.go_on([[*view, *self.ids(_TOLD)] for view in views], _MOST_WORDS, slice(len(self.tokenizer)))
        return [self.tokenizer.decode(row.tolist()).partition(_END)[0].strip() for row in written]

    @torch.inference_mode()
    def draw(self, sentences: Sequence[str], seed: int = 0) -> Tensor:
        words, begun = len(self.tokenizer), [[*self.ids(sentence), *self.ids(_IMAGE)] for sentence in sentences]
        dice = torch.Generator().manual_seed(seed)
        codes = self.go_on(begun, self.codes.count, slice(words, words + self.codes.entries), dice)
        return self.codes.images(codes - words)

    def go_on(self, begun: Sequence[Ids], count: int, allowed: slice, dice: torch.Generator | None = None) -> Tensor:
        """Rows x ``count`` tokens, of those allowed, after the beginnings of documents: the likeliest, or with dice."""
        found: dict[int, Tensor] = {}
        order = sorted(range(len(begun)), key=lambda i: len(begun[i]))
        for _, same in groupby(order, key=lambda i: len(begun[i])):  # of one length, so that nothing pads
            rows = list(same)
            given = torch.tensor([[*self.ids(_BEGIN), *begun[i]] for i in rows])
            if guided := dice is not None and self.GUIDANCE != 1:
                untold = given.clone()
                untold[:, 1:-1] = self.tokenizer.pad_token_id
                given = torch.cat([given, untold])
            found |= dict(zip(rows, self._tokens_after(given, count, allowed, dice, guided)[: len(rows)], strict=True))
        return torch.stack([found[i] for i in range(len(begun))])

    def _tokens_after(
        self, given: Tensor, count: int, allowed: slice, dice: torch.Generator | None, guided: bool
    ) -> Tensor:
        from transformers import DynamicCache

        past, new = DynamicCache(), []
        for _ in range(count):
            logits = self.logits(given, past)[:, -1, allowed]
            if guided:  # the second half of the rows has no sentence
                told, untold = logits.log_softmax(dim=-1).chunk(2)
                logits = untold + self.GUIDANCE * (told - untold)
            if dice is None:
                chosen = logits.argmax(dim=-1, keepdim=True)
            else:
                likeliest, places = logits.topk(_AMONG)
                chosen = places.gather(1, torch.multinomial(likeliest.softmax(dim=-1), 1, generator=dice))
            given = (chosen + (allowed.start or 0)).repeat(1 + guided, 1)
            new.append(given)
        return torch.cat(new, dim=1)
