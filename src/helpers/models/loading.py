"""Load a checkpoint of any known family, for training in 4 bit or for scoring, and count what its tower does.

The same code loads the demo's tiny models and the 7B ones: a folder or a hub id, safetensors only, no remote code.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import BitsAndBytesConfig

from helpers.models.families import Family, family_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def load_processor(path: str | Path) -> Any:
    """The family's processor: tokenizer, chat template, PIL image processor."""
    return family_of(path).load_processor(str(path))


def load_model(path: str | Path, dtype: str = "float32", four_bit: bool = True) -> tuple[Any, Family]:
    """Model (frozen, in evaluation mode) and family.

    ``four_bit``: NF4 with double quantisation (arXiv 2305.14314) for the language model's linear layers; tower,
    projector and head stay in ``dtype``. Raises ``ValueError`` for an unknown dtype, ``FileNotFoundError`` for a folder
    that is no model, ``RuntimeError`` if the wrong layers came out quantised.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; known: {', '.join(DTYPES)}")
    family = family_of(path)
    transformers.utils.logging.disable_progress_bar()  # a bar of carriage returns, unreadable in a log
    quantisation = _four_bit_config(family, DTYPES[dtype]) if four_bit else None
    model = getattr(transformers, family.model_class).from_pretrained(
        str(path),
        dtype=DTYPES[dtype],
        quantization_config=quantisation,
        device_map={"": device()},
        use_safetensors=True,
        trust_remote_code=False,
        # On a CPU, at the demo's lengths, plain attention beats the fused kernel, whose backward pass is slow there.
        attn_implementation="sdpa" if device().type == "cuda" else "eager",
    )
    if four_bit:
        check_quantisation(model, family)
        _keep_weights_as_trained(model)
    return model.eval().requires_grad_(False), family


def _four_bit_config(family: Family, dtype: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=family.not_quantised,
    )


def _four_bit_modules(model: Any) -> dict[str, Any]:
    import bitsandbytes

    return {name: m for name, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)}


def quantised_layers(model: Any) -> list[str]:
    """Names of the 4-bit linear layers."""
    return list(_four_bit_modules(model))


def _keep_weights_as_trained(model: Any) -> None:
    """On a CPU that knows bfloat16, bitsandbytes 0.50.2 repacks a layer at its first use outside training, and rounds
    its scales to bfloat16 for good: logits move by hundredths, and differ between CPUs. Training and answering are to
    use the same weights everywhere.
    """
    for module in _four_bit_modules(model).values():
        module.support_avx512bf16_for_cpu = False


def check_quantisation(model: Any, family: Family) -> None:
    """All linear layers of the language model in 4 bit, and no other: a wrong skip list fails silently otherwise."""
    inside = {
        name
        for name, module in model.get_submodule(family.language_model).named_modules(prefix=family.language_model)
        if isinstance(module, torch.nn.Linear)
    }
    found = set(quantised_layers(model))
    if found != inside:
        wrong = sorted(found ^ inside)
        raise RuntimeError(
            f"{len(wrong)} layers are not quantised as they should be, the first is {wrong[0]}: expected 4 bit in "
            f"{family.language_model} and nowhere else"
        )


def tower_modules(model: Any, family: Family) -> list[torch.nn.Module]:
    """The frozen tower's modules, as called in a forward pass; lists of blocks are opened."""
    unwrapped = model.get_base_model() if hasattr(model, "get_base_model") else model
    found: list[torch.nn.Module] = []
    for path in family.frozen:
        module = unwrapped.get_submodule(path)
        found.extend(module if isinstance(module, torch.nn.ModuleList) else [module])
    return found


class TowerCalls:
    """Counts how often the vision tower ran: ``calls`` grows by one for each forward pass through it."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: Any) -> None:
        self.calls += 1


@contextmanager
def counted_tower(model: Any, family: Family) -> Iterator[TowerCalls]:
    """Count the tower's calls within the block."""
    counter = TowerCalls()
    handle = tower_modules(model, family)[0].register_forward_pre_hook(counter)
    try:
        yield counter
    finally:
        handle.remove()
