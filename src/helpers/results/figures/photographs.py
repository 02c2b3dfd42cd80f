"""The figure of the study with photographs: accuracy by text, and the curve that says what a text is worth."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.photographs.study import SHUFFLED
from helpers.results.figures.accuracies import CHANCE_LINE, percent_axis
from helpers.results.figures.style import COLOURS, FAINT, SMALL, styled, text_width, type_size, values_of
from helpers.results.photographs import BY_EXAMPLE
from helpers.results.stats.accuracy import CHANCE

_APART = 5  # points between two labels of lines


@styled
def photographs_figure(table: pd.DataFrame) -> Figure:
    """`accuracy_by_text` drawn: per set a panel of texts, and beside it photographs per class against accuracy."""
    sets = values_of(table, "set")
    counts = [len(_texts(table, name)) for name in sets]
    height = 0.6 + 0.17 * sum(counts) + 0.45 * len(sets)
    figure = Figure((text_width(), height), layout="constrained")
    panels = figure.subplots(len(sets), 2, squeeze=False, width_ratios=(3, 2), height_ratios=[3 + n for n in counts])
    for (left, right), name in zip(panels, sets, strict=True):
        group = table[table["set"] == name]
        _dots(left, group[group["text"] != BY_EXAMPLE].reset_index(drop=True))
        n, classes = int(group["n"].max()), int(group["classes"].max())
        left.set_title(f"{name}: {classes} classes, {n} photographs per split", loc="left", pad=3)
        _curve(right, group)
    panels[-1][0].set_xlabel("accuracy (%), interval over classes; dashed: chance")
    panels[-1][1].set_xlabel("photographs per class, no text")
    return figure


def _texts(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[(table["set"] == name) & (table["text"] != BY_EXAMPLE)]


def _dots(axes: Axes, group: pd.DataFrame) -> None:
    small = type_size(SMALL)
    percent_axis(axes)
    for height, row in group.iterrows():
        shade = COLOURS["base" if SHUFFLED in str(row["text"]) else "text_only"]
        axes.plot([row["accuracy_low"], row["accuracy_high"]], [height, height], color=shade, linewidth=1)
        axes.plot(row["accuracy"], height, "o", color=shade, markersize=3.5)
        place, beside = (1.01, float(height)), ("axes fraction", "data")
        axes.annotate(f"{row['accuracy']:.1f}", place, xycoords=beside, fontsize=small, va="center", color=shade)
    axes.set_yticks(range(len(group)), list(group["text"]), fontsize=small)
    axes.set_ylim(len(group) - 0.4, -0.6)


def _curve(axes: Axes, group: pd.DataFrame) -> None:
    shown = group[group["text"] == BY_EXAMPLE].sort_values("photographs")
    if shown.empty:
        axes.axis("off")
        return
    axes.set_xscale("log", base=2)
    axes.fill_between(shown["photographs"], shown["accuracy_low"], shown["accuracy_high"], color=FAINT)
    axes.plot(shown["photographs"], shown["accuracy"], "o-", color=COLOURS["image_text"], markersize=3.5, linewidth=1)
    axes.set_xticks(shown["photographs"], [str(int(count)) for count in shown["photographs"]])
    axes.set_ylim(0, 102)
    axes.axhline(CHANCE, **CHANCE_LINE)
    lines = group[group["text"].isin(("names", "descriptions", "name masked"))].sort_values("accuracy")
    above = 0.0
    for _, row in lines.iterrows():
        axes.axhline(row["accuracy"], color=COLOURS["text_only"], linewidth=0.6)
        above = max(row["accuracy"] + 1, above + _APART)  # labels of lines that lie close stand above each other
        axes.annotate(row["text"], (shown["photographs"].max(), above), fontsize=type_size(SMALL), ha="right")
    axes.set_ylabel("accuracy (%)")
