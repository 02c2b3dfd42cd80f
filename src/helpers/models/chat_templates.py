"""A checkpoint's chat template: found wherever it is published, and completed where it says less than was trained.

- Checkpoints keep it in ``chat_template.jinja``, ``chat_template.json`` or ``tokenizer_config.json``.
- LLaVA-1.6 on Vicuna was trained with a sentence before the first turn: its authors' conversations always have it
  (``conv_llava_v1`` in haotian-liu/LLaVA, llava/conversation.py), and so do the prompts on the pages of
  llava-hf/llava-v1.6-vicuna-7b-hf. The template published there writes it only if a system turn is given.
- The same template ends an answer with a space instead of ``</s>``. `helpers.models.batches.chat_texts` puts the end
  token there; which tokens end a turn is found here.

What an adapter was trained on is remembered as hashes of a rendered prompt with its labels, since a template that is
changed upstream would change both without a word.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from PIL import Image
from transformers import GenerationConfig, ProcessorMixin

from helpers.models.adapter_card import training_record
from helpers.models.batches import assistant, chat_texts, prompt_texts, training_batch, user

VICUNA_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
_PLACES = "chat_template.jinja, chat_template.json or tokenizer_config.json"
_LONGEST = 1_000_000  # tokens; the example is never too long


def complete(processor: Any, path: str | Path) -> Any:
    """The processor of a checkpoint (folder or hub id) with its whole template and its ``end_tokens``.

    Raises ``ValueError`` for a checkpoint without a chat template.
    """
    processor.chat_template = _published(processor, path)
    if _is_vicuna(processor):
        sentence = "{% if messages[0]['role'] != 'system' %}" + VICUNA_SYSTEM + " {% endif %}"
        processor.chat_template = sentence + processor.chat_template
    processor.end_tokens = _end_tokens(processor.tokenizer, path)
    return processor


def _published(processor: Any, path: str | Path) -> str:
    """The template, from the first of its places that has one; of several named ones the default."""
    stored = ProcessorMixin.get_processor_dict(str(path))[0].get("chat_template")
    template = stored or processor.chat_template or processor.tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise ValueError(
            f"{path}: no chat template in {_PLACES}, so nobody knows how its prompts are written; copy the file from "
            "the page that the checkpoint was published on into the folder"
        )
    return str(template)


def _is_vicuna(processor: Any) -> bool:
    """Whether turns are written as Vicuna's, with a sentence before them only if it is given."""
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    try:
        alone, told = prompt_texts(processor, [[user("Why?")], [system, user("Why?")]])
    except (TemplateError, TypeError):  # a template without system turns may refuse them
        return False
    return alone == "USER: Why? ASSISTANT:" and told in (f"Be brief.{space}{alone}" for space in (" ", ""))


def _end_tokens(tokenizer: Any, path: str | Path) -> list[int]:
    """The tokens that end a turn: those at which the model stops writing, or else the tokenizer's; its own first."""
    try:
        stated = GenerationConfig.from_pretrained(str(path)).eos_token_id
    except OSError:  # no generation_config.json
        stated = None
    ends = [stated] if isinstance(stated, int) else list(stated or [])
    own = tokenizer.eos_token_id
    return sorted(ends, key=lambda token: token != own) or ([] if own is None else [own])


def prompt_hashes(processor: Any) -> dict[str, str]:
    """Twelve hex digits of a short conversation as text, tokens and labels: without an image and with one."""
    chat = [[user("What is it?"), assistant("A moth.")], [user("What is it?", True), assistant("A moth.")]]
    image = Image.new("RGB", (56, 56))
    found = {}
    for name, conversation, shown in zip(("text", "image"), chat, (None, image), strict=True):
        batch = training_batch(processor, [conversation], [shown], _LONGEST)
        parts = [chat_texts(processor, [conversation]), *(batch[part].tolist() for part in ("input_ids", "labels"))]
        found[name] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    return found


def check_prompts(processor: Any, adapter: str | Path) -> None:
    """Warn if prompts or labels are no longer those that an adapter was trained on, by its ``training.json``."""
    known = training_record(adapter).get("prompts")
    if known and (changed := [name for name, now in prompt_hashes(processor).items() if known.get(name, now) != now]):
        warnings.warn(
            f"{adapter}: prompts with {' and '.join(changed)} are no longer written or tokenised as in its training, "
            "so answers may be worse than it can give; train again, or use the base model's files of that time "
            "(`base_revision` in resources.json)",
            stacklevel=2,
        )
