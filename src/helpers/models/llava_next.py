"""LLaVA-NeXT, called LLaVA-1.6 by its authors: a CLIP tower over the picture and its tiles, an MLP projector."""

from transformers import LlavaNextProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from helpers.models.families import Family


def load_processor(path: str) -> LlavaNextProcessor:
    """The library's processor, its image half in PIL."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    pictures = LlavaNextImageProcessorPil.from_pretrained(path)
    return LlavaNextProcessor.from_pretrained(path, tokenizer=tokenizer, image_processor=pictures)


LLAVA_NEXT = Family(
    model_type="llava_next",
    model_class="LlavaNextForConditionalGeneration",
    language_model="model.language_model",
    vision_tower="model.vision_tower",
    projector="model.multi_modal_projector",
    frozen=("model.vision_tower",),
    load_processor=load_processor,
)
