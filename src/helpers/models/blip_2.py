"""BLIP-2 (arXiv 2301.12597): a Q-Former between tower and language model; a text alone goes to the latter."""

from dataclasses import replace
from typing import Any

from helpers.models.family import Family
from helpers.models.rule import load_by_rule

_TEMPLATE = (  # the paper's prompt; its processor puts the image's tokens before the text
    "{% for message in messages %}{% for part in message['content'] if part['type'] == 'text' %}"
    "{% if message['role'] == 'user' %}Question: {{ part['text'] }} Answer:"
    "{% else %} {{ part['text'] }}{{ eos_token }}{% endif %}{% endfor %}{% endfor %}"
)


def as_instructblip(family: Family) -> Family:
    """Not possible."""
    raise ValueError(
        f"{family.model_class} does not work here: its Q-Former reads the whole text, in training the answer too; "
        "use BLIP-2, whose Q-Former sees the image alone"
    )


def as_blip_2(family: Family) -> Family:
    """The head is inside the decoder. Everything up to the projector is frozen, the Q-Former too."""

    def load(path: str) -> Any:
        return load_by_rule(path, family.model_type, _TEMPLATE)

    frozen = (*family.frozen, "qformer")
    return replace(family, frozen=frozen, text_alone=family.language_model, load_processor=load)
