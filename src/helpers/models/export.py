"""Checkpoints for others: an adapter merged into its base model, and a base model in 4 bit.

    python -m helpers.models.export merge ADAPTER OUT [--base MODEL] [--dtype bfloat16]
    python -m helpers.models.export quantise MODEL OUT [--dtype bfloat16]

**merge** is for programs that do not support adapters. LoRA is added to the weights that it was trained on. For qlora
these are the unpacked NF4-rounded weights, so the merged model writes what the trained one wrote. A trained projector
replaces the original. Prompts cannot be merged.

**quantise** lets later runs read a third of the bytes and skip quantisation: about 5.5 GB instead of 15 for a 7B model.
`load_model` takes the folder like any other and returns the same model, bit by bit. ``dtype`` is the precision that the
runs compute in: tower, projector, head and embedding are saved in it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper

from helpers.models.adapters import load_adapter, quantisation_of
from helpers.models.family import Family
from helpers.models.loading import DTYPES, load_model, load_processor
from helpers.models.registry import family_of
from helpers.models.unpacking import unpacked
from helpers.paths import resolve


def merge(adapter: str | Path, out: str | Path, base: str | Path | None = None, dtype: str = "float32") -> Path:
    """Write the merged model and its processor to ``out``, reload it, and fail on any missing or unexpected tensor.

    ``base`` None: the base model named in the adapter. Raises ``ValueError`` for a kind of adapter that cannot merge.
    """
    settings = json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    if settings["peft_type"] not in ("LORA", "IA3"):
        raise ValueError(
            f"{adapter}: a {settings['peft_type']} adapter does not change weights, so it cannot be merged"
        )
    named = settings["base_model_name_or_path"]
    path = base or (resolve(named) if resolve(named).is_dir() else named)  # else on the hub
    model = plain_weights(*load_model(path, "float32", four_bit=quantisation_of(adapter)))
    merged = _merged(load_adapter(model, adapter)).to(DTYPES[dtype])
    merged.save_pretrained(out)
    load_processor(path).save_pretrained(out)
    check_merged(out, dtype)
    return Path(out)


def plain_weights(model: Any, family: Family) -> Any:
    """The model with its 4-bit layers replaced by ordinary ones that hold the same rounded weights."""
    import bitsandbytes

    for name, layer in list(model.named_modules()):
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _plain(layer))
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for mark in ("is_quantized", "is_loaded_in_4bit", "hf_quantizer", "quantization_method"):
        if hasattr(model, mark):
            setattr(model, mark, False if mark.startswith("is_") else None)
    return model


def _plain(layer: Any) -> torch.nn.Linear:
    weight = unpacked(layer.weight).float()  # out x in
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None, device="meta")
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        linear.bias = torch.nn.Parameter(layer.bias.detach().float(), requires_grad=False)
    return linear


def _merged(tuned: Any) -> Any:
    """The base model with the adapter merged into its weights and a trained projector in place of the original."""
    model = tuned.get_base_model()
    for name, module in list(model.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            setattr(model.get_submodule(parent), last, module.get_base_layer())
        elif isinstance(module, ModulesToSaveWrapper):
            setattr(model.get_submodule(parent), last, module.modules_to_save[module.active_adapters[0]])
    model._hf_peft_config_loaded = False
    return model


def check_merged(folder: str | Path, dtype: str = "float32") -> None:
    """Load the folder as any other program would. Raises ``ValueError`` for a missing or unexpected tensor."""
    import transformers

    family = family_of(folder)
    model_class = getattr(transformers, family.model_class)
    _, report = model_class.from_pretrained(str(folder), dtype=DTYPES[dtype], output_loading_info=True)
    if wrong := sorted(str(name) for names in report.values() for name in names):
        raise ValueError(f"{folder}: {len(wrong)} tensors do not fit the model, e.g. {wrong[0]} ({report})")


def save_quantised(path: str | Path, out: str | Path, dtype: str = "bfloat16") -> Path:
    """Quantise a checkpoint and write it to ``out``, with its processor."""
    model, _ = load_model(path, dtype)
    model.save_pretrained(out)
    load_processor(path).save_pretrained(out)
    return Path(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Merge an adapter into its base model, or save a base model in 4 bit.")
    commands = parser.add_subparsers(dest="what", required=True)
    for name, source in {"merge": "folder of an adapter", "quantise": "folder or hub id of a model"}.items():
        command = commands.add_parser(name)
        command.add_argument("source", help=source)
        command.add_argument("out", type=Path)
        command.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
        if name == "merge":
            command.add_argument("--base", help="folder or hub id of the base; default: as named in the adapter")
    given = parser.parse_args()
    if given.what == "merge":
        print(merge(given.source, given.out, given.base, given.dtype))
    else:
        print(save_quantised(given.source, given.out, given.dtype))
