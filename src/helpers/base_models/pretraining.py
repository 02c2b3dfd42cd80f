"""How the demo's base models learn to see and to read: ordinary training from scratch on the drawn world's exercises.

Only the notebook `appendix_base_models` uses this module. Fine-tuning, the subject of this project, is in
`helpers.training.trainer`, which treats these checkpoints like those of a 7B model.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas
import torch
from torch.overrides import TorchFunctionMode
from transformers import get_cosine_schedule_with_warmup

from helpers.base_models.curriculum import READING_SHARES, SHARES, Curriculum, Exercise
from helpers.evaluation.prompts import Prompt
from helpers.evaluation.reader import Reader
from helpers.models.batches import Tensors, assistant, training_batch, user

KNOWS_BFLOAT16 = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@dataclass(frozen=True)
class Schooling:
    """Settings of one lesson; a base model takes several, one after the other (`LESSONS`)."""

    steps: int = 4200
    domains: tuple[str, ...] = ("butterfly",)  # a domain that occurs twice gets two shares
    classes: int = 200  # invented ones, per domain
    text_first: float = 0.1  # share of the steps before the first image: language first, as in the real models
    batch_size: int = 32  # small batches and many steps learn more from the same number of exercises
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    sort_over: int = 16  # number of batches that are sorted by length together: halves the padding
    bfloat16: bool = KNOWS_BFLOAT16  # 1.5 times as fast on a CPU with bfloat16 products, ten times slower elsewhere
    seed: int = 0  # another seed gives other classes
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)  # of the kinds of exercise
    dialects: tuple[str, ...] = ("captions",)  # of the descriptions that are read (`helpers.synthetic.dialects`)

    def curriculum(self) -> Curriculum:
        return Curriculum(self.seed, self.domains, self.classes, self.shares, self.dialects)


# Both domains from the first step were not learned within half an hour (LOG.md), so the second one starts when the
# first is known. It comes with other butterflies: a model that keeps seeing new classes has to look at their parts. The
# third teaches it to read what it does not write: other words for the same looks.
LESSONS = (
    Schooling(),
    Schooling(steps=4000, domains=("butterfly", "culture", "culture"), classes=300, text_first=0.05, seed=1),
    Schooling(
        steps=3500,
        learning_rate=1.5e-3,
        domains=("butterfly", "culture"),
        classes=300,
        text_first=0.05,
        seed=2,
        shares=READING_SHARES,
        dialects=("captions", "reordered", "synonyms", "synonyms", "similes", "similes"),
    ),
)


def batches(processor: Any, settings: Schooling) -> Iterator[Tensors]:
    """Endless batches of exercises of similar length, in random order."""
    exercises = iter(settings.curriculum())
    rng = random.Random(settings.seed)
    text_alone = (exercise for exercise in exercises if exercise.appearance is None)
    text_steps = round(settings.text_first * settings.steps)
    yield from islice(_sorted_batches(processor, text_alone, settings, rng), text_steps)
    yield from _sorted_batches(processor, exercises, settings, rng)


def _sorted_batches(
    processor: Any, exercises: Iterator[Exercise], settings: Schooling, rng: random.Random
) -> Iterator[Tensors]:
    while True:
        pool = sorted(islice(exercises, settings.batch_size * settings.sort_over), key=_length)
        groups = [pool[i : i + settings.batch_size] for i in range(0, len(pool), settings.batch_size)]
        rng.shuffle(groups)
        for group in groups:
            yield _batch(processor, group, rng)


def _length(exercise: Exercise) -> int:
    image_letters = 100  # an image's tokens correspond to about this many letters
    return len(exercise.prompt) + len(exercise.answer) + image_letters * (exercise.appearance is not None)


def _batch(processor: Any, exercises: list[Exercise], rng: random.Random) -> Tensors:
    conversations = [[user(e.prompt, e.appearance is not None), assistant(e.answer)] for e in exercises]
    return training_batch(processor, conversations, [e.image(rng) for e in exercises], max_length=512)


def school(
    model: Any,
    processor: Any,
    settings: Schooling,
    report_every: int = 200,
    each_report: Callable[[int], None] | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place; returns the mean loss and the seconds so far, every ``report_every`` steps.

    ``each_report(step)`` is called after each report, for instance to save or inspect the model.
    """
    model.train().set_attn_implementation("eager")  # faster than the fused kernel on a CPU, at such lengths
    schedule_of = partial(
        get_cosine_schedule_with_warmup, num_warmup_steps=settings.warmup_steps, num_training_steps=settings.steps
    )
    pairs = [(optimiser, schedule_of(optimiser)) for optimiser in optimisers(model, settings)]
    history: list[dict[str, float]] = []
    losses: list[float] = []
    start = time.perf_counter()
    for step, batch in enumerate(islice(batches(processor, settings), settings.steps), start=1):
        losses.append(_loss(model, batch, settings))
        for optimiser, schedule in pairs:
            with nullcontext() if settings.bfloat16 else InFloat32():
                optimiser.step()
            schedule.step()
        model.zero_grad(set_to_none=True)
        if step % report_every == 0 or step == settings.steps:
            seconds = time.perf_counter() - start
            history.append({"step": step, "loss": sum(losses) / len(losses), "seconds": seconds})
            losses.clear()
            left = seconds / step * (settings.steps - step)
            print(
                f"progress: step {step}/{settings.steps}, loss {history[-1]['loss']:.3f}, {left / 60:.0f} min left",
                flush=True,
            )
            if each_report:
                each_report(step)
    return history


def optimisers(model: Any, settings: Schooling) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the network, AdamW for embeddings, head, norms and biases.

    In 185 s, Muon with AdamW's step size ("match_rms_adamw", arXiv 2502.16982) reached a loss of 0.83, and AdamW alone
    0.93 (one run each, one core, learning rate 2e-3).
    """
    inner = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
    }
    outer = [parameter for name, parameter in model.named_parameters() if name not in inner]
    rate, decay = settings.learning_rate, settings.weight_decay
    return [
        torch.optim.Muon(inner.values(), rate, decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, rate, (0.9, 0.98), weight_decay=decay, fused=True),
    ]


class InFloat32(TorchFunctionMode):
    """Disables conversion to bfloat16: torch's Muon converts on every CPU, even where that is ten times slower."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return args[0].clone() if func is torch.Tensor.bfloat16 else func(*args, **(kwargs or {}))


def _loss(model: Any, batch: Tensors, settings: Schooling) -> float:
    """The batch's loss; leaves its clipped gradients in the model."""
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
        loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return loss.item()


def examine(
    model: Any, processor: Any, lesson: Schooling, domain: str, exercises_per_kind: int = 100
) -> dict[str, float]:
    """Percent correct per kind of exercise, on new exercises about a lesson's classes; answers are decoded greedily."""
    model.eval()
    reader = Reader(model, processor, batch_size=50, max_new_tokens=96)
    curriculum = lesson.curriculum()
    rng = random.Random(f"exam-{lesson.seed}")
    curriculum.rng = random.Random(f"exam-{lesson.seed}")  # the same classes, but other exercises
    exercises = [(kind, make(domain)) for kind, make in curriculum.exercises.items() for _ in range(exercises_per_kind)]
    replies = reader.write([Prompt(e.prompt, e.image(rng)) for _, e in exercises], f"exam, {domain}")
    marks = dict.fromkeys(curriculum.exercises, 0.0)
    for (kind, exercise), reply in zip(exercises, replies, strict=True):
        marks[kind] += 100 * is_right(exercise, reply) / exercises_per_kind
    return marks


def is_right(exercise: Exercise, reply: str) -> bool:
    """Compares word for word; what has several wordings (a description, a fact) is right in any of them."""
    return reply in {exercise.answer, *exercise.other_answers}


def save_checkpoint(
    model: Any,
    processor: Any,
    folder: Path,
    lessons: Sequence[Schooling],
    history: pandas.DataFrame,
    marks: pandas.DataFrame,
) -> Path:
    """Write the model (float16), processor, learning curve and model card; returns the folder.

    ``history``: lesson, step, loss, seconds; ``marks``: percent correct, one row per kind of exercise, one column per
    domain.
    """
    model.half().save_pretrained(folder)
    model.float()
    processor.save_pretrained(folder)
    history.round(4).to_csv(folder / "learning_curve.csv", index=False)
    card = MODEL_CARD.format(
        name=folder.name,
        architecture=type(model).__name__,
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        minutes=history.groupby("lesson")["seconds"].max().sum() / 60,
        loss=history["loss"].iloc[-1],
        lessons="\n".join(_lesson_row(number, lesson) for number, lesson in enumerate(lessons, start=1)),
        domains=" | ".join(marks.columns),
        rule="|".join(["---"] * (1 + len(marks.columns))),
        marks="\n".join(
            f"| {str(kind).replace('_', ' ')} | " + " | ".join(f"{mark:.0f}" for mark in row) + " |"
            for kind, row in zip(marks.index, marks.to_numpy(), strict=True)
        ),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def _lesson_row(number: int, lesson: Schooling) -> str:
    shares = ", ".join(f"{lesson.domains.count(d)} of {len(lesson.domains)} {d}" for d in dict.fromkeys(lesson.domains))
    cells = [number, lesson.steps, lesson.batch_size, shares, lesson.classes, lesson.seed, lesson.learning_rate]
    return "| " + " | ".join(map(str, cells)) + " |"


MODEL_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# {name}

`{architecture}` with {parameters:.2f} million parameters, trained from scratch on the drawn world of this project
(`notebooks/appendix_base_models.ipynb`). It can see and read that world and nothing else; it has never seen the names
or facts of the demo's target classes. It is a stand-in for experiments that have to fit on two CPU cores, not a model
for use.

Trained in these lessons, {minutes:.0f} minutes in all on one CPU core; last loss {loss:.3f}. Weights are stored in
float16.

| lesson | steps | exercises per step | shares | invented classes per domain | seed | learning rate |
|---|---|---|---|---|---|---|
{lessons}

Right answers on 100 fresh exercises of each kind about the last lesson's classes, in percent; a description counts in
any of its wordings, but must be right in every part:

| exercise | {domains} |
|{rule}|
{marks}
"""
