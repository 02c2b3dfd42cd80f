"""Answers as a reader would look at them: the image, the four options, and how sure the model was of each."""

import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.images import open_picture
from helpers.results.examples import softmax
from helpers.results.figures.style import FAINT, INK, SMALL, TEXT_WIDTH, label, notice, styled

CARD_HEIGHT = 1.25  # inches of one question
RIGHT, WRONG = "#009E73", "#D55E00"  # of the option that was chosen


def right_and_wrong(rows: pd.DataFrame, count: int, seed: int = 0) -> list[str]:
    """Ids of ``count`` questions at random, half of them answered right as far as there are so many."""
    rng = random.Random(seed)
    right, wrong = (sorted(rows.loc[rows["correct"] == outcome, "question_id"].unique()) for outcome in (True, False))
    wrong = [name for name in wrong if name not in right]
    some_wrong = rng.sample(wrong, k=min(len(wrong), max(count // 2, count - len(right))))
    return rng.sample(right, k=min(len(right), count - len(some_wrong))) + some_wrong


@styled
def answers_figure(rows: pd.DataFrame, folder: Path, questions: list[str], by: str = "answering") -> Figure:
    """One card per question: its image and, for each value of the column ``by``, a bar per option.

    A bar is the share of the option if one of the four has to be right (softmax of the scores; not calibrated). The
    right option is bold; the bar of the chosen one is green where it is right and red where it is not. ``folder`` is
    where the rows' images count from. Rows without scores have no bars: the option that was chosen is marked alone.
    """
    shown = rows[rows["question_id"].isin(questions)]
    if shown.empty:
        return notice("no answers to show")
    ways = list(shown[by].unique())
    lines = (len(questions) + 1) // 2
    figure = Figure(figsize=(TEXT_WIDTH, lines * CARD_HEIGHT * (0.55 + 0.45 * len(ways))), layout="constrained")
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
                _bars(line[1], found.iloc[0], label(str(way)))
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
    colours = [(RIGHT if row["correct"] else WRONG) if place == chosen else FAINT for place in range(len(options))]
    places = range(len(options))
    axes.barh(places, shares, color=colours, height=0.75)
    axes.set(xlim=(0, 1), xticks=[], ylim=(len(options) - 0.4, -0.6))
    axes.set_yticks(places, options, fontsize=SMALL)
    axes.tick_params(length=0)
    axes.yaxis.tick_right()
    for place, text in zip(places, axes.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if place == row["answer"] else "normal")
        axes.text(0.02, place, f"{100 * shares[place]:.0f} %", va="center", fontsize=SMALL, color=INK)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", pad=2, fontsize=SMALL)
