"""The one language model behind all members that answer in words: the tiny LLaVA-NeXT's, which the project teaches.

It has had the base models' lessons (`helpers.base_models`): it reads a look in any dialect and writes it as a caption
does. A `Speaker` gives it vectors: those of words, and where ``<image>`` stands, those of an image. An exercise has the
same form either way, a description or an image in front of a question, so the model can take the one for the other.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from helpers.families.interface import Course, Member, Pair
from helpers.families.scenes import SCENES_FOLDER
from helpers.paths import DATA, atomic_write
from helpers.synthetic import language as say
from helpers.synthetic.dialects import tell
from helpers.synthetic.invented import InventedClass

CHECKPOINT = DATA / "models" / "tiny-llava-next"
SEEN = "<image>"  # stands where an image does
WIDTH, LAYERS = 192, 6
LOOK_TOKENS = 64  # that a description has at most
ADAPTERS = SCENES_FOLDER / "adapters"
_GROUP = 16  # exchanges that are run together


class Exchange(NamedTuple):
    """A question behind what it is about, a description or the marks of an image, and its answer."""

    asked: str
    answer: str


def user_turn(seen: str, question: str) -> str:
    """A turn of the user's, as LLaVA's template writes it, up to where the answer begins."""
    return f"USER: {seen}\n{question} ASSISTANT:" if seen else f"USER: {question} ASSISTANT:"


class Speaker(Member):
    """A member with a language model; a subclass says what vectors it makes of an image, if it sees."""

    family = "backbone"
    speaks = True
    reading, looking = Course(100, 16, 2e-3), Course(60, 16, 2e-3)
    LOOKS: ClassVar[int] = 16  # vectors of an image

    def own_tokenizer(self) -> Any:
        return speakers_tokenizer()

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

    def loss_of(self, exchanges: Sequence[Exchange], shown: Tensor | None = None) -> Tensor:
        """Of the answers, as a mean over groups of similar length: short ones count as much as long ones."""
        order = sorted(range(len(exchanges)), key=lambda i: sum(map(len, exchanges[i])))
        groups = [order[i : i + _GROUP] for i in range(0, len(order), _GROUP)]
        return torch.stack(
            [self._answers_loss([exchanges[i] for i in g], None if shown is None else shown[g]) for g in groups]
        ).mean()

    def _answers_loss(self, exchanges: Sequence[Exchange], shown: Tensor | None) -> Tensor:
        questions, answers = (self._ids(texts) for texts in zip(*exchanges, strict=True))
        answers = [[*ids, self.tokenizer.eos_token_id] for ids in answers]
        tokens = self._padded([q + a for q, a in zip(questions, answers, strict=True)], "right")
        hidden, ids = self.run(tokens, None if shown is None else self.see(shown)), tokens["input_ids"]
        begin, length = (torch.tensor([*map(len, rows)])[:, None] for rows in (questions, answers))
        places = torch.arange(ids.shape[1] - 1) + 1
        answering = (places >= begin) & (places < begin + length)
        return cross_entropy(self.head(hidden[:, :-1][answering]), ids[:, 1:][answering])

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return found

    def _padded(self, rows: Sequence[list[int]], side: str) -> dict[str, Tensor]:
        return dict(self.tokenizer.pad({"input_ids": list(rows)}, padding_side=side, return_tensors="pt"))

    def _tokens(self, texts: Sequence[str], side: str) -> dict[str, Tensor]:
        return self._padded(self._ids(texts), side)

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
        return self.loss_of([self.about(pair, pair.description, rng) for pair in pairs])

    def about(self, pair: Pair, seen: str, rng: random.Random) -> Exchange:
        """The name of a class, from its description or its image."""
        return Exchange(user_turn(seen, say.pick(rng, say.NAMING[self.domain].asked)), f" {pair.naming}")

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
        question = say.NAMING[self.domain].asked[say.HELD_OUT]
        questions = self._tokens([user_turn(one, question) for one in seen], "left")
        past, each = DynamicCache(), len(options[0])
        before = self.run(questions, None if shown is None else self.see(shown), past)[:, -1:]
        before = before.repeat_interleave(each, dim=0)
        past.batch_repeat_interleave(each)
        sentences = self._ids([f" {sentence}" for four in options for sentence in four])
        answers = self._padded([[*ids, self.tokenizer.eos_token_id] for ids in sentences], "right")
        mask, ids = answers["attention_mask"], answers["input_ids"]
        behind = torch.cat([questions["attention_mask"].repeat_interleave(each, dim=0), mask], dim=1)
        hidden = torch.cat([before, self.run({"input_ids": ids, "attention_mask": behind}, past=past)[:, :-1]], dim=1)
        losses = cross_entropy(self.head(hidden).mT, ids, reduction="none")
        return -(losses * mask).sum(dim=1).view(-1, each)

    def describe(self, shown: Tensor) -> list[str]:
        """Each image in the captions' words."""
        return self.say([user_turn(self.marks(), say.DESCRIBING[self.domain][say.HELD_OUT])] * len(shown), shown)

    def retell(self, told: Sequence[str]) -> list[str]:
        """Each description in the captions' words."""
        return self.say([user_turn(one, say.DESCRIBING[self.domain][say.HELD_OUT]) for one in told])

    @torch.inference_mode()
    def say(self, prompts: Sequence[str], shown: Tensor | None = None) -> list[str]:
        """What follows each prompt, the likeliest word at a time; ``shown``: what the prompts' marks stand for."""
        tokens = self._tokens(prompts, "left")
        seen, past = None if shown is None else self.see(shown), DynamicCache()
        written: list[Tensor] = []
        end, mask = self.tokenizer.eos_token_id, tokens["attention_mask"]
        done = torch.zeros(len(prompts), dtype=torch.bool)
        while not done.all() and len(written) < LOOK_TOKENS:
            best = self.head(self.run(tokens, seen, past)[:, -1]).argmax(dim=-1)
            done |= best == end
            written.append(best.masked_fill(done, end))
            mask = torch.cat([mask, mask[:, -1:]], dim=1)
            tokens, seen = {"input_ids": best[:, None], "attention_mask": mask}, None
        said = self.tokenizer.batch_decode(torch.stack(written, dim=1), skip_special_tokens=True)
        return [text.strip() for text in said]


def exercise(thing: InventedClass, seen: str, rng: random.Random) -> Exchange:
    """A question about a thing that is shown: for all of its look, or a part of it."""
    if rng.random() < 0.7:
        question = say.pick(rng, say.DESCRIBING[thing.domain])
        answer = tell(thing.domain, thing.appearance, "captions", rng)
    else:
        part = rng.choice(list(say.VISUAL[thing.domain]))
        question = say.pick(rng, say.VISUAL[thing.domain][part].asked)
        answer = say.visual_answer(thing.domain, thing.appearance, part)
    return Exchange(user_turn(seen, question), f" {answer}")


@cache
def speakers_tokenizer() -> Any:
    """The tokenizer of the language model."""
    return PreTrainedTokenizerFast.from_pretrained(CHECKPOINT)


def llama() -> LlamaForCausalLM:
    """Its architecture, with random weights."""
    config = LlamaConfig(**json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))["text_config"])
    config._attn_implementation = "eager"  # faster than the fused kernel on a CPU, at such lengths
    return LlamaForCausalLM(config)


def new_adapter(layers: nn.ModuleList) -> LoraModel:
    """LoRA (arXiv 2106.09685) on every linear layer; whatever else holds these layers has it too."""
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    return LoraModel(layers, {"default": config}, "default")
