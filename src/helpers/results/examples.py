"""A dozen test questions as a reader would look at them: image, options, each model's answer and how sure it was.

The questions are drawn at random with a fixed seed, not selected by outcome. How sure a model was is the softmax of its
four scores: the share of each option, given that one of the four is right. It is not calibrated.
"""

import base64
import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from helpers.paths import MAIN, Layout
from helpers.results.answer_cards import check_data_set, option_shares
from helpers.results.tables.answers import of_protocol, of_variant, read_answers
from helpers.results.tables.files import find
from helpers.schemas import Question
from helpers.workflow.splits import QUESTION_SPLITS, open_questions

_MODES = ("base", "text_only", "image_text")
TYPE1, TYPE2 = 8, 4  # questions of each type
_SIDE = 224  # pixels at most: the page embeds the images


@dataclass(frozen=True)
class CardAnswer:
    """One model's answer; ``shares`` is the softmax of its scores, empty if the protocol gives none."""

    mode: str
    answering: str
    chosen: int | None  # None: the reply was unreadable
    right: bool
    shares: tuple[float, ...]
    description: str | None


@dataclass(frozen=True)
class Card:
    """One question with all the answers to it."""

    question_id: str
    question_type: int
    question: str
    options: tuple[str, ...]
    correct: int
    image: str | None  # as a data URL, for a self-contained page
    answers: tuple[CardAnswer, ...]


@dataclass(frozen=True)
class Gallery:
    """The cards of one model and domain, all from one training seed, and the answer files that they come from."""

    model: str
    domain: str
    seed: int
    cards: tuple[Card, ...]
    files: tuple[Path, ...]


def galleries(run: Path) -> list[Gallery]:
    """One gallery per model and domain of a run, all on the same questions; empty if there are no answers."""
    files = find(run / "evaluation", "answers.jsonl")
    if not files:
        return []
    rows = of_protocol(of_variant(read_answers(files)))
    rows = rows[(rows["image"] == "with") & rows["mode"].isin(_MODES)]
    found, asked_in = [], {domain: _questions(run, str(domain), group) for domain, group in rows.groupby("domain")}
    for (model, domain), group in rows.groupby(["model", "domain"], sort=False):
        chosen = choose_examples(group, TYPE1, TYPE2, seed=0)
        training_seed = int(group.loc[group["mode"] != "base", "seed"].min()) if (group["mode"] != "base").any() else 0
        of_seed = group[(group["mode"] == "base") | (group["seed"] == training_seed)]
        cards = tuple(_card(of_seed[of_seed["question_id"] == name], asked_in[domain].get(name)) for name in chosen)
        runs = of_seed[["mode", "seed"]].drop_duplicates().itertuples(index=False)
        folders = (run / "evaluation" / model / domain / mode / MAIN / f"seed{seed}" for mode, seed in runs)
        named = tuple(file for folder in folders if (file := folder / "answers.jsonl").is_file())
        found.append(Gallery(str(model), str(domain), training_seed, cards, named))
    return found


def choose_examples(rows: pd.DataFrame, type1: int, type2: int, seed: int) -> list[str]:
    """Ids of that many random questions of each type, or of all if there are fewer."""
    rng, chosen = random.Random(seed), []
    for kind, wanted in ((1, type1), (2, type2)):
        names = sorted(rows.loc[rows["question_type"] == kind, "question_id"].unique())
        chosen += rng.sample(names, k=min(wanted, len(names)))
    return chosen


def data_address(image: bytes, kind: str) -> str:
    """A file's bytes as a data URL, so that the page needs no second file."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def _questions(run: Path, domain: str, rows: pd.DataFrame) -> dict[str, tuple[Question, Path]]:
    """The questions of a domain by id, with the folder that image paths are relative to; empty without its data set.

    Raises ``ValueError`` if the rows answered another one.
    """
    folder = Layout(run).folder("dataset", domain=domain, variant=MAIN)
    check_data_set(rows, folder)
    file = folder / "questions.jsonl"
    asked = open_questions(file, *QUESTION_SPLITS, use="examples beside their answers") if file.is_file() else []
    return {question.question_id: (question, folder) for question in asked}


def _card(rows: pd.DataFrame, asked: tuple[Question, Path] | None) -> Card:
    first = rows.iloc[0]
    return Card(
        question_id=first["question_id"],
        question_type=int(first["question_type"]),
        question=asked[0].question if asked else "",
        options=tuple(first["options"]),
        correct=int(first["answer"]),
        image=_image(asked[1] / str(first["image_path"])) if asked and first["image_path"] else None,
        answers=tuple(_answer(row) for _, row in rows.iterrows()),
    )


def _answer(row: Any) -> CardAnswer:
    return CardAnswer(
        mode=row["mode"],
        answering=row["answering"],
        chosen=None if pd.isna(row["parsed"]) else int(row["parsed"]),
        right=bool(row["correct"]),
        shares=option_shares(row["scores"]),
        description=row["description"] if isinstance(row["description"], str) else None,
    )


def _image(path: Path) -> str | None:
    if not path.is_file():
        return None
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    memory = io.BytesIO()
    kind = "png" if path.suffix.lower() == ".png" else "jpeg"
    small.save(memory, format=kind)
    return data_address(memory.getvalue(), kind)
