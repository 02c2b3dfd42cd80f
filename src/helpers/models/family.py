"""What is particular to an architecture, as data: where its parts lie and how its processor is built.

Everything else in the project speaks of *the* language model, *the* vision tower and *the* projector of a family, never
of one architecture's names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from helpers.models.batches import Tensors


class Memory(Protocol):
    """What a tower's pass by way of a memory needs of it; `helpers.models.vision_cache` has one."""

    def recall(
        self,
        pictures: "Sequence[torch.Tensor]",
        shapes: Sequence[tuple[int, ...]],
        compute: "Callable[[list[int]], list[torch.Tensor]]",
    ) -> "list[torch.Tensor]":
        """The features of each image; ``compute`` is given the places of those that are not remembered."""


@dataclass(frozen=True)
class Family:
    """Module paths are as in ``model.named_modules()`` of the unwrapped conditional-generation model."""

    model_type: str  # as in config.json
    model_class: str  # name in `transformers`
    language_model: str
    vision_tower: str
    projector: str
    frozen: tuple[str, ...]  # modules that make up the tower without its projector, each called as a whole
    tower_entry: str  # the tower's first module: it runs whenever the tower really computes
    load_processor: Callable[[str], Any]
    positions: Callable[[Any, "Tensors"], "torch.Tensor"]  # (model, sample) -> axes x length, as the model takes them
    positions_behind_prompt: Callable[..., Any]  # a forward hook of the inner model: positions behind trained vectors
    cached_tower: Callable[[Any, Memory], Any]  # (tower module, memory) -> its forward pass by way of the memory

    @property
    def projector_name(self) -> str:
        """The last part of the projector's path, by which peft finds it."""
        return self.projector.rsplit(".", 1)[-1]

    def linear_layers(self, *names: str) -> str:
        """A pattern for peft: the language model's layers of these names, and nothing else.

        Anchored at the language model's path: a bare ``q_proj`` would also match LLaVA's CLIP tower.
        """
        path = self.language_model.replace(".", r"\.")
        return rf".*{path}\..*\.({'|'.join(names)})"

    @property
    def not_quantised(self) -> list[str]:
        """Modules kept in full precision. A list of one's own drops the library's exclusion of the head: it is here."""
        return [self.vision_tower, self.projector, "lm_head"]


def plain_model(model: Any) -> Any:
    """The conditional-generation model without peft's wrapper around it; the adapter's layers stay where they are."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
