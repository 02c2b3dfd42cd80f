"""Small experiments by hand: train on a few texts in seconds, and ask the result about some pictures.

For notebook 11. Nothing here is reported anywhere: a dozen classes and one seed say how the thing works, not how well.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.config.build import Build
from helpers.config.evaluation import Evaluation
from helpers.config.training import Training
from helpers.results.examples import softmax
from helpers.schemas import ClassText, Question


def edited(text: ClassText, replacements: Mapping[str, str], instead: str | None = None) -> ClassText:
    """The text with words of its look replaced, or with another look altogether (``instead``).

    Raises ``ValueError`` for a word that is not there: the edit would silently do nothing.
    """
    if instead is not None:
        return text.model_copy(update={"look": instead.strip()})
    look = text.look
    if missing := [word for word in replacements if word not in look]:
        raise ValueError(f"the look of {text.name} does not have {', '.join(missing)}; it reads: {look!r}")
    for word, new in replacements.items():
        look = look.replace(word, new)
    return text.model_copy(update={"look": look})


def retrain(
    model_path: str | Path, texts: Sequence[ClassText], output: Path, build: Build, training: Training, seed: int
) -> Any:
    """Train a fresh adapter on the texts alone; returns the tuned model, ready to answer."""
    from helpers.datasets.build import build_samples
    from helpers.models.adapters import add_adapter
    from helpers.models.loading import load_model, load_processor
    from helpers.training.trainer import finetune

    model, family = load_model(model_path, training.dtype)
    tuned = add_adapter(model, family, training, seed)
    samples = list(build_samples(texts, "text_only", build))
    finetune(tuned, family, load_processor(model_path), samples, output, output, training, seed)
    return tuned.eval()


def ask(
    model: Any, model_path: str | Path, questions: Sequence[Question], folder: Path, settings: Evaluation
) -> pd.DataFrame:
    """How sure a model is of each option: one row a question and way of asking, with the options' shares in percent."""
    from helpers.evaluation.reader import Reader
    from helpers.evaluation.run import answer_rows
    from helpers.models.loading import load_processor

    reader = Reader(model, load_processor(model_path), settings.batch_size, settings.max_new_tokens)
    run = {"model": "playground", "domain": "butterfly", "mode": "text_only", "variant": "main", "seed": 0}
    rows, _ = answer_rows(reader, questions, folder, ["with"], settings, run)
    return pd.DataFrame([_sureness(row) for row in rows])


def _sureness(row: Mapping[str, Any]) -> dict[str, Any]:
    shares = dict(zip(row["options"], (round(100 * share) for share in softmax(row["scores"])), strict=True))
    asked = {"picture": row["picture"], "asked": row["answering"], "its words": row["description"]}
    return {**asked, "answer": row["options"][row["parsed"]], **shares}
