"""What is particular to an architecture, as data: where its parts lie and how its processor is built.

A new family of VLM is one module that makes a `Family`, plus its name in `families`. Everything else in the project
speaks of *the* language model, *the* vision tower and *the* projector of a family, never of one architecture's names.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from helpers.models.batches import Tensors


class Memory(Protocol):
    """What a tower's pass by way of a memory needs of it; `helpers.models.vision_cache` has one."""

    def recall(
        self,
        pictures: "Sequence[torch.Tensor]",
        shapes: Sequence[tuple[int, ...]],
        compute: "Callable[[list[int]], list[torch.Tensor]]",
    ) -> "list[torch.Tensor]":
        """The features of each picture; ``compute`` is given the places of those that are not remembered."""


@dataclass(frozen=True)
class Family:
    """Module paths are as in ``model.named_modules()`` of the unwrapped conditional-generation model."""

    model_type: str  # as in config.json
    model_class: str  # name in `transformers`
    language_model: str
    vision_tower: str
    projector: str
    frozen: tuple[str, ...]  # modules that make up the tower without its projector, each called as a whole
    tower_entry: str  # the tower's first module: it runs whenever the tower really computes
    load_processor: Callable[[str], Any]
    positions: Callable[[Any, "Tensors"], "torch.Tensor"]  # (model, sample) -> axes x length, as the model takes them
    positions_behind_prompt: Callable[..., Any]  # a forward hook of the inner model: positions behind trained vectors
    cached_tower: Callable[[Any, Memory], Any]  # (tower module, memory) -> its forward pass by way of the memory

    @property
    def projector_name(self) -> str:
        """The last part of the projector's path, by which peft finds it."""
        return self.projector.rsplit(".", 1)[-1]

    def linear_layers(self, *names: str) -> str:
        """A pattern for peft: the language model's layers of these names, and nothing else.

        Anchored at the language model's path: a bare ``q_proj`` would also match LLaVA's CLIP tower.
        """
        path = self.language_model.replace(".", r"\.")
        return rf".*{path}\..*\.({'|'.join(names)})"

    @property
    def not_quantised(self) -> list[str]:
        """Modules kept in full precision. A list of one's own drops the library's exclusion of the head: it is here."""
        return [self.vision_tower, self.projector, "lm_head"]


def families() -> dict[str, Family]:
    """By model type."""
    from helpers.models.llava_next import LLAVA_NEXT
    from helpers.models.qwen2_vl import QWEN2_VL

    return {family.model_type: family for family in (QWEN2_VL, LLAVA_NEXT)}


def plain_model(model: Any) -> Any:
    """The conditional-generation model without peft's wrapper around it; the adapter's layers stay where they are."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def family_of_model(model: Any) -> Family:
    """The family of a loaded model, with or without an adapter."""
    return families()[model.config.model_type]


def family_of(model_path: str | Path) -> Family:
    """The family of a checkpoint folder or hub id, by its config's ``model_type``.

    Raises ``FileNotFoundError`` for a folder without ``config.json`` and ``ValueError`` for an unknown architecture.
    """
    model_type, known = _model_type(model_path), families()
    if model_type not in known:
        raise ValueError(
            f"{model_path}: model_type is {model_type!r}; known: {', '.join(known)}. "
            "To add a family, see helpers/models/registry.py"
        )
    return known[model_type]


def config_of(model_path: str | Path) -> dict[str, Any]:
    """What a folder's ``config.json`` says; nothing where there is none, as of a hub id."""
    config = Path(model_path) / "config.json"
    return json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}


def _model_type(model_path: str | Path) -> str:
    if (Path(model_path) / "config.json").is_file():
        return config_of(model_path).get("model_type", "")
    if Path(model_path).is_absolute() or Path(model_path).is_dir():
        raise FileNotFoundError(f"{model_path}: no config.json; expected a model folder in the Hugging Face layout")
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(model_path), trust_remote_code=False).model_type
