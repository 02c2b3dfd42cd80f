"""How large a model is, known before any of its weights is downloaded.

A hub lists the size of each file of a checkpoint. Without a network the parameters are counted: the architecture is
built on torch's meta device, which has shapes and no numbers, from the model's configuration (a few KB, in the cache of
the hub's client, or in `helpers.models.shapes` for the models of the shipped profiles).

The parts are found by the library's own conventions, not by a `Family`, so that any image-text-to-text model can be
counted: `get_decoder` is the language model, and the projector is the first module called as in `PROJECTORS`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from helpers.config.training import LORA_TARGETS
from helpers.models.checkpoints import checkpoint_bytes
from helpers.models.random_weights import STAND_IN_FOLDERS, bytes_in_files, is_random
from helpers.models.rule import PROJECTORS
from helpers.models.shapes import shapes
from helpers.paths import is_hub_id, resolve

_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")  # of one checkpoint; a repository may hold others beside it


@dataclass(frozen=True)
class Counts:
    """An architecture's numbers of parameters and of layers."""

    parameters: int
    in_four_bit: int  # weights of the language model's linear layers
    linear4bit: int  # these layers
    layers: int  # blocks of the language model
    widths: int  # sum over the layers that LoRA adapts of inputs and outputs: LoRA has rank x this many parameters
    projector: int
    text: Any  # the language model's configuration

    def trained(self, rank: int) -> int:
        """Parameters of LoRA and of the projector."""
        return rank * self.widths + self.projector


def place_of(path: str | Path) -> Path | str:
    """The folder of a model, or of a stand-in of the same shape that comes with the project; else its hub id."""
    listed = shapes().get(str(path), {}).get("folder")
    if listed:
        return STAND_IN_FOLDERS / listed
    return str(path) if is_hub_id(path) else resolve(path)


def configuration(path: str | Path) -> Any:
    """The configuration of a model folder or hub id, without its weights.

    Raises ``ValueError`` if there is none at hand and the hub cannot be reached.
    """
    from transformers import AutoConfig

    place = place_of(path)
    try:
        if (listed := shapes().get(str(path), {}).get("config")) is not None:
            return AutoConfig.for_model(**listed)
        return AutoConfig.from_pretrained(str(place), trust_remote_code=False)
    except OSError as error:
        raise ValueError(
            f"{path}: its config.json is neither on this machine nor within reach ({str(error).splitlines()[0]}); "
            "check the name, or let it be downloaded: HF_HUB_OFFLINE=0"
        ) from None


def without_numbers(path: str | Path) -> Any:
    """The architecture of a model folder or hub id on torch's meta device."""
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(configuration(path)).requires_grad_(False)


@cache
def counts(path: str | Path, targets: Collection[str] = LORA_TARGETS) -> Counts:
    """Count an architecture. ``targets``: the layers that LoRA adapts, by the last part of their name."""
    model = without_numbers(path)
    head = model.get_output_embeddings()  # in some models inside the decoder
    inside = model.get_decoder().named_modules()
    linear = {name: m for name, m in inside if isinstance(m, torch.nn.Linear) and m is not head}
    named = ((name.rpartition(".")[2], module) for name, module in model.named_modules())
    projector = next((module for last, module in named if last in PROJECTORS), None)
    text = model.config.get_text_config()
    adapted = [layer for name, layer in linear.items() if name.rpartition(".")[2] in targets]
    return Counts(
        parameters=sum(p.numel() for p in model.parameters()),
        in_four_bit=sum(layer.weight.numel() for layer in linear.values()),
        linear4bit=len(linear),
        layers=text.num_hidden_layers,
        widths=sum(layer.in_features + layer.out_features for layer in adapted),
        projector=sum(p.numel() for p in projector.parameters()) if projector is not None else 0,
        text=text,
    )


def model_bytes(path: str | Path) -> int:
    """Bytes of a model's weights, as files or, if they cannot be listed, in half precision.

    0 for a hub id of which nothing is known here: whoever loads it will hear from the hub's client.
    """
    if Path(path).is_dir():
        return bytes_in_files(path) if is_random(path) else checkpoint_bytes(path)
    if (listed := hub_bytes(str(path))) is not None:
        return listed
    try:
        return 2 * counts(str(path)).parameters
    except (ValueError, AttributeError):  # no configuration, or not an image-text-to-text model
        return 0


def hub_bytes(hub_id: str) -> int | None:
    """Bytes of the safetensors that loading a hub id would download, by the hub's list of files.

    None if the hub cannot be asked or does not say. Files of other formats do not count: they are never read.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    name, _, revision = hub_id.partition("@")
    try:
        listed = HfApi().model_info(name, revision=revision or None, files_metadata=True, timeout=10)
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx.HTTPError):
        return None
    files = [file for file in listed.siblings or [] if _WEIGHTS.fullmatch(file.rfilename)]
    return sum(file.size or 0 for file in files) or None
