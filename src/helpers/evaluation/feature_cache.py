"""What the vision tower makes of a picture, computed once and used for all that is asked about it.

Questions, rotations, protocols and ways of answering differ in text alone, so a picture's features are the same in all
of them. Kept in memory up to a limit, the longest unused are dropped first; with a folder also on disk (safetensors).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from helpers.evaluation.prompts import Held, Shown, content_key
from helpers.paths import atomic_write

PICTURES_AT_ONCE = 32


@dataclass(frozen=True)
class Features:
    """``embeddings``: picture tokens x the language model's hidden size. ``grid``: (1, 3) where a family has one."""

    embeddings: torch.Tensor
    grid: torch.Tensor | None = None

    @property
    def bytes(self) -> int:
        return self.embeddings.nbytes


@dataclass
class FeatureCache:
    """Features by picture and by ``state`` of the model: an adapter may have trained the projector too."""

    folder: Path | None = None
    limit_mb: float = 512
    computed: int = 0  # pictures that went through the tower
    _held: OrderedDict[tuple[str, str], Features] = field(default_factory=OrderedDict)
    _fingerprints: dict[str, str] = field(default_factory=dict)

    def of(self, model: Any, processor: Any, pictures: Iterable[Shown | Held], state: str) -> dict[str, Features]:
        """Features of the pictures, by their key."""
        wanted = {picture.key: picture for picture in pictures}
        found = {key: self._held[key, state] for key in wanted if (key, state) in self._held}
        missing = [picture for key, picture in wanted.items() if key not in found]
        for start in range(0, len(missing), PICTURES_AT_ONCE):
            found.update(self._look(model, processor, missing[start : start + PICTURES_AT_ONCE], state))
        self._hold(found, state)
        return found

    def _look(self, model: Any, processor: Any, pictures: list[Shown | Held], state: str) -> dict[str, Features]:
        opened = {picture.key: picture.open() for picture in pictures}
        if self.folder is None:
            return self._compute(model, processor, opened)
        files = {key: self._file(model, content_key(picture), state) for key, picture in opened.items()}
        found = {key: Features(**load_file(file)) for key, file in files.items() if file.is_file()}
        new = self._compute(model, processor, {key: p for key, p in opened.items() if key not in found})
        for key, features in new.items():
            _save(files[key], features)
        return found | new

    def _compute(self, model: Any, processor: Any, opened: dict[str, Any]) -> dict[str, Features]:
        if not opened:
            return {}
        self.computed += len(opened)
        return dict(zip(opened, picture_features(model, processor, list(opened.values())), strict=True))

    def _file(self, model: Any, content: str, state: str) -> Path:
        """The name holds what the features depend on: pixels, and the weights that made them."""
        if state not in self._fingerprints:
            self._fingerprints[state] = _fingerprint(model, state)
        return Path(self.folder or ".") / f"{content}-{self._fingerprints[state]}.safetensors"

    def _hold(self, found: dict[str, Features], state: str) -> None:
        for key, features in found.items():
            self._held[key, state] = features
            self._held.move_to_end((key, state))
        size = sum(features.bytes for features in self._held.values())
        while size > self.limit_mb * 1e6 and len(self._held) > len(found):
            size -= self._held.popitem(last=False)[1].bytes


@torch.inference_mode()
def picture_features(model: Any, processor: Any, pictures: list[Any]) -> list[Features]:
    """One pass of some pictures through processor, tower and projector."""
    base = unwrapped(model)
    given = dict(processor.image_processor(images=pictures, return_tensors="pt"))
    given = {
        name: given[name].to(base.device) for name in ("pixel_values", "image_grid_thw", "image_sizes") if name in given
    }
    embeddings = base.model.get_image_features(**given).pooler_output
    grids = given["image_grid_thw"].split(1) if "image_grid_thw" in given else [None] * len(pictures)
    return [Features(e.clone(), grid) for e, grid in zip(embeddings, grids, strict=True)]


def unwrapped(model: Any) -> Any:
    """The conditional-generation model within an adapter; the adapter's layers stay where they are."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def adapts_pictures(model: Any) -> bool:
    """Whether an adapter changes anything outside the language model, so that features differ with it on and off."""
    if not hasattr(model, "get_base_model"):
        return False
    names = [name for name, _ in unwrapped(model).named_modules() if "language_model" not in name]
    return any(name.endswith((".modules_to_save", ".lora_A", ".ia3_l")) for name in names)


def _save(file: Path, features: Features) -> None:
    tensors = {"embeddings": features.embeddings} | ({} if features.grid is None else {"grid": features.grid})
    with atomic_write(file) as temporary:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary)


def _fingerprint(model: Any, state: str) -> str:
    """A hash of all weights outside the language model's layers, and of the adapter's state."""
    digest = hashlib.blake2b(state.encode(), digest_size=8)
    for name, weights in unwrapped(model).state_dict().items():
        if "language_model" not in name and "lm_head" not in name:
            digest.update(name.encode())
            digest.update(weights.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
