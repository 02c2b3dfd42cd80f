"""Where images and words meet: how similarly a model represents a class seen and a class described, layer by layer.

Each class is shown twice, as an image and as its description, with the same question for its name. The
hidden states at the last position of the prompt, from which the answer would begin, are compared by centred kernel
alignment (CKA, arXiv 1905.00414): 1 = the classes are arranged alike, 0 = nothing in common. The estimator is the
unbiased one (Song et al. 2012, JMLR 13, 1393-1434): the plain one is far above 0 for unrelated data as soon as the
dimension exceeds the number of classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch

from helpers.config.prompts import EvaluationPrompts, evaluation_prompts
from helpers.evaluation.prompts import Prompt, Shown
from helpers.evaluation.reader import Reader
from helpers.evaluation.strategies import naming_question
from helpers.models.batches import encode, prompt_texts
from helpers.schemas import Question

FEWEST = 4  # classes that the unbiased estimator needs


def unbiased_hsic(one: np.ndarray, other: np.ndarray) -> float:
    """Hilbert-Schmidt independence criterion of two kernel matrices (n x n, n >= 4); the diagonals are ignored."""
    n = len(one)
    k, m = (matrix * (1 - np.eye(n)) for matrix in (one, other))
    whole = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
    return float(whole / (n * (n - 3)))


def linear_cka(one: np.ndarray, other: np.ndarray) -> float:
    """CKA with linear kernels of two sets of representations (n x d and n x e: the same n things in the same order).

    It can fall below 0 by chance if they have nothing in common. Raises ``ValueError`` for fewer than four things.
    """
    if len(one) != len(other) or len(one) < FEWEST:
        raise ValueError(f"{len(one)} and {len(other)} things; CKA needs the same ones twice, at least {FEWEST}")
    k, m = one @ one.T, other @ other.T
    scale = unbiased_hsic(k, k) * unbiased_hsic(m, m)
    return unbiased_hsic(k, m) / scale**0.5 if scale > 0 else float("nan")


@torch.inference_mode()
def last_states(reader: Reader, prompts: Sequence[Prompt]) -> np.ndarray:
    """Hidden states at the last position of each prompt: layers + 1 (the embeddings first) x prompts x width."""
    found = []
    for start in range(0, len(prompts), reader.batch_size):
        rows = prompts[start : start + reader.batch_size]
        texts = prompt_texts(reader.processor, [[prompt.message] for prompt in rows])
        images = [prompt.source.open() if prompt.source else None for prompt in rows]
        batch = encode(reader.processor, texts, images, padding_side="left")
        placed = {name: tensor.to(reader.model.device) for name, tensor in batch.items()}
        states = reader.model(**placed, output_hidden_states=True, logits_to_keep=1).hidden_states
        found.append(torch.stack([layer[:, -1] for layer in states]).float().cpu())
    return torch.cat(found, dim=1).numpy()


@torch.inference_mode()
def mean_states(reader: Reader, texts: Sequence[str]) -> np.ndarray:
    """Texts x width: the mean over each text's tokens of the last layer's hidden states; without any chat around it."""
    found = []
    for start in range(0, len(texts), reader.batch_size):
        batch = encode(reader.processor, texts[start : start + reader.batch_size], [])
        placed = {name: tensor.to(reader.model.device) for name, tensor in batch.items()}
        states = reader.model(**placed, output_hidden_states=True, logits_to_keep=1).hidden_states[-1]
        kept = placed["attention_mask"].unsqueeze(-1)
        found.append(((states * kept).sum(dim=1) / kept.sum(dim=1)).float().cpu())
    return torch.cat(found).numpy()


def seen_and_described(
    reader: Reader,
    questions: Sequence[Question],
    appearances: Mapping[str, str],
    folder: str | Path,
    max_pixels: int | None,
    asking: EvaluationPrompts | None = None,
) -> pandas.DataFrame:
    """CKA by layer between images and descriptions of the classes, and with the descriptions of other classes.

    ``questions``: the first Type-1 question of each class supplies its image. ``appearances``: descriptions by class.
    ``asking``: how the name is asked for; None: as in `data/prompts/evaluation.yaml`. Columns: layer (0 = embeddings),
    cka, cka_shuffled (the level of chance), classes. No rows if fewer than four classes have both.
    """
    first = {
        q.class_id: q for q in reversed(questions) if q.question_type == 1 and q.image and q.class_id in appearances
    }
    if len(first) < FEWEST:
        return pandas.DataFrame(columns=["layer", "cka", "cka_shuffled", "classes"])
    asking = asking or evaluation_prompts()
    asked = {name: naming_question(question, asking) for name, question in first.items()}
    seen = [Prompt(asked[name], Shown(Path(folder) / str(q.image), max_pixels)) for name, q in first.items()]
    told = [Prompt(asking.about(appearances[str(name)], question)) for name, question in asked.items()]
    images, words = last_states(reader, seen), last_states(reader, told)
    others = np.random.default_rng(0).permutation(len(first))
    rows: list[dict[str, Any]] = [
        {
            "layer": layer,
            "cka": linear_cka(image, word),
            "cka_shuffled": linear_cka(image, word[others]),
            "classes": len(first),
        }
        for layer, (image, word) in enumerate(zip(images, words, strict=True))
    ]
    return pandas.DataFrame(rows).round(4)
