"""Tables 1 and 2 as in a paper: booktabs rules, intervals in small type, the best in bold."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.results.figures.style import (
    BASELINES,
    SMALL,
    SOFT,
    label,
    notice,
    page,
    questions_said,
    styled,
    text_width,
    type_size,
    values_of,
)
from helpers.results.stats.accuracy import LEFT_OUT

# Inches.
_LINE = 0.165  # from one line to the next
_MARGIN = 0.06
LABELS_AT = {"mode": _MARGIN + 0.08, "answering": 0.87, "seeds": 1.58}  # left edge of each text column
NUMBERS_FROM = 2.02
WIDTHS = {3: 1.15, 6: 0.83}  # of a number, its interval and a gap, by the number of columns
NUMBER = 0.27  # of the number alone
_GAP = 0.12  # between the rules of two blocks

MEASURES = ("type1", "type2", "overall")
ASKED = {
    "direct": "directly",
    "describe_then_answer": "describing",
    "describe_then_answer_image_kept": "describing, image",
    "describe_then_answer_tuned": "describing, tuned",
    "one_pass_chain": "in a chain",
}  # short, for a narrow column
NOTE = (
    "Accuracy in percent (mean over the seeds), with Wilson’s 95\xa0% interval for n questions. "
    "Bold: the highest in its column within a group{where}. Chance: 25\xa0%.{protocol}"
)


@dataclass(frozen=True)
class Column:
    """A column of numbers: its headings, and which cells of the table it shows."""

    block: str  # the heading shared with its neighbours; empty: none
    title: str
    measure: str
    image: str | None  # None: the group's own
    domain: str | None  # None: the group's own
    end: float  # right edge of its numbers, in inches from the left

    def of(self, cells: pd.DataFrame) -> pd.DataFrame:
        """The cells that this column shows."""
        cells = cells if self.image is None else cells[cells["image"] == self.image]
        return cells if self.domain is None else cells[cells["domain"] == self.domain]


@styled
def table_figure(table: pd.DataFrame) -> Figure:
    """Table 1, or Table 2 with every measure twice: with the image and without it.

    Two domains of Table 1 are side by side. On a page too narrow for six columns, what they hold stands below each
    other. The best value of a column is marked within a group (one model and domain),
    because the questions of other groups differ. Without the image, none is marked: there is nothing to be best at.
    The ceiling of Type 2 (`helpers.results.tables.table2`) is in the CSV and in LaTeX only.
    """
    table = table if "image" in table.columns else table.assign(image="with")
    table = table[table["image"] != "named"]
    if table.empty:
        return notice("No question was asked with the image withheld.")
    columns, groups = _columns(table), _groups(table)
    width = columns[-1].end - NUMBER + _column_width(len(columns))
    long = any(len(title) > 36 for title, _ in groups)  # titles then have a line of their own, above the n
    note = textwrap.wrap(_note(table), int(22.5 * width))  # characters per inch of the smallest type
    heads = 1 if len(columns) == len(MEASURES) else 2
    lines = sum(len(_lines(group)) + 1.5 + long for _, group in groups) + 1.6 + heads + 0.8 * len(note)
    figure, axes = page(width, _LINE * lines)
    at = _head(axes, columns)
    for title, group in groups:
        at = _group(axes, at, title, group, columns, long)
    _rule(axes, at, 0.9)
    axes.text(_MARGIN, at + 0.4 * _LINE, "\n".join(note), fontsize=type_size(SMALL), color=SOFT, va="top")
    return figure


def _note(table: pd.DataFrame) -> str:
    protocols = values_of(table, "protocol") if "protocol" in table.columns else []
    said = "; ".join(f"{label(protocol)} ({protocol})" for protocol in protocols)
    where = " where the image was shown" if table["image"].nunique() > 1 else ""
    told = f" Answer protocol: {said}." if said else ""
    return NOTE.format(where=where, protocol=told + _left_out(table))


def _left_out(table: pd.DataFrame) -> str:
    if LEFT_OUT not in table.columns:
        return ""
    lacking = table[table[LEFT_OUT] > 0].groupby("domain", sort=False)[LEFT_OUT].max()
    return "".join(
        f" {label(domain)}: {count} questions are left out, as their images are missing."
        for domain, count in lacking.items()
    )


def _fits(columns: int) -> bool:
    """Whether so many columns of numbers fit with their usual width."""
    return NUMBERS_FROM + columns * WIDTHS[columns] <= text_width() + 0.01


def _column_width(columns: int) -> float:
    return WIDTHS[columns] if _fits(columns) else min(WIDTHS.values())


def _side_by_side(table: pd.DataFrame) -> bool:
    return table["image"].nunique() == 1 and table["domain"].nunique() == 2 and _fits(6)


def _columns(table: pd.DataFrame) -> list[Column]:
    images, domains = values_of(table, "image"), values_of(table, "domain")
    heads: list[tuple[str, str, str, str | None, str | None]]
    if _side_by_side(table):
        heads = [(label(domain), label(m), m, images[0], domain) for domain in domains for m in MEASURES]
    elif len(images) > 1 and _fits(6):
        heads = [(label(m), label(image), m, image, None) for m in MEASURES for image in images]
    else:
        heads = [("", label(m), m, None, None) for m in MEASURES]
    width = _column_width(len(heads))
    return [Column(*head, NUMBERS_FROM + place * width + NUMBER) for place, head in enumerate(heads)]


def _groups(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if _side_by_side(table):
        return [(label(model), group) for model, group in table.groupby("model", sort=False)]
    keys = ["model", "domain"]
    if table["image"].nunique() > 1 and not _fits(6):
        keys.append("image")
    return [(", ".join(map(label, key)), group) for key, group in table.groupby(keys, sort=False)]


def _lines(group: pd.DataFrame) -> list[tuple[str, str]]:
    return list(dict.fromkeys(group[["mode", "answering"]].itertuples(index=False, name=None)))


def _head(axes: Axes, columns: Sequence[Column]) -> float:
    """Draw the heading between its rules; returns where the body begins, in inches from the top."""
    _rule(axes, _MARGIN, 0.9)
    at = _MARGIN + 0.85 * _LINE
    if columns[0].block:
        _blocks(axes, columns, at)
        at += 1.15 * _LINE
    for column in columns:
        if column.block:
            words = column.title.partition(":")[0]
            axes.text(column.end + 0.14, at, words, fontsize=type_size(7.5), ha="center", va="center")
        else:
            words = column.title if _fits(len(columns)) else column.title.partition(":")[0]
            axes.text(column.end - NUMBER, at, words, va="center")
    for name, words in {"mode": "trained on", "answering": "asked", "seeds": "seeds"}.items():
        axes.text(LABELS_AT[name], at, words, fontsize=type_size(7.5), va="center")
    _rule(axes, at + 0.65 * _LINE, 0.5)
    return at + 0.65 * _LINE


def _blocks(axes: Axes, columns: Sequence[Column], at: float) -> None:
    """Draw the upper line of the heading: what several columns share, above a rule."""
    blocks = list(dict.fromkeys(column.block for column in columns))
    width = len(columns) // len(blocks) * _column_width(len(columns))
    for place, block in enumerate(blocks):
        left = NUMBERS_FROM + place * width
        axes.text(left + (width - _GAP) / 2, at, block, ha="center", va="center")
        _rule(axes, at + 0.55 * _LINE, 0.4, left, left + width - _GAP)


def _group(axes: Axes, at: float, title: str, group: pd.DataFrame, columns: Sequence[Column], long: bool) -> float:
    """Draw the lines of one group below its title; returns where the next group begins."""
    if at > _MARGIN + 4 * _LINE:  # the first group follows the rule of the heading
        _rule(axes, at, 0.3)
    at += 0.8 * _LINE
    axes.text(_MARGIN, at, title, fontweight="bold", va="center")
    at += _LINE * long
    standing = [(column, cells) for column in columns if len(cells := column.of(group))]
    for column, cells in standing:
        n = questions_said(cells, column.measure)
        axes.text(column.end + 0.03, at, f"n = {n}", fontsize=type_size(SMALL), color=SOFT, va="center")
    for line in _lines(group):
        at += _LINE
        _line(axes, at, line, group, standing)
    return at + 0.7 * _LINE


def _line(
    axes: Axes, at: float, line: tuple[str, str], group: pd.DataFrame, standing: Sequence[tuple[Column, pd.DataFrame]]
) -> None:
    """Draw one line of a group; ``standing``: the group's cells per column."""
    mode, answering = line
    seeds = group.loc[(group["mode"] == mode) & (group["answering"] == answering), "seeds"].max()
    axes.text(LABELS_AT["mode"], at, label(mode), va="center")
    if mode not in BASELINES:  # whose names take both columns: they are asked in their own way
        axes.text(LABELS_AT["answering"], at, ASKED.get(answering, label(answering)), va="center")
    axes.text(LABELS_AT["seeds"] + 0.13, at, str(seeds), ha="center", va="center")
    for column, cells in standing:
        best = cells[column.measure].max() if cells["image"].iloc[0] == "with" else None
        for cell in cells.dropna(subset=column.measure).to_dict("records"):
            if (cell["mode"], cell["answering"]) == line:
                _cell(axes, column.end, at, cell, column.measure, bold=cell[column.measure] == best)


def _cell(axes: Axes, end: float, at: float, cell: dict[Any, Any], measure: str, bold: bool) -> None:
    low, high = cell[f"{measure}_low"], cell[f"{measure}_high"]
    axes.text(end, at, f"{cell[measure]:.1f}", ha="right", va="center", fontweight="bold" if bold else "normal")
    axes.text(end + 0.03, at, f"[{low:.1f}, {high:.1f}]", fontsize=type_size(SMALL), color=SOFT, va="center")


def _rule(axes: Axes, at: float, weight: float, left: float = _MARGIN, right: float | None = None) -> None:
    """A horizontal rule, `weight` points thick; by default across the whole table."""
    right = axes.get_xlim()[1] - _MARGIN if right is None else right
    axes.plot([left, right], [at, at], color="black", linewidth=weight, solid_capstyle="butt")
