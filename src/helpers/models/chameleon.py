"""Chameleon (arXiv 2405.09818): early fusion. Images become tokens of the vocabulary, by a frozen codebook."""

from dataclasses import replace
from typing import Any

from helpers.models.family import Family
from helpers.models.rule import load_by_rule

_TEMPLATE = (  # as its processor writes a chat: a separator ends the question
    "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'user' %}{{ sep_token }}{% else %}{{ eos_token }}{% endif %}{% endfor %}"
)


def as_chameleon(family: Family) -> Family:
    """The codebook is the tower: frozen, and not called for a text. There is no projector."""
    path = f"{family.language_model}.vqmodel"

    def load(folder: str) -> Any:
        processor = load_by_rule(folder, family.model_type, _TEMPLATE)
        processor.return_for_text_completion = True  # the template has the separator already
        return processor

    return replace(
        family, vision_tower=path, frozen=(path,), tower_entry=f"{path}.encoder.conv_in", load_processor=load
    )
