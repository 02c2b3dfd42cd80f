"""Will a 7B run fit a card? Asked of the true architecture with no weights at all, before 15 GB are downloaded.

    python -m helpers.models.rehearse [--model qwen2-vl-7b] [--rank 64] [--batch 4] [--tokens 300] [--picture-tokens 0]

The model is built on torch's meta device: all shapes, no numbers. Parameters, 4-bit layers and LoRA's size are counted
there and are exact; bytes of activations come from a formula and are estimates. Every number says which it is. With
``--steps N`` on a GPU, random weights take the place of real ones and time and memory are measured.
"""

import argparse
import json
import math
from dataclasses import dataclass
from typing import Any

import torch

from helpers.models.families import Family, families
from helpers.models.lora import add_lora, trainable_groups
from helpers.paths import DATA

CONFIGS = DATA / "models" / "configs"
GB = 1e9
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # a weight, its share of an 8-bit scale of 64, and of a scale of 256 scales
CARDS = {"12 GB": 12, "16 GB": 16, "24 GB": 24, "40 GB": 40, "80 GB": 80, "141 GB": 141}
ROOM = 1.2  # GB that CUDA, the driver and fragments take
LOGIT_ROWS = 1024  # as in `helpers.models.packed`


@dataclass(frozen=True)
class Load:
    """What a step is asked to hold."""

    rank: int
    batch: int
    tokens: int  # text tokens of a sample
    picture_tokens: int  # of its picture, 0 for text-only
    checkpointing: bool


def architectures() -> list[str]:
    """The names of the architectures that can be rehearsed."""
    return sorted(path.stem for path in CONFIGS.glob("*.json"))


def on_meta(name: str) -> tuple[Any, Family]:
    """The architecture without weights. Raises ``ValueError`` for an unknown name."""
    model, family = _built(name, torch.device("meta"))
    return model.requires_grad_(False), family


def _built(name: str, where: torch.device) -> tuple[Any, Family]:
    import transformers

    path = CONFIGS / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"model is {name!r}; known: {', '.join(architectures())}")
    values = json.loads(path.read_text(encoding="utf-8"))
    family = families()[values["model_type"]]
    model_class = getattr(transformers, family.model_class)
    with where:
        return model_class(model_class.config_class(**values)), family


def linear_layers(model: Any, family: Family) -> dict[str, Any]:
    """The language model's linear layers, which QLoRA has in 4 bit."""
    inner = model.get_submodule(family.language_model)
    return {name: layer for name, layer in inner.named_modules() if isinstance(layer, torch.nn.Linear)}


def estimate(name: str, load: Load) -> dict[str, float]:
    """GB by purpose, for training in bfloat16 with 8-bit optimiser states; counts are under their own names."""
    model, family = on_meta(name)
    layers = linear_layers(model, family)
    parameters = sum(p.numel() for p in model.parameters())
    in_four_bit = sum(layer.weight.numel() for layer in layers.values())
    tuned = add_lora(model, family, load.rank, 2 * load.rank, 0.0, True, 0)
    trained = sum(trainable_groups(tuned, family).values())
    text = tuned.config.text_config
    parts = {
        "base": (in_four_bit * NF4_BYTES + (parameters - in_four_bit) * 2) / GB,
        "adapter": trained * 4 / GB,
        "gradients": trained * 4 / GB,
        "optimiser": trained * 2 / GB,
        "activations": _activations(text, load) / GB,
        "logits": 2 * min(load.batch * load.tokens, LOGIT_ROWS) * text.vocab_size * 4 / GB,
        "cuda": ROOM,
    }
    return {
        "parameters": parameters,
        "linear4bit": len(layers),
        "trained": trained,
        **parts,
        "total": sum(parts.values()),
    }


def _activations(text: Any, load: Load) -> float:
    """Bytes kept for the backward pass. A layer keeps inputs of norms, products, LoRA's and the MLP's three tensors.

    In bfloat16 that is about 16 hidden widths and 8 feed-forward widths of bytes a token, and with checkpointing the
    layer's input alone, beside one whole layer that is being recomputed.
    """
    tokens = load.batch * (load.tokens + load.picture_tokens)
    whole = tokens * (2 * 16 * text.hidden_size + 2 * 4 * text.intermediate_size)
    kept = tokens * 2 * text.hidden_size if load.checkpointing else whole
    return text.num_hidden_layers * kept + (whole if load.checkpointing else 0)


def smallest_card(total: float) -> str:
    """The smallest usual card that holds so many GB."""
    return next((card for card, size in CARDS.items() if size >= total), "none of the usual cards")


def measure(name: str, load: Load, steps: int) -> dict[str, float]:
    """Seconds a step and peak GB of text-only steps on random 4-bit weights. Raises ``ValueError`` without a GPU."""
    if not torch.cuda.is_available():
        raise ValueError("no CUDA device here: leave out --steps for the estimate, or run on a machine with a GPU")
    from helpers.models.packed import attention_by_sample, packed_loss

    model, family = random_four_bit(name)
    tuned = add_lora(model, family, load.rank, 2 * load.rank, 0.0, True, 0).train()
    if load.checkpointing:
        tuned.gradient_checkpointing_enable({"use_reentrant": False})
        tuned.enable_input_require_grads()
    optimiser = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=1e-5, fused=True)
    batch = _batch(tuned, load)
    torch.cuda.reset_peak_memory_stats()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with attention_by_sample(tuned, family), torch.autocast("cuda", torch.bfloat16):
        for step in range(steps + 2):
            if step == 2:  # the first two are for warming up
                begin.record()
            (packed_loss(tuned, batch) / len(batch["supervised"])).backward()
            optimiser.step()
            optimiser.zero_grad()
    end.record()
    torch.cuda.synchronize()
    seconds = begin.elapsed_time(end) / 1000 / steps
    tokens = load.batch * load.tokens
    return {
        "seconds_a_step": seconds,
        "tokens_a_second": tokens / seconds,
        "peak_gb": torch.cuda.max_memory_allocated() / GB,
    }


def random_four_bit(name: str) -> tuple[Any, Family]:
    """The architecture on the GPU, the language model's layers quantised one by one; never all in bfloat16 at once."""
    import bitsandbytes

    model, family = on_meta(name)
    for path in linear_layers(model, family):
        full = f"{family.language_model}.{path}"
        parent, _, last = full.rpartition(".")
        layer = model.get_submodule(full)
        shape, bias = layer.weight.shape, layer.bias is not None
        four_bit = bitsandbytes.nn.Linear4bit(
            shape[1], shape[0], bias=bias, compute_dtype=torch.bfloat16, quant_type="nf4"
        )
        weight = torch.randn(shape, dtype=torch.bfloat16) / math.sqrt(shape[1])
        four_bit.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
        if bias:
            four_bit.bias.data = torch.zeros(shape[0], dtype=torch.bfloat16)
        setattr(model.get_submodule(parent), last, four_bit.requires_grad_(False).to("cuda"))
    _fill_rest(model)
    return model.requires_grad_(False), family


def _fill_rest(model: Any) -> None:
    """What is still without numbers: small random weights in bfloat16; buffers, such as rotary tables, made anew."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                value = torch.empty(parameter.shape, dtype=torch.bfloat16, device="cuda").normal_(std=0.02)
                setattr(module, name, torch.nn.Parameter(value, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype, device="cuda"))
        if hasattr(module, "rope_init_fn") and hasattr(module, "inv_freq"):
            module.inv_freq = module.rope_init_fn(module.config, "cuda")[0]


def _batch(model: Any, load: Load) -> dict[str, Any]:
    total = load.batch * load.tokens
    ids = torch.randint(0, model.config.text_config.vocab_size, (1, total), device="cuda")
    place = torch.arange(load.tokens, device="cuda").repeat(load.batch)
    axes = 4 if model.config.model_type == "qwen2_vl" else 1
    positions = place.expand(axes, 1, total) if axes > 1 else place.unsqueeze(0)
    supervised = (torch.arange(total - 1, device="cuda") % load.tokens >= load.tokens // 2).nonzero().squeeze(1)
    return {
        "input_ids": ids,
        "labels": ids,
        "position_ids": positions,
        "supervised": supervised,
        "lengths": (load.tokens,) * load.batch,
    }


def main(given: argparse.Namespace) -> None:
    """Print the estimate, the card that it needs, and what was measured if asked for."""
    load = Load(given.rank, given.batch, given.tokens, given.picture_tokens, given.checkpointing)
    for name in given.models:
        print(f"{name}, estimated:")
        numbers = estimate(name, load)
        for part, value in numbers.items():
            print(
                f"  {part:12} {value:14.2f} GB"
                if value < 1e3 and part != "linear4bit"
                else f"  {part:12} {value:14,.0f}"
            )
        print(f"  smallest usual card: {smallest_card(numbers['total'])}")
        if given.steps:
            print(f"{name}, measured on {torch.cuda.get_device_name()}:" if torch.cuda.is_available() else "")
            print(json.dumps(measure(name, load, given.steps)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Will it fit, and how long does a step take?")
    parser.add_argument("--models", nargs="+", default=architectures())
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--picture-tokens", type=int, default=0)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--steps", type=int, default=0, help="real steps on a GPU, beside the estimate")
    main(parser.parse_args())
