"""LLaVA-NeXT, which its authors call LLaVA-1.6: a CLIP tower over the image and its tiles, and an MLP projector."""

from transformers import LlavaNextProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from helpers.models.family import Family
from helpers.models.rule import cached_tower, positions, positions_behind_prompt


def _load_processor(path: str) -> LlavaNextProcessor:
    """The library's processor, with its image part in PIL."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    images = LlavaNextImageProcessorPil.from_pretrained(path)
    return LlavaNextProcessor.from_pretrained(path, tokenizer=tokenizer, image_processor=images)


LLAVA_NEXT = Family(
    model_type="llava_next",
    model_class="LlavaNextForConditionalGeneration",
    language_model="model.language_model",
    vision_tower="model.vision_tower",
    projector="model.multi_modal_projector",
    frozen=("model.vision_tower",),
    tower_entry="model.vision_tower.embeddings",
    load_processor=_load_processor,
    positions=positions,
    positions_behind_prompt=positions_behind_prompt,
    cached_tower=cached_tower,
    positioned=(),
)
