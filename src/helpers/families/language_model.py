"""The one small language model behind all members that answer in words, and what it practises.

A `Speaker` reads vectors: those of words, and where ``<|image_pad|>`` stands, those of an image. An exercise has the
same form either way, a description or an image in front of a question, so the model can take the one for the other.
"""

import hashlib
import random
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from helpers.families.interface import Course, Member, Pair
from helpers.families.scenes import DOMAINS, SCENES_FOLDER, Scenes, lesson_classes, naming
from helpers.paths import atomic_write
from helpers.synthetic import language as say
from helpers.synthetic.dialects import DIALECTS, tell
from helpers.synthetic.invented import InventedClass

SEEN, BEGIN, END = "<|image_pad|>", "<|im_start|>", "<|im_end|>"
# The last of each is held out, as in `helpers.synthetic.language`: questions to be scored are asked in no other words.
TO_NAME = ("Which is this?", "What is the name of this?", "Name this.", "What is this called?")
TO_DESCRIBE = ("What does this look like?", "How does this look?", "Tell me what this looks like.", "Describe this.")
WIDTH, FEED_FORWARD, LAYERS, HEADS = 128, 320, 4, 4
KNOWN = 300  # classes of each domain that the lesson names; it describes all
LOOK_TOKENS = 64  # that a description has at most
ADAPTERS = SCENES_FOLDER / "adapters"
_GROUP = 16  # dialogues that are run together


@cache
def named_classes() -> list[InventedClass]:
    """The invented classes whose names the lesson teaches."""
    return [thing for domain in DOMAINS for thing in lesson_classes(domain, KNOWN)]


@cache
def _known_names() -> frozenset[str]:
    return frozenset(thing.name for thing in named_classes())


def dialogue(seen: str, *turns: tuple[str, str]) -> str:
    """Questions and answers about what stands in front of them: a description, or the marks of an image."""
    return seen + "".join(f"\n{question}{BEGIN}{answer}{END}" for question, answer in turns)


class Speaker(Member):
    """A member with a language model; a subclass says what vectors it makes of an image, if it sees."""

    family = "backbone"
    speaks, names = True, KNOWN
    reading = Course(300, 48, 3e-3)
    looking = Course(150, 48, 2e-3)
    lends: ClassVar = {"words.": ("language_model", "")}
    LOOKS: ClassVar[int] = 16  # vectors of an image

    def see(self, shown: Tensor) -> Tensor:
        """Images x LOOKS x `WIDTH`."""
        raise NotImplementedError(f"{self.title} sees nothing")

    @property
    def words(self) -> Any:
        """The `LlamaForCausalLM`."""
        return self.model.words

    @property
    def decoder(self) -> Any:
        """It without its head."""
        return self.words.model

    @property
    def head(self) -> Any:
        """From vectors to words."""
        return self.words.lm_head

    def layers(self) -> nn.ModuleList:
        """The layers of the language model, in order, and no others."""
        return nn.ModuleList(self.decoder.layers)

    def run(self, tokens: dict[str, Tensor], seen: Tensor | None = None, past: Any = None) -> Tensor:
        """Rows x tokens x `WIDTH`: what the language model makes of words and, in the marks' place, of images."""
        inputs = self.decoder.embed_tokens(tokens["input_ids"])
        if seen is not None:
            inputs = inputs.masked_scatter((tokens["input_ids"] == self.mark)[..., None], seen)
        return self.decode(inputs, tokens["attention_mask"], past)

    def decode(self, inputs: Tensor, mask: Tensor, past: Any, **more: Any) -> Tensor:
        """The same for vectors; ``past``: a cache, to which they are added."""
        found: Tensor = self.decoder(
            inputs_embeds=inputs, attention_mask=mask, past_key_values=past, use_cache=past is not None, **more
        ).last_hidden_state
        return found

    @property
    def mark(self) -> int:
        """The token in whose place a vector of an image stands."""
        found: int = self.tokenizer.convert_tokens_to_ids(SEEN)
        return found

    def marks(self) -> str:
        """What stands for an image in a prompt."""
        return SEEN * self.LOOKS

    def loss_of(self, dialogues: Sequence[str], shown: Tensor | None = None) -> Tensor:
        """Of the answers, as a mean over groups of similar length: short ones count as much as long ones."""
        order = sorted(range(len(dialogues)), key=lambda i: len(dialogues[i]))
        groups = [order[i : i + _GROUP] for i in range(0, len(order), _GROUP)]
        return torch.stack(
            [self._answers_loss([dialogues[i] for i in g], None if shown is None else shown[g]) for g in groups]
        ).mean()

    def _answers_loss(self, dialogues: Sequence[str], shown: Tensor | None) -> Tensor:
        tokens = self._tokens(dialogues, "right")
        hidden, ids = self.run(tokens, None if shown is None else self.see(shown)), tokens["input_ids"]
        begin, end = self.tokenizer.convert_tokens_to_ids([BEGIN, END])
        answering = ((ids == begin).cumsum(dim=1) > (ids == end).cumsum(dim=1))[:, :-1]
        return cross_entropy(self.head(hidden[:, :-1][answering]), ids[:, 1:][answering])

    def _tokens(self, texts: Sequence[str], side: str) -> dict[str, Tensor]:
        return dict(self.tokenizer(list(texts), padding=True, padding_side=side, return_tensors="pt"))

    # ---- reading: one adapter behind all of them -------------------------------------------------------------------

    def read(self, pairs: Sequence[Pair], seed: int = 0, course: Course | None = None) -> list[float]:
        """Trains an adapter of the language model. Behind every member it is the same, so it is made once and kept."""
        torch.manual_seed(seed)
        course = course or self.reading
        texts = [(pair.naming, pair.description) for pair in pairs]
        tuner, made_by = new_adapter(self.layers()), hashlib.sha256(f"{texts} {seed} {course}".encode())
        for weights in (self.decoder.embed_tokens.weight, *self.layers().parameters()):
            made_by.update(weights.detach().numpy().tobytes())
        kept = ADAPTERS / f"{made_by.hexdigest()[:16]}.safetensors"
        if not kept.is_file():
            losses = torch.tensor(super().read(pairs, seed, course))
            with atomic_write(kept) as temporary:
                save_file(get_peft_model_state_dict(tuner) | {"losses": losses}, temporary)
        found = load_file(kept)
        losses = found.pop("losses")
        set_peft_model_state_dict(tuner, found)
        tuner.merge_and_unload()
        self.model.eval()
        return losses.tolist()

    def reading_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        return self.loss_of([text for pair in pairs for text in about(pair, pair.description, rng)])

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        """The adapter; and what is not lent, unless it reads."""
        named, lent = self.model.named_parameters(), tuple(self.lends)
        return [p for name, p in named if "lora_" in name or (stage != "reading" and not name.startswith(lent))]

    # ---- answers ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def score(
        self, options: Sequence[Sequence[str]], shown: Tensor | None = None, words: Sequence[str] | None = None
    ) -> Tensor:
        """The log-probability of each sentence as the answer to the held-out question for the name."""
        seen = words or [self.marks()] * len(options)
        found = [
            self._log_probabilities(options[i : i + 50], seen[i : i + 50], None if shown is None else shown[i : i + 50])
            for i in range(0, len(options), 50)
        ]
        return torch.cat(found)

    def _log_probabilities(self, options: Sequence[Sequence[str]], seen: Sequence[str], shown: Tensor | None) -> Tensor:
        # The question is read once for all of its options
        asked = self._tokens([f"{one}\n{TO_NAME[say.HELD_OUT]}" for one in seen], "left")
        past, each = DynamicCache(), len(options[0])
        self.run(asked, None if shown is None else self.see(shown), past)
        past.batch_repeat_interleave(each)
        answers = self._tokens([f"{BEGIN}{sentence}{END}" for four in options for sentence in four], "right")
        mask, ids = answers["attention_mask"], answers["input_ids"]
        behind = torch.cat([asked["attention_mask"].repeat_interleave(each, dim=0), mask], dim=1)
        hidden = self.run({"input_ids": ids, "attention_mask": behind}, past=past)
        losses = cross_entropy(self.head(hidden[:, :-1]).mT, ids[:, 1:], reduction="none")
        return -(losses * mask[:, 1:]).sum(dim=1).view(-1, each)

    def describe(self, shown: Tensor) -> list[str]:
        """Each image in the captions' words."""
        return self.say([f"{self.marks()}\n{TO_DESCRIBE[say.HELD_OUT]}"] * len(shown), shown)

    def retell(self, told: Sequence[str]) -> list[str]:
        """Each description in the captions' words."""
        return self.say([f"{one}\n{TO_DESCRIBE[say.HELD_OUT]}" for one in told])

    @torch.inference_mode()
    def say(self, prompts: Sequence[str], shown: Tensor | None = None) -> list[str]:
        """What follows each prompt, the likeliest word at a time; ``shown``: what the prompts' marks stand for."""
        tokens = self._tokens([f"{prompt}{BEGIN}" for prompt in prompts], "left")
        seen, past = None if shown is None else self.see(shown), DynamicCache()
        written: list[Tensor] = []
        end, mask = self.tokenizer.convert_tokens_to_ids(END), tokens["attention_mask"]
        done = torch.zeros(len(prompts), dtype=torch.bool)
        while not done.all() and len(written) < LOOK_TOKENS:
            best = self.head(self.run(tokens, seen, past)[:, -1]).argmax(dim=-1)
            done |= best == end
            written.append(best.masked_fill(done, end))
            mask = torch.cat([mask, mask[:, -1:]], dim=1)
            tokens, seen = {"input_ids": best[:, None], "attention_mask": mask}, None
        return self.tokenizer.batch_decode(torch.stack(written, dim=1), skip_special_tokens=True)


def about(pair: Pair, seen: str, rng: random.Random) -> list[str]:
    """What is asked about a class: its name, from its description or an image, and what it looks like."""
    name = pair.naming.removeprefix("This is ").removesuffix(".")
    return [
        dialogue(seen, (say.pick(rng, TO_NAME), pair.naming)),
        dialogue("", (rng.choice(say.DESCRIBING_BY_NAME).format(s=name), pair.description)),
    ]


def exercise(thing: InventedClass, seen: str, rng: random.Random, name: bool) -> str:
    """Two questions about a thing that is described or shown: for all of its look, a part of it, or its name."""
    part = rng.choice(list(say.VISUAL[thing.domain]))
    asked = [
        (say.pick(rng, TO_DESCRIBE), tell(thing.domain, thing.appearance, "captions", rng)),
        (
            say.pick(rng, say.VISUAL[thing.domain][part].asked),
            say.visual_answer(thing.domain, thing.appearance, part),
        ),
    ]
    if name:
        named = say.pick(rng, TO_NAME), naming(say.subject(thing.domain, thing.name))
        asked = [named, rng.choice(asked)]
    rng.shuffle(asked)
    return dialogue(seen, *asked)


def is_known(thing: InventedClass) -> bool:
    """Whether the lesson teaches the thing's name."""
    return thing.name in _known_names()


def llama(tokenizer: Any) -> LlamaForCausalLM:
    """The language model, with random weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids(BEGIN),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
    )
    config._attn_implementation = "eager"  # faster than the fused kernel on a CPU, at such lengths
    return LlamaForCausalLM(config)


class LanguageModel(Speaker):
    """`LlamaForCausalLM` of transformers, which reads and writes the drawn world's words and sees nothing."""

    key, title, source = "language_model", "Language model", "2302.13971"
    speaks, names = False, 0
    idea = (
        "The language model behind all members that answer in words. It reads a look in any dialect, writes it in the "
        "captions' words and knows the invented classes by name. It sees nothing: what is told in words is its ceiling."
    )
    faithful = "The library's Llama, tiny; its lesson is in text alone."
    lesson = Course(800, 32, 3e-3)
    lends: ClassVar = {}

    def build(self) -> nn.Module:
        return llama(self.tokenizer)

    @property
    def words(self) -> Any:
        return self.model

    def lesson_loss(self, scenes: Scenes) -> Tensor:
        return self.loss_of([self._exercise(thing, scenes.rng) for thing in scenes.things])

    @staticmethod
    def _exercise(thing: InventedClass, rng: random.Random) -> str:
        kind, dialect = rng.random(), rng.choice(DIALECTS)
        if kind < 0.6:  # a known class: its name by its look, or its look by its name
            thing = rng.choice(named_classes())
        told = tell(thing.domain, thing.appearance, dialect, rng, thing.name if kind < 0.1 or kind > 0.9 else None)
        if kind < 0.1:
            question = rng.choice(say.DESCRIBING_BY_NAME).format(s=say.subject(thing.domain, thing.name))
            return dialogue("", (question, told))
        return exercise(thing, told, rng, name=kind < 0.6 or kind > 0.9)  # above 0.9, a name that was just read

    def looking_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        raise NotImplementedError("the language model sees nothing")


def new_adapter(layers: nn.ModuleList) -> LoraModel:
    """LoRA (arXiv 2106.09685) on every linear layer; whatever else holds these layers has it too."""
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    return LoraModel(layers, {"default": config}, "default")
