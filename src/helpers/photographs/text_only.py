"""Training on text alone, tested in photographs: four methods, each in the space of the sentences.

No photograph of an unseen class and no photograph at all is trained on here; the map from photographs into the space
of sentences is `SeenClasses.into_text`, learned on the seen classes. Each method is run on right texts and on texts
that belong to other classes; what it gains must vanish there.

- ``head``: a linear layer on the sentence encoder brings a class's name to its sentences (InfoNCE, arXiv 1807.03748).
  Classes are then recognised by *name*, as the paper asks for them after text-only training.
- ``classifier``: a linear classifier trained on sentences classifies mapped photographs (the first stage of LaFTer,
  arXiv 2305.18287).
- ``noise``: the same with noise on the sentences, as large as the gap between mapped photographs and texts on seen
  classes (CapDec, arXiv 2211.00575).
- ``prompt``: sentences stand in for images, and a context shared by all names is tuned on them (texts as images,
  TaI-DPT, arXiv 2211.12739). The context is added to the encoded name here, not to the encoder's input.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.photographs.encoders import torch_threads
from helpers.photographs.mapping import share_right, unit
from helpers.photographs.study import SHUFFLED, Split, rows_of
from helpers.workflow.progress import watched

_STEPS, _BATCH, _RATE, _DECAY = 100, 128, 0.01, 1e-3  # sentences per step
_TEMPERATURE = 0.07  # of InfoNCE, as in CLIP before training


@dataclass(frozen=True)
class TextLesson:
    """What a method may learn from. ``names``: classes x width; ``sentences`` x width with the class of each."""

    names: np.ndarray
    sentences: np.ndarray
    owners: np.ndarray

    def moved(self, places: np.ndarray) -> "TextLesson":
        """The same with the sentences of class c given to class ``places[c]``."""
        return TextLesson(self.names, self.sentences, places[self.owners])


def head(split: Split, lesson: TextLesson, mapped: "Mapped") -> np.ndarray:
    """The chance to be right for each of the split's photographs, which are recognised by name."""
    names, sentences = _tensor(lesson.names), _tensor(lesson.sentences)
    owners = torch.from_numpy(lesson.owners)
    layer = nn.Linear(names.shape[1], names.shape[1], bias=False)
    nn.init.eye_(layer.weight)  # training starts from the encoder as it is

    def loss(some: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(_cosine(layer(sentences[some]), layer(names)) / _TEMPERATURE, owners[some])

    _train(layer, loss, len(sentences), split.seed)
    with torch.inference_mode():
        return split.by_text(layer(names).numpy())


def classifier(split: Split, lesson: TextLesson, mapped: "Mapped", noise: bool = False) -> np.ndarray:
    """The same by a linear classifier of the unseen classes' sentences."""
    mine = np.isin(lesson.owners, split.unseen)
    sentences = _tensor(lesson.sentences[mine])
    owners = torch.from_numpy(np.searchsorted(split.unseen, lesson.owners[mine]))
    layer = nn.Linear(sentences.shape[1], len(split.unseen))
    for part in layer.parameters():
        nn.init.zeros_(part)  # convex: every start ends in the same place
    generator = torch.Generator().manual_seed(split.seed)

    def loss(some: torch.Tensor) -> torch.Tensor:
        seen = sentences[some]
        if noise:
            seen = seen + mapped.gap * torch.randn(seen.shape, generator=generator)
        return nn.functional.cross_entropy(
            layer(nn.functional.normalize(seen, dim=1)), owners[some], label_smoothing=0.1
        )

    _train(layer, loss, len(sentences), split.seed)
    with torch.inference_mode():
        return share_right(layer(_tensor(mapped.photographs)).numpy(), split.right)


def noisy_classifier(split: Split, lesson: TextLesson, mapped: "Mapped") -> np.ndarray:
    """`classifier` with noise on the text side."""
    return classifier(split, lesson, mapped, noise=True)


def prompt(split: Split, lesson: TextLesson, mapped: "Mapped") -> np.ndarray:
    """The same by names with a shared context, tuned with sentences in the place of images."""
    names, sentences = _tensor(lesson.names), _tensor(lesson.sentences)
    owners = torch.from_numpy(lesson.owners)
    context = nn.ParameterDict({"scale": torch.ones(names.shape[1]), "shift": torch.zeros(names.shape[1])})

    def prompted() -> torch.Tensor:
        return names * context["scale"] + context["shift"]

    def loss(some: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(_cosine(sentences[some], prompted()) / _TEMPERATURE, owners[some])

    _train(context, loss, len(sentences), split.seed)
    with torch.inference_mode():
        tuned = prompted().numpy()
    return share_right(mapped.photographs @ unit(tuned[split.unseen]).T, split.right)


METHODS: Mapping[str, Callable[[Split, TextLesson, "Mapped"], np.ndarray]] = {
    "head": head,
    "classifier": classifier,
    "noise": noisy_classifier,
    "prompt": prompt,
}


def text_only_rows(splits: Iterable[Split], lesson: TextLesson) -> pd.DataFrame:
    """Rows as of `helpers.photographs.study.photograph_rows`, for each method and its control."""
    rows = []
    with torch_threads(1):  # more would wait for each other, tenfold on a busy machine
        for split in watched(list(splits), "split"):
            for name, (right, shuffled) in train_on_text(split, lesson).items():
                rows.append(rows_of(split, f"trained on text: {name}", right))
                rows.append(rows_of(split, f"trained on text: {name}{SHUFFLED}", shuffled))
    return pd.concat(rows, ignore_index=True)


def train_on_text(split: Split, lesson: TextLesson) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By method: the chances to be right after training on right texts, and after training on shuffled ones."""
    places = split.shuffled(np.arange(len(lesson.names))[:, None])[:, 0]
    both = [(some, into_sentences(split, some)) for some in (lesson, lesson.moved(places))]
    found = {name: [method(split, some, mapped) for some, mapped in both] for name, method in METHODS.items()}
    return {name: (right, shuffled) for name, (right, shuffled) in found.items()}


@dataclass(frozen=True)
class Mapped:
    """The split's photographs in the space of sentences, and the gap: the deviation per coordinate from a class's text.

    The gap is measured on the seen classes that the inner split holds out, where photographs and texts are both known.
    """

    photographs: np.ndarray
    gap: float


def into_sentences(split: Split, lesson: TextLesson) -> Mapped:
    """Map the photographs of the test by what is learned on the seen classes."""
    texts = _means(lesson)
    ridge = split.inner.ridges(texts).image
    features = split.features
    photographs = unit(unit(features.images[split.asked]) @ split.learned.into_text(texts, ridge))
    gaps = []
    for fold in split.inner.folds:
        held_out = np.isin(features.labels, fold.classes)
        shown = unit(unit(features.images[held_out]) @ fold.seen.into_text(texts, ridge))
        gaps.append(shown - texts[features.labels[held_out]])
    return Mapped(photographs, float(np.concatenate(gaps).std()))


def _means(lesson: TextLesson) -> np.ndarray:
    found = np.zeros_like(lesson.names, dtype=np.float64)
    np.add.at(found, lesson.owners, lesson.sentences)
    return unit(found)


def _tensor(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(unit(rows.astype(np.float32)))


def _cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(first, dim=1) @ nn.functional.normalize(second, dim=1).T


def _train(module: nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], count: int, seed: int) -> None:
    """``loss`` of the sentences with these numbers, drawn anew at each step."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(module.parameters(), lr=_RATE, weight_decay=_DECAY)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        loss(torch.randperm(count, generator=generator)[:_BATCH]).backward()
        optimiser.step()
