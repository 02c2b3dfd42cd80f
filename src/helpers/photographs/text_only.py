"""Training on text alone, tested in photographs, each method with a control.

No photograph of an unseen class and no photograph at all is trained on here. Four methods work in the space of the
sentences; the map from photographs into it is `SeenClasses.into_text`, learned on the seen classes. With one model for
both, such as CLIP, there is no map. Each method is run on right texts and on texts that belong to other classes; what
it gains must vanish there.

- ``head``: a linear layer on the sentence encoder brings a class's name to its sentences (InfoNCE, arXiv 1807.03748).
  Classes are then recognised by *name*, as the paper asks for them after text-only training.
- ``classifier``: a linear classifier trained on sentences classifies photographs (the first stage of LaFTer, arXiv
  2305.18287).
- ``noise``: the same with noise on the sentences, as large as the gap between photographs and texts on seen classes
  (CapDec, arXiv 2211.00575).
- ``prompt``: sentences stand in for images, and a context shared by all names is tuned on them (texts as images,
  TaI-DPT, arXiv 2211.12739). The context is added to the encoded name here, not to the encoder's input.

Two more train a tower of the model for both (`helpers.photographs.towers`):

- ``text tower``: it learns to put a class's name where it put the description.
- ``inversion``: the image tower learns to match the name with images found by inverting it on the description.

`moved_names`, `sentence_classifier` and `prompted_names` need vectors only, so they serve any encoder.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.evaluation.clip import Comparer
from helpers.photographs.embedding import DESCRIPTIONS
from helpers.photographs.encoders import torch_threads
from helpers.photographs.mapping import share_right, unit
from helpers.photographs.study import DIRECT, SHUFFLED, Split, by_cosine, elsewhere, rows_of
from helpers.photographs.towers import invert, look_inward, read_names
from helpers.workflow.progress import watched

_STEPS, _BATCH, _RATE, _DECAY = 100, 128, 0.01, 1e-3  # sentences per step
_TEMPERATURE = 0.07  # of InfoNCE, as in CLIP before training
TRAINED = "trained on text: "  # begins the name of a method's rows


@dataclass(frozen=True)
class TextLesson:
    """What a method may learn from. ``names``: classes x width; ``sentences`` x width with the class of each."""

    names: np.ndarray
    sentences: np.ndarray
    owners: np.ndarray

    def moved(self, places: np.ndarray) -> "TextLesson":
        """The same with the sentences of class c given to class ``places[c]``."""
        return TextLesson(self.names, self.sentences, places[self.owners])


def moved_names(lesson: TextLesson, seed: int) -> np.ndarray:
    """The names, classes x width, after a linear layer has learned to bring each to its sentences."""
    names, sentences = _tensor(lesson.names), _tensor(lesson.sentences)
    owners = torch.from_numpy(lesson.owners)
    layer = nn.Linear(names.shape[1], names.shape[1], bias=False)
    nn.init.eye_(layer.weight)  # training starts from the encoder as it is

    def loss(some: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(_cosine(layer(sentences[some]), layer(names)) / _TEMPERATURE, owners[some])

    _train(layer, loss, len(sentences), seed)
    with torch.inference_mode():
        return layer(names).numpy()


def sentence_classifier(
    lesson: TextLesson, classes: np.ndarray, seed: int, noise: float = 0.0
) -> Callable[[np.ndarray], np.ndarray]:
    """A linear classifier of these classes' sentences: from vectors (rows x width) to scores (rows x ``classes``).

    ``classes`` are sorted. ``noise``: the deviation per coordinate of what is added to a sentence of length 1.
    """
    mine = np.isin(lesson.owners, classes)
    sentences = _tensor(lesson.sentences[mine])
    owners = torch.from_numpy(np.searchsorted(classes, lesson.owners[mine]))
    layer = nn.Linear(sentences.shape[1], len(classes))
    for part in layer.parameters():
        nn.init.zeros_(part)  # convex: every start ends in the same place
    generator = torch.Generator().manual_seed(seed)

    def loss(some: torch.Tensor) -> torch.Tensor:
        seen = sentences[some]
        if noise:
            seen = seen + noise * torch.randn(seen.shape, generator=generator)
        return nn.functional.cross_entropy(
            layer(nn.functional.normalize(seen, dim=1)), owners[some], label_smoothing=0.1
        )

    _train(layer, loss, len(sentences), seed)

    def scores(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return layer(_tensor(rows)).numpy()

    return scores


def prompted_names(lesson: TextLesson, seed: int) -> np.ndarray:
    """The names, classes x width, with a context that was tuned with sentences in the place of images."""
    names, sentences = _tensor(lesson.names), _tensor(lesson.sentences)
    owners = torch.from_numpy(lesson.owners)
    context = nn.ParameterDict({"scale": torch.ones(names.shape[1]), "shift": torch.zeros(names.shape[1])})

    def prompted() -> torch.Tensor:
        return names * context["scale"] + context["shift"]

    def loss(some: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(_cosine(sentences[some], prompted()) / _TEMPERATURE, owners[some])

    _train(context, loss, len(sentences), seed)
    with torch.inference_mode():
        return prompted().numpy()


def head(split: Split, lesson: TextLesson, mapped: "Mapped") -> np.ndarray:
    """The chance to be right for each of the split's photographs, which are recognised by name."""
    names = moved_names(lesson, split.seed)
    return split.compared(names) if mapped.direct else split.by_text(names)


def classifier(split: Split, lesson: TextLesson, mapped: "Mapped") -> np.ndarray:
    """The same by a linear classifier of the unseen classes' sentences."""
    scores = sentence_classifier(lesson, split.unseen, split.seed)
    return share_right(scores(mapped.photographs), split.right)


def noisy_classifier(split: Split, lesson: TextLesson, mapped: "Mapped") -> np.ndarray:
    """`classifier` with noise on the text side."""
    scores = sentence_classifier(lesson, split.unseen, split.seed, mapped.gap)
    return share_right(scores(mapped.photographs), split.right)


def prompt(split: Split, lesson: TextLesson, mapped: "Mapped") -> np.ndarray:
    """The same by names with a shared context, tuned with sentences in the place of images."""
    tuned = prompted_names(lesson, split.seed)
    return share_right(mapped.photographs @ unit(tuned[split.unseen]).T, split.right)


METHODS: Mapping[str, Callable[[Split, TextLesson, "Mapped"], np.ndarray]] = {
    "head": head,
    "classifier": classifier,
    "noise": noisy_classifier,
    "prompt": prompt,
}


def text_only_rows(splits: Iterable[Split], lesson: TextLesson, shared_space: bool = False) -> pd.DataFrame:
    """Rows as of `helpers.photographs.study.photograph_rows`, for each method and its control.

    With a ``shared_space``, photographs and texts are compared without a map.
    """
    rows, way = [], DIRECT if shared_space else ""
    with torch_threads(1):  # more would wait for each other, tenfold on a busy machine
        for split in watched(list(splits), "split"):
            for name, (right, shuffled) in train_on_text(split, lesson, shared_space).items():
                rows.append(rows_of(split, f"{TRAINED}{name}{way}", right))
                rows.append(rows_of(split, f"{TRAINED}{name}{SHUFFLED}{way}", shuffled))
    return pd.concat(rows, ignore_index=True)


def train_on_text(
    split: Split, lesson: TextLesson, shared_space: bool = False
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By method: the chances to be right after training on right texts, and after training on shuffled ones."""
    places = split.shuffled(np.arange(len(lesson.names))[:, None])[:, 0]
    shown = as_they_are if shared_space else into_sentences
    both = [(some, shown(split, some)) for some in (lesson, lesson.moved(places))]
    found = {name: [method(split, some, mapped) for some, mapped in both] for name, method in METHODS.items()}
    return {name: (right, shuffled) for name, (right, shuffled) in found.items()}


def tower_rows(
    splits: Sequence[Split],
    comparer: Comparer,
    names: Sequence[str],
    encode: Callable[[Comparer], np.ndarray],
    rates: Sequence[float],
    inversion_steps: int,
) -> pd.DataFrame:
    """The same for ``text tower`` and, with steps of inversion, for ``inversion``.

    A tower is trained once per rate, on the texts of all classes; the control gives every class the text of another
    one. In each split the rate is the one with which right texts make the *seen* classes recognised best, also for the
    control, so no photograph that is asked about chooses anything. ``names``: a sentence per class; ``encode``: the
    set's photographs x width. Raises ``ValueError`` for rates and steps that make no sense.
    """
    if not rates or min(rates) <= 0:
        raise ValueError(f"rates is {list(rates)}; give one or more above 0, such as 0.001")
    if inversion_steps < 0:
        raise ValueError(f"inversion_steps is {inversion_steps}; it must be 0 or more, such as 100")
    features = splits[0].features
    targets = _tensor(features.texts[DESCRIPTIONS])
    before = (features.images, comparer.sentences(names).float().numpy())
    side = comparer.model.config.vision_config.image_size
    images = invert(comparer, targets, side, inversion_steps) if inversion_steps else None
    moved = elsewhere(len(names), np.random.default_rng(0))
    learned: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)  # by method: one per rate
    for control, order in (("", np.arange(len(names))), (SHUFFLED, moved)):
        for rate in rates:
            read = read_names(comparer, names, targets[order], rate)
            learned[f"text tower{control}"].append((before[0], read.sentences(names).float().numpy()))
            if images is not None:
                tuned = look_inward(comparer, names, images[order], rate)
                learned[f"inversion{control}"].append((encode(tuned), before[1]))
    found = []
    for method, some in learned.items():
        right = learned[method.removesuffix(SHUFFLED)]
        for split in splits:
            seen = [by_cosine(shown, features.labels, named, split.seen).mean() for shown, named in right]
            shown, named = some[int(np.argmax(seen))]
            chances = by_cosine(shown, features.labels, named, split.unseen)
            found.append(rows_of(split, f"{TRAINED}{method}{DIRECT}", chances))
    return pd.concat(found, ignore_index=True)


@dataclass(frozen=True)
class Mapped:
    """The split's photographs in the space of sentences, and the gap: the deviation per coordinate from a class's text.

    The gap is measured on the seen classes, of which photographs and texts are both known: with a map, on those that
    the inner split holds out. ``direct``: the space is the encoders' own, and nothing was mapped.
    """

    photographs: np.ndarray
    gap: float
    direct: bool = False


def as_they_are(split: Split, lesson: TextLesson) -> Mapped:
    """The photographs of the test, where photographs and texts share a space."""
    images, labels = unit(split.features.images), split.features.labels
    seen = np.isin(labels, split.seen)
    return Mapped(images[split.asked], float((images[seen] - _means(lesson)[labels[seen]]).std()), direct=True)


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
