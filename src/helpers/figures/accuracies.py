"""Tables 1 and 2 as dots with their intervals: easier to compare than numbers, and it shows what overlaps."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from helpers.figures.style import SMALL, SOFT, TEXT_WIDTH, colour, label, questions, styled, values_of
from helpers.statistics import CHANCE

DOT: Any = {"marker": "o", "markersize": 4, "markeredgewidth": 1.0}


@styled
def accuracy_figure(table: pd.DataFrame) -> Figure:
    """Table 1 as dots with their intervals: a row of panels a model and domain, a column a question type."""
    figure = _accuracy_panels(table, _accuracy_dots)
    _legend(figure, values_of(table, "mode"), [])
    return figure


@styled
def ablation_figure(table: pd.DataFrame) -> Figure:
    """Table 2 as pairs of dots: filled with the picture, open with the picture withheld, joined by a line."""
    figure = _accuracy_panels(table, _withheld_dots)
    marks = [
        Line2D([], [], color=SOFT, **DOT, linestyle="", label=label("with")),
        Line2D([], [], color=SOFT, **DOT, linestyle="", markerfacecolor="white", label=label("without")),
    ]
    _legend(figure, values_of(table, "mode"), marks)
    return figure


Dots = Callable[[Axes, float, pd.DataFrame, str, str], None]


def _accuracy_panels(table: pd.DataFrame, dots: Dots) -> Figure:
    """The grid of panels that both accuracy figures share; `dots` draws one mode and way of answering."""
    groups = list(table.groupby(["model", "domain"], sort=False))
    lines = sum(_heights(group)[-1] for _, group in groups)
    size = (TEXT_WIDTH, 0.75 + 0.3 * len(groups) + 0.155 * lines)
    figure = Figure(size, layout=ConstrainedLayoutEngine(wspace=0.05))
    ratios = [_heights(group)[-1] for _, group in groups]
    panels = figure.subplots(len(groups), 2, squeeze=False, sharex=True, sharey="row", height_ratios=ratios)
    for place, ((model, domain), group) in enumerate(groups):
        row = panels[place]
        row[0].set_ylabel(f"{label(model)}\n{label(domain)}", fontweight="bold")
        for axes, kind in zip(row, ("type1", "type2"), strict=True):
            _panel(axes, group, kind, dots)
            n = f"n = {questions(group, kind)}"
            axes.set_title(f"{label(kind)} ({n})" if place == 0 else n, loc="left", pad=3)
    for axes in panels[-1]:
        axes.set_xlabel("accuracy (%)")
    return figure


def _heights(group: pd.DataFrame) -> list[float]:
    """Where each way of answering begins on the vertical axis, in lines, and where the last one ends."""
    return [place * (len(values_of(group, "mode")) + 0.6) for place in range(len(values_of(group, "answering")) + 1)]


def _panel(axes: Axes, group: pd.DataFrame, kind: str, dots: Dots) -> None:
    modes, heights = values_of(group, "mode"), _heights(group)
    answerings = values_of(group, "answering")
    axes.axvline(CHANCE, color=SOFT, linewidth=0.8, linestyle=(0, (3, 2)))
    for start, answering in zip(heights, answerings, strict=False):
        for place, mode in enumerate(modes):
            of_mode = group[(group["answering"] == answering) & (group["mode"] == mode)]
            if of_mode[kind].notna().any():
                dots(axes, start + place, of_mode, kind, colour(mode, modes))
    centres = [start + (len(modes) - 1) / 2 for start in heights[:-1]]
    axes.set_yticks(centres, [label(answering).replace(", ", ",\n") for answering in answerings])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(heights[-1] - 0.8, -0.8)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 25))
    axes.grid(axis="x")


def _accuracy_dots(axes: Axes, height: float, row: pd.DataFrame, kind: str, shade: str) -> None:
    _dot(axes, height, row.iloc[0], kind, shade, filled=True)
    _value(axes, height, row, kind)


def _withheld_dots(axes: Axes, height: float, rows: pd.DataFrame, kind: str, shade: str) -> None:
    """The two dots stand a little apart, so that each interval can be told to its own."""
    heights = [height - 0.17 if image == "with" else height + 0.17 for image in rows["image"]]
    axes.plot(rows[kind], heights, color=shade, linewidth=2.2, alpha=0.25, zorder=1.5)
    for place, (_, row) in zip(heights, rows.iterrows(), strict=True):
        _dot(axes, place, row, kind, shade, filled=row["image"] == "with")


def _dot(axes: Axes, height: float, row: pd.Series, kind: str, shade: str, filled: bool) -> None:
    axes.plot([row[f"{kind}_low"], row[f"{kind}_high"]], [height] * 2, color=shade, linewidth=1.0)
    face = shade if filled else "white"
    axes.plot(row[kind], height, **DOT, color=shade, markerfacecolor=face, clip_on=False)


def _value(axes: Axes, height: float, row: pd.DataFrame, kind: str) -> None:
    """The accuracy in small type, beyond the interval on the side that has room."""
    value, low, high = row[[kind, f"{kind}_low", f"{kind}_high"]].iloc[0]
    right = high < 88
    axes.annotate(
        f"{value:.1f}",
        (high if right else low, height),
        (3 if right else -3, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=SMALL,
        color=SOFT,
    )


def _legend(figure: Figure, modes: Sequence[str], marks: Sequence[Line2D]) -> None:
    dots = [Line2D([], [], color=colour(mode, modes), **DOT, label=label(mode)) for mode in modes]
    chance = Line2D([], [], color=SOFT, linewidth=0.8, linestyle=(0, (3, 2)), label=f"chance ({CHANCE:.0f} %)")
    handles = [*dots, *marks, chance]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), columnspacing=1.4, handlelength=1.8)
