"""Tables 1 and 2 as they would stand in a paper: ruled like booktabs, intervals in small type, the best in bold."""

import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures.style import SMALL, SOFT, label, page, questions, styled, values_of

# Inches.
LINE = 0.165  # from one line to the next
MARGIN = 0.06
LABELS_AT = {"mode": MARGIN + 0.08, "answering": 0.88, "seeds": 1.36}  # where each column of words begins
NUMBERS_FROM = 1.84
COLUMNS = {1: 1.15, 2: 0.86}  # a column of numbers, by how many a measure has: a number, its interval and a gap
NUMBER = 0.27  # the number's share of it

MEASURES = ("type1", "type2", "overall")
NOTE = (
    "Accuracy in percent, the mean over the seeds, with Wilson’s 95\xa0% interval over the n questions. "
    "Bold: the highest of its column within a group. Chance: 25\xa0%."
)

Column = tuple[str, str]  # a measure, and whether the picture was shown


@styled
def table_figure(table: pd.DataFrame) -> Figure:
    """Table 1, or Table 2 with every measure twice: with the picture and without it.

    "Best" is the highest of a column within one model and domain; across them the questions differ, so there is none.
    """
    table = table if "image" in table.columns else table.assign(image="with")
    columns = _columns(table)
    width = max(columns.values()) - NUMBER + COLUMNS[len(columns) // len(MEASURES)]
    note = textwrap.wrap(NOTE, int(22.5 * width))  # characters of the smallest type in an inch
    groups = list(table.groupby(["model", "domain"], sort=False))
    lines = sum(len(_lines(group)) + 1.5 for _, group in groups) + 1.6 + len(columns) / 3 + 0.8 * len(note)
    figure, axes = page(width, LINE * lines)
    at = _head(axes, columns)
    for (model, domain), group in groups:
        at = _group(axes, at, f"{label(model)}, {label(domain)}", group, columns)
    _rule(axes, at, 0.9)
    axes.text(MARGIN, at + 0.4 * LINE, "\n".join(note), fontsize=SMALL, color=SOFT, va="top")
    return figure


def _columns(table: pd.DataFrame) -> dict[Column, float]:
    """Each column of numbers with the place, in inches from the left, where its numbers end."""
    images = values_of(table, "image")
    width = COLUMNS[len(images)]
    columns = [(measure, image) for measure in MEASURES for image in images]
    return {column: NUMBERS_FROM + place * width + NUMBER for place, column in enumerate(columns)}


def _lines(group: pd.DataFrame) -> list[tuple[str, str]]:
    return list(dict.fromkeys(group[["mode", "answering"]].itertuples(index=False, name=None)))


def _head(axes: Axes, columns: Mapping[Column, float]) -> float:
    """Draw the head between its rules; return where the body begins, in inches from the top."""
    _rule(axes, MARGIN, 0.9)
    top = bottom = MARGIN + 0.85 * LINE
    if len(columns) > len(MEASURES):
        bottom = top + 1.15 * LINE
        _picture_heads(axes, columns, bottom)
    width = (axes.get_xlim()[1] - NUMBERS_FROM) / len(MEASURES)
    for place, measure in enumerate(MEASURES):
        left = NUMBERS_FROM + place * width
        if bottom > top:
            axes.text(left + width / 2 - 0.06, top, label(measure), ha="center", va="center")
            _rule(axes, top + 0.55 * LINE, 0.4, left, left + width - 0.12)
        else:
            axes.text(left, top, label(measure), va="center")
    for column, words in {"mode": "trained on", "answering": "asked", "seeds": "seeds"}.items():
        axes.text(LABELS_AT[column], bottom, words, fontsize=7.5, va="center")
    _rule(axes, bottom + 0.65 * LINE, 0.5)
    return bottom + 0.65 * LINE


def _picture_heads(axes: Axes, columns: Mapping[Column, float], at: float) -> None:
    for (_, image), end in columns.items():
        axes.text(end + 0.14, at, label(image), fontsize=7.5, ha="center", va="center")


def _group(axes: Axes, at: float, title: str, group: pd.DataFrame, columns: Mapping[Column, float]) -> float:
    """Draw the lines of one model and domain below its title; return where the next group begins."""
    if at > MARGIN + 4 * LINE:  # the first group stands right below the head's rule
        _rule(axes, at, 0.3)
    at += 0.8 * LINE
    axes.text(MARGIN, at, title, fontweight="bold", va="center")
    for (measure, image), end in columns.items():
        n = questions(group[group["image"] == image], measure)
        axes.text(end + 0.03, at, f"n = {n}", fontsize=SMALL, color=SOFT, va="center")
    for line in _lines(group):
        at += LINE
        _line(axes, at, line, group, columns)
    return at + 0.7 * LINE


def _line(axes: Axes, at: float, line: tuple[str, str], group: pd.DataFrame, columns: Mapping[Column, float]) -> None:
    mode, answering = line
    cells = group[(group["mode"] == mode) & (group["answering"] == answering)]
    axes.text(LABELS_AT["mode"], at, label(mode), va="center")
    axes.text(LABELS_AT["answering"], at, answering, va="center")
    axes.text(LABELS_AT["seeds"] + 0.13, at, str(cells["seeds"].max()), ha="center", va="center")
    for (measure, image), end in columns.items():
        best = group[group["image"] == image][measure].max()
        for _, cell in cells[(cells["image"] == image) & cells[measure].notna()].iterrows():
            _cell(axes, end, at, cell, measure, bold=cell[measure] == best)


def _cell(axes: Axes, end: float, at: float, cell: pd.Series, measure: str, bold: bool) -> None:
    low, high = cell[f"{measure}_low"], cell[f"{measure}_high"]
    axes.text(end, at, f"{cell[measure]:.1f}", ha="right", va="center", fontweight="bold" if bold else "normal")
    axes.text(end + 0.03, at, f"[{low:.1f}, {high:.1f}]", fontsize=SMALL, color=SOFT, va="center")


def _rule(axes: Axes, at: float, weight: float, left: float = MARGIN, right: float | None = None) -> None:
    """A horizontal rule, `weight` points thick; across the whole table unless told where it ends."""
    right = axes.get_xlim()[1] - MARGIN if right is None else right
    axes.plot([left, right], [at, at], color="black", linewidth=weight, solid_capstyle="butt")
