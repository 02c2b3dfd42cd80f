"""The vision tower's features of an image, computed once: `TowerFeatures` in training, `FeatureCache` in scoring.

There are two because they keep different things. In training the projector learns, so the features before it are kept,
keyed by the pixels in a batch, and later runs can use them too. In scoring nothing learns: the features after the
projector are kept, keyed by the image's name, so that a known image is not even opened again.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from helpers.models.batches import IMAGE_SHAPES, Tensors, encode, image_tensors, shapes_on_device
from helpers.models.family import Family, plain_model
from helpers.models.registry import family_of_model
from helpers.models.rule import image_token_of
from helpers.paths import atomic_write

IMAGES_AT_ONCE = 32
BATCHES_AHEAD = 3  # encoded before they are needed: of 448 pixels, 150 MB each in Qwen2-VL


class TowerFeatures:
    """Replaces the tower's forward pass within the block. ``folder`` None: features stay in memory, in this object.

        with TowerFeatures(model, family, folder):
            train()

    The tower runs only for images that it has not seen; the projector after it always runs. An image is identified by
    the hash of its pixels as the processor produced them, and the folder by the tower's weights and precision. So
    features of a different size, normalisation or model are never found. ``computed`` and ``remembered`` count images
    (for LLaVA: tiles). Not for a tower that is trained: its features are computed without gradients.

    ``names``: hashes of the next pass's images (`pixel_names`), if they are known. On a GPU, hashing them would have
    to wait for it.
    """

    names: Sequence[str] = ()

    def __init__(self, model: Any, family: Family, folder: str | Path | None = None) -> None:
        self.family, self.tower = family, plain_model(model).get_submodule(family.vision_tower)
        self.projector = f"{family.projector.removeprefix(family.vision_tower)}."
        self.folder = Path(folder) / self._model_hash() if folder else None
        self.kept: dict[str, torch.Tensor] = {}
        self.computed = self.remembered = 0

    @property
    def computed_share(self) -> float:
        """The share of the requested images that went through the tower; 1 if none was requested."""
        asked = self.computed + self.remembered
        return self.computed / asked if asked else 1.0

    def __enter__(self) -> Self:
        self.before = self.tower.__dict__.get("forward")  # an earlier wrapper, such as the one that disables gradients
        self.tower.forward = self.family.cached_tower(self.tower, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self.tower.forward  # the class's own comes back
        if self.before is not None:
            self.tower.forward = self.before

    def recall(
        self,
        images: Sequence[torch.Tensor],
        shapes: Sequence[tuple[int, ...]],
        compute: Callable[[list[int]], list[torch.Tensor]],
    ) -> list[torch.Tensor]:
        """The features of each image, on the images' device; ``compute`` gets the indices of unknown images."""
        names = self.names if len(self.names) == len(images) else [_digest(image) for image in images]
        keys = [_key(*one) for one in zip(names, images, shapes, strict=True)]
        found = {key: self._read(key) for key in set(keys)}
        missing = [place for key, place in {key: i for i, key in enumerate(keys)}.items() if found[key] is None]
        if missing:
            with torch.no_grad():
                computed = compute(missing)
            for place, feature in zip(missing, computed, strict=True):
                found[keys[place]] = feature
                self._write(keys[place], feature)
        self.computed += len(missing)
        self.remembered += len(keys) - len(missing)
        return [found[key].to(images[0].device) for key in keys]  # type: ignore[union-attr] # none is missing now

    def _read(self, key: str) -> torch.Tensor | None:
        if self.folder is None:
            return self.kept.get(key)
        path = self.folder / f"{key}.safetensors"
        if not path.is_file():
            return None
        from safetensors.torch import load_file

        return load_file(path)["features"]

    def _write(self, key: str, feature: torch.Tensor) -> None:
        kept = feature.detach().cpu().clone().contiguous()
        if self.folder is None:
            self.kept[key] = kept
            return
        from safetensors.torch import save_file

        with atomic_write(self.folder / f"{key}.safetensors") as temporary:
            save_file({"features": kept}, temporary)

    def _model_hash(self) -> str:
        """Sixteen hex digits of the weights without the projector. For a 7B model this takes some seconds."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tower.state_dict().items()):
            if not f".{name}".startswith(self.projector):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(_bytes(tensor))
        return digest.hexdigest()[:16]


def pixel_names(sample: Tensors) -> tuple[str, ...]:
    """A name for each image, or tile, that the tower will see of a sample, by its pixels; none if they are patches
    without an ``image_grid_thw`` that tells one image from the next.
    """
    if (pixels := sample.get("pixel_values")) is None:
        return ()
    grid = sample.get("image_grid_thw")
    if grid is None and pixels.ndim < 4:
        return ()
    images = pixels.flatten(0, -4) if grid is None else pixels.split(grid.prod(dim=1).tolist())
    return tuple(_digest(image) for image in images)


def _digest(image: torch.Tensor) -> str:
    return hashlib.sha256(_bytes(image)).hexdigest()


def _key(name: str, image: torch.Tensor, shape: tuple[int, ...]) -> str:
    return hashlib.sha256(f"{shape} {tuple(image.shape)} {image.dtype} {name}".encode()).hexdigest()[:32]


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


class _Image(Protocol):
    """An image that is opened only when the model has to look at it."""

    @property
    def key(self) -> str:
        """What distinguishes it from every other image of a run."""

    def open(self) -> Any:
        """The image itself."""


@dataclass(frozen=True)
class Features:
    """``embeddings``: image tokens x the language model's hidden size. ``grid``: (1, 3) where a family has one.

    ``tokens``: what the processor puts in the placeholder's stead: image tokens, with rows and borders if any.
    ``inner``: what is added to the image tokens behind the first layers, in families that do so, one tensor per layer.
    """

    embeddings: torch.Tensor
    tokens: tuple[int, ...]
    grid: torch.Tensor | None = None
    inner: tuple[torch.Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        """The size of the features."""
        return sum(tensor.nbytes for tensor in (self.embeddings, *self.inner))


@dataclass
class FeatureCache:
    """Features by image and by ``state`` of the model: an adapter may have trained the projector too.

    Questions, rotations, protocols and prompting strategies differ only in text, so an image's features are the same in
    all of them. Kept in memory up to a limit; the longest unused are dropped first.
    """

    limit_mb: float = 512
    computed: int = 0  # images that went through the tower
    _held: OrderedDict[tuple[str, str], Features] = field(default_factory=OrderedDict)
    _begun: dict[tuple[str, ...], Future[Tensors]] = field(default_factory=dict)  # by the images' keys
    _thread: ThreadPoolExecutor | None = None

    def of(
        self, model: Any, processor: Any, images: Iterable[_Image], state: str, coming: Iterable[_Image] | None = None
    ) -> dict[str, Features]:
        """Features of the images, by their key.

        ``coming``: those of the next call. If they are given, a thread opens and encodes images before they are
        needed, while a GPU computes: the same features, as the batches are the same.
        """
        wanted = {image.key: image for image in images}
        found = {key: self._held[key, state] for key in wanted if (key, state) in self._held}
        batches = list(self._missing(wanted, state))
        for place, some in enumerate(batches):
            if coming is not None:
                self._begin(processor, batches[place : place + BATCHES_AHEAD])
            begun = self._begun.pop(tuple(some), None)
            encoded = begun.result() if begun else _encoded(processor, some.values())
            found.update(zip(some, _features(model, encoded), strict=True))
            self.computed += len(some)
        for key, features in found.items():
            self._held[key, state] = features
            self._held.move_to_end((key, state))
        size = sum(features.nbytes for features in self._held.values())
        while size > self.limit_mb * 1e6 and len(self._held) > len(found):
            size -= self._held.popitem(last=False)[1].nbytes
        if coming is not None:
            self._begun.clear()
            self._begin(processor, list(self._missing({image.key: image for image in coming}, state))[:BATCHES_AHEAD])
        return found

    def _missing(self, wanted: dict[str, _Image], state: str) -> Iterator[dict[str, _Image]]:
        """The images without features, in batches."""
        keys = [key for key in wanted if (key, state) not in self._held]
        for start in range(0, len(keys), IMAGES_AT_ONCE):
            yield {key: wanted[key] for key in keys[start : start + IMAGES_AT_ONCE]}

    def _begin(self, processor: Any, batches: Iterable[dict[str, _Image]]) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="images-ahead")
        for some in batches:
            if tuple(some) not in self._begun:
                self._begun[tuple(some)] = self._thread.submit(_encoded, processor, list(some.values()))


def image_features(model: Any, processor: Any, images: list[Any]) -> list[Features]:
    """The features of some images, in one pass through processor, tower and projector."""
    return _features(model, _made(processor, images))


def _encoded(processor: Any, images: Iterable[_Image]) -> Tensors:
    return _made(processor, [image.open() for image in images])


def _made(processor: Any, images: list[Any]) -> Tensors:
    """What the processor makes of images; with a GPU, where it can be copied from while that computes."""
    made = encode(processor, [str(processor.image_token)] * len(images), images, add_special_tokens=False)
    if torch.cuda.is_available():
        made.update({name: tensor.pin_memory() for name, tensor in image_tensors(made).items()})
    return made


@torch.inference_mode()
def _features(model: Any, made: Tensors) -> list[Features]:
    base = plain_model(model)
    tensors = image_tensors(made)
    shapes = {name: tensors.pop(name).tolist() for name in IMAGE_SHAPES if name in tensors}
    moved = {name: tensor.to(base.device, non_blocking=True) for name, tensor in tensors.items()}
    given = shapes_on_device(base, {**moved, **shapes})
    found = base.model.get_image_features(**given)
    kept = zip(made["input_ids"], made["attention_mask"].bool(), strict=True)
    rows = [tuple(ids[mask].tolist()) for ids, mask in kept]
    counts = [row.count(image_token_of(base.config)) for row in rows]
    embeddings = _by_image(found.pooler_output, counts)
    layers = [_by_image(layer, counts) for layer in getattr(found, "deepstack_features", None) or ()]
    inner = list(zip(*layers, strict=True)) or [()] * len(rows)
    grids = given["image_grid_thw"].split(1) if "image_grid_thw" in given else [None] * len(rows)
    return [Features(*parts) for parts in zip(embeddings, rows, grids, inner, strict=True)]


def _by_image(features: Iterable[torch.Tensor], counts: list[int]) -> list[torch.Tensor]:
    """Features of tiles or images, each tokens x hidden, as one tensor per image with so many tokens."""
    joined = torch.cat([feature.flatten(0, -2) for feature in features])
    return [part.clone() for part in joined.split(counts)]


def adapts_images(model: Any) -> bool:
    """Whether an adapter changes anything outside the language model, so that features depend on it."""
    if not hasattr(model, "get_base_model"):
        return False
    inside = f"{family_of_model(model).language_model}."
    names = [name for name, _ in plain_model(model).named_modules() if not name.startswith(inside)]
    return any(name.endswith((".modules_to_save", ".lora_A", ".ia3_l")) for name in names)
