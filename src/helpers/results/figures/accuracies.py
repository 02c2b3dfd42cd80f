"""Tables 1 and 2 as dots with intervals, which are easier to compare than numbers and show what overlaps."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from helpers.results.figures.style import (
    SMALL,
    SOFT,
    colour,
    label,
    legend_above,
    marker,
    note_below,
    notice,
    questions_said,
    seeds_said,
    styled,
    text_width,
    type_size,
    values_of,
)
from helpers.results.stats.accuracy import CHANCE

DOT: Any = {"marker": "o", "markersize": 4, "markeredgewidth": 1.0}
CHANCE_LINE: Any = {"color": SOFT, "linewidth": 0.8, "linestyle": (0, (3, 2))}
LINE, GAP = 0.155, 0.6  # inches from one mode to the next; lines between two prompting strategies
KINDS = ("type1", "type2")
GROUND: Any = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}  # keeps lines from crossing a number

Dots = Callable[[Axes, float, pd.DataFrame, str, str], None]


@styled
def accuracy_figure(table: pd.DataFrame) -> Figure:
    """Table 1 as dots with intervals: one row of panels per model, one column per question type.

    Exactly two domains are drawn side by side, otherwise one below the other.
    """
    figure = _accuracy_panels(table, accuracy_dots)
    legend(figure, values_of(table, "mode"), [])
    return figure


@styled
def ablation_figure(table: pd.DataFrame) -> Figure:
    """Table 2 as pairs of dots joined by a line: filled with the image, open with the image withheld."""
    table = table[table["image"].isin(("with", "without"))]
    if table.empty:
        return notice("No question was asked with the image withheld.")
    figure = _accuracy_panels(table, _withheld_dots)
    marks = [
        Line2D([], [], color=SOFT, **DOT, linestyle="", label=label("with")),
        Line2D([], [], color=SOFT, **DOT, linestyle="", markerfacecolor="white", label=label("without")),
    ]
    legend(figure, values_of(table, "mode"), marks)
    return figure


def _accuracy_panels(table: pd.DataFrame, dots: Dots) -> Figure:
    """The panels of both accuracy figures; `dots` draws one mode and prompting strategy."""
    rows = _panel_rows(table)
    heights = [line_starts(pd.concat([group for _, group in row]))[-1] for row in rows]
    beside = len(rows[0])
    figure = Figure(
        (text_width(), 0.75 + 0.3 * len(rows) + LINE * sum(heights)), layout=ConstrainedLayoutEngine(wspace=0.05)
    )
    panels = figure.subplots(len(rows), 2 * beside, squeeze=False, sharex=True, sharey="row", height_ratios=heights)
    for place, row in enumerate(rows):
        whole = pd.concat([group for _, group in row])
        panels[place][0].set_ylabel(_row_label(row), fontweight="bold")
        for number, (domain, group) in enumerate(row):
            for axes, kind in zip(panels[place][2 * number :], KINDS, strict=False):
                if group.empty:
                    axes.set_axis_off()
                    continue
                accuracy_panel(axes, group, kind, dots, whole)
                _title(axes, group, kind, domain if beside > 1 else "", place == 0)
    for axes in panels[-1]:
        axes.set_xlabel("accuracy (%)")
    note_below(figure, seeds_said(table))
    return figure


PanelRow = list[tuple[str, pd.DataFrame]]  # domains side by side, each with its part of the table


def _panel_rows(table: pd.DataFrame) -> list[PanelRow]:
    """The rows of panels: one per model if there are exactly two domains, otherwise one per model and domain."""
    domains = values_of(table, "domain")
    of_model = [table[table["model"] == model] for model in values_of(table, "model")]
    rows = [[(domain, part[part["domain"] == domain]) for domain in domains] for part in of_model]
    if len(domains) == 2:
        return rows
    return [[group] for row in rows for group in row if not group[1].empty]


def _row_label(row: PanelRow) -> str:
    """The label of a row of panels: its model and, if there is only one, its domain."""
    model = label(next(group["model"].iloc[0] for _, group in row if not group.empty))
    return model if len(row) > 1 else f"{model}\n{label(row[0][0])}"


def _title(axes: Axes, group: pd.DataFrame, kind: str, domain: str, first: bool) -> None:
    """The number of questions and, above the first row only, the question type and (of several) the domain."""
    n = f"n = {questions_said(group, kind)}"
    if not domain:
        axes.set_title(f"{label(kind)} ({n})" if first else n, loc="left", pad=3)
        return
    axes.set_title(f"{label(kind)}\n{n}" if first else n, loc="left", pad=3, linespacing=1.1)
    if first and kind == KINDS[0]:
        place: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(label(domain), (0, 1), (0, 23), **place, fontweight="bold")


def line_starts(group: pd.DataFrame) -> list[float]:
    """Where each prompting strategy begins on the vertical axis, in lines, and where the last one ends."""
    return [place * (len(values_of(group, "mode")) + GAP) for place in range(len(values_of(group, "answering")) + 1)]


def accuracy_panel(axes: Axes, group: pd.DataFrame, kind: str, dots: Dots, whole: pd.DataFrame) -> None:
    """One panel of accuracies; the lines are laid out for the table `whole`."""
    percent_axis(axes)
    each_line(axes, group, kind, dots, whole)


def percent_axis(axes: Axes) -> None:
    """Make the horizontal axis one of accuracies in percent, with the line of chance."""
    axes.axvline(CHANCE, **CHANCE_LINE)
    axes.set(xlim=(0, 100), xticks=range(0, 101, 25))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def each_line(axes: Axes, group: pd.DataFrame, kind: str, dots: Dots, whole: pd.DataFrame) -> None:
    """Draw one line per prompting strategy and mode, and label the strategies."""
    modes, answerings, starts = values_of(whole, "mode"), values_of(whole, "answering"), line_starts(whole)
    for start, answering in zip(starts, answerings, strict=False):
        for place, mode in enumerate(modes):
            of_mode = group[(group["answering"] == answering) & (group["mode"] == mode)]
            if of_mode[kind].notna().any():
                dots(axes, start + place, of_mode, kind, colour(mode, modes))
    centres = [start + (len(modes) - 1) / 2 for start in starts[:-1]]
    axes.set_yticks(centres, [label(answering).replace(", ", ",\n") for answering in answerings])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(starts[-1] - GAP - 0.2, -0.8)
    axes.grid(axis="x")


def accuracy_dots(axes: Axes, height: float, row: pd.DataFrame, kind: str, shade: str) -> None:
    """An accuracy with its interval and its number."""
    dot(axes, height, row.iloc[0], kind, shade, filled=True)
    value(axes, height, row.iloc[0], kind)


def _withheld_dots(axes: Axes, height: float, rows: pd.DataFrame, kind: str, shade: str) -> None:
    """Draw the two dots slightly apart, so that their intervals do not overlap."""
    heights = [height - 0.17 if image == "with" else height + 0.17 for image in rows["image"]]
    axes.plot(rows[kind], heights, color=shade, linewidth=2.2, alpha=0.25, zorder=1.5)
    for place, (_, row) in zip(heights, rows.iterrows(), strict=True):
        dot(axes, place, row, kind, shade, filled=row["image"] == "with")


def dot(axes: Axes, height: float, row: pd.Series, kind: str, shade: str, filled: bool, shape: str = "o") -> None:
    """An accuracy with its interval."""
    axes.plot([row[f"{kind}_low"], row[f"{kind}_high"]], [height] * 2, color=shade, linewidth=1.0)
    face = shade if filled else "white"
    axes.plot(row[kind], height, **{**DOT, "marker": shape}, color=shade, markerfacecolor=face, clip_on=False)


def value(axes: Axes, height: float, row: pd.Series, kind: str, **how: Any) -> None:
    """The accuracy in small type, on the side of the interval that has room."""
    number, low, high = row[[kind, f"{kind}_low", f"{kind}_high"]]
    right = high < 82
    axes.annotate(
        f"{number:.1f}",
        (high if right else low, height),
        (3 if right else -3, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        **{"fontsize": type_size(SMALL), "color": SOFT, "bbox": GROUND, **how},
    )


def legend(figure: Figure, modes: Sequence[str], marks: Sequence[Line2D], drawn: Any = DOT, **how: Any) -> None:
    """A legend above all panels: the modes' colours (``drawn`` like this), other marks, and the line of chance."""
    keys = [Line2D([], [], color=colour(mode, modes), **drawn, label=label(mode)) for mode in modes]
    keys += [*marks, Line2D([], [], **CHANCE_LINE, label=f"chance ({CHANCE:.0f} %)")]
    columns = len(keys) if len(keys) <= 6 else -(-len(keys) // 2)
    legend_above(figure, keys, columns, columnspacing=1.4, handlelength=1.8, **how)


def shape_keys(answerings: Sequence[str]) -> list[Line2D]:
    """Legend entries for the shapes of the prompting strategies."""
    shapes = {answering: {**DOT, "marker": marker(answering, answerings)} for answering in answerings}
    return [Line2D([], [], color=SOFT, **shape, linestyle="", label=label(key)) for key, shape in shapes.items()]
