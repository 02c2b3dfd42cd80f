"""Answers as a reader would look at them: the image, the four options, and how sure the model was of each.

For notebooks that load a model: this module asks nothing of `helpers.results.figures`, so a change of a published figure's
looks does not ask a model anything again.
"""

import math
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

from helpers.images import open_picture

WIDTH, CARD_HEIGHT = 7.0, 1.25  # inches: of all cards, of one question
RIGHT, WRONG, OTHER = "#009E73", "#D55E00", "#D9D9D9"  # of the option that was chosen; of the others
_SMALL = 6.5  # points
_STYLE: Any = {"font.family": "STIXGeneral", "font.size": 8}
_WORDS = {
    "with": "with the image",
    "without": "without the image",
    "direct": "asked directly",
    "describe": "described first",
    "describe_tuned": "described first, by the tuned model",
}


def softmax(scores: Sequence[float]) -> tuple[float, ...]:
    """Shares that add up to one; by hand: scores 0 and log 3 give a quarter and three quarters."""
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    return tuple(power / sum(powers) for power in powers)


def right_and_wrong(rows: pd.DataFrame, count: int, seed: int = 0) -> list[str]:
    """Ids of ``count`` questions at random, half of them answered right as far as there are so many."""
    rng = random.Random(seed)
    right, wrong = (sorted(rows.loc[rows["correct"] == outcome, "question_id"].unique()) for outcome in (True, False))
    wrong = [name for name in wrong if name not in right]
    some_wrong = rng.sample(wrong, k=min(len(wrong), max(count // 2, count - len(right))))
    return rng.sample(right, k=min(len(right), count - len(some_wrong))) + some_wrong


@rc_context(_STYLE)
def answer_cards(rows: pd.DataFrame, folder: Path, questions: list[str], by: str = "answering") -> Figure:
    """One card per question: its image and, for each value of the column ``by``, a bar per option.

    A bar is the share of the option if one of the four has to be right (softmax of the scores; not calibrated). The
    right option is bold; the bar of the chosen one is green where it is right and red where it is not. ``folder`` is
    where the rows' images count from. Rows without scores have no bars: the option that was chosen is marked alone. Raises ``ValueError`` where there is nothing to show.
    """
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
        _image(axes[0][0], card.iloc[0], folder)
    return figure


def displayed(figure: Figure, width: int = 840) -> Image:
    """A figure as a notebook shows it, ``width`` pixels wide: figures here are not pyplot's, which display themselves."""
    memory = BytesIO()
    figure.savefig(memory, format="png", dpi=200)
    return Image(memory.getvalue(), width=width)


def _image(axes: Axes, row: Any, folder: Path) -> None:
    if row["picture"] and (folder / row["picture"]).is_file():
        axes.imshow(open_picture(folder / row["picture"]), interpolation="nearest")


def _bars(axes: Axes, row: Any, title: str) -> None:
    options, scores = row["options"], row["scores"]
    chosen = None if pd.isna(row["parsed"]) else int(row["parsed"])
    scored = isinstance(scores, list) and all(isinstance(score, int | float) for score in scores)
    shares = softmax(scores) if scored else [float(place == chosen) for place in range(len(options))]
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
