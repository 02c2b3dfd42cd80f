"""LLaVA-NeXT, which its authors call LLaVA-1.6: a CLIP tower over the image and its tiles, and an MLP projector."""

from typing import Any

import torch
from transformers import LlavaNextProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from helpers.models.batches import Tensors
from helpers.models.family import Family, Memory


def _load_processor(path: str) -> LlavaNextProcessor:
    """The library's processor, with its image part in PIL."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    images = LlavaNextImageProcessorPil.from_pretrained(path)
    return LlavaNextProcessor.from_pretrained(path, tokenizer=tokenizer, image_processor=images)


def _positions(_: Any, sample: Tensors) -> torch.Tensor:
    """1 x length: the position in the text; image tokens count like words."""
    return torch.arange(sample["input_ids"].shape[1]).unsqueeze(0)


def _positions_behind_prompt(_: Any, arguments: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Nothing to do: rotary positions are relative, and image tokens count like words."""
    return arguments, keywords


def _cached_tower(tower: Any, memory: Memory) -> Any:
    """The tower's forward pass, cached in ``memory`` tile by tile; it keeps only the requested layers."""
    whole = tower.forward

    def forward(pixel_values: torch.Tensor, output_hidden_states: Any = -2, **_: Any) -> BaseModelOutputWithPooling:
        layers = [output_hidden_states] if isinstance(output_hidden_states, int) else list(output_hidden_states)
        tiles = list(pixel_values.split(1))  # each 1 x colours x height x width

        def compute(missing: list[int]) -> list[torch.Tensor]:
            seen = whole(torch.cat([tiles[i] for i in missing]), output_hidden_states=True).hidden_states
            return list(torch.stack([seen[layer] for layer in layers], dim=1).split(1))

        seen = torch.cat(memory.recall(tiles, [tuple(layers)] * len(tiles), compute))  # tiles x layers x tokens x width
        found: Any = {layer: seen[:, i] for i, layer in enumerate(layers)}  # looked up like the library's tuple
        return BaseModelOutputWithPooling(last_hidden_state=seen[:, -1], hidden_states=found)

    return forward


LLAVA_NEXT = Family(
    model_type="llava_next",
    model_class="LlavaNextForConditionalGeneration",
    language_model="model.language_model",
    vision_tower="model.vision_tower",
    projector="model.multi_modal_projector",
    frozen=("model.vision_tower",),
    tower_entry="model.vision_tower.embeddings",
    load_processor=_load_processor,
    positions=_positions,
    positions_behind_prompt=_positions_behind_prompt,
    cached_tower=_cached_tower,
    positioned=(),
)
