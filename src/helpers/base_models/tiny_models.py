"""The demo's two base models before training: the real architectures, a few million parameters, random weights.

Both read the drawn world's language through a byte-level BPE tokenizer trained on that language. Both have the chat
template of the 7B model that they represent, without system turns, which have no use here.
"""

import random
import re
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from helpers.base_models.curriculum import Curriculum
from helpers.models.loading import load_model, load_processor
from helpers.models.qwen2_vl import Qwen2VLPictureProcessor
from helpers.synthetic.dialects import new_words
from helpers.synthetic.invented import invent_name

IMAGE_SIZE = 56  # pixels per side: the smallest at which the eye can distinguish every part of a look
VOCABULARY_SIZE = 1024  # whole words of the world's language; names in pieces of one to four letters
HIDDEN, LAYERS, HEADS, FEED_FORWARD = 192, 6, 6, 512
_LANGUAGE_MODEL: dict[str, Any] = dict(
    hidden_size=HIDDEN,
    intermediate_size=FEED_FORWARD,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    max_position_embeddings=2048,
)
TOWER_HIDDEN, TOWER_LAYERS, TOWER_HEADS = 128, 3, 4

QWEN2_VL_SPECIAL = tuple(
    f"<|{name}|>" for name in "endoftext im_start im_end vision_start vision_end image_pad video_pad".split()
)
QWEN2_VL_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
LLAVA_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {% else %}ASSISTANT: {% endif %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def corpus(exercises: int = 6000, names: int = 3000, seed: int = 0) -> list[str]:
    """The world's text for the tokenizer: exercises, and many names, so that any name splits into few pieces."""
    rng = random.Random(seed)
    world = [f"user\n{e.prompt}\nassistant\n{e.answer}" for e in islice(Curriculum(seed), exercises)]
    extra = [f"the {invent_name(rng.choice(('butterfly', 'culture')), rng)}." for _ in range(names)]
    return ["USER: ASSISTANT: "] * 50 + world + extra


def train_tokenizer(texts: list[str], special: tuple[str, ...], **roles: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE (so no byte is unknown) in the format of `transformers`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, padding_side="right", model_max_length=2048, **roles)
    tokenizer.add_tokens(cut_up_words(tokenizer))
    return tokenizer


def cut_up_words(tokenizer: Any) -> list[str]:
    """The dialects' words (`helpers.synthetic.dialects.new_words`), each with its space, that take several tokens.

    The tokenizer is that of the captions. With a token per word, a text in another dialect is hardly longer. A word
    with which a word of the captions begins is left out: the token would cut up that word ("ear", "early").
    """
    known = {word for text in corpus(exercises=2000) for word in re.findall(r" [a-z]+", text)}
    words = (f" {word}" for word in new_words())
    return [
        word
        for word in words
        if len(tokenizer(word).input_ids) > 1 and not any(other.startswith(word) for other in known)
    ]


def add_words(model: Any, tokenizer: Any) -> None:
    """Give a checkpoint of captions alone the dialects' words; each begins as the mean of its pieces' embeddings."""
    words = cut_up_words(tokenizer)
    pieces = [tokenizer(word).input_ids for word in words]
    first = len(tokenizer)
    tokenizer.add_tokens(words)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        with torch.no_grad():
            for row, ids in enumerate(pieces, start=first):
                layer.weight[row] = layer.weight[ids].mean(dim=0)


def go_on_from(folder: Path) -> tuple[Any, Any]:
    """A taught model, in float32, with today's words and chat template, ready for another lesson, and its processor."""
    (model, _), processor = load_model(folder, four_bit=False), load_processor(folder)
    model.requires_grad_(True)
    add_words(model, processor.tokenizer)  # none, if it has them all
    template = LLAVA_TEMPLATE if isinstance(model, LlavaNextForConditionalGeneration) else QWEN2_VL_TEMPLATE
    processor.chat_template = processor.tokenizer.chat_template = template
    return model, processor


def tiny_qwen2_vl(seed: int = 0) -> tuple[Qwen2VLForConditionalGeneration, Any]:
    """Untrained model and processor: 8x8 patches of 7 pixels, merged 2x2 into 16 image tokens."""
    tokenizer = train_tokenizer(
        corpus(), QWEN2_VL_SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=QWEN2_VL_TEMPLATE
    )
    ids: dict[str, Any] = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN2_VL_SPECIAL}
    images = Qwen2VLImageProcessorPil(
        patch_size=7,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": IMAGE_SIZE**2, "longest_edge": IMAGE_SIZE**2},
    )
    processor = Qwen2VLPictureProcessor(images, tokenizer, chat_template=QWEN2_VL_TEMPLATE)
    config = Qwen2VLConfig(
        text_config=dict(
            **_LANGUAGE_MODEL,
            vocab_size=len(tokenizer),
            num_key_value_heads=HEADS // 3,
            # Half of a head's width, split into time, height and width in the 7B model's proportions (16, 24, 24).
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
            bos_token_id=ids["<|endoftext|>"],
            eos_token_id=ids["<|im_end|>"],
            pad_token_id=ids["<|endoftext|>"],
        ),
        vision_config=dict(
            depth=TOWER_LAYERS,
            embed_dim=TOWER_HIDDEN,
            hidden_size=HIDDEN,
            num_heads=TOWER_HEADS,
            mlp_ratio=4,
            patch_size=7,
            spatial_merge_size=2,
            temporal_patch_size=2,
        ),
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    torch.manual_seed(seed)
    return Qwen2VLForConditionalGeneration(config), processor


def tiny_llava_next(seed: int = 0) -> tuple[LlavaNextForConditionalGeneration, Any]:
    """Untrained model and processor: the image and one tile, 4x4 patches of 14 pixels each; 36 image tokens."""
    tokenizer = train_tokenizer(
        corpus(),
        LLAVA_SPECIAL,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        chat_template=LLAVA_TEMPLATE,
    )
    ids: dict[str, Any] = {token: tokenizer.convert_tokens_to_ids(token) for token in LLAVA_SPECIAL}
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    pinpoints = [[IMAGE_SIZE, IMAGE_SIZE]]
    shortest = {"shortest_edge": IMAGE_SIZE}
    images = LlavaNextImageProcessorPil(size=shortest, crop_size=side, image_grid_pinpoints=pinpoints)
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    config = LlavaNextConfig(
        text_config=LlamaConfig(
            **_LANGUAGE_MODEL,
            vocab_size=len(tokenizer),
            num_key_value_heads=HEADS,
            bos_token_id=ids["<s>"],
            eos_token_id=ids["</s>"],
            pad_token_id=ids["<pad>"],
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=TOWER_HIDDEN,
            intermediate_size=4 * TOWER_HIDDEN,
            num_hidden_layers=TOWER_LAYERS + 1,  # features come from the second-to-last layer, as in the 7B model
            num_attention_heads=TOWER_HEADS,
            image_size=IMAGE_SIZE,
            patch_size=14,
            projection_dim=TOWER_HIDDEN,
        ),
        image_token_index=ids["<image>"],
        image_grid_pinpoints=pinpoints,
        image_seq_length=16,
    )
    torch.manual_seed(seed)
    return LlavaNextForConditionalGeneration(config), processor


TINY_MODELS = {"tiny-qwen2-vl": tiny_qwen2_vl, "tiny-llava-next": tiny_llava_next}
