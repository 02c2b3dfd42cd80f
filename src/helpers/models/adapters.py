"""What is trained on a frozen model, by method of `settings.training`: add, save, load, check, remove.

| method | trained |
|---|---|
| qlora, lora | low-rank matrices in every linear layer of the language model (arXiv 2106.09685), and the projector |
| ia3 | factors on keys, values and the feed-forward layers' inputs (arXiv 2205.05638), and the projector |
| prompt_tuning | vectors before the text (arXiv 2104.08691), nothing in the model |
| projector | the projector alone |

All are peft's, in its layout on disk. The family says which layers get adapters (`Family.linear_layers`).
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PromptTuningConfig,
    get_peft_model,
    load_peft_weights,
    set_peft_model_state_dict,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from safetensors import safe_open
from transformers import BitsAndBytesConfig

from helpers.config.training import LORA_TARGETS, Training
from helpers.models.adapter_card import training_record
from helpers.models.family import Family, plain_model
from helpers.models.loading import linear_layers, quantised_layers, tower_modules
from helpers.models.registry import family_of_model
from helpers.workflow.provenance import portable

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
GROUPS = ("language_model", "projector", "vision_tower", "other")  # parts that a parameter may belong to


def add_adapter(model: Any, family: Family, method: Training | PeftConfig, seed: int) -> PeftModel:
    """Wrap a frozen model with the settings' method, or with a custom configuration of peft's.

    From here on the tower runs without autograd. It is frozen, and would otherwise keep activations that nobody needs.
    What is trained is in float32 whatever the base is in: in bfloat16 most steps would round to nothing.
    Raises ``ValueError`` if the settings' method does not fit the way the base was loaded.
    """
    if isinstance(method, Training):
        _check_method(model, method)
    config: Any = adapter_config(family, method) if isinstance(method, Training) else method
    if isinstance(method, Training) and method.method in ("qlora", "lora"):
        check_targets(model, family, method.lora_targets)
    if getattr(config, "modules_to_save", None):  # without an empty name, that of no projector: it would match all
        config.modules_to_save = [name for name in config.modules_to_save if name] or None
    torch.manual_seed(seed)  # LoRA's first matrix and the vectors of a prompt are random
    tuned = get_peft_model(model, config)
    named = tuned.active_peft_config  # an adapter names its base: relative to the root, not to this machine
    named.base_model_name_or_path = portable(named.base_model_name_or_path)
    if getattr(config, "target_modules", None) == _carrier(family):
        for name, parameter in tuned.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and "lora_" not in name)
    for module in tower_modules(tuned, family):
        module.forward = torch.no_grad()(module.forward)
    _lift(tuned)
    _prepare_prompt(tuned, family)
    return tuned


def _lift(tuned: PeftModel) -> bool:
    """Put trained copies of whole modules (the projector) into float32, as peft does with its own matrices.

    Such a copy takes and gives what the original does. Returns whether anything was in another precision.
    """
    lifted = False
    for wrapper in (module for module in tuned.modules() if isinstance(module, ModulesToSaveWrapper)):
        for copy in wrapper.modules_to_save.values():
            if all(parameter.dtype == torch.float32 for parameter in copy.parameters()):
                continue
            copy.forward = _in_float32(copy.float().forward)
            lifted = True
    return lifted


def _in_float32(forward: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A module's forward pass with its input in float32 and its output as the input was; within autocast as told."""
    return lambda features: forward(features.float()).to(features.dtype)


def check_targets(model: Any, family: Family, names: Sequence[str]) -> None:
    """Raise ``ValueError`` for a name that no linear layer of the language model has: peft would ignore it."""
    there = {
        name.rpartition(".")[2]
        for name, module in model.get_submodule(family.language_model).named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    if unknown := [name for name in names if name not in there]:
        raise ValueError(f"lora_targets: no layer is called {', '.join(unknown)}; there are {', '.join(sorted(there))}")


def _check_method(model: Any, settings: Training) -> None:
    four_bit = bool(quantised_layers(model))
    if four_bit != settings.four_bit:
        loaded, needed = ("4 bit", "full precision") if four_bit else ("full precision", "4 bit")
        raise ValueError(
            f"method {settings.method} needs the base in {needed}, it is in {loaded}: "
            f"load_model(..., four_bit={settings.four_bit})"
        )


def add_lora(
    model: Any, family: Family, rank: int, alpha: int, dropout: float, projector: bool, seed: int
) -> PeftModel:
    """LoRA on every linear layer of the language model; ``projector``: train the projector as well."""
    there = {path.rpartition(".")[2] for path in linear_layers(model, family)}
    names = [name for name in LORA_TARGETS if name in there] + sorted(there - set(LORA_TARGETS))
    lora = {"lora_rank": rank, "lora_alpha": alpha, "lora_dropout": dropout, "lora_targets": names}
    settings = Training.model_validate({"method": "lora", **lora, "train_projector": projector})
    return add_adapter(model, family, adapter_config(family, settings), seed)


def adapter_config(family: Family, settings: Training) -> PeftConfig:
    """peft's configuration of the settings' method."""
    beside = [family.projector_name] if settings.train_projector and family.projector else None
    if settings.method == "prompt_tuning":
        return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=settings.prompt_tokens)
    if settings.method == "ia3":
        targets, inner = family.linear_layers("k_proj", "v_proj", "down_proj"), family.linear_layers("down_proj")
        return IA3Config(
            task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=inner, modules_to_save=beside
        )
    if settings.method == "projector":
        # peft requires at least one layer: it gets one of rank 1, which starts at zero and is frozen (`add_adapter`)
        alone, beside = _carrier(family), [family.projector_name]
        return LoraConfig(r=1, lora_alpha=1, target_modules=alone, modules_to_save=beside, task_type="CAUSAL_LM")
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=family.linear_layers(*settings.lora_targets),
        modules_to_save=beside,
        task_type="CAUSAL_LM",
    )


def _carrier(family: Family) -> str:
    return rf".*{family.language_model}\.layers\.0\.self_attn\.q_proj"


def _prepare_prompt(tuned: PeftModel, family: Family) -> None:
    """A trained prompt lengthens the input. Only the family knows what that means for positions."""
    if tuned.active_peft_config.is_prompt_learning:
        # peft drops the positions of `generate` and warns each time; the family's hook computes the right ones
        warnings.filterwarnings("ignore", message="Position ids are not supported for parameter efficient tuning")
        model: Any = tuned.get_base_model().model
        model.register_forward_pre_hook(family.positions_behind_prompt, with_kwargs=True)


def remove_adapter(tuned: PeftModel, family: Family) -> Any:
    """The base model as it was before `add_adapter`, so that it can take another adapter without being reloaded."""
    model: Any = tuned.get_base_model()
    for name, module in list(model.named_modules()):
        original = None
        if isinstance(module, BaseTunerLayer):
            original = module.get_base_layer()
        elif isinstance(module, ModulesToSaveWrapper):
            original = module.original_module
        if original is not None:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, original)
    for module in tower_modules(model, family):
        module.__dict__.pop("forward", None)
    if hasattr(model, "model"):
        model.model._forward_pre_hooks.clear()
        model.model._forward_pre_hooks_with_kwargs.clear()
    if hasattr(model, "peft_config"):
        del model.peft_config
    model._hf_peft_config_loaded = False
    return model.eval().requires_grad_(False)


def trainable_groups(model: Any, family: Family) -> dict[str, int]:
    """Trainable parameters by group: language_model, projector, vision_tower, other. The last two must be 0."""
    counts = dict.fromkeys(GROUPS, 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts[group_of(name, family)] += parameter.numel()
    return counts


def gradient_norms(model: Any, family: Family) -> dict[str, float]:
    """The norm of the gradients of each group of `trainable_groups`; 0 if there are none."""
    squares = dict.fromkeys(GROUPS, 0.0)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            squares[group_of(name, family)] += float(parameter.grad.float().pow(2).sum())
    return {group: square**0.5 for group, square in squares.items()}


def group_of(name: str, family: Family) -> str:
    """The group of a parameter. The projector comes first, since it may be inside the tower's module."""
    for group in ("projector", "vision_tower", "language_model"):
        if (path := getattr(family, group)) and f"{path}." in name:
            return group
    return "language_model" if name.startswith("prompt_encoder.") else "other"


def load_adapter(model: Any, folder: str | Path) -> PeftModel:
    """Put a saved adapter on its base model, for scoring.

    Raises ``FileNotFoundError`` for an incomplete folder. Raises ``RuntimeError`` if a tensor of the file is not in the
    model, or a part of the model has no tensor in the file: such an adapter loads silently and does nothing.
    """
    folder = Path(folder)
    if missing := [name for name in ADAPTER_FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: no {', '.join(missing)}; expected an adapter saved by the fine-tuning")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # checked below, and an error there
        tuned = PeftModel.from_pretrained(model, str(folder))
    if _lift(tuned):  # its numbers have just been rounded to the base's precision
        set_peft_model_state_dict(tuned, load_peft_weights(str(folder), device=str(plain_model(tuned).device)))
    check_adapter(tuned, folder)
    _prepare_prompt(tuned, family_of_model(tuned))
    return tuned.eval()


def quantisation_of(adapter: str | Path) -> bool | BitsAndBytesConfig:
    """How an adapter's base model was quantised, from its ``training.json``: False, True (as by `nf4`), or the
    configuration itself. An adapter without that file was trained in 4 bit.
    """
    known = training_record(adapter) or {"method": "qlora"}
    if stored := known.get("quantisation"):
        return BitsAndBytesConfig.from_dict(stored)
    return bool(known["method"] == "qlora")


def check_adapter(model: PeftModel, folder: Path) -> None:
    """Compare names and values in the file with those in the model."""
    from peft import get_peft_model_state_dict

    loaded = get_peft_model_state_dict(model)
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if wrong := set(saved) ^ set(loaded):
        raise RuntimeError(
            f"{folder}: {len(wrong)} tensors are in the file or in the model only, e.g. {min(wrong)}; "
            "use the base model that it was trained on"
        )
    for name, tensor in saved.items():
        if not torch.equal(tensor.to(loaded[name]), loaded[name]):
            raise RuntimeError(
                f"{folder}: tensor {name} was not loaded into the model; install the versions of requirements.txt"
            )
