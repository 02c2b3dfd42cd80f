"""QLoRA fine-tuning of one model on one data set: the trainer, its settings, and what it reports.

The loop is the Trainer of `transformers`; here are the pieces it is given. A text-only step makes no vision-tower call,
with no dummy picture: `helpers.batches` adds no picture key to a batch without pictures, and the model skips its tower.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from helpers.batches import IGNORED, Message, Tensors, training_batch
from helpers.models.families import Family
from helpers.models.loading import counted_tower
from helpers.models.lora import trainable_groups
from helpers.paths import atomic_write
from helpers.pictures import open_picture
from helpers.progress import Ticker
from helpers.resources import Meter
from helpers.samples import Sample
from helpers.settings import Training

MAX_LENGTH = 4096  # tokens; a sample beyond it is an error, never cut


@dataclass(frozen=True)
class Conversation:
    """A sample as the model gets it."""

    messages: list[Message]
    picture: Path | None


class Conversations(torch.utils.data.Dataset):
    """Training samples of one file, by index; pictures are opened when a batch is made, not before."""

    def __init__(self, samples: Sequence[Sample], folder: str | Path) -> None:
        self.conversations = [
            Conversation(
                messages=[message.model_dump() for message in sample.messages],
                picture=Path(folder) / sample.pictures[0] if sample.pictures else None,
            )
            for sample in samples
        ]

    def __len__(self) -> int:
        return len(self.conversations)

    def __getitem__(self, index: int) -> Conversation:
        return self.conversations[index]


class Collator:
    """Makes batches out of conversations."""

    def __init__(self, processor: Any, max_pixels: int | None) -> None:
        self.processor, self.max_pixels = processor, max_pixels

    def __call__(self, conversations: Sequence[Conversation]) -> Tensors:
        pictures = [open_picture(c.picture, self.max_pixels) if c.picture else None for c in conversations]
        return training_batch(self.processor, [c.messages for c in conversations], pictures, MAX_LENGTH)


class Counter:
    """What went through the model: samples, tokens, and tokens that the loss was taken on.

    Counted where the model is called; the loader makes a batch more than it is asked for.
    """

    def __init__(self) -> None:
        self.batches: list[torch.Tensor] = []  # samples, tokens, supervised tokens; kept on the device, read once

    def __call__(self, _: Any, arguments: Any, batch: Tensors) -> None:
        samples = torch.tensor(len(batch["input_ids"]), device=batch["input_ids"].device)
        self.batches.append(torch.stack([samples, batch["attention_mask"].sum(), (batch["labels"] != IGNORED).sum()]))

    def record(self) -> dict[str, int]:
        """The sums so far."""
        sums = torch.stack(self.batches).sum(dim=0).tolist() if self.batches else [0, 0, 0]
        return dict(zip(("samples", "tokens", "supervised_tokens"), sums, strict=True))


def trainer_arguments(settings: Training, output_dir: Path, seed: int) -> TrainingArguments:
    """The profile's training settings in the Trainer's words."""
    return TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_share,  # below 1 the Trainer takes it as a share
        lr_scheduler_type="cosine",
        weight_decay=settings.weight_decay,
        max_grad_norm=1.0,
        # Paged 8-bit states save memory where there is a GPU; bitsandbytes has no such optimiser for a CPU.
        optim="paged_adamw_8bit" if torch.cuda.is_available() else "adamw_torch_fused",
        bf16=settings.dtype == "bfloat16",
        save_steps=settings.checkpoint_steps,
        save_total_limit=1,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        data_seed=seed,
    )


class ProgressLine(TrainerCallback):
    """A line of progress every few seconds, with the last loss."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ticker = Ticker("step", state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.ticker.tick(state.global_step, f", loss {float(logs['loss']):.3f}")


@dataclass(frozen=True)
class Result:
    """One run's cost and its losses by step."""

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
) -> Result:
    """Train ``model`` (a peft model) on the samples and save the adapter to ``output_dir/adapter``.

    Goes on from the last checkpoint of the same run, if one was left in ``output_dir/checkpoints``; those of other
    settings or samples are left alone. ``folder`` is where the samples' pictures lie. Costs are those of the training
    itself, without loading and saving.
    """
    output = Path(output_dir)
    checkpoints = output / "checkpoints" / fingerprint(model, samples, settings, seed)
    trainer = Trainer(
        model=model,
        args=trainer_arguments(settings, checkpoints, seed),
        train_dataset=Conversations(samples, folder),
        data_collator=Collator(processor, settings.max_pixels),
        callbacks=[ProgressLine()],
    )
    trainer.remove_callback(PrinterCallback)  # it prints every step; ProgressLine prints one every few seconds
    checkpoint = get_last_checkpoint(checkpoints) if checkpoints.is_dir() else None
    counter = Counter()
    counting = model.register_forward_pre_hook(counter, with_kwargs=True)
    with counted_tower(model, family) as tower, Meter() as meter:
        outcome = trainer.train(resume_from_checkpoint=checkpoint)
    counting.remove()
    if not math.isfinite(outcome.training_loss):
        raise RuntimeError(f"the loss became {outcome.training_loss}; lower `training.learning_rate` and run again")
    model.save_pretrained(output / "adapter")
    return Result(
        resources={
            **meter.record(),
            "vision_tower_calls": tower.calls,
            **counter.record(),
            "steps": outcome.global_step,
            "trainable_parameters": sum(trainable_groups(model, family).values()),
            "resumed": checkpoint is not None,
        },
        losses=_losses(trainer),
    )


def fingerprint(model: Any, samples: Sequence[Sample], settings: Training, seed: int) -> str:
    """Twelve hex digits that differ between runs that must not go on from each other's checkpoints."""
    parts = [
        model.config.to_json_string(),
        settings.model_dump_json(),
        str(seed),
        *(s.model_dump_json() for s in samples),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _losses(trainer: Trainer) -> pandas.DataFrame:
    rows = [entry for entry in trainer.state.log_history if "loss" in entry]
    return pandas.DataFrame(rows)[["step", "loss", "grad_norm", "learning_rate"]]


def write_results(output_dir: str | Path, result: Result, **run: Any) -> dict[str, Any]:
    """Write ``losses.csv`` and ``resources.json`` (the run's names first); returns what the latter holds."""
    output = Path(output_dir)
    resources = {**run, **result.resources}
    with atomic_write(output / "losses.csv") as temporary:
        result.losses.to_csv(temporary, index=False)
    with atomic_write(output / "resources.json") as temporary:
        temporary.write_text(json.dumps(resources, indent=2) + "\n", encoding="utf-8")
    return resources
