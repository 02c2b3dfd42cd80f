"""PaliGemma (arXiv 2407.07726): a prefix that sees itself whole, then an answer that sees only what came before."""

from dataclasses import replace
from typing import Any

from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

from helpers.models.family import Family
from helpers.models.rule import load_by_rule

_TEMPLATE = (  # as its processor writes a prompt: image, beginning, text, line break
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}{{ bos_token }}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{{ '\\n' }}"
    "{% else %}{{ message['content'][0]['text'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def as_paligemma(family: Family) -> Family:
    """A template, and a processor that leaves the template's text as it is and takes texts without images too."""

    def load(path: str) -> Any:
        processor = load_by_rule(path, family.model_type, _TEMPLATE)
        processor.__class__ = _as_written(type(processor))
        processor.answer_kind = 1  # in `token_type_ids`
        return processor

    return replace(family, load_processor=load)


def _as_written(whole: Any) -> Any:
    def prepare(self: Any, images: Any = None, text: Any = None, **given: Any) -> Any:
        return ProcessorMixin.prepare_inputs_layout(self, images=images, text=text, **given)

    def call(self: Any, images: Any = None, text: Any = None, **given: Any) -> BatchFeature:
        if images is None:
            return self.tokenizer(text, return_token_type_ids=True, **given)
        return ProcessorMixin.__call__(self, images=images, text=text, return_token_type_ids=True, **given)

    return type(whole.__name__, (whole,), {"prepare_inputs_layout": prepare, "__call__": call})
