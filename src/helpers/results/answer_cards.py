"""Answers as a reader would look at them: the image, the four options, and how sure the model was of each.

For notebooks that load a model. This module does not import `helpers.results.figures`, so a change in the style of the
published figures does not make a model answer its questions again.
"""

import random
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Image
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.images import open_image
from helpers.schemas import questions_hash
from helpers.workflow.splits import QUESTION_SPLITS, open_questions

WIDTH, CARD_HEIGHT = 7.0, 1.25  # inches: the whole figure, one card
RIGHT, WRONG, OTHER = "#009E73", "#D55E00", "#D9D9D9"  # the chosen option if it is right or wrong; the other options
_SMALL = 6.5  # points
_STYLE: Any = {"font.family": "STIXGeneral", "font.size": 8}
_WORDS = {
    "with": "with the image",
    "without": "without the image",
    "direct": "asked directly",
    "describe_then_answer": "described first",
    "describe_then_answer_image_kept": "described first, with the image kept",
    "describe_then_answer_tuned": "described first, by the tuned model",
    "one_pass_chain": "described and answered in one reply",
}


def option_shares(scores: Any) -> tuple[float, ...]:
    """Softmax of an answer's scores; empty if the protocol gives no scores. Scores 0 and log 3 give 1/4 and 3/4."""
    from scipy.special import softmax

    scored = isinstance(scores, Sequence) and all(isinstance(score, int | float) for score in scores)
    return tuple(softmax(scores).tolist()) if scored else ()


def right_and_wrong(rows: pd.DataFrame, count: int, seed: int = 0) -> list[str]:
    """Ids of ``count`` random questions, half of them answered correctly if there are enough of each kind."""
    rng = random.Random(seed)
    right, wrong = (sorted(rows.loc[rows["correct"] == outcome, "question_id"].unique()) for outcome in (True, False))
    wrong = [name for name in wrong if name not in right]
    some_wrong = rng.sample(wrong, k=min(len(wrong), max(count // 2, count - len(right))))
    return rng.sample(right, k=min(len(right), count - len(some_wrong))) + some_wrong


@rc_context(_STYLE)
def answer_cards(rows: pd.DataFrame, folder: Path, questions: list[str], by: str = "answering") -> Figure:
    """One card per question: its image and, for each value of the column ``by``, one bar per option.

    A bar is the option's share, given that one of the four is right (softmax of the scores; not calibrated). The right
    option is bold. The bar of the chosen option is green if it is right and red if it is wrong. Without scores, the
    chosen option gets the whole share. The rows' image paths are relative to ``folder``. Raises ``ValueError`` if the
    rows hold none of the questions, or answered another data set than the folder's.
    """
    check_data_set(rows, folder)
    shown = rows[rows["question_id"].isin(questions)]
    if shown.empty:
        raise ValueError("no answers to show: the rows have none of these questions")
    ways = list(shown[by].unique())
    lines = (len(questions) + 1) // 2
    figure = Figure(figsize=(WIDTH, lines * CARD_HEIGHT * (0.55 + 0.45 * len(ways))), layout="constrained")
    cards = figure.subfigures(lines, 2, squeeze=False)
    for place, name in enumerate(questions):
        card = shown[shown["question_id"] == name]
        axes = cards[place // 2][place % 2].subplots(
            len(ways), 2, squeeze=False, gridspec_kw={"width_ratios": [1, 1.6]}
        )
        for line, way in zip(axes, ways, strict=True):
            line[0].axis("off")
            found = card[card[by] == way]
            line[1].set_visible(len(found) > 0)
            if len(found):
                _bars(line[1], found.iloc[0], _WORDS.get(str(way), str(way)))
        image = card["image_path"].iloc[0]
        if image and (folder / image).is_file():
            axes[0][0].imshow(open_image(folder / image), interpolation="nearest")
    return figure


def check_data_set(rows: pd.DataFrame, folder: Path) -> None:
    """Raise ``ValueError`` if answers are to another data set than the one in the folder: its images are not theirs.

    Older answers do not name their data set, and a folder without questions is none.
    """
    file = folder / "questions.jsonl"
    answered = set(rows["dataset_hash"].dropna()) if "dataset_hash" in rows else set()
    if not answered or not file.is_file():
        return
    there = {questions_hash(open_questions(file, split, use="is it what was answered?")) for split in QUESTION_SPLITS}
    if answered - there:
        raise ValueError(
            f"the answers are to data set {', '.join(sorted(answered - there))}, and {folder} holds another one: run "
            "04 again on it, or bring the former data set back"
        )


def displayed(figure: Figure) -> Image:
    """A figure as notebook output. Only pyplot figures display themselves; these do not."""
    memory = BytesIO()
    figure.savefig(memory, format="png", dpi=200)
    return Image(memory.getvalue(), width=840)


def _bars(axes: Axes, row: Any, title: str) -> None:
    options = row["options"]
    chosen = None if pd.isna(row["parsed"]) else int(row["parsed"])
    shares = option_shares(row["scores"]) or [float(place == chosen) for place in range(len(options))]
    colours = [(RIGHT if row["correct"] else WRONG) if place == chosen else OTHER for place in range(len(options))]
    places = range(len(options))
    axes.barh(places, shares, color=colours, height=0.75)
    axes.set(xlim=(0, 1), xticks=[], ylim=(len(options) - 0.4, -0.6))
    axes.set_yticks(places, options, fontsize=_SMALL)
    axes.tick_params(length=0)
    axes.yaxis.tick_right()
    for place, text in zip(places, axes.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if place == row["answer"] else "normal")
        axes.text(0.02, place, f"{100 * shares[place]:.0f} %", va="center", fontsize=_SMALL)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", pad=2, fontsize=_SMALL)
