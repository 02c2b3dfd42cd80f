"""Narrow twins of any architecture: its true classes and image geometry, two layers of width 32, random weights.

`narrowed` makes a twin's configuration from any model's, by the names of its fields, which all architectures share.
`MINIATURES` are complete small models, with a processor, of the architectures that the project is tested with: the
family's own processor class and PIL image processor, around a tokenizer that spells every byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

WIDTH, HEADS, LAYERS = 32, 2, 2
_PER_HEAD = WIDTH // HEADS
_NARROW: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "embed_dim", "out_hidden_size", "projection_dim", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("encoder_hidden_size", "moe_intermediate_size", "latent_channels", "base_channels"), WIDTH),
    **dict.fromkeys(("intermediate_size", "ffn_dim"), 2 * WIDTH),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "depth", "max_window_layers", "num_experts"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_heads", "attention_heads"), HEADS),
    **dict.fromkeys(("head_dim", "query_pre_attn_scalar"), _PER_HEAD),
    **dict.fromkeys(("num_global_layers", "num_experts_per_tok", "num_res_blocks"), 1),
    "fullatt_block_indexes": [1],  # one layer of each kind
    "cross_attention_layers": [1],
    "deepstack_visual_indexes": [0, 1],
    "intermediate_layers_indices": [0],
    "vision_output_dim": 2 * WIDTH,  # the last layer beside one intermediate layer
    "sliding_window": 8,  # shorter than any prompt: what ignores the window is found out
}


def narrowed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with two narrow layers per part. Images, tokens and special layers stay as they are."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name == "per_layer_config" and value:  # what layers of another kind have different: one of them
            found[name] = {LAYERS - 1: narrowed(next(iter(value.values())))}
        elif isinstance(value, Mapping) and name.endswith("_config"):
            found[name] = narrowed(value)
        elif name in _NARROW and value is not None and not isinstance(value, str):
            every = isinstance(value, list) and not isinstance(_NARROW[name], list)
            found[name] = [_NARROW[name]] * len(value) if every else _NARROW[name]
        elif isinstance(value, list) and len(value) == config.get("num_hidden_layers"):  # an entry per layer
            found[name] = ([kind for i, kind in enumerate(value) if kind not in value[:i]] * LAYERS)[:LAYERS]
        else:
            found[name] = value
    if (shared := config.get("num_key_value_heads")) is not None:
        found["num_key_value_heads"] = HEADS if shared == config.get("num_attention_heads") else 1
    if (rope := config.get("rope_parameters") or config.get("rope_scaling")) and "mrope_section" in rope:
        time, *plane = rope["mrope_section"]
        short = [axis * _PER_HEAD // 2 // (time + sum(plane)) for axis in plane]
        key = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
        found[key] = {**rope, "mrope_section": [_PER_HEAD // 2 - sum(short), *short]}
    return found


def _template(user: str, image: str, after: str, assistant: str, end: str, begin: str = "") -> str:
    """A chat template: what stands before the user's text, for an image, after the text, and round the answer."""
    return (
        f"{begin}{{% for m in messages %}}{{% if m['role'] == 'user' %}}{user}"
        f"{{% for p in m['content'] if p['type'] == 'image' %}}{image}{{% endfor %}}"
        f"{{% for p in m['content'] if p['type'] == 'text' %}}{{{{ p['text'] }}}}{{% endfor %}}{after}"
        f"{{% else %}}{assistant}{{{{ m['content'][0]['text'] }}}}{end}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{assistant}{{% endif %}}"
    )


def _chatml(image: str) -> str:
    return _template("<|im_start|>user{{ '\n' }}", image, _TURN, "<|im_start|>assistant{{ '\n' }}", _TURN)


_TURN = "<|im_end|>{{ '\n' }}"
_LLAVA = _template("USER: ", "<image>{{ '\n' }}", " ", "ASSISTANT:", "</s>")
_QWEN = _chatml("<|vision_start|><|image_pad|><|vision_end|>")
_IDEFICS = _template("User:", "<image>", "<end_of_utterance>{{ '\n' }}", "Assistant:", "<end_of_utterance>{{ '\n' }}")
_GEMMA = _template(
    "<start_of_turn>user{{ '\n' }}",
    "<start_of_image>",
    "<end_of_turn>{{ '\n' }}",
    "<start_of_turn>model{{ '\n' }}",
    "<end_of_turn>{{ '\n' }}",
    "<bos>",
)
_MLLAMA = _template(
    "<|start_header_id|>user<|end_header_id|>{{ '\n\n' }}",
    "<|image|>",
    "<|eot_id|>",
    "<|start_header_id|>assistant<|end_header_id|>{{ '\n\n' }}",
    "<|eot_id|>",
    "<|begin_of_text|>",
)
_MISTRAL = _template("[INST]", "[IMG]", "[/INST]", "", "</s>", "<s>")
_TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 3) for column in range(1, 3))
_CHATML_ENDS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_PLAIN_ENDS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
_QWEN_TOKENS = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


@dataclass(frozen=True)
class Miniature:
    """What a small model of an architecture needs beside its class.

    ``tokens``: special tokens by role; ``extra``: others. ``ids``: the configuration's fields that hold a token's id.
    ``config``: fields to set, with those of parts as nested mappings. ``images``: the PIL image processor's module,
    class and settings. ``processor``: the processor's other settings. ``template`` None: the family defines it.
    """

    tokens: Mapping[str, str]
    extra: tuple[str, ...]
    ids: Mapping[str, str]
    config: Mapping[str, Any]
    images: tuple[str, str, Mapping[str, Any]]
    template: str | None = None
    processor: Mapping[str, Any] = field(default_factory=dict)


_SIDE = 56  # pixels
_SQUARE = {"height": _SIDE, "width": _SIDE}
_CLIP = {"image_size": _SIDE, "patch_size": 14}  # 16 patches
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}
_QWEN_IDS = {
    **{"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
    **{"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"},
}


def _qwen(patch: int, **vision: Any) -> Miniature:
    pixels = {"shortest_edge": (4 * patch) ** 2, "longest_edge": (8 * patch) ** 2}
    return Miniature(
        _CHATML_ENDS,
        _QWEN_TOKENS,
        _QWEN_IDS,
        {"text_config": _MROPE, "vision_config": {"patch_size": patch, "spatial_merge_size": 2, **vision}},
        (
            "qwen2_vl",
            "Qwen2VLImageProcessorPil",
            {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2, "size": pixels},
        ),
        _QWEN,
    )


def _idefics(module: str, name: str, side: str) -> Miniature:
    edges = {"size": {"longest_edge": 2 * _SIDE}, side: {"longest_edge": _SIDE}}
    return Miniature(
        _PLAIN_ENDS | {"eos_token": "<end_of_utterance>"},
        ("<image>", "<fake_token_around_image>", "<global-img>", *_TILES),
        {"image_token_id": "<image>"},
        {"scale_factor": 2, "vision_config": _CLIP},
        (module, name, edges),
        _IDEFICS,
        {"image_seq_len": 4},
    )


MINIATURES: dict[str, Miniature] = {
    "qwen2_vl": _qwen(7),
    "qwen2_5_vl": _qwen(7, window_size=28),  # a window is smaller than an image
    "qwen3_vl": _qwen(8),
    "llava": Miniature(
        _PLAIN_ENDS,
        ("<image>",),
        {"image_token_index": "<image>"},
        {"image_seq_length": 16, "vision_config": _CLIP},
        ("llava", "LlavaImageProcessorPil", {"size": {"shortest_edge": _SIDE}, "crop_size": _SQUARE}),
        _LLAVA,
        {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    ),
    "llava_next": Miniature(
        _PLAIN_ENDS,
        ("<image>",),
        {"image_token_index": "<image>"},
        {"image_seq_length": 16, "image_grid_pinpoints": [[_SIDE, 2 * _SIDE]], "vision_config": _CLIP},
        (
            "llava_next",
            "LlavaNextImageProcessorPil",
            {
                "size": {"shortest_edge": _SIDE},
                "crop_size": _SQUARE,
                "image_grid_pinpoints": [[_SIDE, 2 * _SIDE]],
            },
        ),
        _LLAVA,
        {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    ),
    "llava_onevision": Miniature(
        _CHATML_ENDS,
        ("<|im_start|>", "<image>", "<video>"),
        {"image_token_index": "<image>", "video_token_index": "<video>"},
        {"image_grid_pinpoints": [[_SIDE, 2 * _SIDE]], "vision_config": _CLIP},
        (
            "llava_onevision",
            "LlavaOnevisionImageProcessorPil",
            {"size": _SQUARE, "image_grid_pinpoints": [[_SIDE, 2 * _SIDE]]},
        ),
        _chatml("<image>{{ '\n' }}"),
        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    ),
    "idefics3": _idefics("idefics3", "Idefics3ImageProcessorPil", "max_image_size"),
    "smolvlm": _idefics("smolvlm", "SmolVLMImageProcessorPil", "max_image_size"),
    "internvl": Miniature(
        _CHATML_ENDS
        | {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
        | {"video_token": "<video>"},
        ("<|im_start|>",),
        {"image_token_id": "<IMG_CONTEXT>"},
        {"image_seq_length": 4, "vision_config": {"image_size": [_SIDE, _SIDE], "patch_size": [14, 14]}},
        ("got_ocr2", "GotOcr2ImageProcessorPil", {"size": _SQUARE, "max_patches": 2, "crop_to_patches": True}),
        _chatml("<IMG_CONTEXT>{{ '\n' }}"),
        {"image_seq_length": 4},
    ),
    "gemma3": Miniature(
        {"bos_token": "<bos>", "eos_token": "<end_of_turn>", "pad_token": "<pad>"}
        | {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        ("<start_of_turn>",),
        {
            "image_token_index": "<image_soft_token>",
            "boi_token_index": "<start_of_image>",
            "eoi_token_index": "<end_of_image>",
        },
        {"mm_tokens_per_image": 4, "vision_config": _CLIP},
        ("gemma3", "Gemma3ImageProcessorPil", {"size": _SQUARE}),
        _GEMMA,
        {"image_seq_length": 4},
    ),
    "paligemma": Miniature(
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "image_token": "<image>"},
        (),
        {"image_token_index": "<image>"},
        {"vision_config": _CLIP, "text_config": {"num_image_tokens": 16}},
        ("siglip", "SiglipImageProcessorPil", {"size": _SQUARE, "image_seq_length": 16}),
    ),
    "mllama": Miniature(
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<pad>"},
        ("<|start_header_id|>", "<|end_header_id|>", "<|image|>"),
        {"image_token_index": "<|image|>"},
        {"vision_config": {**_CLIP, "max_num_tiles": 2, "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]]}},
        ("mllama", "MllamaImageProcessorPil", {"size": _SQUARE, "max_image_tiles": 2}),
        _MLLAMA,
    ),
    "blip-2": Miniature(
        _PLAIN_ENDS,
        ("<image>",),
        {"image_token_index": "<image>"},
        {
            "num_query_tokens": 4,
            "image_text_hidden_size": WIDTH,
            "vision_config": _CLIP,
            "qformer_config": {"vocab_size": 64, "cross_attention_frequency": 1},
        },
        ("blip", "BlipImageProcessorPil", {"size": _SQUARE}),
        None,
        {"num_query_tokens": 4},
    ),
    "chameleon": Miniature(
        _PLAIN_ENDS | {"sep_token": "<reserved08706>"},
        ("<image>", "<racm3:break>", "<eoss>", *(f"IMGIMG{letter}Z" for letter in "ABCDEFGH")),
        {},
        {"vq_config": {"num_embeddings": 8, "resolution": 32, "channel_multiplier": [1, 1], "attn_resolutions": []}},
        (
            "chameleon",
            "ChameleonImageProcessorPil",
            {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}},
        ),
        None,
        {"image_seq_length": 16},
    ),
    "mistral3": Miniature(
        _PLAIN_ENDS,
        ("[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        {"image_token_index": "[IMG]"},
        {"spatial_merge_size": 2, "vision_config": {"image_size": 2 * _SIDE, "patch_size": 14}},
        ("pixtral", "PixtralImageProcessorPil", {"size": {"longest_edge": 2 * _SIDE}, "patch_size": 14}),
        _MISTRAL,
        {"patch_size": 14, "spatial_merge_size": 2},
    ),
}


KNOWN_CHECKPOINTS = {  # by model type: a published checkpoint, about how many billions of parameters, a profile to copy
    "qwen2_vl": ("Qwen/Qwen2-VL-7B-Instruct", 8.3, "paper"),
    "qwen2_5_vl": ("Qwen/Qwen2.5-VL-7B-Instruct", 8.3, "paper"),
    "qwen3_vl": ("Qwen/Qwen3-VL-8B-Instruct", 8.8, "current"),
    "llava": ("llava-hf/llava-1.5-7b-hf", 7.1, "paper"),
    "llava_next": ("llava-hf/llava-v1.6-vicuna-7b-hf", 7.1, "paper"),
    "llava_onevision": ("llava-hf/llava-onevision-qwen2-7b-ov-hf", 8.0, "paper"),
    "idefics3": ("HuggingFaceTB/SmolVLM-500M-Instruct", 0.5, "laptop"),
    "smolvlm": ("HuggingFaceTB/SmolVLM2-2.2B-Instruct", 2.2, "laptop"),
    "internvl": ("OpenGVLab/InternVL3-8B-hf", 7.9, "current"),
    "gemma3": ("google/gemma-3-4b-it", 4.3, "current"),
    "paligemma": ("google/paligemma-3b-mix-224", 2.9, "laptop"),
    "mllama": ("meta-llama/Llama-3.2-11B-Vision-Instruct", 10.7, "paper"),
    "blip-2": ("Salesforce/blip2-opt-2.7b", 3.7, "paper"),
    "chameleon": ("facebook/chameleon-7b", 7.0, "paper"),
    "mistral3": ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", 24.0, "large"),
}


def miniature(model_type: str, seed: int = 0) -> tuple[Any, Any]:
    """A small random model of the true class, and its processor. Raises ``KeyError`` for an unknown type."""
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

    small = MINIATURES[model_type]
    tokenizer = spelling_tokenizer(small.tokens, small.extra, small.template)
    processor = _processor(model_type, small, tokenizer)  # which may add tokens
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in small.ids.items()}
    shape = CONFIG_MAPPING[model_type]
    vocabulary: dict[str, Any] = {"vocabulary_map": tokenizer.get_vocab()} if model_type == "chameleon" else {}
    given = shape(**vocabulary)
    config = _merged_config(narrowed(given.to_dict()), {**small.config, **ids})
    ends = {
        f"{role}_id": tokenizer.convert_tokens_to_ids(token) for role, token in small.tokens.items() if role in _ENDS
    }
    for part in (config.get("text_config", config), config):
        part.update({name: value for name, value in ends.items() if name in part}, vocab_size=len(tokenizer))
    model = AutoModelForImageTextToText.from_config(shape.from_dict(config), attn_implementation="eager")
    draw_loudly(model, seed)
    model.generation_config.eos_token_id = ends["eos_token_id"]
    model.generation_config.pad_token_id = ends["pad_token_id"]
    return model.eval().requires_grad_(False), processor


def draw_loudly(model: Any, seed: int = 0) -> None:
    """Random weights so large that every part of the input shows in every output, unlike those before a training."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        if tensor.ndim == 2:
            tensor.data.normal_(std=tensor.shape[-1] ** -0.5, generator=generator)
        elif tensor.ndim > 1 or "bias" in name or "gate" in name:
            tensor.data.normal_(std=0.3, generator=generator)


_ENDS = ("bos_token", "eos_token", "pad_token")


def _processor(model_type: str, small: Miniature, tokenizer: Any) -> Any:
    from helpers.models.rule import assembled, processor_class

    module, name, settings = small.images
    images = getattr(import_module(f"transformers.models.{module}.image_processing_pil_{module}"), name)
    template = {"chat_template": small.template} if small.template else {}
    return assembled(processor_class(model_type), images(**settings), tokenizer, {**template, **small.processor})


def _merged_config(config: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: _merged_config(config[name], value) for name, value in given.items() if name.endswith("_config")}
    return {**config, **given, **parts}


def spelling_tokenizer(special: Mapping[str, str], extra: tuple[str, ...] = (), template: str | None = None) -> Any:
    """A tokenizer with a token per byte, and special ones. ``special``: token by role, as ``eos_token``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spelt = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    spelt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelt.decoder = decoders.ByteLevel()
    if begins := special.get("bos_token"):  # it adds the token by itself, as the published ones do
        ids = [(begins, len(alphabet))]
        spelt.add_special_tokens([begins])
        spelt.post_processor = processors.TemplateProcessing(single=f"{begins} $A", special_tokens=ids)
    roles = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token")
    named = {role: token for role, token in special.items() if role not in roles}
    return PreTrainedTokenizerFast(
        tokenizer_object=spelt,
        chat_template=template,
        padding_side="right",
        model_max_length=4096,
        extra_special_tokens={**named, **{f"extra_{i}": token for i, token in enumerate(extra)}},
        **{role: token for role, token in special.items() if role in roles},
    )
