"""Describe, then answer: what it gains and what it costs."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from helpers.results.figures.accuracies import KINDS, accuracy_dots, accuracy_panel, each_line, legend, line_starts
from helpers.results.figures.style import (
    SMALL,
    SOFT,
    is_narrow,
    label,
    note_below,
    notice,
    panel_title,
    seeds_said,
    styled,
    text_width,
    type_size,
    values_of,
)

_COSTS = {"tokens": "tokens\nper answer", "compute_seconds": "{of} seconds\nper question"}
_LINE = 0.13  # inches
BAR = 0.72  # of a line


@styled
def answering_figure(table: pd.DataFrame) -> Figure:
    """Accuracy and cost per question, by mode and prompting strategy: one row of panels per model and domain.

    `table` is Table 1 with its costs (`helpers.results.tables.answering_costs`). A cost that no row has is left out,
    and the note says so.
    """
    if table.empty:
        return notice("No question was asked, so there is no gain and no cost to show.")
    costs = [cost for cost in _COSTS if cost in table and table[cost].notna().any()]
    clocks = " and ".join(map(str, table["compute_of"].dropna().unique())) if "compute_of" in table else ""
    words_of = {cost: _COSTS[cost].format(of=clocks or "CPU") for cost in costs}
    groups = [group for _, group in table.groupby(["model", "domain"], sort=False)]
    heights = [line_starts(group)[-1] for group in groups]
    size = (text_width(), 0.93 + 0.13 * is_narrow() + 0.2 * len(groups) + _LINE * sum(heights))
    figure = Figure(size, layout=ConstrainedLayoutEngine(wspace=0.04))
    widths = [*[2.0] * len(KINDS), *[1.0] * len(costs)]
    panels = figure.subplots(
        len(groups), len(widths), squeeze=False, sharex="col", sharey="row", width_ratios=widths, height_ratios=heights
    )
    for row, group in zip(panels, groups, strict=True):
        first = group is groups[0]
        row[0].set_ylabel(f"{label(group['model'].iloc[0])}\n{label(group['domain'].iloc[0])}", fontweight="bold")
        for axes, kind in zip(row, KINDS, strict=False):
            accuracy_panel(axes, group, kind, accuracy_dots, group)
            axes.set_title(panel_title(group, kind, first), loc="left", pad=3, linespacing=1.1)
        for axes, cost in zip(row[len(KINDS) :], costs, strict=True):
            each_line(axes, group, cost, _bar, group)
            axes.set_xlim(0, 1.55 * table[cost].max() or 1)
            axes.set_title("Cost" if first and cost == costs[0] else "", loc="left", pad=3)
    for axes, words in zip(panels[-1], [*["accuracy (%)"] * len(KINDS), *words_of.values()], strict=True):
        axes.set_xlabel(words)
    untimed = "compute_seconds" not in costs and "seconds per question: not recorded; evaluate again (notebook 04)"
    note_below(figure, seeds_said(table), untimed or "")
    legend(figure, values_of(table, "mode"), [])
    return figure


def _bar(axes: Axes, height: float, rows: pd.DataFrame, cost: str, shade: str) -> None:
    number = rows[cost].iloc[0]
    axes.barh(height, number, BAR, color=shade)
    style: Any = {"textcoords": "offset points", "va": "center", "fontsize": type_size(SMALL), "color": SOFT}
    axes.annotate(f"{number:.3g}", (number, height), (2, 0), **style)
