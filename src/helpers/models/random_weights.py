"""Models of full size with random weights, loaded like any checkpoint: for a rehearsal before anything is downloaded.

    python -m helpers.models.random_weights SOURCE OUT
    python -m helpers.models.random_weights            rebuilds the folders in data/models/rehearse

A folder whose ``config.json`` says ``"random_weights": true`` has no tensors. They are drawn while the model is loaded,
one at a time and on the device where it will run, through the same code of `transformers` and bitsandbytes that would
read them from a file. So a 7B model never exists in full precision. Such a model costs what a real one costs and knows
nothing: it shows time and memory, never accuracy.

The folders in ``data/models/rehearse`` come with the project. Their tokenizers are stand-ins (`stand_in`), as those of
the 7B models are not ours to ship: images are cut into exactly as many tokens as with the real ones, words not quite.
The first command makes such a folder from a model folder or hub id of which configuration and tokenizer are there (a
few MB), and then words are cut as the real model cuts them.
"""

import argparse
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from helpers.models import chat_templates
from helpers.models.registry import config_of, family_of
from helpers.paths import DATA, atomic_write

MARK = "random_weights"
STAND_IN_FOLDERS = DATA / "models" / "rehearse"
CONFIGS = DATA / "models" / "configs"  # as the 7B models publish them
# These write what the templates of Qwen/Qwen2-VL-7B-Instruct and llava-hf/llava-v1.6-vicuna-7b-hf write, to the letter
PUBLISHED_TEMPLATES = {
    "qwen2_vl": (
        "{% if messages[0]['role'] != 'system' %}"
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llava_next": (
        "{% set names = {'system': '', 'user': 'USER: ', 'assistant': 'ASSISTANT: '} %}"
        "{% for message in messages %}{{ names[message['role']] }}"
        "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
        "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    ),
}


def is_random(path: str | Path) -> bool:
    """Whether a model folder asks for random weights."""
    return config_of(path).get(MARK) is True


class RandomTensor:
    """A tensor that is drawn when requested, as a slice of a safetensors file is read when requested."""

    def __init__(self, name: str, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> None:
        self.name, self.shape, self.dtype, self.device = name, shape, dtype, device

    def __getitem__(self, _: Any) -> torch.Tensor:
        """The whole tensor, the same each time, as at the start of training from scratch."""
        if self.name.endswith(".bias"):
            return torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        if len(self.shape) == 1 and self.name.endswith(".weight"):  # a norm's
            return torch.ones(self.shape, dtype=self.dtype, device=self.device)
        generator = torch.Generator(self.device).manual_seed(zlib.crc32(self.name.encode()))
        empty = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        return empty.normal_(std=0.02, generator=generator)


def on_meta(path: str | Path) -> Any:
    """The folder's architecture without numbers, on torch's meta device."""
    import transformers

    model_class = getattr(transformers, family_of(path).model_class)
    with torch.device("meta"):
        return model_class(model_class.config_class.from_pretrained(path))


def random_state(path: str | Path, dtype: torch.dtype, device: torch.device) -> dict[str, RandomTensor]:
    """A ``state_dict`` for `from_pretrained`: all tensors of the architecture, none of them drawn yet."""
    tensors = on_meta(path).state_dict()
    return {name: RandomTensor(name, tensor.shape, dtype, device) for name, tensor in tensors.items()}


def bytes_in_files(path: str | Path) -> int:
    """How large the checkpoint would be in half precision."""
    return sum(2 * parameter.numel() for parameter in on_meta(path).parameters())


def make_folder(source: str | Path, out: str | Path) -> Path:
    """Make a folder for a rehearsal: the marked configuration and the processor of a model; no weights."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(source), trust_remote_code=False).to_dict()
    chat_templates.complete(family_of(source).load_processor(str(source)), source).save_pretrained(out)
    return write_config(out, config)


def write_config(folder: str | Path, config: dict[str, Any]) -> Path:
    """Write ``config.json`` with the mark."""
    with atomic_write(Path(folder) / "config.json") as temporary:
        temporary.write_text(json.dumps({**config, MARK: True}, indent=1) + "\n", encoding="utf-8")
    return Path(folder)


def stand_in(config: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Configuration and processor for an architecture whose tokenizer is not available.

    Images are treated as by the published processors: for Qwen2-VL at native resolution, 28 x 28 pixels per token; for
    LLaVA-NeXT as one image of 336 pixels and up to four tiles. Prompts are written as published
    (`PUBLISHED_TEMPLATES`). The tokenizer is that of the project's tiny models, so the special tokens have its ids; the
    embedding keeps its true size.
    """
    from transformers import AutoTokenizer, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from helpers.models.qwen2_vl import Qwen2VLPictureProcessor

    qwen = config["model_type"] == "qwen2_vl"
    tokenizer = AutoTokenizer.from_pretrained(DATA / "models" / ("tiny-qwen2-vl" if qwen else "tiny-llava-next"))
    tokenizer.model_max_length = config["text_config"]["max_position_embeddings"]
    tokenizer.chat_template = PUBLISHED_TEMPLATES[config["model_type"]]
    if qwen:
        names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
        names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
        images = Qwen2VLImageProcessorPil(
            patch_size=14,
            merge_size=2,
            temporal_patch_size=2,
            size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280 * 10},
        )
        processor: Any = Qwen2VLPictureProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
    else:
        names = {"image_token_index": "<image>"}
        side, grid = config["vision_config"]["image_size"], config["image_grid_pinpoints"]
        shown = LlavaNextImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_grid_pinpoints=grid
        )
        processor = LlavaNextProcessor(
            shown,
            tokenizer,
            patch_size=config["vision_config"]["patch_size"],
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=tokenizer.chat_template,
        )
    ids = {field: tokenizer.convert_tokens_to_ids(token) for field, token in names.items()}
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {**config, **ids, "text_config": {**config["text_config"], **ends}}, processor


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """The architecture with two narrow layers per part: same images, tokens and code, but fit for two CPU cores."""
    qwen = config["model_type"] == "qwen2_vl"
    text = {
        "vocab_size": 2048,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,  # of the true width, 128
        "num_key_value_heads": 1 if qwen else 2,
    }
    tower = {"depth": 2, "embed_dim": 64, "num_heads": 2, "hidden_size": 256}
    if not qwen:
        tower = {"num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
    return {
        **config,
        "text_config": {**config["text_config"], **text},
        "vision_config": {**config["vision_config"], **tower},
    }


def write_stand_ins(out: Path = STAND_IN_FOLDERS) -> Iterator[Path]:
    """Make the folders that come with the project, two per architecture of `CONFIGS`: full size and shrunk."""
    for path in sorted(CONFIGS.glob("*.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        for name, variant in ((path.stem, config), (f"{path.stem}-shrunk", shrunk(config))):
            changed, processor = stand_in(variant)
            processor.save_pretrained(out / name)
            yield write_config(out / name, changed)


def main(arguments: list[str] | None = None) -> None:
    """With ``SOURCE OUT``, make one folder; without, those that come with the project. Prints what was made."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.models.random_weights",
        description="Make a folder for a rehearsal from a model's configuration; without arguments: the project's own.",
    )
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="model folder or hub id; its weights are not read")
    parser.add_argument("out", metavar="OUT", nargs="?", type=Path, help="the folder to make")
    given = parser.parse_args(arguments)
    if given.source and not given.out:  # else the project's own folders would be rebuilt
        parser.error(f"SOURCE is {given.source}, and OUT is missing: also name the folder to make")
    print(*([make_folder(given.source, given.out)] if given.source else write_stand_ins()), sep="\n")


if __name__ == "__main__":
    main()
