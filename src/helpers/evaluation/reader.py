"""A model that answers questions: how likely it finds given answers, and what it writes itself.

Likelihoods come from trees of tokens (`helpers.evaluation.prefix_trees`): one pass covers everything that is asked
about an image, whose features come from a cache. The numbers equal those of one pass per question and option; tests
check this.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from helpers.evaluation.prefix_trees import Branch, Tree, plant, sees
from helpers.evaluation.prompts import Prompt
from helpers.models.attention import attention
from helpers.models.batches import Tensors, assistant, beginning, chat_texts, continued, encode, prompt_texts, user
from helpers.models.family import Family, plain_model
from helpers.models.registry import family_of_model
from helpers.models.rule import image_token_of
from helpers.models.unpacking import Unpack, unpacked_weights
from helpers.models.vision_cache import FeatureCache, Features, adapts_images
from helpers.workflow.progress import Ticker

TOKENS_AT_ONCE = 768  # per pass on a CPU, padding included: activations stay in its cache, and there is less padding
LONG = 400  # tokens per row: on a CPU the fused attention kernel pays off above some length between 150 and 600
LOGITS_AT_ONCE = 2**25  # numbers; 128 MB in float32
OBJECTIONS = (  # generation settings with which a model does not always take the likeliest token
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "num_beams", "sequence_bias"),
    *("min_length", "min_new_tokens", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"),
    *("forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty", "penalty_alpha"),
)
ANSWERS_AT_ONCE = 8
BEGINNINGS = 3  # of the likeliest of many answers, which are read to their end
WITHOUT_IMAGES = 4  # times as many prompts per batch: they are short, and a step costs the same
CHUNK = 8  # batches whose features are held at the same time and whose lengths are sorted together

TokenLists = Sequence[Sequence[Sequence[int]]]  # prompts x answers x tokens


class Likelihood(NamedTuple):
    """An answer's log probability, summed over its tokens including the end of turn, and their number."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        return self.total / self.tokens


class Reply(NamedTuple):
    """The text written, without special tokens and surrounding space, and its number of tokens."""

    text: str
    tokens: int


@dataclass
class Reader:
    """A model with its processor. ``batch_size``: images per batch, each with everything that is asked about it (an
    upper limit when reading on a CPU).

    If they fit (``unpack``), frozen weights are unpacked once, as in training (`helpers.models.unpacking`).
    """

    model: Any
    processor: Any
    batch_size: int
    max_new_tokens: int
    features: FeatureCache = field(default_factory=FeatureCache)
    state: str = "tuned"  # "base" while the adapter is off
    unpack: Unpack = "auto"
    _continuations: dict[str, list[int]] = field(default_factory=dict)
    _begun: dict[tuple[Any, ...], torch.Tensor] = field(default_factory=dict)
    _coming: Sequence[Prompt] | None = None  # the next chunk; None: it is not prepared ahead

    def likelihoods(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], what: str
    ) -> list[list[Likelihood]]:
        """For each prompt, the likelihood of each of its answers."""
        ends = self._continued(answer for several in answers for answer in several)
        tokens = [[ends[answer] for answer in several] for several in answers]
        each = self.log_probabilities(prompts, tokens, what)
        return [[Likelihood(sum(one), len(one)) for one in several] for several in each]

    def likeliest(self, prompts: Sequence[Prompt], answers: Sequence[str], what: str) -> list[str]:
        """For each prompt, the likeliest of many ``answers``, such as the names of all classes.

        A beam search: of all answers only the beginning is read, up to the first token in which they differ, and to
        their end only those with the `BEGINNINGS` likeliest beginnings.
        """
        ends = self._continued(answers)
        places = zip(*(ends[answer] for answer in answers), strict=False)
        shared = next((place for place, tokens in enumerate(places) if len(set(tokens)) > 1), 0)
        begun: dict[tuple[int, ...], list[str]] = {}
        for answer in dict.fromkeys(answers):
            begun.setdefault(tuple(ends[answer][: shared + 1]), []).append(answer)
        first = self.log_probabilities(prompts, [list(begun)] * len(prompts), what)
        left = []
        for scores in first:
            ranked = sorted(zip(scores, begun.values(), strict=True), key=lambda pair: -sum(pair[0]))
            left.append([answer for _, several in ranked[:BEGINNINGS] for answer in several])
        found = self.likelihoods(prompts, left, what)
        return [
            max(zip(four, several, strict=True), key=lambda pair: pair[0].total)[1]
            for four, several in zip(found, left, strict=True)
        ]

    def log_probabilities(self, prompts: Sequence[Prompt], answers: TokenLists, what: str) -> list[list[list[float]]]:
        """For each prompt and each answer, given as tokens, the log probability of each of the answer's tokens.

        The same answer to the same prompt is read only once, for example when questions are asked without their images.
        """
        asked, wanted = _distinct(prompts, answers)
        found: dict[tuple[Any, ...], list[float]] = {}
        ticker, done = Ticker(what, len(asked)), 0
        read = self._one_by_one if learns_a_prompt(self.model, self.state) else self._by_trees
        read = self._plainly if self._is_plain else read
        with unpacked_weights(self.model, self.unpack):
            for chunk in self._chunks(asked):
                scored = read([asked[i] for i in chunk], [wanted[i] for i in chunk])
                for i, several in zip(chunk, scored, strict=True):
                    named = _identity(asked[i])
                    found.update(((named, *answer), one) for answer, one in zip(wanted[i], several, strict=True))
                ticker.tick(done := done + len(chunk))
        return [
            [found[_identity(prompt), *answer] for answer in several]
            for prompt, several in zip(prompts, answers, strict=True)
        ]

    def write(self, prompts: Sequence[Prompt], what: str, max_new_tokens: int | None = None) -> list[str]:
        """The texts of the model's replies; see `replies`."""
        return [reply.text for reply in self.replies(prompts, what, max_new_tokens)]

    def replies(self, prompts: Sequence[Prompt], what: str, max_new_tokens: int | None = None) -> list[Reply]:
        """The model's greedy replies. A repeated prompt is asked once."""
        distinct = {_identity(prompt): prompt for prompt in prompts}
        asked = list(distinct.values())
        told: dict[tuple[str, str], Reply] = {}
        ticker = Ticker(what, len(asked))
        with unpacked_weights(self.model, self.unpack):
            for chunk in self._chunks(asked):
                some = [asked[i] for i in chunk]
                for several, replies in self._written(some, max_new_tokens or self.max_new_tokens):
                    told.update((_identity(some[i]), reply) for i, reply in zip(several, replies, strict=True))
                    ticker.tick(len(told))
        return [told[_identity(prompt)] for prompt in prompts]

    @contextmanager
    def untuned(self) -> Iterator[None]:
        """Within the block, the base model: the tuned model with its adapter off, if it has one."""
        before, self.state = self.state, "base"
        try:
            with self.model.disable_adapter() if hasattr(self.model, "disable_adapter") else nullcontext():
                yield
        finally:
            self.state = before

    def continuation(self, answer: str) -> list[int]:
        """The tokens of an answer in the chat template, including the end of turn.

        They follow the prompt's last part, which the template writes and which is the same after every question.
        """
        return self._continued([answer])[answer]

    def _continued(self, answers: Iterable[str]) -> dict[str, list[int]]:
        """`continuation` by answer, for these and earlier answers; new ones are tokenised in batches."""
        new, asked = [answer for answer in dict.fromkeys(answers) if answer not in self._continuations], [user("x")]
        for begin in range(0, len(new), self.batch_size):
            some = new[begin : begin + self.batch_size]
            chats = chat_texts(self.processor, [[*asked, assistant(a)] for a in some])
            texts = [*prompt_texts(self.processor, [asked]), *chats]
            start, *wholes = self.processor.tokenizer(texts)["input_ids"]
            for answer, whole in zip(some, wholes, strict=True):
                if whole[: len(start)] != start:
                    raise ValueError(
                        "the chat template's prompt is not a prefix of the whole chat in tokens, so the answer "
                        f"{answer!r} cannot be told from the prompt; correct the template or add the family's own rule"
                    )
                self._continuations[answer] = whole[len(start) :]
        return self._continuations

    # ---- tokens ------------------------------------------------------------------------------------------------------

    def _chunks(self, prompts: Sequence[Prompt]) -> Iterator[list[int]]:
        """The prompts in chunks of a few batches, sorted by beginning: memory does not grow with their number."""
        order = sorted(range(len(prompts)), key=lambda i: _identity(prompts[i]))
        step = CHUNK * self.batch_size
        for start in range(0, len(order), step):
            coming = order[start + step : start + 2 * step]
            self._coming = [prompts[i] for i in coming] if self._on_gpu else None
            yield order[start : start + step]

    def _seen(self, prompts: Sequence[Prompt]) -> dict[str, Features]:
        sources, coming = (
            [source for prompt in some if (source := prompt.source)] for some in (prompts, self._coming or ())
        )
        state = self.state if adapts_images(self.model) else "base"
        ahead = None if self._coming is None else coming
        return self.features.of(self.model, self.processor, sources, state, ahead)

    def _tokens(self, prompts: Sequence[Prompt], seen: dict[str, Features]) -> list[list[int]]:
        """Each prompt's tokens, as the processor makes them: an image token for each of the image's features."""
        texts = prompt_texts(self.processor, [[prompt.message] for prompt in prompts])
        place = self.processor.tokenizer.convert_tokens_to_ids(str(self.processor.image_token))
        rows = []
        tokenised = self.processor.tokenizer(texts, **beginning(self.processor, texts))["input_ids"]
        for prompt, ids in zip(prompts, tokenised, strict=True):
            expected = int(prompt.source is not None)
            if ids.count(place) != expected:
                raise ValueError(f"{ids.count(place)} image tokens in a prompt with {expected} images: {prompt.text!r}")
            if prompt.source:
                at = ids.index(place)
                ids = [*ids[:at], *seen[prompt.source.key].tokens, *ids[at + 1 :]]
            rows.append(ids)
        return rows

    @cached_property
    def family(self) -> Family:
        """The model's family, which says whether prompts may form trees."""
        return family_of_model(self.model)

    @property
    def _is_plain(self) -> bool:
        """Whether each prompt goes through processor and whole model on its own."""
        learns = learns_a_prompt(self.model, self.state)
        return not self.family.fast.prompt_trees or (learns and not self.family.takes_features)

    @property
    def _on_gpu(self) -> bool:
        return plain_model(self.model).device.type == "cuda"

    @property
    def image_token(self) -> int:
        """The token that an image's features replace."""
        return image_token_of(plain_model(self.model).config)

    @property
    def _text_config(self) -> Any:
        return plain_model(self.model).config.get_text_config()

    # ---- likelihoods -------------------------------------------------------------------------------------------------

    def _by_trees(self, prompts: Sequence[Prompt], answers: TokenLists) -> list[list[list[float]]]:
        seen = self._seen(prompts)
        keys = [prompt.source.key if prompt.source else "" for prompt in prompts]
        trees, branches = plant(self._tokens(prompts, seen), answers, keys, self._text_config.hidden_size)
        values: list[dict[int, float]] = [{} for _ in trees]
        for rows in self._passes([len(tree.tokens) for tree in trees]):
            for row, found in zip(rows, self._read([trees[row] for row in rows], seen), strict=True):
                values[row] = found
        return [[[values[b.tree][node] for node in b.nodes] for b in several] for several in branches]

    def _passes(self, sizes: Sequence[int]) -> Iterator[list[int]]:
        """Which trees go through the model together, by their sizes: trees of similar size, at most a batch.

        On a CPU also at most `TOKENS_AT_ONCE` tokens; a larger tree goes alone.
        """
        most = math.inf if self._on_gpu else TOKENS_AT_ONCE
        rows: list[int] = []
        for row in sorted(range(len(sizes)), key=sizes.__getitem__):
            if rows and (len(rows) == self.batch_size or (len(rows) + 1) * sizes[row] > most):
                yield rows
                rows = []
            rows.append(row)
        if rows:
            yield rows

    @torch.inference_mode()
    def _read(self, trees: Sequence[Tree], seen: dict[str, Features]) -> list[dict[int, float]]:
        """One pass: for each tree, the log probability of each node of an answer, given the branch before it."""
        return self._scored(trees, self._through(trees, seen)[0])

    def _through(
        self,
        trees: Sequence[Tree],
        seen: dict[str, Features],
        cache: DynamicCache | None = None,
        most: float = math.inf,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Hidden states of whole trees, what the tokens after their trunks (of ``most`` tokens) see, and positions.

        On a GPU the trunks go first, into a cache: they need no mask, so torch takes its fastest kernel, and a mask of
        all tokens against all is never made.
        """
        size, device = max(len(tree.tokens) for tree in trees), plain_model(self.model).device
        start = int(min(most, size - 1, *(tree.trunk for tree in trees)))
        branches, positions = sees(trees, start, size, device), self._positions(trees, size, seen)
        embedded, images = self._embedded(trees, size, seen)
        if not self._splits(len(trees), start, size):
            trunk = torch.ones(start, size, dtype=torch.bool, device=device).tril().expand(len(trees), -1, -1)
            hidden = self._pass(embedded, images, torch.cat([trunk, branches], dim=1), positions, cache)
            return hidden, branches, positions
        cache = DynamicCache(config=self._text_config) if cache is None else cache
        first = self._pass(embedded[:, :start], images, None, positions[..., :start], cache)
        then = self._pass(embedded[:, start:], {}, branches, positions[..., start:], cache)
        return torch.cat([first, then], dim=1), branches, positions

    def _splits(self, trees: int, start: int, size: int) -> bool:
        """Whether trunks are read first: on a GPU, if they are half of a tree and memory has room for their cache.

        Not in models with layers that see less than everything before them.
        """
        config = self._text_config
        if not self._on_gpu or 2 * start < size or {*(getattr(config, "layer_types", None) or ())} - {"full_attention"}:
            return False
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        needed = trees * size * 2 * config.num_hidden_layers * heads * width * 2  # bytes of keys and values
        return needed <= (torch.cuda.mem_get_info()[0] / 2 if torch.cuda.is_available() else math.inf)

    def _pass(
        self,
        embedded: torch.Tensor,
        images: dict[str, Any],
        visible: torch.Tensor | None,
        positions: torch.Tensor,
        cache: DynamicCache | None = None,
    ) -> torch.Tensor:
        """Hidden states, trees x tokens x hidden.

        ``visible``: trees x tokens x (tokens in the cache and these); None: each token sees those before it.
        """
        mask = None
        if visible is not None:  # one for all heads, added to the scores
            mask = torch.zeros(visible.shape, dtype=embedded.dtype, device=embedded.device).unsqueeze(1)
            mask.masked_fill_(~visible.unsqueeze(1), torch.finfo(embedded.dtype).min)
        with self._attention(embedded.shape[1]):
            found = plain_model(self.model).model(
                inputs_embeds=embedded,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
                **images,
            )
        return found.last_hidden_state

    def _attention(self, size: int) -> AbstractContextManager[None]:
        """Within the block, rows of at least `LONG` tokens use torch's fused kernel, as they always do on a GPU."""
        if size < LONG:
            return nullcontext()
        return attention(self._text_config, "sdpa")

    def _embedded(
        self, trees: Sequence[Tree], size: int, seen: dict[str, Features]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Words and images, trees x size x hidden, and what the model itself has to put in the images' places."""
        base = plain_model(self.model)
        ids = torch.zeros(len(trees), size, dtype=torch.long)
        for row, tree in enumerate(trees):
            ids[row, : len(tree.tokens)] = torch.tensor(tree.tokens)
        embedded = base.get_input_embeddings()(ids.to(base.device))
        shown = [seen[str(tree.key)] for tree in trees if tree.key]
        if any(features.inner for features in shown):  # which only the model can add to its inner layers
            layers = [list(layer) for layer in zip(*(features.inner for features in shown), strict=True)]
            given = SimpleNamespace(pooler_output=[f.embeddings for f in shown], deepstack_features=layers)
            return embedded, {"mm_encoder_outputs": {"image": given}}
        if shown:
            places = ids == self.image_token
            embedded[places.to(base.device)] = torch.cat([f.embeddings for f in shown]).to(embedded)
        return embedded, {}

    def _positions(self, trees: Sequence[Tree], size: int, seen: dict[str, Features]) -> torch.Tensor:
        """trees x size, or 3 x trees x size in families with positions in time, height and width.

        A token's position depends only on its depth, since all branches begin with the same image.
        """
        base = plain_model(self.model)
        depths = torch.zeros(len(trees), size, dtype=torch.long)
        for row, tree in enumerate(trees):
            depths[row, : len(tree.depths)] = torch.tensor(tree.depths)
        if not hasattr(base.model, "get_rope_index"):
            return depths.to(base.device)
        axes = depths.expand(3, -1, -1).clone()
        for row, tree in enumerate(trees):
            if tree.key:
                begun = self._beginning(tree, seen[str(tree.key)])  # 3 x tokens up to the image's last
                after = depths[row] - begun.shape[1] + begun.max() + 1
                inside = depths[row] < begun.shape[1]
                axes[:, row] = torch.where(inside, begun[:, depths[row].clamp(max=begun.shape[1] - 1)], after)
        return axes.to(base.device)

    def _beginning(self, tree: Tree, features: Features) -> torch.Tensor:
        """The model's own positions in a prompt up to the end of its image."""
        assert features.grid is not None
        start = tree.tokens.index(self.image_token)
        end = start + len(features.embeddings)
        key = (start, *features.grid.flatten().tolist())
        if key not in self._begun:
            ids = torch.tensor([tree.tokens[:end]])
            kinds = (ids == self.image_token).int()
            rope = plain_model(self.model).model.get_rope_index
            self._begun[key] = rope(ids, mm_token_type_ids=kinds, image_grid_thw=features.grid.cpu())[0][:, 0]
        return self._begun[key]

    def _scored(self, trees: Sequence[Tree], hidden: torch.Tensor) -> list[dict[int, float]]:
        """Log probabilities of the answers' nodes. Logits are computed once per place that an answer token follows."""
        nodes = [(row, node) for row, tree in enumerate(trees) for node in sorted(tree.scored)]
        places = {place: i for i, place in enumerate(dict.fromkeys((r, trees[r].parents[n]) for r, n in nodes))}
        rows, parents = torch.tensor(list(places)).T.to(hidden.device)
        which = torch.tensor([places[r, trees[r].parents[n]] for r, n in nodes])
        tokens = torch.tensor([trees[r].tokens[n] for r, n in nodes])
        values = self._log_softmax_at(hidden[rows, parents], which, tokens)
        found: list[dict[int, float]] = [{} for _ in trees]
        for (row, node), value in zip(nodes, values.tolist(), strict=True):
            found[row][node] = value
        return found

    def _log_softmax_at(self, hidden: torch.Tensor, which: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The log probability of ``tokens`` at the places ``which``, computed slice by slice."""
        head = plain_model(self.model).get_output_embeddings()
        values = torch.empty(len(tokens))
        step = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
        for start in range(0, len(hidden), step):
            logs = head(hidden[start : start + step]).float().log_softmax(-1).cpu()
            here = (which >= start) & (which < start + step)
            values[here] = logs[which[here] - start, tokens[here]]
        return values

    # ---- the plain way, for families whose numbers trees would change ------------------------------------------------

    @torch.inference_mode()
    def _plainly(self, prompts: Sequence[Prompt], answers: TokenLists) -> list[list[list[float]]]:
        """One pass per prompt, with all its answers, through processor and whole model as in training."""
        found: list[list[list[float]]] = []
        for prompt, several in zip(prompts, answers, strict=True):
            given = self._given(prompt)
            start = given["input_ids"].shape[1] - 1  # an answer's token is read from the one before it
            rows = continued(given, several, getattr(self.processor, "answer_kind", 0))
            logits = self._reading(prompt)(**rows).logits[:, -rows["input_ids"].shape[1] :]
            logs = logits[:, start:].float().log_softmax(-1)
            found.append([[logs[i, j, t].item() for j, t in enumerate(answer)] for i, answer in enumerate(several)])
        return found

    @torch.inference_mode()
    def _written_plainly(self, prompt: Prompt, most: int) -> Reply:
        given = self._given(prompt)
        tokens = self._reading(prompt).generate(**given, do_sample=False, max_new_tokens=most)[0].tolist()
        asked = given["input_ids"][0].tolist()
        return self._replies([tokens[len(asked) :] if tokens[: len(asked)] == asked else tokens])[0]

    def _given(self, prompt: Prompt) -> Tensors:
        """A prompt's tensors, all that the processor makes."""
        images = [prompt.source.open() if prompt.source else None]
        made = encode(self.processor, prompt_texts(self.processor, [[prompt.message]]), images)
        base = plain_model(self.model)
        if hasattr(getattr(base, "model", None), "rope_deltas"):
            base.model.rope_deltas = None  # left over from the previous prompt
        return {name: tensor.to(base.device) for name, tensor in made.items()}

    def _reading(self, prompt: Prompt) -> Any:
        return self.family.reading(self.model, prompt.source is not None)

    # ---- adapters that put learned tokens before the prompt (prompt tuning) ------------------------------------------
    # Their own forward pass sets positions and masks, so whole texts go through it, as in training. This is slow.

    @torch.inference_mode()
    def _one_by_one(self, prompts: Sequence[Prompt], answers: TokenLists) -> list[list[list[float]]]:
        """One pass per prompt, with all its answers."""
        seen = self._seen(prompts)
        found: list[list[list[float]]] = []
        for prompt, tokens, several in zip(prompts, self._tokens(prompts, seen), answers, strict=True):
            rows, start = [[*tokens, *answer] for answer in several], len(tokens)
            logs = self._full_pass([prompt] * len(rows), rows, seen)[:, start - 1 :].log_softmax(-1)
            found.append([[logs[i, j, t].item() for j, t in enumerate(answer)] for i, answer in enumerate(several)])
        return found

    @torch.inference_mode()
    def _written_by_passes(
        self, prompts: Sequence[Prompt], rows: list[list[int]], max_new_tokens: int, seen: dict[str, Features]
    ) -> list[Reply]:
        """Greedy replies, one pass per token. ``rows``, the prompts' tokens, grow by the reply."""
        ends = self._end_tokens()
        starts, going = [len(row) for row in rows], list(range(len(rows)))
        for _ in range(max_new_tokens):
            logits = self._full_pass([prompts[i] for i in going], [rows[i] for i in going], seen)
            for place, i in enumerate(going):
                rows[i].append(int(logits[place, len(rows[i]) - 1].argmax()))
            if not (going := [i for i in going if rows[i][-1] not in ends]):
                break
        return self._replies([row[start:] for row, start in zip(rows, starts, strict=True)])

    def _full_pass(
        self, prompts: Sequence[Prompt], rows: Sequence[Sequence[int]], seen: dict[str, Features]
    ) -> torch.Tensor:
        """Logits of whole texts, rows x longest x vocabulary, padded on the right, without the learned tokens."""
        longest, device = max(map(len, rows)), plain_model(self.model).device
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
        mask = (torch.arange(longest)[None] < torch.tensor([len(row) for row in rows])[:, None]).long().to(device)
        images = self._given_images(prompts, ids, seen)
        plain_model(self.model).model.rope_deltas = None  # left over from the previous batch
        return self.model(input_ids=ids, attention_mask=mask, **images).logits[:, -longest:].float()

    # ---- writing -----------------------------------------------------------------------------------------------------

    def _written(self, prompts: Sequence[Prompt], most: int) -> Iterator[tuple[list[int], list[Reply]]]:
        """Yields indices of some prompts with the replies to them, until all are answered.

        Prompts about the same image are branches of one tree. If each image is asked about only once, the library's own
        generation is as good.
        """
        if self._is_plain or not (self.family.takes_features or self._is_plainly_greedy()):
            yield from (([i], [self._written_plainly(prompt, most)]) for i, prompt in enumerate(prompts))
            return
        seen = self._seen(prompts)  # for all prompts: those of one image may be in several batches
        rows, passes = self._tokens(prompts, seen), learns_a_prompt(self.model, self.state)
        if not passes and self._is_plainly_greedy():
            keys = [prompt.source.key if prompt.source else None for prompt in prompts]
            trees, branches = plant(rows, [[[]]] * len(rows), keys, self._text_config.hidden_size)
            if len(trees) < len(prompts) or not self.family.takes_features:
                yield from self._written_by_trees(trees, [branch for (branch,) in branches], most, seen)
                return
        write = self._written_by_passes if passes else self._generated
        at_once = self.batch_size * (1 if seen or passes else WITHOUT_IMAGES)
        order = sorted(range(len(prompts)), key=lambda i: len(rows[i]))  # a batch is padded to its longest
        for start in range(0, len(order), at_once):
            batch = order[start : start + at_once]
            yield batch, write([prompts[i] for i in batch], [rows[i] for i in batch], most, seen)

    def _is_plainly_greedy(self) -> bool:
        """Whether the library's greedy generation takes the likeliest token, which a model's settings may prevent."""
        config = getattr(self.model, "generation_config", None)
        return all(getattr(config, name, None) in (None, 0, 1, [], {}) for name in OBJECTIONS)

    def _written_by_trees(
        self, trees: Sequence[Tree], prompts: Sequence[Branch], most: int, seen: dict[str, Features]
    ) -> Iterator[tuple[list[int], list[Reply]]]:
        of: list[list[int]] = [[] for _ in trees]  # the prompts of each tree
        for i, prompt in enumerate(prompts):
            of[prompt.tree].append(i)
        order = sorted(range(len(trees)), key=lambda i: len(trees[i].tokens))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            ends = [[prompts[i].end for i in of[tree]] for tree in batch]
            new = self._grown([trees[tree] for tree in batch], ends, most, seen)
            places = [(i, row, branch) for row, tree in enumerate(batch) for branch, i in enumerate(of[tree])]
            yield [i for i, _, _ in places], self._replies([new[row][branch] for _, row, branch in places])

    @torch.inference_mode()
    def _grown(
        self, trees: Sequence[Tree], ends: Sequence[list[int]], most: int, seen: dict[str, Features]
    ) -> list[list[list[int]]]:
        """For each tree and each of its prompts, given by its last node, the tokens that follow greedily.

        All branches of a tree grow by one token per pass; each sees its own branch and what it has written.
        """
        base = plain_model(self.model)
        width = max(map(len, ends))
        at = torch.tensor([[*nodes, *[nodes[0]] * (width - len(nodes))] for nodes in ends], device=base.device)
        cache = DynamicCache(config=self._text_config)
        hidden, visible, positions = self._through(trees, seen, cache, min(map(min, ends)))
        start = hidden.shape[1] - visible.shape[1]
        hidden = torch.stack([states[nodes] for states, nodes in zip(hidden, at, strict=True)])
        visible = torch.stack([several[nodes - start] for several, nodes in zip(visible, at, strict=True)])
        positions = positions.gather(-1, at.expand(*positions.shape[:-1], -1))
        itself = torch.eye(width, dtype=torch.bool, device=base.device).expand(len(trees), -1, -1)
        last = torch.tensor(sorted(self._end_tokens()), device=base.device)
        ended = torch.zeros(at.shape, dtype=torch.bool, device=base.device)
        written = []
        for left in reversed(range(most)):
            written.append(base.get_output_embeddings()(hidden).argmax(-1))
            ended |= torch.isin(written[-1], last)
            if not left or bool(ended.all()):
                break
            visible, positions = torch.cat([visible, itself], dim=-1), positions + 1
            hidden = self._pass(base.get_input_embeddings()(written[-1]), {}, visible, positions, cache)
        new = torch.stack(written, dim=-1).tolist()
        return [several[: len(nodes)] for several, nodes in zip(new, ends, strict=True)]

    @torch.inference_mode()
    def _generated(
        self, prompts: Sequence[Prompt], rows: list[list[int]], max_new_tokens: int, seen: dict[str, Features]
    ) -> list[Reply]:
        padded = self.processor.tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
        given = {name: tensor.to(plain_model(self.model).device) for name, tensor in padded.items()}
        given |= self._given_images(prompts, given["input_ids"], seen)
        with self._attention(given["input_ids"].shape[1]):
            tokens = self.model.generate(**given, do_sample=False, max_new_tokens=max_new_tokens)
        return self._replies(tokens[:, padded["input_ids"].shape[1] :].tolist())

    def _replies(self, rows: Sequence[list[int]]) -> list[Reply]:
        """The replies up to the end of the turn; the rest is padding."""
        ends = self._end_tokens()
        own = [row[: _turn(row, ends)] for row in rows]
        texts = self.processor.tokenizer.batch_decode(own, skip_special_tokens=True)
        return [Reply(text.strip(), len(tokens)) for text, tokens in zip(texts, own, strict=True)]

    def _given_images(self, prompts: Sequence[Prompt], ids: torch.Tensor, seen: dict[str, Features]) -> Tensors:
        """The tower's output, as the forward pass takes it besides the tokens, so that it is not computed again."""
        shown = [seen[prompt.source.key] for prompt in prompts if prompt.source]
        if not shown:
            return {}
        seen_by_tower = BaseModelOutputWithPooling(pooler_output=[s.embeddings for s in shown])  # type: ignore[arg-type]
        given: dict[str, Any] = {"mm_encoder_outputs": {"image": seen_by_tower}}
        grids = [features.grid for features in shown if features.grid is not None]
        if grids:
            given["image_grid_thw"] = torch.cat(grids).to(ids.device)
            given["mm_token_type_ids"] = (ids == self.image_token).long()
        return given

    def _end_tokens(self) -> set[int]:
        config = getattr(self.model, "generation_config", None)
        ends = getattr(config, "eos_token_id", None) or self.processor.tokenizer.eos_token_id
        return set(ends) if isinstance(ends, list) else {ends}


def learns_a_prompt(model: Any, state: str) -> bool:
    """Whether an adapter puts learned tokens before the prompt."""
    return state != "base" and bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))


def _distinct(prompts: Sequence[Prompt], answers: TokenLists) -> tuple[list[Prompt], list[list[list[int]]]]:
    """Each prompt with its distinct answers, a few at a time, sorted so that those with a common beginning meet."""
    shown = {_identity(prompt): prompt for prompt in prompts}
    wanted: dict[tuple[str, str], set[tuple[int, ...]]] = {identity: set() for identity in shown}
    for prompt, several in zip(prompts, answers, strict=True):
        wanted[_identity(prompt)].update(map(tuple, several))
    asked, parts = [], []
    for identity, prompt in shown.items():
        ordered = sorted(wanted[identity])
        for start in range(0, len(ordered), ANSWERS_AT_ONCE):
            asked.append(prompt)
            parts.append([list(answer) for answer in ordered[start : start + ANSWERS_AT_ONCE]])
    return asked, parts


def _identity(prompt: Prompt) -> tuple[str, str]:
    return (prompt.source.key if prompt.source else "", prompt.text)


def _turn(tokens: list[int], ends: set[int]) -> int:
    """How many tokens were written, including the one that ends the turn."""
    return next((i for i, token in enumerate(tokens, start=1) if token in ends), len(tokens))
