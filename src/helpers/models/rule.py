"""Any `AutoModelForImageTextToText` as a `Family`, by the conventions that the library's architectures keep.

| part | rule |
|---|---|
| language model | `get_decoder()`, found by identity among the modules |
| vision tower | `get_encoder("image")`; where that is the whole model, there is none |
| projector | the first module with a name of `PROJECTORS` |
| head | `get_output_embeddings()` |
| positions | `get_rope_index`, where there is one |
| processor | the library's own for the model type, with its PIL image processor and without its video part |

An architecture that departs from the rule has a small module of its own; `helpers.models.registry` lists them.
"""

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
import transformers
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import ProcessorMixin

from helpers.models.batches import Tensors
from helpers.models.family import Family, Fast, Memory

PROJECTORS = (
    *("multi_modal_projector", "connector", "embed_vision", "aligner", "merger", "language_projection"),
    *("mm_projector", "modality_projection", "image_projection", "vision_projection", "projector"),
)
_FIRST_LAYERS = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)


def model_class_of(model_type: str) -> str:
    """The name of the class in `transformers`. Raises ``ValueError`` if the type is none of image, text to text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    found = KNOWN.get(model_type)
    if not isinstance(found, str):
        raise ValueError(
            f"model_type is {model_type!r}, which is no image-text-to-text model of transformers "
            f"{transformers.__version__}; use a checkpoint that AutoModelForImageTextToText loads"
        )
    return found


def by_rule(model: Any, fast: Fast) -> Family:
    """The family of a model, which may be on torch's meta device. Raises ``ValueError`` if it has no decoder."""
    paths = {id(module): path for path, module in model.named_modules()}
    decoder, tower, head = model.get_decoder(), model.get_encoder("image"), model.get_output_embeddings()
    language = paths.get(id(decoder))
    if not language or head is None:
        raise ValueError(f"{type(model).__name__} has no decoder with a head of its own, so it cannot answer in words")
    seen = paths[id(tower)] if tower is not model and id(tower) in paths else ""
    seen = "" if tower is decoder else seen
    last = {path.rsplit(".", 1)[-1]: path for path in reversed(paths.values())}
    projector = next((last[name] for name in PROJECTORS if name in last), "")
    return Family(
        model_type=model.config.model_type,
        model_class=type(model).__name__,
        language_model=language,
        vision_tower=seen,
        projector=projector,
        frozen=_frozen(model, seen, projector),
        tower_entry=_entry(model, seen) if seen else "",
        load_processor=partial(load_by_rule, model_type=model.config.model_type),
        positions=positions,
        positions_behind_prompt=positions_behind_prompt,
        cached_tower=cached_around(projector.removeprefix(f"{seen}.")) if holds(seen, projector) else cached_tower,
        head=paths[id(head)],
        takes_features=False,
        fast=fast,
    )


def holds(tower: str, projector: str) -> bool:
    """Whether the projector is a part of the tower's module."""
    return bool(tower) and projector.startswith(f"{tower}.")


def _frozen(model: Any, tower: str, projector: str) -> tuple[str, ...]:
    """The tower, or its parts without the projector if that is inside."""
    if not tower:
        return ()
    if not holds(tower, projector):
        return (tower,)
    parts = (f"{tower}.{name}" for name, _ in model.get_submodule(tower).named_children())
    return tuple(part for part in parts if not f"{projector}.".startswith(f"{part}."))


def _entry(model: Any, tower: str) -> str:
    inside = model.get_submodule(tower).named_modules(prefix=tower)
    return next(path for path, module in inside if isinstance(module, _FIRST_LAYERS))


# ---- processor -------------------------------------------------------------------------------------------------------


@cache
def processor_class(model_type: str) -> Any:
    """The library's processor of a model type, as far as images go: its video part would need torchvision."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    if (name := PROCESSOR_MAPPING_NAMES.get(model_type)) is None:
        raise ValueError(f"model_type {model_type!r} has no processor of images and text in transformers")
    whole = _imported(name)
    home = sys.modules.get(whole.__module__)
    if getattr(home, "num2words", "") is None:  # a package that writes the numbers of a video's frames in words
        home.num2words = str  # type: ignore[union-attr] # found above

    def attributes(cls: Any) -> list[str]:
        return [name for name in whole.get_attributes() if "video" not in name]

    def save(self: Any, save_directory: Any, push_to_hub: bool = False, **given: Any) -> Any:
        self.image_processor.save_pretrained(save_directory)  # where the library's class looks for video settings
        return whole.save_pretrained(self, save_directory, push_to_hub, **given)

    changed: dict[str, Any] = {"get_attributes": classmethod(attributes)}
    if "video_processor" in inspect.signature(whole.__init__).parameters:  # an own way of templates is about videos
        changed |= {"apply_chat_template": ProcessorMixin.apply_chat_template, "save_pretrained": save}
    return type(whole.__name__, (whole,), changed)


def _imported(name: str) -> Any:
    """A processor's class. Some import the torchvision image processor for a function that the PIL one has too."""
    if not getattr(found := getattr(transformers, name), "is_dummy", False):
        return found
    folder = name.removesuffix("Processor").lower()
    home = f"transformers.models.{folder}"
    pil = import_module(f"{home}.image_processing_pil_{folder}")
    with patch.dict(sys.modules, {f"{home}.image_processing_{folder}": pil}):
        return getattr(import_module(f"{home}.processing_{folder}"), name)


def load_by_rule(path: str, model_type: str, template: str | None = None) -> Any:
    """Tokenizer, chat template and PIL image processor of a checkpoint.

    ``template``: for an architecture whose checkpoints have none. Raises ``ValueError`` if there is none at all.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    shape = processor_class(model_type)
    settings, _ = shape.get_processor_dict(path)
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    images = AutoImageProcessor.from_pretrained(path, backend="pil", trust_remote_code=False)
    processor = assembled(shape, images, tokenizer, settings)
    processor.chat_template = processor.chat_template or tokenizer.chat_template or template
    if not processor.chat_template:
        raise ValueError(
            f"{path}: neither the processor nor the tokenizer has a chat template; use the tuned checkpoint"
        )
    return processor


def assembled(shape: Any, images: Any, tokenizer: Any, settings: Mapping[str, Any]) -> Any:
    """A processor from its parts; of ``settings``, those that its class takes."""
    taken = inspect.signature(shape.__init__).parameters
    parts = {"image_processor", "tokenizer", "video_processor", "feature_extractor"}
    given = {name: settings[name] for name in taken if name in settings and name not in parts}
    videos = {"video_processor": None} if "video_processor" in taken else {}
    return shape(image_processor=images, tokenizer=tokenizer, **videos, **given)


def image_token_of(config: Any) -> int:
    """The id of the token that stands for a part of an image in a model's input."""
    for name in ("image_token_id", "image_token_index"):
        if (found := getattr(config, name, None)) is not None:
            return int(found)
    return int(config.vocabulary_map["<image>"])


# ---- positions -------------------------------------------------------------------------------------------------------


def positions(model: Any, sample: Tensors) -> torch.Tensor:
    """1 x length: the position in the text. With `get_rope_index` 4 x length: that, then time, height and width."""
    length = sample["input_ids"].shape[1]
    if not hasattr(model.model, "get_rope_index"):
        return torch.arange(length).unsqueeze(0)
    place = torch.arange(length).expand(4, length)
    if "image_grid_thw" not in sample:
        return place
    grid, kinds = sample["image_grid_thw"], sample["mm_token_type_ids"]
    axes, _ = model.model.get_rope_index(sample["input_ids"], mm_token_type_ids=kinds, image_grid_thw=grid)
    return torch.cat([place[:1], axes[:, 0]])


def positions_behind_prompt(model: Any, arguments: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """For models with `get_rope_index`: three axes even if peft passes embeddings instead of tokens.

    The model itself would count only words then. Without it there is nothing to do: rotary positions are relative.
    """
    if not hasattr(model, "get_rope_index"):
        return arguments, keywords
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


# ---- tower -----------------------------------------------------------------------------------------------------------


def cached_tower(tower: Any, memory: Memory) -> Any:
    """The tower's forward pass, cached in ``memory`` tile by tile: its last hidden states, or the layers asked for."""
    whole = tower.forward

    def forward(
        pixel_values: torch.Tensor, output_hidden_states: Any = None, **rest: Any
    ) -> BaseModelOutputWithPooling:
        chosen = output_hidden_states if isinstance(output_hidden_states, list | tuple) else [output_hidden_states]
        layers = [layer for layer in chosen if isinstance(layer, int) and not isinstance(layer, bool)]
        masks = {name: value for name, value in rest.items() if isinstance(value, torch.Tensor)}
        if any(len(mask) != len(pixel_values) for mask in masks.values()) or output_hidden_states is True:
            return whole(pixel_values, output_hidden_states=output_hidden_states, **rest)
        tiles = list(pixel_values.split(1))  # each 1 x colours x height x width
        shapes = [(*layers, *_content(masks, i)) for i in range(len(tiles))]

        def compute(missing: list[int]) -> list[torch.Tensor]:
            given = {name: value[missing] if name in masks else value for name, value in rest.items()}
            seen = whole(torch.cat([tiles[i] for i in missing]), output_hidden_states=bool(layers), **given)
            kept = [seen.hidden_states[layer] for layer in layers] or [seen.last_hidden_state]
            return list(torch.stack(kept, dim=1).split(1))

        seen = torch.cat(memory.recall(tiles, shapes, compute))  # tiles x layers x tokens x width
        found: Any = {layer: seen[:, i] for i, layer in enumerate(layers)}  # looked up like the library's tuple
        return BaseModelOutputWithPooling(last_hidden_state=seen[:, -1], hidden_states=found)

    return forward


def _content(masks: Tensors, tile: int) -> tuple[int, ...]:
    """A tile's masks as numbers, which belong to its key: the same pixels may be masked in two ways."""
    return tuple(int(number) for mask in masks.values() for number in mask[tile].flatten().tolist())


@dataclass
class _TowerOutput(BaseModelOutputWithPooling):
    deepstack_features: list[torch.Tensor] | None = None  # what is added behind the language model's first layers


def cached_around(projector: str) -> Callable[[Any, Memory], Any]:
    """`cached_tower` for a tower that works on patches and holds its projector, the module ``projector``.

    Kept is what reaches the projector, and what the frozen rest of the tower returns beside; only the projector is run
    again. Some towers sort its output; in which order depends on an image's shape alone and is looked up once.
    """

    def cached(tower: Any, memory: Memory) -> Any:
        whole, part = tower.forward, tower.get_submodule(projector)
        orders: dict[tuple[int, ...], tuple[torch.Tensor, int]] = {}  # by shape; with the width of what is kept

        def features(pixels: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
            """Of one image, patches x (the projector's input, then the other layers' outputs, spread over patches)."""
            taken: list[torch.Tensor] = []

            def number(_: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
                taken.append(given[0])
                return torch.arange(len(output), device=output.device).unsqueeze(1).expand(output.shape)

            hook = part.register_forward_hook(number)
            try:
                found = whole(pixels, grid_thw=grid)
            finally:
                hook.remove()
            orders[tuple(grid[0].tolist())] = found.pooler_output[:, 0], taken[0].shape[-1]
            others = getattr(found, "deepstack_features", None) or []
            return torch.cat([taken[0], *(layer.reshape(len(pixels), -1) for layer in others)], dim=1)

        def forward(hidden_states: torch.Tensor, grid_thw: torch.Tensor, **_: Any) -> _TowerOutput:
            shapes = [tuple(grid) for grid in grid_thw.tolist()]
            images = hidden_states.split([math.prod(shape) for shape in shapes])  # each patches x pixels

            def compute(missing: list[int]) -> list[torch.Tensor]:
                return [features(images[i], grid_thw[i : i + 1]) for i in missing]

            found = memory.recall(images, shapes, compute)
            for i, shape in enumerate(shapes):
                if shape not in orders:  # all such images come from a file
                    with torch.no_grad():
                        features(images[i], grid_thw[i : i + 1])
            width = orders[shapes[0]][1]
            merged = [part(kept[:, :width])[orders[shape][0]] for kept, shape in zip(found, shapes, strict=True)]
            seen = torch.cat(found)  # patches x everything
            tokens, share = torch.cat(merged), sum(map(len, merged)) * merged[0].shape[-1] // len(seen)
            layers = [layer.reshape(tokens.shape) for layer in seen[:, width:].split(share, dim=1) if layer.numel()]
            return _TowerOutput(
                last_hidden_state=seen[:, :width], pooler_output=tokens, deepstack_features=layers or None
            )

        return forward

    return cached
