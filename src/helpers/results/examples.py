"""A dozen test questions as a reader would look at them: the picture, the options, who answered what, and how sure.

The questions are drawn at random with a fixed seed, not chosen by their outcome. How sure a model was is the softmax of
its four scores: the share of each option if one of the four has to be right. It is not calibrated.
"""

import base64
import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from helpers.paths import MAIN
from helpers.results.answer_cards import softmax
from helpers.results.tables.answers import of_protocol, of_variant, read_answers
from helpers.results.tables.files import find
from helpers.schemas import Question, read_questions

_MODES = ("base", "text_only", "image_text")
TYPE1, TYPE2 = 8, 4  # of a dozen
_SIDE = 224  # pixels at most; the page holds the pictures


@dataclass(frozen=True)
class CardAnswer:
    """One model's answer; ``shares`` are the softmax of its scores, empty where the protocol gives none."""

    mode: str
    answering: str
    chosen: int | None  # None: the reply could not be read
    right: bool
    shares: tuple[float, ...]
    description: str | None


@dataclass(frozen=True)
class Card:
    """One question with every answer to it."""

    question_id: str
    question_type: int
    question: str
    options: tuple[str, ...]
    correct: int
    picture: str | None  # as a data address, for a page that stands alone
    answers: tuple[CardAnswer, ...]


@dataclass(frozen=True)
class Gallery:
    """The cards of one model and domain, all of one seed, and the files of answers that they are from."""

    model: str
    domain: str
    seed: int
    cards: tuple[Card, ...]
    files: tuple[Path, ...]


def galleries(run: Path, type1: int = TYPE1, type2: int = TYPE2, seed: int = 0) -> list[Gallery]:
    """One gallery a model and domain of a run's evaluations, on the same questions; none where there are no answers."""
    files = find(run / "evaluation", "answers.jsonl")
    if not files:
        return []
    rows = of_protocol(of_variant(read_answers(files)))
    rows = rows[(rows["image"] == "with") & rows["mode"].isin(_MODES)]
    found, asked_in = [], {domain: _questions(run, str(domain)) for domain in rows["domain"].unique()}
    for (model, domain), group in rows.groupby(["model", "domain"], sort=False):
        chosen = choose_examples(group, type1, type2, seed)
        training_seed = int(group.loc[group["mode"] != "base", "seed"].min()) if (group["mode"] != "base").any() else 0
        of_seed = group[(group["mode"] == "base") | (group["seed"] == training_seed)]
        cards = tuple(_card(of_seed[of_seed["question_id"] == name], asked_in[domain].get(name)) for name in chosen)
        there = _files(run, of_seed[["model", "domain", "mode", "seed"]].drop_duplicates())
        found.append(Gallery(str(model), str(domain), training_seed, cards, there))
    return found


def _files(run: Path, of: pd.DataFrame) -> tuple[Path, ...]:
    """The answers of some runs, where the workflow puts them."""
    named = (
        run / "evaluation" / row.model / row.domain / row.mode / MAIN / f"seed{row.seed}" / "answers.jsonl"
        for row in of.itertuples()
    )
    return tuple(file for file in named if file.is_file())


def choose_examples(rows: pd.DataFrame, type1: int, type2: int, seed: int) -> list[str]:
    """Ids of so many questions of each type at random; all, where there are fewer."""
    rng, chosen = random.Random(seed), []
    for kind, wanted in ((1, type1), (2, type2)):
        names = sorted(rows.loc[rows["question_type"] == kind, "question_id"].unique())
        chosen += rng.sample(names, k=min(wanted, len(names)))
    return chosen


def data_address(picture: bytes, kind: str) -> str:
    """A file's bytes as an address, so that a page needs no second file."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _questions(run: Path, domain: str) -> dict[str, tuple[Question, Path]]:
    """Every question of a domain with the folder that its picture counts from."""
    files = find(run / "datasets" / domain, "questions.jsonl")
    return {question.question_id: (question, file.parent) for file in files for question in read_questions(file)}


def _card(rows: pd.DataFrame, asked: tuple[Question, Path] | None) -> Card:
    first = rows.iloc[0]
    return Card(
        question_id=first["question_id"],
        question_type=int(first["question_type"]),
        question=asked[0].question if asked else "",
        options=tuple(first["options"]),
        correct=int(first["answer"]),
        picture=_picture(asked[1] / str(first["picture"])) if asked and first["picture"] else None,
        answers=tuple(_answer(row) for _, row in rows.iterrows()),
    )


def _answer(row: Any) -> CardAnswer:
    scored = isinstance(row["scores"], list) and all(isinstance(score, int | float) for score in row["scores"])
    return CardAnswer(
        mode=row["mode"],
        answering=row["answering"],
        chosen=None if pd.isna(row["parsed"]) else int(row["parsed"]),
        right=bool(row["correct"]),
        shares=softmax(row["scores"]) if scored else (),
        description=row["description"] if isinstance(row["description"], str) else None,
    )


def _picture(path: Path) -> str | None:
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    memory = io.BytesIO()
    kind = "png" if path.suffix.lower() == ".png" else "jpeg"
    small.save(memory, format=kind)
    return data_address(memory.getvalue(), kind)
