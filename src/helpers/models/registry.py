"""The known families of vision-language models. A new one is a module that defines a `Family`, listed here."""

import json
from pathlib import Path
from typing import Any

from helpers.models.family import Family
from helpers.models.llava_next import LLAVA_NEXT
from helpers.models.qwen2_vl import QWEN2_VL


def families() -> dict[str, Family]:
    """The families by model type."""
    return {family.model_type: family for family in (QWEN2_VL, LLAVA_NEXT)}


def family_of_model(model: Any) -> Family:
    """The family of a loaded model, with or without an adapter."""
    return families()[model.config.model_type]


def family_of(model_path: str | Path) -> Family:
    """The family of a checkpoint folder or hub id, by the ``model_type`` in its config.

    Raises ``FileNotFoundError`` for a folder without ``config.json`` and ``ValueError`` for an unknown architecture.
    """
    known = families()
    if (Path(model_path) / "config.json").is_file():
        model_type = config_of(model_path).get("model_type", "")
    elif Path(model_path).is_absolute() or Path(model_path).is_dir():
        raise FileNotFoundError(f"{model_path}: no config.json; expected a model folder in the Hugging Face layout")
    else:
        from transformers import AutoConfig

        model_type = AutoConfig.from_pretrained(str(model_path), trust_remote_code=False).model_type
    if model_type not in known:
        raise ValueError(
            f"{model_path}: model_type is {model_type!r}; known: {', '.join(known)}. "
            "To add a family, see helpers/models/registry.py"
        )
    return known[model_type]


def config_of(model_path: str | Path) -> dict[str, Any]:
    """The content of a folder's ``config.json``; empty if there is none, as for a hub id."""
    config = Path(model_path) / "config.json"
    return json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
