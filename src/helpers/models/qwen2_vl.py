"""Qwen2-VL (arXiv 2409.12191): a ViT at native resolution, 2x2 patches merged into one token, multimodal RoPE."""

from transformers import Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from helpers.models.families import Family


class Qwen2VLPictureProcessor(Qwen2VLProcessor):
    """The library's processor without its video half, which needs torchvision; pictures go through PIL everywhere."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **kwargs)


def load_processor(path: str) -> Qwen2VLPictureProcessor:
    """Tokenizer, chat template and PIL image processor of a checkpoint."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    pictures = Qwen2VLImageProcessorPil.from_pretrained(path)
    return Qwen2VLPictureProcessor(pictures, tokenizer, chat_template=tokenizer.chat_template)


QWEN2_VL = Family(
    model_type="qwen2_vl",
    model_class="Qwen2VLForConditionalGeneration",
    language_model="model.language_model",
    vision_tower="model.visual",
    projector="model.visual.merger",  # inside the tower's module
    frozen=("model.visual.patch_embed", "model.visual.blocks"),
    load_processor=load_processor,
)
