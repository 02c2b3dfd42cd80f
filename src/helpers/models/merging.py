"""An adapter merged into its base model, matrix by matrix: no model is in memory, and no GPU is needed.

Of the base's files one tensor is read at a time, changed in float32, and written to a file of the same name with the
same tensors. So 7B parameters need the memory of the largest matrix a few times over (the embedding: 1 GB in bfloat16,
2 GB in float32) besides the adapter's own.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, load_peft_weights
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from transformers import BitsAndBytesConfig
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from helpers.models.adapter_card import training_record
from helpers.models.adapters import ADAPTER_FILES, quantisation_of
from helpers.models.checkpoints import INDEX, check_checkpoint, weight_files
from helpers.models.loading import DTYPES, linear_layers, load_processor
from helpers.models.random_weights import is_random, on_meta
from helpers.models.registry import config_of, family_of
from helpers.paths import atomic_write, is_hub_id, resolve

Change = Callable[[torch.Tensor], torch.Tensor]
_CODES = {  # of safetensors
    **{torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8"},
}
_PREFIX = "base_model.model."  # peft's own, before the base's names
_QUANTISED = ".quant_state.bitsandbytes__"  # what follows the name of a weight in 4 bit, among other parts of it
_HARMLESS = {  # settings of an adapter that its tensors already reflect, or that only matter in training
    *("r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights"),
    *("target_modules", "exclude_modules", "feedforward_modules", "modules_to_save", "layers_to_transform"),
    *("layers_pattern", "task_type", "inference_mode", "base_model_name_or_path", "revision", "peft_version"),
    *("auto_mapping", "init_ia3_weights", "ensure_weight_tying"),
}
_STARTS = (True, False, "gaussian", "orthogonal", "eva")  # of LoRA; others change the base's weights before training


def merge(adapter: str | Path, out: str | Path, base: str | Path | None = None, dtype: str = "float32") -> Path:
    """Write the merged model and its processor to the folder ``out``; fail on any missing or unexpected tensor.

    ``base`` None: the base model named in the adapter. Raises ``ValueError`` for a kind of adapter that cannot merge,
    and for one that is not of this base.
    """
    adapter, out = Path(adapter), Path(out)
    config = _checked_config(adapter)
    source = _folder(base or config["base_model_name_or_path"])
    if out.resolve() == source.resolve():
        raise ValueError(
            f"{out} is the base model's own folder, which is read while the other is written; name another"
        )
    family = family_of(source)
    check_checkpoint(source, family.model_class)
    model = on_meta(source)
    base_files = _BaseFiles(source, model, linear_layers(model, family), adapter)
    changes = _changes(adapter, config, model)
    if lacking := sorted(set(changes) - set(base_files.parameters.values())):
        raise ValueError(
            f"{adapter}: {len(lacking)} of its tensors have no place in {source}, e.g. {lacking[0]}; use the base "
            "model that it was trained on"
        )
    out.mkdir(parents=True, exist_ok=True)
    read, size = base_files.changed(changes), 0
    for file in base_files.files:
        size += _write(out / file.name, read, base_files.shapes(file), DTYPES[dtype])
    _describe(source, out, base_files, dtype, size)
    check_merged(out)
    return out


def check_merged(folder: str | Path) -> None:
    """Raise ``ValueError`` if a tensor is missing or unexpected when any other program loads the folder."""
    import transformers

    model_class = getattr(transformers, family_of(folder).model_class)
    _, report = model_class.from_pretrained(str(folder), device_map={"": "meta"}, output_loading_info=True)
    if wrong := sorted(str(name) for names in report.values() for name in names):
        raise ValueError(f"{folder}: {len(wrong)} tensors do not fit the model, e.g. {wrong[0]} ({report})")


def _folder(base: str | Path) -> Path:
    """The folder of a base model; one from the hub is downloaded, or found in the cache."""
    if is_random(folder := resolve(base)):
        raise ValueError(f"{base}: its weights are random and in no file, so nothing can be merged into them")
    if folder.is_dir():
        return folder
    if not is_hub_id(base):
        raise FileNotFoundError(f"{base}: no such folder; name the base model's folder, or its hub id (owner/name)")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(base), allow_patterns=["*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"]))


# ---- the adapter -------------------------------------------------------------------------------------------------


def _checked_config(adapter: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((adapter / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    kinds = {"LORA": LoraConfig, "IA3": IA3Config}
    if (kind := config["peft_type"]) not in kinds:
        raise ValueError(f"{adapter}: a {kind} adapter does not change weights, so it cannot be merged")
    usual = json.loads(json.dumps(kinds[kind]().to_dict(), default=str))
    unusual = [n for n in config if n not in _HARMLESS and (config[n] or None) != (usual.get(n) or None)]
    if config.get("init_lora_weights", True) not in _STARTS:
        unusual.append("init_lora_weights")
    if unusual:
        told = ", ".join(f"{name}={config[name]!r}" for name in unusual)
        raise ValueError(f"{adapter}: cannot be merged here with {told}; use peft's own merge_and_unload")
    return config


def _changes(adapter: Path, config: Mapping[str, Any], model: Any) -> dict[str, Change]:
    """How the adapter changes each parameter, by the parameter's name. Raises ``ValueError`` for an unknown tensor."""
    tensors = {name.removeprefix(_PREFIX): t for name, t in load_peft_weights(str(adapter), device="cpu").items()}
    parameters = dict(model.named_parameters())
    changes: dict[str, Change] = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".ia3_l") if name.endswith(".ia3_l") else name.partition(".lora_")
        if part == "A.weight" and f"{layer}.lora_B.weight" in tensors:
            a, b = tensor.float(), tensors[f"{layer}.lora_B.weight"].float()
            changes[f"{layer}.weight"] = _added(a, b, _scale(config, layer, len(a)))
        elif part == "B.weight" and f"{layer}.lora_A.weight" in tensors:
            pass  # came with A
        elif name.endswith(".ia3_l"):
            changes[f"{layer}.weight"] = _scaled(tensor.float())
            if len(tensor) > 1 and f"{layer}.bias" in parameters:  # of the outputs, not of the inputs
                changes[f"{layer}.bias"] = _scaled(tensor.float().flatten())
        elif name in parameters:  # of a module trained in full, such as the projector
            changes[name] = _replaced(tensor.float())
        else:
            raise ValueError(f"{adapter}: its tensor {name} cannot be merged here; use peft's own merge_and_unload")
    return changes


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """alpha / rank, or with rank-stabilised LoRA alpha / sqrt(rank)."""
    patterns: dict[str, float] = config.get("alpha_pattern") or {}
    alpha = float(patterns.get(get_pattern_key(list(patterns), layer), config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _added(a: torch.Tensor, b: torch.Tensor, scale: float) -> Change:
    return lambda weight: weight.addmm_(b, a, alpha=scale)


def _scaled(factors: torch.Tensor) -> Change:
    return lambda weight: weight.mul_(factors)


def _replaced(trained: torch.Tensor) -> Change:
    return lambda _: trained


# ---- the base model's files --------------------------------------------------------------------------------------


class _BaseFiles:
    """The files of a base model, whose weights are read as they were in the adapter's training.

    That is, in its precision, and where the base was in 4 bit, rounded to the values that it was trained on.
    """

    def __init__(self, folder: Path, model: Any, layers: Mapping[str, Any], adapter: Path) -> None:
        self.files = weight_files(folder)
        self.place = {name: file for file in self.files for name in _names(file)}
        self.stored_in_four_bit = {n.partition(_QUANTISED)[0] for n in self.place if _QUANTISED in n}
        parts = {n for n in self.place if any(n.startswith(f"{w}.") for w in _parents(n) & self.stored_in_four_bit)}
        renamings = get_model_conversion_mapping(model)
        one_to_one = [rule for rule in renamings if isinstance(rule, WeightRenaming)]
        others = [rule for rule in renamings if isinstance(rule, WeightConverter)]
        state, prefix = model.state_dict(), model.base_model_prefix
        self.parameters = {  # the parameter that each tensor becomes, without those that merely describe a packed one
            name: rename_source_key(name, one_to_one, others, prefix, state)[0]
            for name in self.place
            if name not in parts
        }
        self.true_shapes = {name: list(tensor.shape) for name, tensor in state.items()}
        known = training_record(adapter)
        self.dtype = DTYPES[known.get("computed_in") or known.get("dtype") or "float32"]  # `dtype` may be "auto"
        self.quantisation = quantisation_of(adapter)
        self.rounded = {f"{name}.weight" for name in layers} if self.quantisation else set()

    def shapes(self, file: Path) -> dict[str, tuple[list[int], torch.dtype]]:
        """Shape and precision of each tensor of a file."""
        found = {}
        with safe_open(file, framework="pt") as opened:
            for name in _names(file):
                if name in self.stored_in_four_bit:
                    found[name] = (self.true_shapes[self.parameters[name]], torch.float32)
                elif name in self.parameters:
                    part = opened.get_slice(name)
                    sample = torch.float32 if part.get_dtype() in ("F32", "F16", "BF16") else None
                    found[name] = (part.get_shape(), sample or opened.get_tensor(name).dtype)
        return found

    def changed(self, changes: Mapping[str, Change]) -> Callable[[str], torch.Tensor]:
        """A function that reads the tensor of a name and changes it."""

        def tensor(name: str) -> torch.Tensor:
            found = self._read(name)
            if (change := changes.get(self.parameters[name])) is None:
                return found
            try:
                found = change(found.to(torch.float32, copy=True))
            except RuntimeError as error:
                raise ValueError(f"{self.parameters[name]} has another shape in the adapter's base: {error}") from None
            if not found.isfinite().all():
                raise ValueError(f"{self.parameters[name]} is not finite after merging; the adapter is damaged")
            return found

        return tensor

    def _read(self, name: str) -> torch.Tensor:
        if name in self.stored_in_four_bit:
            return self._unpacked(name)
        tensor = _tensor(self.place[name], name)
        if not tensor.is_floating_point():
            return tensor
        tensor = tensor.to(self.dtype)
        return _rounded(tensor, self.quantisation) if self.parameters[name] in self.rounded else tensor

    def _unpacked(self, name: str) -> torch.Tensor:
        from bitsandbytes.functional import QuantState, dequantize_4bit

        parts = {part: _tensor(file, part) for part, file in self.place.items() if part.startswith(f"{name}.")}
        state = QuantState.from_dict(parts, device=torch.device("cpu"))
        return dequantize_4bit(_tensor(self.place[name], name), state)


def _parents(name: str) -> set[str]:
    """``a.b.c``: a, a.b and a.b.c."""
    pieces = name.split(".")
    return {".".join(pieces[:end]) for end in range(1, len(pieces))}


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _tensor(file: Path, name: str) -> torch.Tensor:
    """The file is opened for this tensor alone, since it stays in memory for as long as it is open."""
    with safe_open(file, framework="pt") as opened:
        return opened.get_tensor(name)


def _rounded(weight: torch.Tensor, how: bool | BitsAndBytesConfig) -> torch.Tensor:
    """The values that a weight has in 4 bit, in its own precision. ``how``: as `quantisation_of` returns it."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    kind, twice = "nf4", True
    if isinstance(how, BitsAndBytesConfig):
        kind, twice = how.bnb_4bit_quant_type, how.bnb_4bit_use_double_quant
    packed, state = quantize_4bit(weight.contiguous(), compress_statistics=twice, quant_type=kind)
    return dequantize_4bit(packed, state)


# ---- the merged model --------------------------------------------------------------------------------------------


def _write(
    path: Path,
    read: Callable[[str], torch.Tensor],
    shapes: Mapping[str, tuple[list[int], torch.dtype]],
    dtype: torch.dtype,
) -> int:
    """A safetensors file, tensor by tensor: the library's own function would need all of them at once.

    Returns the size of the tensors in bytes.
    """
    kinds = {name: dtype if kind.is_floating_point else kind for name, (_, kind) in shapes.items()}
    names = sorted(shapes, key=lambda name: -kinds[name].itemsize)  # so that each begins at a multiple of its size
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + math.prod(shapes[name][0]) * kinds[name].itemsize
        header[name] = {"dtype": _CODES[kinds[name]], "shape": shapes[name][0], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = read(name).to(kinds[name])
            if list(tensor.shape) != list(shapes[name][0]):
                raise ValueError(f"{name} has another shape in the adapter's base: {list(tensor.shape)}")
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return end


def _describe(source: Path, out: Path, base_files: _BaseFiles, dtype: str, size: int) -> None:
    """Everything beside the weights: configuration, index, processor."""
    config = {name: value for name, value in config_of(source).items() if name != "quantization_config"}
    config = {**config, "dtype": dtype}
    config.pop("torch_dtype", None)
    for part in config.values():
        if isinstance(part, dict) and {"dtype", "torch_dtype"} & set(part):
            part.pop("torch_dtype", None)
            part["dtype"] = dtype
    _write_json(out / "config.json", config)
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", out / "generation_config.json")
    if (source / INDEX).is_file():
        placed = {name: base_files.place[name].name for name in base_files.parameters}
        _write_json(out / INDEX, {"metadata": {"total_size": size}, "weight_map": placed})
    load_processor(source).save_pretrained(out)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
