"""Qwen2-VL (arXiv 2409.12191): a ViT at native resolution, 2x2 patches merged into one token, multimodal RoPE."""

from typing import Any

import torch
from transformers import Qwen2VLProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from helpers.models.batches import Tensors
from helpers.models.family import Family, Memory


class Qwen2VLPictureProcessor(Qwen2VLProcessor):
    """The library's processor without its video part, which needs torchvision; images always go through PIL."""

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **kwargs)

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """Save the image settings in a file of their own too: there the library's class looks for video settings."""
        self.image_processor.save_pretrained(save_directory)
        return super().save_pretrained(save_directory, push_to_hub, **kwargs)


Qwen2VLPictureProcessor.__name__ = Qwen2VLProcessor.__name__  # saved under the name that other programs know


def _load_processor(path: str) -> Qwen2VLPictureProcessor:
    """Tokenizer, chat template and PIL image processor of a checkpoint."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    images = Qwen2VLImageProcessorPil.from_pretrained(path)
    return Qwen2VLPictureProcessor(images, tokenizer, chat_template=tokenizer.chat_template)


def _positions(model: Any, sample: Tensors) -> torch.Tensor:
    """4 x length: the position in the text, then time, height and width (multimodal RoPE), equal within text."""
    length = sample["input_ids"].shape[1]
    place = torch.arange(length).expand(4, length)
    if "image_grid_thw" not in sample:
        return place
    grid, kinds = sample["image_grid_thw"], sample["mm_token_type_ids"]
    axes, _ = model.model.get_rope_index(sample["input_ids"], mm_token_type_ids=kinds, image_grid_thw=grid)
    return torch.cat([place[:1], axes[:, 0]])


def _positions_behind_prompt(model: Any, arguments: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Three axes even if peft passes embeddings instead of tokens, for which the model would count only words."""
    past = keywords.get("past_key_values")
    seen = past.get_seq_length() if past is not None else 0
    if seen:
        length = 1 if keywords.get("input_ids") is None else keywords["input_ids"].shape[1]
        mask = keywords.get("attention_mask")  # None if nothing is padded
        ahead = torch.arange(seen, seen + length, device=model.device).unsqueeze(0)
        place = ahead if mask is None else mask.long().cumsum(dim=1)[:, -length:] - 1  # batch x length
        place = place if model.rope_deltas is None else place + model.rope_deltas.to(place.device)
        return arguments, {**keywords, "position_ids": place.expand(3, *place.shape)}
    model.rope_deltas = None  # left over from the text before
    embedded, grid = keywords.get("inputs_embeds"), keywords.get("image_grid_thw")
    if embedded is None or grid is None:
        return arguments, keywords
    kinds, mask = keywords["mm_token_type_ids"], keywords.get("attention_mask")
    more = embedded.shape[1] - kinds.shape[1]
    kinds = torch.nn.functional.pad(kinds, (more, 0))  # trained vectors are text
    axes, model.rope_deltas = model.get_rope_index(
        torch.zeros_like(kinds).long(),
        mm_token_type_ids=kinds,
        image_grid_thw=grid,
        attention_mask=None if mask is None else mask.long(),
    )
    return arguments, {**keywords, "position_ids": axes}


def _cached_tower(tower: Any, memory: Memory) -> Any:
    """The tower's forward pass, with everything before the projector cached in ``memory``, image by image."""
    whole = tower.forward

    def forward(hidden_states: torch.Tensor, grid_thw: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        images = hidden_states.split(grid_thw.prod(dim=1).tolist())  # each patches x pixels

        def compute(missing: list[int]) -> list[torch.Tensor]:
            pixels = torch.cat([images[i] for i in missing])
            seen = whole(pixels, grid_thw=grid_thw[missing]).last_hidden_state
            return list(seen.split([len(images[i]) for i in missing]))

        shapes = [tuple(grid) for grid in grid_thw.tolist()]
        seen = torch.cat(memory.recall(images, shapes, compute))
        return BaseModelOutputWithPooling(last_hidden_state=seen, pooler_output=tower.merger(seen))

    return forward


QWEN2_VL = Family(
    model_type="qwen2_vl",
    model_class="Qwen2VLForConditionalGeneration",
    language_model="model.language_model",
    vision_tower="model.visual",
    projector="model.visual.merger",  # inside the tower's module
    frozen=("model.visual.patch_embed", "model.visual.blocks"),
    tower_entry="model.visual.patch_embed",
    load_processor=_load_processor,
    positions=_positions,
    positions_behind_prompt=_positions_behind_prompt,
    cached_tower=_cached_tower,
    positioned=("model.visual.rotary_pos_emb",),
)
