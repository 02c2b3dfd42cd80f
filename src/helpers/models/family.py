"""Where the parts of an architecture are and how its processor is built, as data.

Everything else in the project refers to *the* language model, *the* vision tower and *the* projector of a family, never
to the names of one architecture. Most families are found by rule (`helpers.models.rule`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from helpers.models.batches import Tensors


class Memory(Protocol):
    """What a cached pass through a tower needs of the cache; `helpers.models.vision_cache` has one."""

    def recall(
        self,
        images: "Sequence[torch.Tensor]",
        shapes: Sequence[tuple[int, ...]],
        compute: "Callable[[list[int]], list[torch.Tensor]]",
    ) -> "list[torch.Tensor]":
        """The features of each image; ``compute`` gets the indices of images that are not in memory."""


@dataclass(frozen=True)
class Fast:
    """Which shortcuts gave the same numbers as the plain way (`helpers.training.probe`), with reasons why not."""

    packing: bool = False
    prompt_trees: bool = False
    tower_cache: bool = False
    why: tuple[tuple[str, str], ...] = ()  # reason by shortcut


ALL_FAST = Fast(packing=True, prompt_trees=True, tower_cache=True)


@dataclass(frozen=True)
class Family:
    """Module paths are those in ``model.named_modules()`` of the unwrapped conditional-generation model.

    ``vision_tower`` and ``projector`` are empty where an architecture has none.
    """

    model_type: str  # as in config.json
    model_class: str  # name in `transformers`
    language_model: str
    vision_tower: str
    projector: str
    frozen: tuple[str, ...]  # modules of the tower without its projector, each called as a whole
    tower_entry: str  # the tower's first module: runs whenever the tower computes
    load_processor: Callable[[str], Any]
    positions: Callable[[Any, "Tensors"], "torch.Tensor"]  # (model, sample) -> axes x length, as the model takes them
    positions_behind_prompt: Callable[..., Any]  # a forward hook of the inner model: positions after trained vectors
    cached_tower: Callable[[Any, Memory], Any]  # (tower module, memory) -> its cached forward pass
    head: str = "lm_head"
    text_alone: str = ""  # what reads a text without an image; empty: the whole model, as nearly everywhere
    tiles_axis: int = 0  # along which the images of several samples are joined
    takes_features: bool = True  # whether the whole model, and generation, takes a list of features, one per image
    fast: Fast = ALL_FAST
    # Modules that get positions made from the images' shapes; None: the model cannot read shapes on the CPU
    positioned: tuple[str, ...] | None = None

    @property
    def projector_name(self) -> str:
        """The last part of the projector's path, by which peft finds it."""
        return self.projector.rsplit(".", 1)[-1]

    def linear_layers(self, *names: str) -> str:
        """A pattern for peft: the language model's layers with these names, and no others.

        It includes the language model's path, since a bare ``q_proj`` would also match LLaVA's CLIP tower.
        """
        path = self.language_model.replace(".", r"\.")
        return rf".*{path}\..*\.({'|'.join(names)})"

    @property
    def not_quantised(self) -> list[str]:
        """Modules kept in full precision. The head is listed because a custom list overrides the library's own."""
        beside = (path for path in self.frozen if not f"{path}.".startswith(f"{self.vision_tower}."))
        return [path for path in (self.vision_tower, self.projector, self.head, *beside) if path]

    def reading(self, model: Any, images: bool) -> Any:
        """What reads a batch: the model, or for text alone the part of it that needs no image."""
        return plain_model(model).get_submodule(self.text_alone) if self.text_alone and not images else model


def plain_model(model: Any) -> Any:
    """The conditional-generation model without peft's wrapper; the adapter's layers stay in place."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
