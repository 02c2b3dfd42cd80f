"""The members, by family in the survey's order. A new member is a line here; nothing else lists them.

Torch is not imported before a member is asked for, as the workflow reads this list too.
"""

from collections.abc import Collection
from importlib import import_module
from typing import Any

from helpers.paths import DATA, RUNS

FAMILIES: dict[str, dict[str, str]] = {  # key: module and class
    "contrastive": {
        "clip": "clip:Clip",
        "siglip": "siglip:Siglip",
        "llip": "llip:Llip",
    },
    "masked": {
        "flava": "flava:Flava",
        "vl_bert": "vl_bert:VlBert",
        "vilbert": "vilbert:Vilbert",
    },
    "generative": {
        "coca": "coca:CoCa",
        "chameleon": "chameleon:Chameleon",
        "chameleon_pixels": "chameleon:ChameleonPixels",
        "cm3leon": "cm3leon:CM3Leon",
    },
    "backbone": {
        "frozen": "frozen:Frozen",
        "minigpt_4": "minigpt_4:MiniGpt4",
        "blip_2": "blip_2:Blip2",
        "qwen_vl": "qwen_vl:QwenVL",
        "llava": "llava:Llava",
        "llava_1_5": "llava:Llava15",
        "mllama": "mllama:Mllama",
        "minigpt_5": "minigpt_5:MiniGpt5",
    },
}
CHECKPOINTS = (DATA / "models" / "families", RUNS / "families")  # of lessons; CLIP's is notebook 12's
PROJECTS_OWN = {"llava_next": "LLaVA-NeXT", "qwen2_vl": "Qwen2-VL"}  # backbones with rows of their own, in Table 1


def members() -> list[str]:
    """The keys of all members, in order."""
    return [key for family in FAMILIES.values() for key in family]


def taught() -> list[str]:
    """Those that have had their lesson: its checkpoint came with the repository, or was made here."""
    made = {file.stem for folder in CHECKPOINTS for file in folder.glob("*.safetensors")}
    return [key for key in members() if key in {"clip", *made}]


def family_of_member(key: str) -> str:
    """The family of a member, or of one of the project's own models."""
    return "backbone" if key in PROJECTS_OWN else next(family for family, some in FAMILIES.items() if key in some)


def one_per_family(among: Collection[str]) -> list[str]:
    """The first of these members of each family that has any."""
    firsts = (next((key for key in some if key in among), None) for some in FAMILIES.values())
    return [key for key in firsts if key]


def module_and_class(key: str) -> tuple[str, str]:
    """The module and the class of a member. Raises ``ValueError`` for an unknown key."""
    for some in FAMILIES.values():
        if key in some:
            module, _, name = some[key].partition(":")
            return f"helpers.families.{module}", name
    raise ValueError(f"member is {key!r}; known: {', '.join(members())}")


def member_class(key: str) -> type[Any]:
    """The class of a member. Raises as `module_and_class` does."""
    module, name = module_and_class(key)
    found: type[Any] = getattr(import_module(module), name)
    return found
