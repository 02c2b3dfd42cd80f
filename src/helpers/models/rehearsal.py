"""Will a 7B run fit on a GPU, and how long will it take? Answered before 15 GB of weights are downloaded.

    ./run_all.sh rehearse                                         estimate, then measured trainings, then verdict
    python -m helpers.models.rehearsal outlook PROFILE            memory, download and hours of a profile, by card
    python -m helpers.models.rehearsal estimate [--batch 4] ...   the estimate alone, on any machine
    python -m helpers.models.rehearsal verdict runs/rehearse      the verdict on measured trainings

The estimate builds the model on torch's meta device: all shapes, no numbers. Parameters, 4-bit layers and LoRA's size
are counted there (`helpers.models.size`) and are exact; the memory of activations comes from a formula, and hours are
rough: by operations, at a third of a card's peak, but not below what starting the operations takes. The measured
trainings are notebooks 01 to 03 and 06 on the profile `rehearse`, whose models have the true architecture and random
weights (`helpers.models.random_weights`): they cost what real ones cost, and say nothing about accuracy.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from helpers.config.profiles import Profile, SettingsError, load_profile, parse_overrides
from helpers.models.batches import LOGIT_ROWS
from helpers.models.family import Family
from helpers.models.loading import LARGEST_ON_CPU, load_processor
from helpers.models.random_weights import STAND_IN_FOLDERS
from helpers.models.random_weights import on_meta as architecture
from helpers.models.registry import family_config, family_of
from helpers.models.rule import image_token_of
from helpers.models.shapes import shapes
from helpers.models.size import counts, place_of
from helpers.models.unpacking import unpacked_bytes
from helpers.paths import atomic_write, resolve

GB = 1e9
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # per weight: 4 bits, an 8-bit scale per 64, a float32 per 256 scales
CARDS = {"12 GB": 12, "16 GB": 16, "24 GB": 24, "40 GB": 40, "80 GB": 80, "141 GB": 141}
ROOM = 1.2  # GB for CUDA, the driver and fragmentation


@dataclass(frozen=True)
class Load:
    """What a step has to hold."""

    rank: int
    batch: int
    tokens: int  # text tokens per sample
    image_tokens: int  # image tokens per sample, 0 for text-only
    checkpointing: bool
    unpacked: bool = False  # 4-bit weights unpacked once for all steps; "auto" does so only if they fit
    four_bit: bool = True  # the language model's frozen weights
    width: int = 2  # bytes of a frozen weight that is not in 4 bit, and of an activation


@dataclass(frozen=True)
class Speed:
    """What hours are estimated from."""

    gb: float
    tflops: float  # a third of the peak, in 16 bit


OUTLOOK = {
    "8 GB": Speed(8, 20),
    "T4 (16 GB)": Speed(16, 20),
    "24 GB": Speed(24, 40),
    "80 GB": Speed(80, 100),
    "141 GB": Speed(141, 300),
}
ON_CPU = 0.15  # TFLOP/s of eight cores in float32
HOST_SECONDS = 0.43 / 28  # per block of the language model: starting a step's operations, as measured on an H200's host
WRITING_SECONDS = 0.035 / 28  # per block and word of a reply
WORDS_WRITTEN = 128  # of a description
_QUESTIONS = {"kviscuit": (237, 657)}  # classes, each with one image, and questions
ASSUMED_IMAGE = 1280  # tokens of an image of a model whose processor is not at hand


def architectures() -> list[str]:
    """The names of the full-size architectures that come with the project."""
    return sorted(
        f.name for f in STAND_IN_FOLDERS.iterdir() if (f / "config.json").is_file() and not f.name.endswith("-shrunk")
    )


def shapes_only(path: str | Path) -> tuple[Any, Family]:
    """The architecture in a folder, without numbers, and its family."""
    return architecture(path).requires_grad_(False), family_of(path)


def estimate(path: str | Path, load: Load) -> dict[str, float]:
    """GB by purpose, with the 8-bit optimiser states that are taken where those in 32 bit do not fit (32-bit ones in
    full precision); also the counts, under their own names.
    """
    found = counts(str(path))
    trained = found.trained(load.rank)
    linear = found.in_four_bit * (NF4_BYTES if load.four_bit else load.width)
    unpacked = unpacked_bytes(found.in_four_bit, torch.bfloat16) if load.unpacked else 0
    tokens, recomputed = load.batch * (load.tokens + load.image_tokens), "full" if load.checkpointing else "none"
    parts = {
        "base": (linear + (found.parameters - found.in_four_bit) * load.width) / GB,
        "unpacked": unpacked / GB,
        "adapter": trained * 4 / GB,
        "gradients": trained * 4 / GB,
        "optimiser": trained * (2 if load.width == 2 else 8) / GB,
        "activations": activation_bytes(found.text, tokens, load.width, recomputed) / GB,
        "logits": 2 * min(load.batch * load.tokens, LOGIT_ROWS) * found.text.vocab_size * 4 / GB,
        "cuda": ROOM,
    }
    counted = {name: getattr(found, name) for name in _COUNTED[:-1]} | {"trained": trained}
    return {**counted, **parts, "total": sum(parts.values())}


_COUNTED = ("parameters", "in_four_bit", "linear4bit", "trained")


def activation_bytes(text: Any, tokens: int, width: int, recomputed: str = "none") -> float:
    """Bytes kept for the backward pass: per layer, the inputs of norms, products and LoRA, and the MLP's three tensors.

    That is about 16 hidden widths and 4 feed-forward widths per token, ``width`` bytes each. ``recomputed``:
    "selective" keeps what products and attention give, "full" each layer's input; either also holds one whole layer.
    """
    wide = getattr(text, "intermediate_size", None) or text.ffn_dim
    whole = tokens * width * (16 * text.hidden_size + 4 * wide)
    products = tokens * width * (7 * text.hidden_size + 2 * wide)
    kept = {"none": whole, "selective": products, "full": tokens * width * text.hidden_size}[recomputed]
    return text.num_hidden_layers * kept + (whole if recomputed != "none" else 0)


def smallest_card(total: float) -> str:
    """The smallest common card that holds this many GB."""
    return next((card for card, size in CARDS.items() if size >= total), "none of the common cards")


def tokens_of_image(path: str | Path, side: int) -> int:
    """How many tokens the model's own processor makes of a square image."""
    from PIL import Image

    from helpers.models.batches import encode, prompt_texts, user

    processor = load_processor(path)
    prompt = prompt_texts(processor, [[user("?", image=True)]])
    tokens = encode(processor, prompt, [Image.new("RGB", (side, side))])["input_ids"]
    return int((tokens == image_token_of(family_config(path))).sum())


def image_tokens(path: str | Path, side: int) -> int:
    """As `tokens_of_image`; for a model of the hub as listed, or `ASSUMED_IMAGE` if its processor is not at hand."""
    if listed := shapes().get(str(path), {}).get("image_tokens"):
        return int(listed)
    try:
        return tokens_of_image(place_of(path), side)
    except (ValueError, OSError):
        return ASSUMED_IMAGE


def card() -> tuple[str, float] | None:
    """Name and GB of the first GPU."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory / GB


def loads(
    profile: Profile, path: str | Path, tokens: int, modes: Sequence[str] = (), width: int = 0
) -> Iterator[tuple[str, Load]]:
    """What a step has to hold in each mode (by default the profile's), for a text of this many tokens."""
    training = profile.training
    for mode in modes or profile.modes:
        seen = 0 if mode == "text_only" else image_tokens(path, profile.data.image_size)
        yield (
            mode,
            Load(
                *(training.lora_rank, training.batch_size, tokens, seen, training.checkpointed(seen > 0)),
                four_bit=training.four_bit,
                width=width or (4 if training.dtype == "float32" else 2),
            ),
        )


def look_ahead(profile: Profile, tokens: int = 300) -> list[str]:
    """One line per model and mode; raises ``ValueError`` if no run of the profile can work on this machine."""
    lines, at_hand, fits = [], card(), False
    for model in profile.models.values():
        small = 2 * counts(model.path).parameters <= LARGEST_ON_CPU
        for mode, load in loads(profile, model.path, tokens):
            total = estimate(model.path, load)["total"]
            needed = f"{model.display}, {mode}: about {total:.1f} GB, smallest common card {smallest_card(total)}"
            if at_hand is None:
                fits |= small
                lines.append(f"{needed}; no GPU here{', small enough for the CPU' if small else ''}")
            else:
                fits |= (fit := total <= at_hand[1])
                lines.append(f"{needed}; {at_hand[0]} has {at_hand[1]:.0f} GB: {'fits' if fit else 'does not fit'}")
    if not fits:
        where = f"on {at_hand[0]}" if at_hand else "without a CUDA device"
        raise ValueError(
            "\n".join(lines) + f"\nnothing of profile {profile.name} can run {where}: use a machine with a larger GPU, "
            "lower training.batch_size, set training.gradient_checkpointing=true, or try the same code on a CPU with "
            "`./run_all.sh rehearse --profile rehearse_small`"
        )
    return lines


def outlook(profile: Profile, tokens: int = 300) -> list[str]:
    """What a profile needs, before anything is downloaded: per model and mode the memory, and the cards that it fits,
    if need be with other settings; then the download, the disk, and the hours of all its runs.
    """
    lines = [f"Profile {profile.name}, estimated for texts of {tokens} tokens:"]
    hours = dict.fromkeys(OUTLOOK, 0.0)
    for model in profile.models.values():
        for mode, load in loads(profile, model.path, tokens, ("text_only", "image_text")):
            by_settings: dict[str | None, list[str]] = {}
            for name, speed in OUTLOOK.items():
                by_settings.setdefault(_fitting(profile, model.path, load, speed.gb), []).append(name)
            for name in by_settings.get(None, []) if mode in profile.modes else []:
                hours.pop(name, None)
            total = estimate(model.path, load)["total"]
            lines.append(f"  {model.display}, {mode}: {total:.1f} GB; {_cards(by_settings)}")
        if not profile.training.four_bit:
            _, load = next(loads(profile, model.path, tokens, ("text_only",), width=4))
            time, memory = _hours(profile, model.path, tokens, ON_CPU), estimate(model.path, load)["total"]
            lines.append(f"  {model.display} on eight cores, text_only: {memory:.1f} GB of main memory; {time:.1f} h")
        for name in hours:
            hours[name] += _hours(profile, model.path, tokens, OUTLOOK[name].tflops)
    size = sum(2 * counts(model.path).parameters / GB for model in profile.models.values())
    lines.append(f"  download {size:.0f} GB; the profile asks for {profile.disk_gb:g} GB of disk")
    if any(hours.values()):
        timed = ", ".join(f"{spent:.1f} h on {name}" for name, spent in hours.items())
        lines.append(f"  all its runs, within a factor of two or three: {timed}")
    return lines


def _cards(by_settings: dict[str | None, list[str]]) -> str:
    said = {None: "does not fit {}", "": "fits {}"}
    order = sorted(by_settings, key=lambda settings: 999 if settings is None else len(settings))
    return "; ".join(said.get(s, f"with {s} {{}}").format(", ".join(by_settings[s])) for s in order)


def _fitting(profile: Profile, path: str, load: Load, gb: float) -> str | None:
    """The settings with which a step fits a card: the same optimisation, slower. "": the profile's; None: none."""
    if estimate(path, load)["total"] <= gb:
        return ""
    smaller = replace(load, checkpointing=True)
    while estimate(path, smaller)["total"] > gb:
        if smaller.batch == 1:
            return None
        smaller = replace(smaller, batch=smaller.batch // 2)
    changed = [] if load.checkpointing else ["training.gradient_checkpointing=true"]
    if smaller.batch < load.batch:
        passes = profile.training.gradient_accumulation * load.batch // smaller.batch
        changed += [f"training.batch_size={smaller.batch}", f"training.gradient_accumulation={passes}"]
    return " ".join(changed)


def _hours(profile: Profile, path: str, tokens: int, tflops: float) -> float:
    """Hours of all trainings and evaluations of one model; 0 if the size of a data set is not known in advance."""
    found, training, asked = counts(path), profile.training, profile.evaluation
    if not all(domain.source in _QUESTIONS for domain in profile.domains.values()):
        return 0.0
    seconds = 0.0
    for classes, questions in (_QUESTIONS[domain.source] for domain in profile.domains.values()):
        samples = classes * profile.data.wordings_per_class * len(profile.build.directions) * training.epochs
        for _, load in loads(profile, path, tokens):
            flops = load.batch * (tokens + load.image_tokens) * (6 if load.checkpointing else 4) * found.in_four_bit
            host = HOST_SECONDS * found.layers * (1.5 if load.checkpointing else 1)
            seconds += len(profile.seeds) * samples / load.batch * max(host, flops / tflops / 1e12)
        seen = image_tokens(path, profile.data.image_size)
        ways = len(asked.answering) + len(asked.ablation_images)
        reading = questions * ways * (tokens + seen) * 2 * found.in_four_bit / tflops / 1e12
        each = max(WRITING_SECONDS * found.layers, 2 * asked.batch_size * found.in_four_bit / tflops / 1e12)
        writing = classes / asked.batch_size * WORDS_WRITTEN * each * sum(way != "direct" for way in asked.answering)
        runs = 1 + len(profile.modes) * len(profile.seeds)  # the untuned model, and the tuned ones
        seconds += runs * (reading + writing)
    return seconds / 3600


def measured(run: Path) -> list[dict[str, Any]]:
    """One row per training below ``run``: speed, peak memory, and how long the profile `paper` would take."""
    files = sorted((run / "training").rglob("resources.json"))
    if not files:
        raise FileNotFoundError(f"{run}: no training/**/resources.json; run ./run_all.sh rehearse first")
    return [_row(json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _row(record: dict[str, Any]) -> dict[str, Any]:
    seconds = record["seconds"]
    peak, reserved = (record.get(name) for name in ("peak_gpu_mb", "peak_gpu_reserved_mb"))
    return {
        **{name: record[name] for name in ("model", "domain", "mode", "seed", "samples", "steps", "tokens")},
        "image_tokens": record["image_tokens"],
        "seconds": round(seconds, 2),
        "samples_per_second": round(record["samples"] / seconds, 3),
        "tokens_per_second": round(record["tokens"] / seconds, 1),
        "tflop_per_second": round(record["flops"] / seconds / 1e12, 3),
        "peak_gpu_gb": None if peak is None else round(peak / 1000, 2),
        "peak_gpu_reserved_gb": None if reserved is None else round(reserved / 1000, 2),
        "peak_memory_gb": round(record["peak_memory_mb"] / 1000, 2),
        "smallest_card": "" if reserved is None else smallest_card(reserved / 1000 + ROOM),
        "paper_minutes": None if peak is None else round(_paper_samples() / (record["samples"] / seconds) / 60, 1),
        "accuracy": None,  # random weights have none
        "hardware": record.get("hardware", platform.machine()),
    }


def _paper_samples() -> int:
    """Samples in one training of the profile `paper`: 237 keywords, all reading directions, all epochs."""
    paper = load_profile("paper")
    return 237 * paper.data.wordings_per_class * len(paper.build.directions) * paper.training.epochs


def rehearsal_verdict(run: Path) -> list[str]:
    """Write ``results/rehearsal.csv``; returns one line per training with its measurements."""
    import pandas

    from helpers.workflow.provenance import now, package_versions

    rows = measured(run)
    versions = json.dumps(package_versions(("torch", "transformers", "peft", "bitsandbytes")))
    with atomic_write(run / "results" / "rehearsal.csv") as temporary:
        pandas.DataFrame(rows).assign(versions=versions, date=now()).to_csv(temporary, index=False)
    return [_described(row) for row in rows]


def _described(row: dict[str, Any]) -> str:
    speed = (
        f"{row['model']}, {row['mode']}: {row['samples']} samples in {row['seconds']} s "
        f"({row['tokens_per_second']:.0f} tokens/s, {row['tflop_per_second']} TFLOP/s); "
    )
    if row["peak_gpu_gb"] is None:
        return f"{speed}peak {row['peak_memory_gb']} GB of main memory; no GPU, so no verdict on the profile paper"
    return (
        f"{speed}peak {row['peak_gpu_gb']} GB allocated, {row['peak_gpu_reserved_gb']} GB reserved: a card of "
        f"{row['smallest_card']} would do; one training of profile paper at this speed: {row['paper_minutes']} min"
    )


def print_estimate(path: Path, load: Load) -> None:
    """Print GB by purpose, and the card needed."""
    print(f"{path.name}, estimated:")
    numbers = estimate(path, load)
    for part, value in numbers.items():
        print(f"  {part:12} {value:14,.0f}" if part in _COUNTED else f"  {part:12} {value:14.2f} GB")
    print(f"  smallest common card: {smallest_card(numbers['total'])}")


def main(given: argparse.Namespace) -> None:
    """Carry out a command and print its result."""
    if given.what == "estimate":
        step = (given.rank, given.batch, given.tokens, given.image_tokens)
        load = Load(*step, given.checkpointing, given.unpack_weights)
        for name in given.models:
            print_estimate(resolve(name) if resolve(name).is_dir() else STAND_IN_FOLDERS / name, load)
    elif given.what == "verdict":
        print("\n".join(rehearsal_verdict(resolve(given.run))))
    else:
        said = {"check": look_ahead, "outlook": outlook}[given.what]
        print("\n".join(said(load_profile(given.profile, parse_overrides(given.set)))))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Will it fit, and how long will it take?")
    commands = parser.add_subparsers(dest="what", required=True)
    guess = commands.add_parser("estimate", help="memory by formula, on any machine")
    guess.add_argument("--models", nargs="+", default=architectures(), help="names in data/models/rehearse, or folders")
    guess.add_argument("--rank", type=int, default=64)
    guess.add_argument("--batch", type=int, default=4)
    guess.add_argument("--tokens", type=int, default=300)
    guess.add_argument("--image-tokens", type=int, default=0)
    guess.add_argument("--checkpointing", action="store_true")
    guess.add_argument("--unpack-weights", action="store_true", help="with the 4-bit weights unpacked once")
    said = {"check": "can a profile run on this machine?", "outlook": "what does it need, and for how long?"}
    for what, why in said.items():
        of_profile = commands.add_parser(what, help=why)
        of_profile.add_argument("profile")
        of_profile.add_argument("--set", default="", help="settings that differ from the profile's, as KEY=VALUE ...")
    after = commands.add_parser("verdict", help="on measured trainings")
    after.add_argument("run", help="the profile's folder, such as runs/rehearse")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        main(arguments().parse_args())
    except (ValueError, FileNotFoundError, SettingsError) as error:
        sys.exit(f"rehearse: {error}")
