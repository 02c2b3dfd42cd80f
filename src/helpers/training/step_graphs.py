"""The language model's part of a training step, in buckets of fixed shapes, each captured once as a CUDA graph.

A step of a 7B model starts thousands of operations, one by one, and the card waits for the host. A captured step is
started by one call. So all its shapes are fixed: tokens, labels and the longest sample are rounded up to a bucket, and
its tensors stay where they are. The graph begins behind the embeddings and ends with the gradients; embeddings, tower,
projector, clipping and optimiser are computed as ever, so texts and images go the same way.

A bucket's first batch is computed without a graph, which also warms up its kernels; the second is captured, and the
replay is compared with that same pass before it is used. ``capture`` is injected: what makes a graph is no concern of
the buckets, and the tests record and replay on a CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.modeling_outputs import BaseModelOutputWithPast

from helpers.models.batches import IGNORED, Tensors
from helpers.models.family import Family, plain_model
from helpers.training.packing import image_inputs, summed_cross_entropy

TOKENS, LONGEST = 128, 64  # what numbers of tokens and labels, and a sample's length, are rounded up to
Capture = Callable[[Callable[[], None]], Callable[[], None]]  # records a function's operations; returns their replay


def cuda_capture() -> Capture:
    """Captures CUDA graphs that share one pool of memory: none of them runs while another one does."""
    pool = torch.cuda.graph_pool_handle()

    def capture(run: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # threads may encode meanwhile
            run()
        return graph.replay

    return capture


def bucketed(packed: dict[str, Any], samples: int) -> Tensors:
    """What a bucket needs of a packed batch: fixed shapes for up to so many samples.

    Keys: ``positions`` (axes x 1 x tokens, or 1 x tokens), ``rows`` (samples x longest: each sample's tokens),
    ``places`` (tokens: where each token is among these), ``supervised`` and ``targets`` (labels). There is at least one
    token and one place too many, both without a gradient; all that is not used points there.
    """
    lengths, before = packed["lengths"], packed["supervised"]
    used, longest = sum(lengths), _up(max(lengths) + 1, LONGEST)
    tokens, labels = _up(used + 1, TOKENS), _up(len(before), TOKENS)
    rows = torch.full((samples, longest), tokens - 1)
    places = torch.full((tokens,), samples * longest - 1)
    start = 0
    for sample, length in enumerate(lengths):
        rows[sample, :length] = torch.arange(start, start + length)
        places[start : start + length] = torch.arange(length) + sample * longest
        start += length
    return {
        "positions": pad(packed["position_ids"], (0, tokens - used)),
        "rows": rows,
        "places": places,
        "supervised": pad(before, (0, labels - len(before)), value=tokens - 1),
        "targets": pad(packed["labels"][0, before + 1], (0, labels - len(before)), value=IGNORED),
    }


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


class _Bucket:
    """The tensors of one shape. ``embedded``: 1 x tokens x hidden; ``to_embedded``: its gradient."""

    def __init__(self, given: Tensors, embedded: torch.Tensor) -> None:
        self.given = {name: tensor.clone() for name, tensor in given.items()}
        shape = (1, len(given["places"]), embedded.shape[-1])
        self.embedded = embedded.new_zeros(shape).requires_grad_(embedded.requires_grad)
        self.to_embedded = embedded.new_zeros(shape if embedded.requires_grad else ())
        self.loss, self.share = (torch.zeros((), device=embedded.device) for _ in range(2))
        self.seen = 0
        self.replay: Callable[[], None] | None = None

    @torch.no_grad()
    def fill(self, given: Tensors, embedded: torch.Tensor, share: Any) -> None:
        for name, tensor in given.items():
            self.given[name].copy_(tensor, non_blocking=True)
        used = embedded.shape[1]
        self.embedded[:, :used].copy_(embedded)
        self.embedded[:, used:].zero_()
        self.share.copy_(share) if isinstance(share, torch.Tensor) else self.share.fill_(share)


class BucketedSteps:
    """Loss and gradients of packed batches, bucket by bucket; used within `attention_by_sample`.

    ``dtype``: of autocast, None for none. ``capture``: None computes each step without a graph. ``static``: the trained
    parameters of the language model; their gradients keep their place, so they are to be zeroed, never dropped.
    ``why``: why no graph is used any more, empty if graphs are used.
    """

    def __init__(
        self,
        model: Any,
        family: Family,
        trained: Sequence[torch.nn.Parameter],
        dtype: torch.dtype | None = None,
        capture: Capture | None = None,
    ) -> None:
        self.whole = plain_model(model)
        self.decoder = self.whole.get_submodule(family.language_model)
        inside = {id(parameter) for parameter in self.decoder.parameters()}
        self.static = [parameter for parameter in trained if id(parameter) in inside]
        for parameter in self.static:
            parameter.grad = torch.zeros_like(parameter)
        self.dtype, self.capture, self.kind = dtype, capture, trained[0].device.type
        self.buckets: dict[tuple[Any, ...], _Bucket] = {}
        self.replays, self.why = 0, "" if capture else "there is nothing to capture them with"

    def step(self, batch: dict[str, Any], share: Any) -> torch.Tensor | None:
        """The batch's summed loss times ``share``, its gradients added to those that are there.

        None, and nothing done, for a model whose layers take more than embeddings and positions.
        """
        with self._autocast():
            embedded, alone = self._embedded(batch)
        if not alone:
            return None
        given = batch["bucket"]
        key = (*(tuple(tensor.shape) for tensor in given.values()), embedded.dtype, embedded.requires_grad)
        bucket = self.buckets.get(key) or self.buckets.setdefault(key, _Bucket(given, embedded))
        bucket.fill(given, embedded, share)
        if self.capture and bucket.seen == 1:
            bucket.replay = self._captured(bucket)
        bucket.seen += 1
        if bucket.replay and self.capture:
            bucket.replay()
            self.replays += 1
        else:
            self._pass(bucket)
        if embedded.requires_grad:
            embedded.backward(bucket.to_embedded[:, : embedded.shape[1]])
        return bucket.loss.clone()

    def _autocast(self) -> Any:
        return torch.autocast(self.kind, self.dtype, cache_enabled=False) if self.dtype else nullcontext()

    def _embedded(self, batch: dict[str, Any]) -> tuple[torch.Tensor, bool]:
        """What the language model would be given, and whether that and the batch's positions are all."""
        features = image_inputs(self.whole, batch)
        with _standing_aside(self.decoder) as given:
            embedded = self.whole.model(
                input_ids=batch["input_ids"],
                position_ids=batch["position_ids"],
                mm_encoder_outputs=features,
                use_cache=False,
            ).last_hidden_state
        positions = given.pop("position_ids", None)
        return embedded, positions is batch["position_ids"] and not any(_holds_tensors(one) for one in given.values())

    def _pass(self, bucket: _Bucket) -> None:
        """Forward and backward pass, without one value that the host would have to know."""
        given = bucket.given
        with self._autocast():
            hidden = self.decoder(
                inputs_embeds=bucket.embedded,
                position_ids=given["positions"],
                use_cache=False,
                rows=given["rows"],
                places=given["places"],
            ).last_hidden_state[0]
            rows, head = hidden.index_select(0, given["supervised"]), self.whole.get_output_embeddings()
            loss = summed_cross_entropy(rows, head, given["targets"], fused=False) * bucket.share
        wanted = [*self.static, *([bucket.embedded] if bucket.embedded.requires_grad else [])]
        gradients = torch.autograd.grad(loss, wanted)
        torch._foreach_add_(self._gradients, gradients[: len(self.static)])
        if bucket.embedded.requires_grad:
            bucket.to_embedded.copy_(gradients[-1])
        bucket.loss.copy_(loss.detach())

    @property
    def _gradients(self) -> list[torch.Tensor]:
        return [parameter.grad for parameter in self.static if parameter.grad is not None]

    def _captured(self, bucket: _Bucket) -> Callable[[], None] | None:
        """The bucket's graph; None, and no graphs from then on, if it cannot be captured or gives other numbers."""
        before, state = [gradient.clone() for gradient in self._gradients], self._random()

        def outcome(run: Callable[[], None]) -> list[torch.Tensor]:
            self._random(state)
            torch._foreach_zero_(self._gradients)
            run()
            return [one.clone() for one in (bucket.loss, bucket.to_embedded, *self._gradients)]

        try:
            assert self.capture is not None
            replay = self.capture(lambda: self._pass(bucket))
            plain, again = (outcome(lambda: self._pass(bucket)) for _ in range(2))
            found = outcome(replay)
            if not _apart(plain, found) <= 2 * _apart(plain, again):  # 0 where kernels add up in a fixed order
                raise RuntimeError("a replayed step is not the step that was captured")
        except RuntimeError as error:
            self.capture, self.why = None, str(error).splitlines()[0]
            return None
        finally:
            torch._foreach_copy_(self._gradients, before)
            self._random(state)
        return replay

    def _random(self, state: torch.Tensor | None = None) -> torch.Tensor:
        """The state of the generator that dropout draws from; if one is given, it is set."""
        of: Any = torch.cuda if self.kind == "cuda" else torch
        if state is not None:
            of.set_rng_state(state)
        return of.get_rng_state()


def _apart(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    return sum(float((a.float() - b.float()).norm()) for a, b in zip(one, other, strict=True))


def _holds_tensors(value: Any) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(part, torch.Tensor) for part in parts)


@contextmanager
def _standing_aside(decoder: Any) -> Iterator[dict[str, Any]]:
    """Within the block, the language model returns the embeddings that it is given; yielded: what else it is given."""
    kept: dict[str, Any] = {}

    def forward(*_: Any, inputs_embeds: torch.Tensor, **given: Any) -> BaseModelOutputWithPast:
        kept.update(given)
        return BaseModelOutputWithPast(last_hidden_state=inputs_embeds)

    decoder.forward = forward
    try:
        yield kept
    finally:
        del decoder.forward
