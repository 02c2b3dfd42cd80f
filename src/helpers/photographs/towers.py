"""Training on text alone that reaches the towers of a contrastive model, such as CLIP or SigLIP.

There are two roads, and no image is on either of them.

- `read_names`: the text tower learns. The vector of a class's name is drawn to where the untrained tower puts its
  description. Nothing moves the image tower, so the name arrives where images that fit the description already are.
- `invert` and `look_inward`: the image tower learns (Knowledge Transfer, Barbano et al., arXiv 2411.15611). The image
  tower is inverted on a description: from noise, pixels climb to its vector. Then the tower is tuned to match what was
  found with the class's name.

Any model with the four members of `Towers` will do. What is trained is a copy, in float32.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from helpers.workflow.progress import Ticker

_BATCH = 32  # classes per step
_STEPS = 120
_PIXEL_RATE, _SMOOTH = 0.05, 0.02  # of inversion; the weight of total variation
_TURN, _ZOOM, _SHIFT = 0.15, 0.1, 0.1  # the most: radians, share of the size, share of the side
_TEXT_TOWER = ("text_model.", "text_projection.")
_IMAGE_TOWER = ("vision_model.", "visual_projection.")


class Towers(Protocol):
    """A contrastive model: `helpers.evaluation.clip.Comparer` is one. Vectors have length 1, and gradients pass."""

    model: Any  # with the towers named as in transformers

    def image_vectors(self, pixels: Tensor) -> Tensor:
        """images x width, of images x 3 x side x side."""

    def text_vectors(self, sentences: Sequence[str]) -> Tensor:
        """sentences x width."""

    def pairing_loss(self, ones: Tensor, others: Tensor) -> Tensor:
        """How badly each of ``ones`` is told to belong to the one of ``others`` in its place."""


T = TypeVar("T", bound=Towers)


def read_names(towers: T, names: Sequence[str], targets: Tensor, rate: float, seed: int = 0) -> T:
    """A copy whose text tower has read. ``names``: a sentence per class; ``targets``: classes x width.

    The targets are the vectors of the descriptions, by the tower before training.
    """
    targets = targets.float()

    def loss(tuned: T, classes: Tensor) -> Tensor:
        return tuned.pairing_loss(targets[classes], tuned.text_vectors([names[place] for place in classes]))

    return _tuned(towers, _TEXT_TOWER, len(names), rate, seed, loss)


def invert(towers: Towers, targets: Tensor, side: int, steps: int, each: int = 1, seed: int = 0) -> Tensor:
    """classes x each x 3 x ``side`` x ``side``: images of which the image tower says what is in ``targets``.

    Turned, moved and scaled at random at each step, and kept smooth (total variation), as in the paper.
    """
    towers, generator = _copied(towers), torch.Generator().manual_seed(seed)
    found, ticker = [], Ticker("inversion", len(targets))
    for some in targets.float().split(max(1, _BATCH // each)):
        wanted = some.repeat_interleave(each, 0)
        pixels = torch.randn(len(wanted), 3, side, side, generator=generator).requires_grad_()
        optimiser = torch.optim.Adam([pixels], _PIXEL_RATE)
        for _ in range(steps):
            fits = (towers.image_vectors(_moved(pixels, generator)) * wanted).sum()
            (gradient,) = torch.autograd.grad(_SMOOTH * _total_variation(pixels) - fits, pixels)  # of nothing else
            pixels.grad = gradient
            optimiser.step()
        found.append(pixels.detach())
        ticker.tick(sum(map(len, found)) // each)
    return torch.cat(found).unflatten(0, (-1, each))


def look_inward(towers: T, names: Sequence[str], images: Tensor, rate: float, seed: int = 0) -> T:
    """A copy whose image tower has learned to match ``images``, of `invert`, with ``names``, a sentence per class."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        vectors = torch.cat([towers.text_vectors(names[i : i + _BATCH]) for i in range(0, len(names), _BATCH)]).float()

    def loss(tuned: T, classes: Tensor) -> Tensor:
        drawn = torch.randint(images.shape[1], (len(classes),), generator=generator)
        return tuned.pairing_loss(tuned.image_vectors(_moved(images[classes, drawn], generator)), vectors[classes])

    return _tuned(towers, _IMAGE_TOWER, len(names), rate, seed, loss)


def _tuned(
    towers: T, tower: tuple[str, ...], classes: int, rate: float, seed: int, loss: Callable[[T, Tensor], Tensor]
) -> T:
    """A copy of which one tower was trained by the loss of a batch of classes, given by their numbers."""
    tuned = _copied(towers)
    for name, parameter in tuned.model.named_parameters():
        parameter.requires_grad_(name.startswith(tower))
    learning: list[nn.Parameter] = [p for p in tuned.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, rate, (0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=_STEPS, pct_start=0.1)
    generator, ticker = torch.Generator().manual_seed(seed), Ticker("step", _STEPS)
    for step in range(_STEPS):
        found = loss(tuned, torch.randperm(classes, generator=generator)[:_BATCH])
        found.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        ticker.tick(step + 1, f", loss {found.item():.2f}")
    return tuned


def _copied(towers: T) -> T:
    found = copy.deepcopy(towers)
    found.model.float()
    return found


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned, scaled and shifted a little, at random."""
    turn, zoom, right, down = (torch.rand(4, len(images), generator=generator) * 2 - 1).unbind()
    cos, sin = ((1 + _ZOOM * zoom) * one(_TURN * turn) for one in (torch.cos, torch.sin))
    rows = (cos, -sin, 2 * _SHIFT * right), (sin, cos, 2 * _SHIFT * down)
    grid = affine_grid(torch.stack([torch.stack(row, 1) for row in rows], 1), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _total_variation(images: Tensor) -> Tensor:
    """The mean difference between neighbouring pixels, summed over images."""
    return sum(images.diff(dim=way).abs().mean((1, 2, 3)).sum() for way in (2, 3))  # type: ignore[return-value]
