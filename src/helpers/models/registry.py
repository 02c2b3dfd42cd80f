"""The family of any vision-language model: two are written down, all others are found by rule.

`WRITTEN` are the paper's two. `DEPARTURES` change what the rule finds, for architectures that do not keep to it.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from helpers.models import blip_2, chameleon, idefics3, paligemma
from helpers.models.family import Family, plain_model
from helpers.models.llava_next import LLAVA_NEXT
from helpers.models.miniatures import narrowed
from helpers.models.qwen2_vl import QWEN2_VL
from helpers.models.rule import by_rule, model_class_of
from helpers.models.verdicts import fast_of

WRITTEN = {family.model_type: family for family in (QWEN2_VL, LLAVA_NEXT)}
DEPARTURES: dict[str, Callable[[Family], Family]] = {
    "blip-2": blip_2.as_blip_2,
    **dict.fromkeys(("instructblip", "instructblipvideo"), blip_2.as_instructblip),
    "chameleon": chameleon.as_chameleon,
    "idefics3": idefics3.as_idefics3,
    "paligemma": paligemma.as_paligemma,
    "smolvlm": idefics3.as_idefics3,
}


def family_of_model(model: Any) -> Family:
    """The family of a loaded model, with or without an adapter."""
    config = plain_model(model).config
    return WRITTEN.get(config.model_type) or _family_of_config(
        json.dumps(config.to_dict(), sort_keys=True, default=str)
    )


def family_of(model_path: str | Path) -> Family:
    """The family of a checkpoint folder or hub id, from its configuration alone.

    Raises ``FileNotFoundError`` for a folder without ``config.json`` and ``ValueError`` for an architecture that is no
    image-text-to-text model of transformers, or has no decoder that answers in words.
    """
    folder = Path(model_path)
    if not (folder / "config.json").is_file() and (folder.is_absolute() or folder.is_dir()):
        raise FileNotFoundError(f"{model_path}: no config.json; expected a model folder in the Hugging Face layout")
    config = config_of(model_path)
    model_type = config.get("model_type", "") if config else family_config(model_path).model_type
    if (written := WRITTEN.get(model_type)) is not None:
        return written
    try:
        model_class_of(model_type)
        return _family_of_config(json.dumps(whole_config(model_path), sort_keys=True, default=str))
    except ValueError as error:
        raise ValueError(f"{model_path}: {error}") from None


def whole_config(model_path: str | Path) -> dict[str, Any]:
    """The configuration of a folder or hub id with every field, also those that its file leaves at their defaults."""
    found: dict[str, Any] = family_config(model_path).to_dict()
    return found


def family_config(model_path: str | Path) -> Any:
    """The configuration of a folder or hub id, as an object of the library's class."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(model_path), trust_remote_code=False)


def config_of(model_path: str | Path) -> dict[str, Any]:
    """The content of a folder's ``config.json``; empty if there is none, as for a hub id."""
    config = Path(model_path) / "config.json"
    return json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}


@cache
def _family_of_config(config: str) -> Family:
    """The rule, applied to a model without numbers: to a narrow twin, as names of modules do not depend on their size,
    or, where the twin's settings contradict each other, to the whole.
    """
    import torch
    import transformers

    given = json.loads(config)
    model_type = given.get("model_type", "")
    model_class = getattr(transformers, model_class_of(model_type))
    with torch.device("meta"):
        try:
            model = model_class(model_class.config_class.from_dict(narrowed(given)))
        except (ValueError, TypeError, KeyError, AttributeError):
            model = model_class(model_class.config_class.from_dict(given))
    family = by_rule(model, fast_of(model_type))
    return DEPARTURES.get(model_type, replace)(family)
