"""Tables 1 and 2 as they would stand in a paper: ruled like booktabs, intervals in small type, the best in bold."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.results.figures.style import SMALL, SOFT, label, notice, page, questions_said, styled, values_of

# Inches.
_LINE = 0.165  # from one line to the next
_MARGIN = 0.06
LABELS_AT = {"mode": _MARGIN + 0.08, "answering": 0.87, "seeds": 1.58}  # where each column of words begins
NUMBERS_FROM = 2.02
WIDTHS = {3: 1.15, 6: 0.83}  # a column of numbers, by how many there are: a number, its interval and a gap
NUMBER = 0.27  # the number's share of it
_GAP = 0.12  # between two blocks' rules

MEASURES = ("type1", "type2", "overall")
ASKED = {"describe_tuned": "describe, tuned"}  # in a narrow column
NOTE = (
    "Accuracy in percent, the mean over the seeds, with Wilson’s 95\xa0% interval over the n questions. "
    "Bold: the highest of its column within a group{where}. Chance: 25\xa0%.{protocol}"
)


@dataclass(frozen=True)
class Column:
    """A column of numbers: what stands above it, and which cells of the table stand in it."""

    block: str  # the head that it shares with its neighbours; empty: none
    title: str
    measure: str
    image: str
    domain: str | None  # None: the group's own
    end: float  # where its numbers end, in inches from the left

    def of(self, cells: pd.DataFrame) -> pd.DataFrame:
        """The cells that stand in this column."""
        cells = cells[cells["image"] == self.image]
        return cells if self.domain is None else cells[cells["domain"] == self.domain]


@styled
def table_figure(table: pd.DataFrame) -> Figure:
    """Table 1, or Table 2 with every measure twice: with the picture and without it.

    Table 1 of two domains has them side by side. "Best" is the highest of a column within a group, i.e. one model and
    domain: across them the questions differ. Without the picture there is nothing to be best at, and none is marked.
    """
    if table.empty:
        return notice("No question was asked with the picture withheld.")
    table = table if "image" in table.columns else table.assign(image="with")
    columns, groups = _columns(table), _groups(table)
    width = columns[-1].end - NUMBER + WIDTHS[len(columns)]
    note = textwrap.wrap(_note(table), int(22.5 * width))  # characters of the smallest type in an inch
    heads = 1 if len(columns) == len(MEASURES) else 2
    lines = sum(len(_lines(group)) + 1.5 for _, group in groups) + 1.6 + heads + 0.8 * len(note)
    figure, axes = page(width, _LINE * lines)
    at = _head(axes, columns)
    for title, group in groups:
        at = _group(axes, at, title, group, columns)
    _rule(axes, at, 0.9)
    axes.text(_MARGIN, at + 0.4 * _LINE, "\n".join(note), fontsize=SMALL, color=SOFT, va="top")
    return figure


def _note(table: pd.DataFrame) -> str:
    protocols = values_of(table, "protocol") if "protocol" in table.columns else []
    said = "; ".join(f"{label(protocol)} ({protocol})" for protocol in protocols)
    where = " where the picture was shown" if table["image"].nunique() > 1 else ""
    return NOTE.format(where=where, protocol=f" Answers read by: {said}." if said else "")


def _side_by_side(table: pd.DataFrame) -> bool:
    return table["image"].nunique() == 1 and table["domain"].nunique() == 2


def _columns(table: pd.DataFrame) -> list[Column]:
    images, domains = values_of(table, "image"), values_of(table, "domain")
    heads: list[tuple[str, str, str, str, str | None]]
    if _side_by_side(table):
        heads = [(label(domain), label(m), m, images[0], domain) for domain in domains for m in MEASURES]
    elif len(images) > 1:
        heads = [(label(m), label(image), m, image, None) for m in MEASURES for image in images]
    else:
        heads = [("", label(m), m, images[0], None) for m in MEASURES]
    width = WIDTHS[len(heads)]
    return [Column(*head, NUMBERS_FROM + place * width + NUMBER) for place, head in enumerate(heads)]


def _groups(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if _side_by_side(table):
        return [(label(model), group) for model, group in table.groupby("model", sort=False)]
    found = table.groupby(["model", "domain"], sort=False)
    return [(f"{label(model)}, {label(domain)}", group) for (model, domain), group in found]


def _lines(group: pd.DataFrame) -> list[tuple[str, str]]:
    return list(dict.fromkeys(group[["mode", "answering"]].itertuples(index=False, name=None)))


def _head(axes: Axes, columns: Sequence[Column]) -> float:
    """Draw the head between its rules; return where the body begins, in inches from the top."""
    _rule(axes, _MARGIN, 0.9)
    at = _MARGIN + 0.85 * _LINE
    if columns[0].block:
        _blocks(axes, columns, at)
        at += 1.15 * _LINE
    for column in columns:
        if column.block:
            words = column.title.partition(":")[0]
            axes.text(column.end + 0.14, at, words, fontsize=7.5, ha="center", va="center")
        else:
            axes.text(column.end - NUMBER, at, column.title, va="center")
    for name, words in {"mode": "trained on", "answering": "asked", "seeds": "seeds"}.items():
        axes.text(LABELS_AT[name], at, words, fontsize=7.5, va="center")
    _rule(axes, at + 0.65 * _LINE, 0.5)
    return at + 0.65 * _LINE


def _blocks(axes: Axes, columns: Sequence[Column], at: float) -> None:
    """The upper line of the head: what several columns share, above a rule."""
    blocks = list(dict.fromkeys(column.block for column in columns))
    width = len(columns) // len(blocks) * WIDTHS[len(columns)]
    for place, block in enumerate(blocks):
        left = NUMBERS_FROM + place * width
        axes.text(left + (width - _GAP) / 2, at, block, ha="center", va="center")
        _rule(axes, at + 0.55 * _LINE, 0.4, left, left + width - _GAP)


def _group(axes: Axes, at: float, title: str, group: pd.DataFrame, columns: Sequence[Column]) -> float:
    """Draw the lines of one group below its title; return where the next group begins."""
    if at > _MARGIN + 4 * _LINE:  # the first group stands right below the head's rule
        _rule(axes, at, 0.3)
    at += 0.8 * _LINE
    axes.text(_MARGIN, at, title, fontweight="bold", va="center")
    standing = [(column, cells) for column in columns if len(cells := column.of(group))]
    for column, cells in standing:
        n = questions_said(cells, column.measure)
        axes.text(column.end + 0.03, at, f"n = {n}", fontsize=SMALL, color=SOFT, va="center")
    for line in _lines(group):
        at += _LINE
        _line(axes, at, line, group, standing)
    return at + 0.7 * _LINE


def _line(
    axes: Axes, at: float, line: tuple[str, str], group: pd.DataFrame, standing: Sequence[tuple[Column, pd.DataFrame]]
) -> None:
    """Draw one line of a group; ``standing``: the group's cells by column."""
    mode, answering = line
    seeds = group.loc[(group["mode"] == mode) & (group["answering"] == answering), "seeds"].max()
    axes.text(LABELS_AT["mode"], at, label(mode), va="center")
    axes.text(LABELS_AT["answering"], at, ASKED.get(answering, answering), va="center")
    axes.text(LABELS_AT["seeds"] + 0.13, at, str(seeds), ha="center", va="center")
    for column, cells in standing:
        best = cells[column.measure].max() if column.image == "with" else None
        for cell in cells.dropna(subset=column.measure).to_dict("records"):
            if (cell["mode"], cell["answering"]) == line:
                _cell(axes, column.end, at, cell, column.measure, bold=cell[column.measure] == best)


def _cell(axes: Axes, end: float, at: float, cell: dict[Any, Any], measure: str, bold: bool) -> None:
    low, high = cell[f"{measure}_low"], cell[f"{measure}_high"]
    axes.text(end, at, f"{cell[measure]:.1f}", ha="right", va="center", fontweight="bold" if bold else "normal")
    axes.text(end + 0.03, at, f"[{low:.1f}, {high:.1f}]", fontsize=SMALL, color=SOFT, va="center")


def _rule(axes: Axes, at: float, weight: float, left: float = _MARGIN, right: float | None = None) -> None:
    """A horizontal rule, `weight` points thick; across the whole table unless told where it ends."""
    right = axes.get_xlim()[1] - _MARGIN if right is None else right
    axes.plot([left, right], [at, at], color="black", linewidth=weight, solid_capstyle="butt")
