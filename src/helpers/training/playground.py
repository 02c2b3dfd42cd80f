"""Small experiments by hand: train on a few texts in seconds, and ask the tuned model about some images.

For notebook 00. None of this is reported: a few classes and one seed show how the method works, not how well.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.config.build import Build
from helpers.config.evaluation import Evaluation
from helpers.config.training import Training
from helpers.datasets.build import build_samples
from helpers.evaluation.reader import Reader
from helpers.evaluation.run import answer_rows
from helpers.models.adapters import add_adapter
from helpers.models.loading import load_model, load_processor
from helpers.schemas import ClassText, Question
from helpers.training.trainer import finetune


def edited(text: ClassText, replacements: Mapping[str, str]) -> ClassText:
    """The text with words of its description of the appearance replaced.

    Raises ``ValueError`` for a word that does not occur, since the edit would silently do nothing.
    """
    appearance = text.appearance
    if missing := [word for word in replacements if word not in appearance]:
        raise ValueError(
            f"the description of {text.name} does not contain {', '.join(missing)}; it reads: {appearance!r}"
        )
    for word, new in replacements.items():
        appearance = appearance.replace(word, new)
    return text.model_copy(update={"appearance": appearance})


def retrain(
    model_path: str | Path, texts: Sequence[ClassText], output: Path, build: Build, training: Training, seed: int
) -> Any:
    """Train a new adapter on the texts alone; returns the tuned model, ready to answer."""
    model, family = load_model(model_path, training.dtype, training.four_bit)
    tuned = add_adapter(model, family, training, seed)
    samples = list(build_samples(texts, "text_only", build))
    finetune(tuned, family, load_processor(model_path), samples, output, output, training, seed)
    return tuned.eval()


def ask(
    model: Any, model_path: str | Path, questions: Sequence[Question], folder: Path, settings: Evaluation
) -> pd.DataFrame:
    """The model's answers, one row per question, prompting strategy and protocol, as in the files of answers."""
    reader = Reader(
        model, load_processor(model_path), settings.batch_size, settings.max_new_tokens, unpack=settings.unpack_weights
    )
    run = {"model": "playground", "domain": "butterfly", "mode": "text_only", "variant": "main", "seed": 0}
    return pd.DataFrame(answer_rows(reader, questions, folder, ["with"], settings, run).rows)
