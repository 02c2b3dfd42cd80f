"""What is particular to an architecture, as data: where its parts lie and how its processor is built.

A new family of VLM is one module that makes a `Family`, plus its line in `FAMILIES`. Everything else in the project
speaks of *the* language model, *the* vision tower and *the* projector of a family, never of one architecture's names.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Family:
    """Module paths are as in ``model.named_modules()`` of the unwrapped conditional-generation model."""

    model_type: str  # as in config.json
    model_class: str  # name in `transformers`
    language_model: str
    vision_tower: str
    projector: str
    frozen: tuple[str, ...]  # modules that make up the tower without its projector, each called as a whole
    load_processor: Callable[[str], Any]

    @property
    def lora_targets(self) -> str:
        """A pattern for peft: every linear layer of the language model and of nothing else.

        Anchored at the language model's path: a bare ``q_proj`` would also match LLaVA's CLIP tower.
        """
        path = self.language_model.replace(".", r"\.")
        return rf".*{path}\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    @property
    def not_quantised(self) -> list[str]:
        """Modules kept in full precision. A list of one's own drops the library's exclusion of the head: it is here."""
        return [self.vision_tower, self.projector, "lm_head"]


def family_of(model_path: str | Path) -> Family:
    """The family of a checkpoint folder or hub id, by its config's ``model_type``.

    Raises ``FileNotFoundError`` for a folder without ``config.json`` and ``ValueError`` for an unknown architecture.
    """
    from helpers.models.llava_next import LLAVA_NEXT
    from helpers.models.qwen2_vl import QWEN2_VL

    families = {family.model_type: family for family in (QWEN2_VL, LLAVA_NEXT)}
    model_type = _model_type(model_path)
    if model_type not in families:
        raise ValueError(
            f"{model_path}: model_type is {model_type!r}; known: {', '.join(families)}. "
            "To add a family, see helpers/models/families.py"
        )
    return families[model_type]


def _model_type(model_path: str | Path) -> str:
    config = Path(model_path) / "config.json"
    if config.is_file():
        return json.loads(config.read_text(encoding="utf-8")).get("model_type", "")
    if Path(model_path).is_absolute() or Path(model_path).is_dir():
        raise FileNotFoundError(f"{model_path}: no config.json; expected a model folder in the Hugging Face layout")
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(model_path)).model_type
