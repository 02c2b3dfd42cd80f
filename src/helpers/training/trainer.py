"""Fine-tuning of one model on one data set: the trainer, its settings, and what it reports.

The loop is the Trainer of `transformers`; this module holds the parts it is given. A text-only step does not call the
vision tower, and needs no dummy image: `helpers.models.batches` adds no image key to a batch without images, so the
model skips its tower. With ``packing`` (the default) a step spends nothing on padding and computes logits only where
there is a label (`helpers.training.packing`). Without it, the step is the library's own, and the tests compare the two.
"""

import copy
import hashlib
import json
import math
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import pandas
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from helpers.config.training import MAX_LENGTH, Training
from helpers.images import open_image
from helpers.models.adapter_card import revision_of, write_adapter_card
from helpers.models.adapters import trainable_groups
from helpers.models.batches import IGNORED, ChatMessage, Tensors, image_tensors, packed_batch, training_batch
from helpers.models.chat_templates import prompt_hashes
from helpers.models.family import Family, plain_model
from helpers.models.limits import Limits, check_samples, positions_of
from helpers.models.loading import chosen_dtype, counted_tower
from helpers.models.unpacking import unpacked_weights
from helpers.models.vision_cache import TowerFeatures, pixel_names
from helpers.paths import atomic_write
from helpers.schemas import Sample
from helpers.training import trackers
from helpers.training.bridge import TextBridge, described_in, description_marks
from helpers.training.flops import Traffic, training_flops, weights_of
from helpers.training.layers import (
    MainMemory,
    compiled_layers,
    fused_layers,
    least_recomputed,
    liger_kernels,
    recomputed,
)
from helpers.training.meter import Meter
from helpers.training.packing import attention_by_sample, packed_loss
from helpers.training.step_graphs import BucketedSteps, Capture, bucketed, cuda_capture
from helpers.workflow.progress import LiveCurve, Ticker, is_watched

STATES_ROOM = 8_000_000_000  # bytes that stay free beside the optimiser's states in 32 bit
LOGGED_TOGETHER = 10  # steps on a GPU: reading a loss waits for it
KEPT_BYTES = 2_000_000_000  # of encoded samples in memory; further images are reopened in each epoch


@dataclass(frozen=True)
class Conversation:
    """A sample in the form the model gets."""

    messages: list[ChatMessage]
    image: Path | None
    description: str | None = None  # in the prompt; only sought where a bridge needs it


class Conversations(list[Conversation]):
    """The training samples of one file; an image is opened only when its batch is made."""

    def __init__(self, samples: Sequence[Sample], folder: str | Path, described: bool = False) -> None:
        super().__init__(
            Conversation(
                messages=[message.model_dump() for message in sample.messages],
                image=Path(folder) / sample.images[0] if sample.images else None,
                description=described_in(sample) if described else None,
            )
            for sample in samples
        )


class Collator:
    """Makes padded batches from conversations.

    ``apart``: texts with and without an image become two batches, under ``parts``; few processors take both at once.
    """

    def __init__(
        self, processor: Any, max_pixels: int | None, max_length: int = MAX_LENGTH, apart: bool = False
    ) -> None:
        self.processor, self.max_pixels, self.max_length, self.apart = processor, max_pixels, max_length, apart

    def __call__(self, conversations: Sequence[Conversation]) -> dict[str, Any]:
        kinds = [[c for c in conversations if (c.image is None) == alone] for alone in (True, False)]
        if not self.apart or not all(kinds):
            return self._batch(conversations)
        parts = [self._batch(some) for some in kinds]
        return {"parts": parts, "labels": torch.cat([part["labels"].flatten() for part in parts])}

    def _batch(self, conversations: Sequence[Conversation]) -> Tensors:
        images = [open_image(c.image, self.max_pixels) if c.image else None for c in conversations]
        batch = training_batch(self.processor, [c.messages for c in conversations], images, self.max_length)
        if any(c.description for c in conversations):
            chats = [(c.messages, c.description) for c in conversations]
            batch["described"] = description_marks(self.processor, chats, batch["input_ids"])
        return batch


class PackedCollator:
    """Makes packed batches (one row each) from conversations; each conversation is encoded once and then kept.

    ``bucket_samples``: batches of so many samples also have the fixed shapes of `bucketed`; 0: none have. ``named``:
    batches also have the ``names`` of their images (`pixel_names`), for `TowerFeatures`.
    """

    named = False

    def __init__(
        self,
        processor: Any,
        max_pixels: int | None,
        model: Any,
        family: Family,
        max_length: int = MAX_LENGTH,
        bucket_samples: int = 0,
    ) -> None:
        self.plain = Collator(processor, max_pixels, max_length)
        self.model, self.family, self.bucket_samples = plain_model(model), family, bucket_samples
        self.kept: dict[int, Tensors] = {}
        self.names: dict[int, tuple[str, ...]] = {}
        self.ahead: dict[int, Future[Tensors | None]] = {}
        self.room, self.lock = KEPT_BYTES, threading.Lock()

    def __call__(self, conversations: Sequence[Conversation]) -> dict[str, Any]:
        samples = [self.encoded(conversation) for conversation in conversations]
        packed = packed_batch(samples, self.family.tiles_axis)
        if self.bucket_samples:
            packed["bucket"] = bucketed(packed, self.bucket_samples)
        if self.named:
            packed["names"] = tuple(name for one in conversations for name in self._names(one))
        if any(conversation.description for conversation in conversations):
            packed["described"] = torch.cat([self._marks(sample) for sample in samples], dim=1)
        return packed

    @staticmethod
    def _marks(sample: Tensors) -> torch.Tensor:
        return sample.get("described", torch.zeros_like(sample["input_ids"], dtype=torch.bool))

    def _names(self, conversation: Conversation) -> tuple[str, ...]:
        """Of the conversation's images, hashed when they are first asked for."""
        if (found := self.names.get(id(conversation))) is None:
            found = self.names[id(conversation)] = pixel_names(self.encoded(conversation))
        return found

    @contextmanager
    def encoding(self, conversations: Sequence[Conversation], threads: int) -> Iterator[None]:
        """Within the block, threads encode all conversations, as far as there is room to keep them."""
        local = threading.local()  # a tokenizer must not be used by two threads at once

        def encode(conversation: Conversation) -> Tensors | None:
            if self.room <= 0:
                return None
            if not hasattr(local, "plain"):
                local.plain = copy.deepcopy(self.plain)
            return self._encoded(conversation, local.plain)

        if not threads:
            yield
            return
        with ThreadPoolExecutor(threads) as pool:
            self.ahead = {id(conversation): pool.submit(encode, conversation) for conversation in conversations}
            try:
                yield
            finally:
                pool.shutdown(cancel_futures=True)

    def encoded(self, conversation: Conversation) -> Tensors:
        """A conversation's tensors, kept by the identity of the object: the data set holds each exactly once."""
        if (kept := self.kept.get(id(conversation))) is not None:
            return kept
        if (future := self.ahead.pop(id(conversation), None)) is not None and (found := future.result()) is not None:
            return found
        return self._encoded(conversation, self.plain)

    def _encoded(self, conversation: Conversation, plain: Collator) -> Tensors:
        sample = plain([conversation])
        tensors = {"input_ids": sample["input_ids"], "labels": sample["labels"], **image_tensors(sample)}
        if "described" in sample:
            tensors["described"] = sample["described"]
        tensors["positions"] = self.family.positions(self.model, sample)
        size = sum(tensor.nbytes for tensor in tensors.values())
        with self.lock:
            if size <= self.room:
                self.room -= size
                self.kept[id(conversation)] = tensors
        return tensors


class CountingTrainer(Trainer):
    """The library's Trainer, which also counts what it trains on and accepts packed batches.

    It does not search all modules several times per step for the few trained parameters, which with the demo's models
    took a fifth of the time. See also `still_training`.
    """

    counter: Traffic
    trained: list[torch.nn.Parameter]
    family: Family
    bridge: TextBridge | None = None
    buckets: BucketedSteps | None = None
    features: TowerFeatures | None = None

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the library's estimate ignores adapters and frozen towers."""
        return 0

    def _clip_grad_norm(self, model: Any) -> Any:
        return self.accelerator.clip_grad_norm_(self.trained, self.args.max_grad_norm)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """The step's loss, its gradients added: in a bucket if there are any, else as in the library."""
        names = inputs.pop("names", ())
        if self.features is not None:
            self.features.names = names
        if self.buckets is not None and "bucket" in inputs:
            inputs = self._prepare_inputs(inputs)
            if self.bridge is not None:
                self.bridge.marks = inputs.get("described")
            if num_items_in_batch is None:
                share = 1 / (len(inputs["supervised"]) * self.current_gradient_accumulation_steps)
            else:
                share = 1 / num_items_in_batch
            if (loss := self.buckets.step(inputs, share)) is not None:
                self.counter.add(inputs)
                return loss
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over the labels of all batches of a step, as in the library."""
        if "parts" in inputs:
            parts = inputs["parts"]
            shares = [int((part["labels"] != IGNORED).sum()) for part in parts]
            losses = [self.compute_loss(model, part, num_items_in_batch=num_items_in_batch) for part in parts]
            if num_items_in_batch is not None:  # each is a share of the step's loss already
                return sum(losses)
            return sum(loss * share for loss, share in zip(losses, shares, strict=True)) / sum(shares)
        marks = inputs.pop("described", None)
        if self.bridge is not None:
            self.bridge.marks = marks
        self.counter.add(inputs)
        if "lengths" not in inputs:
            reading = self.family.reading(model, bool(image_tensors(inputs)))
            return super().compute_loss(reading, inputs, return_outputs, num_items_in_batch)
        self.loss_is_scaled_for_ga = num_items_in_batch is not None
        labels = num_items_in_batch if num_items_in_batch is not None else len(inputs["supervised"])
        half = half_precision(self.args)
        with torch.autocast(inputs["labels"].device.type, half) if half else nullcontext():
            return packed_loss(model, inputs) / labels


def half_precision(arguments: TrainingArguments) -> torch.dtype | None:
    """What the Trainer's autocast computes in; None: it casts nothing."""
    return torch.float16 if arguments.fp16 else torch.bfloat16 if arguments.bf16 else None


def computed_twice(settings: Training, model: Any, limits: Limits, samples: Sequence[Sample], folder: Path) -> str:
    """What of the activations is computed twice beside what the Trainer is asked for: "none", "selective" or "full"."""
    if settings.gradient_checkpointing == "selective":
        return "selective"
    if settings.gradient_checkpointing != "auto" or not torch.cuda.is_available():
        return "none"
    tokens = settings.batch_size * max(limits.length(sample, folder) for sample in samples)
    width = 4 if chosen_dtype(settings.dtype) == "float32" else 2
    return least_recomputed(model.config.get_text_config(), tokens, width, torch.cuda.mem_get_info()[0])


def takes_buckets(settings: Training, arguments: TrainingArguments, twice: str = "none") -> bool:
    """Whether steps have the fixed shapes of `helpers.training.step_graphs`.

    Not with loss scaling, whose factor the host has to know, nor where a recomputed layer would have to drop the same
    values again, nor where nothing in the language model is trained.
    """
    wanted = torch.cuda.is_available() if settings.cuda_graphs == "auto" else settings.cuda_graphs
    again = arguments.activation_checkpointing or twice != "none"
    return wanted and settings.method != "projector" and not arguments.fp16 and not (again and settings.lora_dropout)


def steps_of(samples: Sequence[Sample], settings: Training) -> int:
    """How many optimiser steps the settings mean: the same number in every mode of a data set.

    An epoch reads each text once per direction. A sample in words and its twin with the image, which teach the same
    answer, count as one: 100 classes in two directions and batches of 8 are 25 steps per epoch in every mode, and
    whoever has both kinds sees each half as often.
    """
    kinds: dict[tuple[str, str], Counter[bool]] = {}
    for sample in samples:
        kinds.setdefault((sample.class_id, sample.texts[-1]), Counter())[bool(sample.images)] += 1
    batches = math.ceil(sum(max(counted.values()) for counted in kinds.values()) / settings.batch_size)
    return settings.max_steps or settings.epochs * math.ceil(batches / settings.gradient_accumulation)


def trainer_arguments(
    settings: Training, output_dir: Path, seed: int, samples: Sequence[Sample] = (), model: Any = None
) -> TrainingArguments:
    """The settings as the Trainer's arguments for these samples, as in notebook 03."""
    precision = chosen_dtype(settings.dtype)
    images = any(sample.images for sample in samples)
    return TrainingArguments(
        max_steps=steps_of(samples, settings),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_share,  # a value below 1 is a share of all steps
        optim=check_optimizer(settings.optimizer or default_optimizer(model)),
        weight_decay=settings.weight_decay,
        max_grad_norm=1.0,
        bf16=precision == "bfloat16",
        fp16=precision == "float16",  # with loss scaling
        seed=seed,
        data_seed=seed,
        **bookkeeping(settings, output_dir, images),
    )


def check_optimizer(name: str) -> str:
    """The name. Raises ``ValueError`` for one of bitsandbytes' optimisers, which need a GPU, if there is none."""
    if ("8bit" in name or "paged" in name) and not torch.cuda.is_available():
        raise ValueError(
            f"optimizer {name} runs only on a GPU, and none was found: use adamw_torch or adamw_torch_fused"
        )
    return name


def default_optimizer(model: Any = None) -> str:
    """AdamW in one operation, with states in 32 bit; in 8 bit on a GPU without `STATES_ROOM` beside these of ``model``.

    The paged kind would wait for the GPU after each matrix (`never_waiting`).
    """
    if model is None or not torch.cuda.is_available():
        return "adamw_torch_fused"
    states = 8 * sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    free, _ = torch.cuda.mem_get_info()
    return "adamw_torch_fused" if states + STATES_ROOM <= free else "adamw_8bit"


def never_waiting(optimizer: str) -> AbstractContextManager[Any]:
    """Within the block, bitsandbytes' optimisers do not wait for the GPU after each parameter.

    They need to only where states are paged; elsewhere all is computed in the order in which it was asked for.
    """
    if "8bit" not in optimizer or "paged" in optimizer:
        return nullcontext()
    return patch("bitsandbytes.optim.optimizer.sync_gpu", lambda tensor: None)


def bookkeeping(settings: Training, output_dir: Path, images: bool = False) -> dict[str, Any]:
    """The Trainer's other arguments: where it runs, what it saves and logs, and what it recomputes."""
    checkpointed = settings.checkpointed(images)
    on_gpu = torch.cuda.is_available()
    several = LOGGED_TOGETHER if on_gpu and chosen_dtype(settings.dtype) != "float16" else 1  # it may skip steps
    return {
        "output_dir": str(output_dir),
        "activation_checkpointing": checkpointed,
        "activation_checkpointing_kwargs": {"use_reentrant": False, "preserve_rng_state": settings.lora_dropout > 0}
        if checkpointed
        else None,
        "save_steps": settings.checkpoint_steps,
        "save_total_limit": 1,
        "logging_steps": settings.logging_steps or several,
        "logging_nan_inf_filter": False,  # else a loss of NaN is logged as the mean of earlier ones
        "report_to": trackers.chosen_trackers(settings.report_to, output_dir.parent),
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": on_gpu,
        "accelerator_config": {"non_blocking": on_gpu},
        "use_cpu": not on_gpu,
    }


class ProgressLine(TrainerCallback):
    """A progress line every few seconds, with the last loss; in JupyterLab a bar and the losses as a curve."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.live = LiveCurve(state.max_steps, state.global_step) if is_watched() else None
        self.ticker = Ticker("step", state.max_steps, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        if self.live:
            self.live.add(state.global_step, float(logs["loss"]))
        else:
            self.ticker.tick(state.global_step, f", loss {float(logs['loss']):.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.live:
            self.live.close()


class FiniteLoss(TrainerCallback):
    """Ends a training at the first loss or gradient norm that is not finite.

    Where several steps are logged together, the first is found by the sum of their losses, which the GPU keeps. Steps
    are logged before a checkpoint is saved and at the end, so neither contains the damage. With loss scaling
    (float16) gradients overflow while the scale is found: such a step is skipped, and the scale is halved. More than
    `HALVINGS` of them in a row, after which the scale is below 1, are an error.
    """

    WATCHED: ClassVar = {"loss": "loss", "grad_norm": "norm of the gradients"}
    HALVINGS: ClassVar = 16  # torch begins with a scale of 2^16

    def __init__(self) -> None:
        self.skipped = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= control.should_save or state.global_step >= state.max_steps

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if args.fp16 and logs and "grad_norm" in logs:
            overflow = not math.isfinite(float(logs["grad_norm"]))
            self.skipped = self.skipped + 1 if overflow else 0
        for name, words in self.WATCHED.items():
            if name == "grad_norm" and 0 < self.skipped <= self.HALVINGS:
                continue
            if not math.isfinite(value := float((logs or {}).get(name, 0.0))):
                raise RuntimeError(
                    f"the {words} became {value} in step {state.global_step} of {state.max_steps}; lower "
                    f"`training.learning_rate` ({args.learning_rate:g}) and run again"
                    + (", or train in bfloat16 or float32: the model may overflow float16" if args.fp16 else "")
                )


@dataclass(frozen=True)
class Result:
    """A run's costs, and its losses by step."""

    resources: dict[str, Any]
    losses: pandas.DataFrame


def finetune(
    model: Any,
    family: Family,
    processor: Any,
    samples: Sequence[Sample],
    folder: str | Path,
    output_dir: str | Path,
    settings: Training,
    seed: int,
    features_dir: str | Path | None = None,
    arguments: TrainingArguments | None = None,
    bridge: TextBridge | None = None,
) -> Result:
    """Train ``model`` (a peft model) on the samples and save the adapter to ``output_dir/adapter``.

    ``folder``: where the samples' images are. ``features_dir``: where ``tower_cache`` keeps the tower's features for
    later runs; None: in memory, for this run. ``arguments``: the Trainer's own, instead of `trainer_arguments`.
    ``bridge``: that of the settings (`helpers.training.bridge.text_bridge`).

    Resumes from the last checkpoint of the same run in ``output_dir/checkpoints``, if there is one; checkpoints of
    other settings, arguments or samples are ignored. Costs are those of the training itself, without loading and
    saving. Raises ``ValueError`` for samples that the model cannot read (`helpers.models.limits`), ``RuntimeError`` if
    memory runs out or the loss is not finite.
    """
    output = Path(output_dir)
    if settings.main_memory and (shown := sum(bool(sample.images) for sample in samples)):
        raise ValueError(f"training.main_memory is for text alone, but {shown} samples have images; set it to false")
    limits = Limits(processor, settings.max_length, settings.max_pixels, positions_of(model.config))
    check_samples(limits, samples, folder)
    arguments = arguments or trainer_arguments(settings, output / "checkpoints", seed, samples, model)
    checkpoints = output / "checkpoints" / fingerprint(model, samples, settings, arguments)
    arguments = replace(arguments, output_dir=str(checkpoints))
    packed = settings.packing and family.fast.packing and not model.active_peft_config.is_prompt_learning
    plain = Collator(processor, settings.max_pixels, settings.max_length, apart=not family.fast.packing)
    twice = computed_twice(settings, model, limits, samples, Path(folder))
    in_buckets = packed and takes_buckets(settings, arguments, twice)
    rows = PackedCollator(
        *(processor, settings.max_pixels, model, family, settings.max_length),
        bucket_samples=settings.batch_size if in_buckets else 0,
    )
    conversations = Conversations(samples, folder, described=bridge is not None)
    memory = MainMemory(model, family) if settings.main_memory else None
    trainer = CountingTrainer(
        model=model,
        args=arguments,
        train_dataset=conversations,
        data_collator=rows if packed else plain,
        callbacks=[FiniteLoss(), ProgressLine(), *([memory] if memory else [])],
    )
    trainer.counter, trainer.family, trainer.bridge = Traffic(model.config), family, bridge
    trainer.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    trainer.remove_callback(PrinterCallback)  # it prints every step; ProgressLine prints every few seconds
    checkpoint = get_last_checkpoint(checkpoints) if checkpoints.is_dir() else None
    cached = TowerFeatures(model, family, features_dir) if settings.tower_cache and family.fast.tower_cache else None
    trainer.features, rows.named = cached, cached is not None
    with ExitStack() as stack:
        decoder = plain_model(model).get_submodule(family.language_model)
        stack.enter_context(never_waiting(arguments.optim))
        stack.enter_context(recomputed(plain_model(model), twice, settings.lora_dropout > 0))
        stack.enter_context(fused_layers(decoder, liger_kernels() if packed else None))
        stack.enter_context(compiled_layers(getattr(decoder, "layers", ()), settings.compile_layers))
        if memory is not None:
            stack.callback(memory.back)
        if packed:
            stack.enter_context(attention_by_sample(model, family))
        once = stack.enter_context(unpacked_weights(model, settings.unpack_weights if packed else False))
        tower = stack.enter_context(counted_tower(model, family))
        if cached is not None:
            stack.enter_context(cached)
        if bridge is not None:
            stack.enter_context(bridge.over(model))
        meter = stack.enter_context(Meter())
        if in_buckets:  # their gradients are of the training, not of the loaded model
            trainer.buckets = BucketedSteps(model, family, trainer.trained, half_precision(arguments), capture_here())
        stack.enter_context(still_training(model, trainer.trained, trainer.buckets.static if trainer.buckets else ()))
        ahead = ahead_threads() if settings.encode_threads is None else settings.encode_threads
        stack.enter_context(rows.encoding(conversations, ahead if packed else 0))
        with meter.phase("train"):
            outcome = _trained(trainer, checkpoint, settings)
        with meter.phase("save"):
            model.save_pretrained(output / "adapter")
    counts = trainer.counter.record()
    seen = counts["patches"] if cached is None else round(counts["patches"] * cached.computed_share)
    resources = {
        **meter.record(of="train"),
        "vision_tower_calls": tower.calls,
        "unpacked_layers": once.layers,
        "unpacked_mb": round(once.bytes / 1e6, 1),
        **counts,
        **training_flops(weights_of(model, family), counts["text_tokens"], counts["image_tokens"], seen),
        "steps": outcome.global_step,
        "different_samples": len(samples),
        "image_percent": round(100 * sum(bool(sample.images) for sample in samples) / len(samples), 1),
        "trainable_parameters": sum(trainable_groups(model, family).values()),
        "resumed": checkpoint is not None,
        **revision_of(model),
    }
    if trainer.buckets is not None:
        resources |= {"buckets": len(trainer.buckets.buckets), "graph_replays": trainer.buckets.replays}
        resources["no_graphs_because"] = trainer.buckets.why
    meter.write_samples(output / "resources.parquet")
    write_adapter_card(output / "adapter", model, settings, resources, prompt_hashes(processor))
    losses = pandas.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    return Result(resources=resources, losses=losses[["step", "loss", "grad_norm", "learning_rate"]])


def capture_here() -> Capture | None:
    """What captures a step's graph: CUDA on a GPU, nothing on a CPU."""
    return cuda_capture() if torch.cuda.is_available() else None


def ahead_threads() -> int:
    """How many threads encode samples ahead: beside a GPU some, on a CPU none, where they would take the cores."""
    return min(8, os.cpu_count() or 1) if torch.cuda.is_available() else 0


@contextmanager
def still_training(
    model: Any, trained: Sequence[torch.nn.Parameter], static: Sequence[torch.nn.Parameter] = ()
) -> Iterator[None]:
    """Within the block the model is in training mode, and switching to it again, as the Trainer does each step, is
    free.

    Clearing the gradients only touches the ``trained`` parameters, since no other has any. Those of ``static`` ones
    keep their place (`helpers.training.step_graphs`).
    """
    kept = [parameter.grad for parameter in static if parameter.grad is not None]
    stay = {id(parameter) for parameter in static}
    dropped = [parameter for parameter in trained if id(parameter) not in stay]

    def clear(set_to_none: bool = True) -> None:
        for parameter in dropped:
            parameter.grad = None
        if kept:
            torch._foreach_zero_(kept)

    model.train()
    model.train = lambda mode=True: model
    model.zero_grad = clear
    try:
        yield
    finally:
        del model.train, model.zero_grad


def _trained(trainer: Trainer, checkpoint: str | None, settings: Training) -> Any:
    try:
        return trainer.train(resume_from_checkpoint=checkpoint)
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"the GPU's memory ran out with training.batch_size={settings.batch_size}, "
            f"max_pixels={settings.max_pixels}, gradient_checkpointing={settings.gradient_checkpointing}: halve the "
            f"batch size and double gradient_accumulation ({settings.gradient_accumulation}), set "
            "gradient_checkpointing to true, or lower max_pixels; then run again: it resumes from its last checkpoint. "
            f"`python -m helpers.models.rehearsal` estimates what fits. ({str(error).splitlines()[0]})"
        ) from error


def fingerprint(model: Any, samples: Sequence[Sample], settings: Training, arguments: TrainingArguments) -> str:
    """Twelve hex digits that differ between runs that must not resume from each other's checkpoints."""
    places = ("output_dir", "logging_dir", "run_name")
    parts = [
        model.config.to_json_string(),
        json.dumps(model.active_peft_config.to_dict(), default=str, sort_keys=True),
        settings.model_dump_json(),
        json.dumps({k: v for k, v in arguments.to_dict().items() if k not in places}, default=str, sort_keys=True),
        *(s.model_dump_json() for s in samples),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def write_results(output_dir: str | Path, result: Result, **run: Any) -> dict[str, Any]:
    """Write ``losses.csv`` and ``resources.json`` (the run's names first); returns the content of the latter."""
    output = Path(output_dir)
    resources = {**run, **result.resources}
    with atomic_write(output / "losses.csv") as temporary:
        result.losses.to_csv(temporary, index=False)
    with atomic_write(output / "resources.json") as temporary:
        temporary.write_text(json.dumps(resources, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(output / "checkpoints", ignore_errors=True)  # the run is complete, so there is nothing to resume
    return resources
