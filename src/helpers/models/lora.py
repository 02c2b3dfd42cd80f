"""LoRA on the language model, the projector trained in full, the tower frozen: add, save, load, check.

Rank, alpha and dropout are settings of a run; where the adapters sit is the family's (`Family.lora_targets`).
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open

from helpers.models.families import Family
from helpers.models.loading import tower_modules

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def add_lora(
    model: Any, family: Family, rank: int, alpha: int, dropout: float, projector: bool, seed: int
) -> PeftModel:
    """Wrap a frozen model: LoRA on every linear layer of the language model; ``projector``: trained beside it.

    The tower runs without autograd from here on: frozen, it would otherwise keep activations that nobody needs.
    """
    torch.manual_seed(seed)  # LoRA's first matrix is random
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=family.lora_targets,
        modules_to_save=[family.projector.rsplit(".", 1)[-1]] if projector else None,
        task_type="CAUSAL_LM",
    )
    tuned = get_peft_model(model, config)
    for module in tower_modules(tuned, family):
        module.forward = torch.no_grad()(module.forward)
    return tuned


def trainable_groups(model: Any, family: Family) -> dict[str, int]:
    """Trainable parameters by group: language_model, projector, vision_tower, other. The last two must be 0."""
    counts = dict.fromkeys(("language_model", "projector", "vision_tower", "other"), 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts[group_of(name, family)] += parameter.numel()
    return counts


def group_of(name: str, family: Family) -> str:
    """To which part a parameter belongs. The projector comes first, as it may lie inside the tower's module."""
    for group in ("projector", "vision_tower", "language_model"):
        if f"{getattr(family, group)}." in name:
            return group
    return "other"


def load_adapter(model: Any, folder: str | Path) -> PeftModel:
    """Put a saved adapter on its base model, for scoring.

    Raises ``FileNotFoundError`` for an incomplete folder and ``RuntimeError`` if a tensor of the file did not arrive in
    the model or a part of the model has none in the file: such an adapter loads without a word and does nothing.
    """
    folder = Path(folder)
    if missing := [name for name in ADAPTER_FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: no {', '.join(missing)}; expected an adapter saved by the fine-tuning")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error, below
        tuned = PeftModel.from_pretrained(model, str(folder))
    check_adapter(tuned, folder)
    return tuned.eval()


def check_adapter(model: PeftModel, folder: Path) -> None:
    """Compare names and values of the file with what the model now holds."""
    from peft import get_peft_model_state_dict

    loaded = get_peft_model_state_dict(model)
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if wrong := set(saved) ^ set(loaded):
        raise RuntimeError(f"{folder}: {len(wrong)} tensors are in the file or in the model only, e.g. {min(wrong)}")
    for name, tensor in saved.items():
        if not torch.equal(tensor.to(loaded[name]), loaded[name]):
            raise RuntimeError(f"{folder}: tensor {name} was not loaded into the model")
