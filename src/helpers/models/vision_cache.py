"""What a frozen vision tower makes of a picture, computed once and kept: over epochs, seeds, questions, option orders.

    with TowerFeatures(model, family, folder):
        train_or_answer()

Within the block the tower is asked only for pictures that it has not seen; for the others its features are looked up.
The projector behind it, which may be trained, always computes. A picture is known by the hash of its pixels as the
processor made them, so that another size or another normalisation is another picture, and the folder is one of the
tower's weights and precision: features of another model are never found.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from helpers.models.registry import Family
from helpers.paths import atomic_write


class TowerFeatures:
    """Replaces the tower's forward pass within the block; ``folder`` None: kept in memory, as long as this object.

    ``computed`` and ``remembered`` count pictures (in LLaVA tiles). Not for a tower that is trained: its features are
    computed without gradients.
    """

    def __init__(self, model: Any, family: Family, folder: str | Path | None = None) -> None:
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.family, self.tower = family, plain.get_submodule(family.vision_tower)
        self.projector = f"{family.projector.removeprefix(family.vision_tower)}."
        self.folder = Path(folder) / self._model_hash() if folder else None
        self.kept: dict[str, torch.Tensor] = {}
        self.computed = self.remembered = 0

    @property
    def computed_share(self) -> float:
        """How many of the pictures asked for went through the tower; 1 where none was asked for."""
        asked = self.computed + self.remembered
        return self.computed / asked if asked else 1.0

    def __enter__(self) -> Self:
        self.before = self.tower.__dict__.get("forward")  # an earlier wrapper, such as the one without gradients
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
        pictures: Sequence[torch.Tensor],
        shapes: Sequence[tuple[int, ...]],
        compute: Callable[[list[int]], list[torch.Tensor]],
    ) -> list[torch.Tensor]:
        """The features of each picture, on the pictures' device; ``compute`` gets the places of those not known."""
        keys = [_key(picture, shape) for picture, shape in zip(pictures, shapes, strict=True)]
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
        return [found[key].to(pictures[0].device) for key in keys]  # type: ignore[union-attr] # none is missing now

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
        """Sixteen digits of the weights without the projector; some seconds for a 7B model, and only with a folder."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tower.state_dict().items()):
            if not f".{name}".startswith(self.projector):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(_bytes(tensor))
        return digest.hexdigest()[:16]


def _key(picture: torch.Tensor, shape: tuple[int, ...]) -> str:
    return hashlib.sha256(f"{shape} {tuple(picture.shape)} {picture.dtype}".encode() + _bytes(picture)).hexdigest()[:32]


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
