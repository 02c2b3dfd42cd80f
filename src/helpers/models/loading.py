"""Load a checkpoint of any known family, for training in 4 bit or for scoring, and count its tower's calls.

The same code loads the demo's tiny models and the 7B ones: a folder or a hub id, safetensors only, no remote code. For
a rehearsal it takes a folder that asks for random weights (`helpers.models.random_weights`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from transformers import BitsAndBytesConfig

from helpers.models import chat_templates
from helpers.models.checkpoints import check_checkpoint
from helpers.models.family import Family, plain_model
from helpers.models.random_weights import MARK, is_random, random_state
from helpers.models.registry import config_of, family_of
from helpers.models.size import model_bytes
from helpers.models.visible_device import take_card

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LARGEST_ON_CPU = 4_000_000_000  # bytes of weights on disk


def device() -> torch.device:
    """This process's GPU (`helpers.models.visible_device`), or the CPU."""
    take_card()
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def chosen_dtype(name: str) -> str:
    """The name; for "auto", what this machine computes in: float32 on a CPU, bfloat16 on a GPU that has it, else
    float16. Raises ``ValueError`` for an unknown name.
    """
    if name != "auto":
        if name not in DTYPES:
            raise ValueError(f"dtype is {name!r}; known: auto, {', '.join(DTYPES)}")
        return name
    if device().type == "cpu":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def load_processor(path: str | Path) -> Any:
    """The family's processor: tokenizer, whole chat template (`helpers.models.chat_templates`), PIL image processor."""
    return chat_templates.complete(family_of(path).load_processor(str(path)), path)


def load_model(
    path: str | Path, dtype: str = "float32", four_bit: bool | BitsAndBytesConfig = True
) -> tuple[Any, Family]:
    """Model (frozen, in evaluation mode) and family.

    ``four_bit``: True quantises the language model's linear layers with `nf4`; a configuration replaces `nf4`. Tower,
    projector and head stay in ``dtype``. A folder saved by `helpers.models.export` is in 4 bit already. Raises
    ``ValueError`` for an unknown dtype, an unusable checkpoint or a machine that cannot run it, ``FileNotFoundError``
    for a missing file, ``RuntimeError`` if the wrong layers were quantised.
    """
    dtype = chosen_dtype(dtype)
    family = family_of(path)
    if Path(path).is_dir() and not is_random(path):
        check_checkpoint(path, family.model_class)
    check_machine(path, dtype, bool(four_bit))
    # cuDNN's attention, torch's first choice on Hopper, builds a new plan for each new length (pytorch #155958), and
    # lengths vary a lot: on an H200 a text-only step at 7B took 0.69 s with it and 0.43 s without.
    torch.backends.cuda.enable_cudnn_sdp(False)
    return _loaded(path, family, dtype, four_bit), family


def _loaded(path: str | Path, family: Family, dtype: str, four_bit: bool | BitsAndBytesConfig) -> Any:
    drawn = is_random(path)
    transformers.utils.logging.disable_progress_bar()  # its carriage returns make a log unreadable
    stored = is_quantised(path)
    if stored and not four_bit:
        raise ValueError(f"{path}: its weights are in 4 bit; full precision needs the checkpoint that it was made from")
    quantisation = nf4(family, dtype) if four_bit is True else four_bit or None
    model_class = getattr(transformers, family.model_class)
    weights: dict[str, Any] = {}
    if drawn:
        config = model_class.config_class.from_pretrained(path)
        weights = {"config": config, "state_dict": random_state(path, DTYPES[dtype], device())}
    model, report = model_class.from_pretrained(
        None if drawn else str(path),
        **weights,
        dtype=DTYPES[dtype],
        quantization_config=None if stored else quantisation,
        device_map={"": device()},
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        # On a CPU, at the demo's lengths, plain attention beats the fused kernel, whose backward pass is slow.
        attn_implementation="sdpa" if device().type == "cuda" else "eager",
    )
    _check_report(path, report)
    if drawn:
        model.name_or_path = model.config.name_or_path = str(path)  # an adapter's card names it
        delattr(model.config, MARK)  # once saved, it has tensors like any other
    if four_bit:
        check_quantisation(model, family)
        _keep_weights_as_trained(model)
    keep_shapes_on_cpu(model, family)
    return model.eval().requires_grad_(False)


def keep_shapes_on_cpu(model: Any, family: Family) -> None:
    """Let the model read images' shapes on the CPU (`helpers.models.batches.shapes_on_device`), if the family can.

    Positions that follow from them are made on the CPU too, and then go where the tower computes.
    """

    def follow(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        patches, *positions = arguments
        return patches, *(tensor.to(patches.device, non_blocking=True) for tensor in positions)

    for name in family.positioned or ():
        model.get_submodule(name).register_forward_pre_hook(follow)
    model.shapes_on_cpu = family.positioned is not None


def is_quantised(path: str | Path) -> bool:
    """Whether a folder's weights are in 4 bit already."""
    return "quantization_config" in config_of(path)


def check_machine(path: str | Path, dtype: str, four_bit: bool) -> None:
    """Raise ``ValueError``, with a remedy, if this machine cannot do what is asked; before anything is downloaded."""
    if device().type == "cpu":
        _check_cpu(path, dtype, four_bit)
        return
    if dtype == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            f"{torch.cuda.get_device_name()} cannot compute in bfloat16; set training.dtype and evaluation.dtype to "
            "auto (float16 here), or use a card of compute capability 8.0 or later"
        )
    if four_bit and not _bitsandbytes_has_cuda():
        raise ValueError(
            "bitsandbytes found no CUDA library for this torch "
            f"(CUDA {torch.version.cuda}); see `python -m bitsandbytes`, or use a method without 4 bit (lora)"
        )


def _check_cpu(path: str | Path, dtype: str, four_bit: bool) -> None:
    if dtype == "float16":
        raise ValueError(
            "dtype float16 needs a GPU, and none was found: a CPU has no loss scaling for it and computes slowly in "
            "it; set training.dtype and evaluation.dtype to auto or float32"
        )
    size = model_bytes(path)
    elsewhere = (
        "Run on a GPU (`nvidia-smi` and a CUDA build of torch must find it), or use the demo's models or those of "
        "profile laptop. `python -m helpers.models.rehearsal outlook PROFILE` says what would fit"
    )
    if four_bit and size > LARGEST_ON_CPU:
        raise ValueError(
            f"{path}: {size / 1e9:.0f} GB of weights and no CUDA device: bitsandbytes would take days. {elsewhere}"
        )
    needed = size * (2 if dtype == "float32" else 1)  # published in half precision
    there = psutil.virtual_memory().total
    if size > LARGEST_ON_CPU and needed > there:
        raise ValueError(
            f"{path}: its weights take {needed / 1e9:.0f} GB in {dtype}, this machine has {there / 1e9:.0f} GB of "
            f"memory and no CUDA device. {elsewhere}"
        )


def _bitsandbytes_has_cuda() -> bool:
    from bitsandbytes import cextension

    return bool(getattr(cextension.lib, "compiled_with_cuda", False))


def _check_report(path: str | Path, report: dict[str, Any]) -> None:
    """A tensor that is not in the files would be random, with a warning at most."""
    for what in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, report.get(what) or ())):
            raise ValueError(
                f"{path}: {len(names)} tensors of the model are {what.removesuffix('_keys')} in the checkpoint, e.g. "
                f"{names[0]}; use a complete checkpoint of this architecture"
            )


def nf4(family: Family, dtype: str) -> BitsAndBytesConfig:
    """4-bit NormalFloat with double quantisation (QLoRA, arXiv 2305.14314); tower, projector and head are left out."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[chosen_dtype(dtype)],
        llm_int8_skip_modules=family.not_quantised,
    )


def _four_bit_modules(model: Any) -> dict[str, Any]:
    import bitsandbytes

    return {name: m for name, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)}


def linear_layers(model: Any, family: Family) -> dict[str, torch.nn.Linear]:
    """The language model's linear layers, which QLoRA keeps in 4 bit."""
    modules = model.get_submodule(family.language_model).named_modules(prefix=family.language_model)
    return {name: module for name, module in modules if isinstance(module, torch.nn.Linear) and name != family.head}


def quantised_layers(model: Any) -> list[str]:
    """Names of the 4-bit linear layers."""
    return list(_four_bit_modules(model))


def _keep_weights_as_trained(model: Any) -> None:
    """Stop bitsandbytes from rounding scales, so that training and answering use the same weights everywhere.

    On a CPU with bfloat16, version 0.50.2 repacks a layer at its first use outside training and rounds its scales to
    bfloat16 permanently. Logits then change by hundredths, and differ between CPUs.
    """
    for module in _four_bit_modules(model).values():
        module.support_avx512bf16_for_cpu = False


def check_quantisation(model: Any, family: Family) -> None:
    """Raise unless exactly the language model's linear layers are in 4 bit: a wrong skip list fails silently."""
    inside, found = set(linear_layers(model, family)), set(quantised_layers(model))
    if found != inside:
        wrong = sorted(found ^ inside)
        raise RuntimeError(
            f"{len(wrong)} layers are not quantised as they should be, the first is {wrong[0]}: expected 4 bit in "
            f"{family.language_model} and nowhere else; install the versions of requirements.txt (./run_all.sh setup)"
        )


def tower_modules(model: Any, family: Family) -> list[torch.nn.Module]:
    """The frozen tower's modules, as called in a forward pass; a list of blocks gives its blocks."""
    found: list[torch.nn.Module] = []
    for path in family.frozen:
        module = plain_model(model).get_submodule(path)
        found.extend(module if isinstance(module, torch.nn.ModuleList) else [module])
    return found


@dataclass
class TowerCalls:
    """Counts the vision tower's forward passes in ``calls``."""

    calls: int = 0

    def __call__(self, *_: Any) -> None:
        self.calls += 1


@contextmanager
def counted_tower(model: Any, family: Family) -> Iterator[TowerCalls]:
    """Count the tower's calls within the block; features from a cache are not a call."""
    counter = TowerCalls()
    if not family.tower_entry:  # no tower
        yield counter
        return
    handle = plain_model(model).get_submodule(family.tower_entry).register_forward_pre_hook(counter)
    try:
        yield counter
    finally:
        handle.remove()
