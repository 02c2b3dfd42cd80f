"""Qwen2-VL (arXiv 2409.12191): a ViT at native resolution, 2x2 patches merged into one token, multimodal RoPE."""

from typing import Any

import torch
from transformers import Qwen2VLProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from helpers.models.family import Family, Memory
from helpers.models.rule import positions, positions_behind_prompt


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
    positions=positions,
    positions_behind_prompt=positions_behind_prompt,
    cached_tower=_cached_tower,
    positioned=("model.visual.rotary_pos_emb",),
)
