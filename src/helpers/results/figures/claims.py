"""Every claim as paired differences: a dot with its interval per model and domain, coloured by what it decides."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from helpers.results.figures.accuracies import GROUND
from helpers.results.figures.style import (
    FAINT,
    INK,
    SMALL,
    SOFT,
    label,
    legend_above,
    note_below,
    notice,
    seeds_said,
    styled,
    text_width,
    type_size,
    values_of,
)
from helpers.results.stats import MARGIN

_LINE = 0.115  # inches from one dot to the next
_ABOVE, _BETWEEN, _BELOW = 2.0, 1.35, 1.25  # lines above a claim's words, between two of them, and below
_COLOURS = {"yes": "#0072B2", "open": "#8C8C8C", "no": "#D55E00"}
_WORDS = {"yes": "bears it out", "open": "open", "no": "rules it out"}
_LETTERS = 17  # of a claim per inch


@styled
def claims_figure(table: pd.DataFrame) -> Figure:
    """`helpers.results.claims.claims_table` drawn, in points of the difference; the margin is shaded."""
    if table.empty:
        return notice("No claim could be tested: its two sides were not both asked.")
    places, titles, at = _places(table)
    figure = Figure((text_width(), 0.6 + _LINE * at), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-MARGIN, MARGIN, color=FAINT, alpha=0.45, linewidth=0)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    for place, row in zip(places, table.to_dict("records"), strict=True):
        shade = _COLOURS[row["outcome"]]
        axes.plot([row["low"], row["high"]], [place] * 2, color=shade, linewidth=1)
        axes.plot(row["difference"], place, "o", color=shade, markersize=3)
        said = f"{row['accuracy']:.1f} against {row['against_accuracy']:.1f}"
        axes.annotate(
            said, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=type_size(SMALL), color=SOFT
        )
    for place, words in titles:
        at_left: Any = {"xycoords": ("figure points", "data"), "va": "center"}
        axes.annotate(words, (4, place), **at_left, color=INK, bbox=GROUND).set_in_layout(False)
    axes.set_yticks(places, [_where(table, row) for row in table.to_dict("records")], fontsize=type_size(SMALL))
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(at - 0.3, -0.3), xlabel="difference in points, 95 % interval; shaded: the margin")
    axes.grid(axis="x")
    keys = [Line2D([], [], color=_COLOURS[way], marker="o", markersize=3, label=_WORDS[way]) for way in _COLOURS]
    legend_above(figure, keys, 3, "right")
    note_below(figure, seeds_said(table))
    return figure


def _places(table: pd.DataFrame) -> tuple[list[float], list[tuple[float, str]], float]:
    """The height of each row, the heights and words of the claims above their rows, and where the last one ends."""
    places: list[float] = []
    titles: list[tuple[float, str]] = []
    at = 0.0
    for claim in values_of(table, "claim"):
        for line, words in enumerate(textwrap.wrap(claim, int(_LETTERS * text_width()) - 1)):
            at += _BETWEEN if line else _ABOVE
            titles.append((at, words))
        for row in range(int((table["claim"] == claim).sum())):
            at += 1 if row else _BELOW
            places.append(at)
    return places, titles, at + 1


def _where(table: pd.DataFrame, row: dict[str, str]) -> str:
    of_claim = table[table["claim"] == row["claim"]]
    columns = [name for name in ("model", "domain", "answering") if of_claim[name].nunique() > 1]
    return ", ".join(label(row[name]) for name in columns)
