"""A grid of variants as dots with intervals, or as lines over the setting that varies."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from helpers.results.figures.accuracies import CHANCE_LINE, DOT, KINDS, dot, legend, percent_axis, shape_keys, value
from helpers.results.figures.style import (
    INK,
    SOFT,
    colour,
    has_titles,
    is_narrow,
    label,
    marker,
    note_below,
    panel_title,
    seeds_said,
    styled,
    text_width,
    type_size,
    values_of,
)
from helpers.results.stats.accuracy import CHANCE
from helpers.results.tables.grid import compared

LINE, GAP = 0.145, 0.8  # inches from one dot to the next; lines between two variants
_AXES = {
    "training.lora_rank": "rank of the adapter",
    "training.epochs": "epochs of training",
    "training.max_steps": "steps of training",
    "training.learning_rate": "learning rate",
    "build.hybrid_share": "share of the classes that have their image besides their text",
    "build.detail_share": "share of the sentences about the appearance",
    "data.wordings_per_class": "descriptions per class",
}
NOT_FACETS = ("variant", "reference", "settings", "x", "mode", "image", "answering", "protocol")


@styled
def grid_figure(table: pd.DataFrame, title: str, axis: str | None = None) -> Figure:
    """`helpers.results.tables.grid_table` drawn: rows of panels per model, domain and facet, columns per question type.

    If all variants have a value on the numeric setting called `axis`, each mode and prompting strategy is a line over
    it. Otherwise each variant and image state is a block of dots.
    """
    groups = _panels(table)
    lined = axis is not None and _on_an_axis(table)
    heights = [_block_starts(group)[-1] for _, group in groups]
    panel = [1.75] * len(groups) if lined else [LINE * height for height in heights]
    size = (text_width(), 1.02 + 0.13 * is_narrow() + 0.25 * len(groups) + sum(panel))
    figure = Figure(size, layout=ConstrainedLayoutEngine(wspace=0.05))
    share: Any = {"sharex": True, "sharey": "row", "height_ratios": panel}
    panels = figure.subplots(len(groups), len(KINDS), squeeze=False, **share)
    for place, (row, (name, group)) in enumerate(zip(panels, groups, strict=True)):
        for axes, kind in zip(row, KINDS, strict=True):
            (_lines if lined else _dots)(axes, group, kind, table)
            axes.set_title(panel_title(group, kind, place == 0), loc="left", pad=3, linespacing=1.1)
        row[0].set_ylabel(f"{name}\naccuracy (%)" if lined else name, fontweight="normal" if lined else "bold")
    for axes in panels[-1]:
        axes.set_xlabel(axis if lined else "accuracy (%)")
    _legend(figure, table, title)
    note_below(figure, "" if lined else _bold_said(table), seeds_said(table))
    return figure


def _panels(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The label of each row of panels, and its part of the table."""
    columns = list(table.columns[: list(table.columns).index("protocol")])
    keys = [column for column in columns if column not in NOT_FACETS]
    return [("\n".join(label(str(part)) for part in key), group) for key, group in table.groupby(keys, sort=False)]


def _blocks(group: pd.DataFrame) -> list[tuple[str, str]]:
    """Each variant and image state. The untuned model has no variants and belongs to the reference."""
    return list(dict.fromkeys(group[["variant", "image"]].itertuples(index=False, name=None)))


def _of_block(group: pd.DataFrame, block: tuple[str, str]) -> pd.DataFrame:
    return group[(group["variant"] == block[0]) & (group["image"] == block[1])]


def _block_starts(group: pd.DataFrame) -> list[float]:
    """Where each block begins on the vertical axis, in lines, and where the last one ends."""
    sizes = [len(_of_block(group, block)) + GAP for block in _blocks(group)]
    return [0.0, *itertools.accumulate(sizes)]


def _dots(axes: Axes, group: pd.DataFrame, kind: str, table: pd.DataFrame) -> None:
    modes, answerings = values_of(table, "mode"), values_of(table, "answering")
    starts, blocks, centres = _block_starts(group), _blocks(group), []
    percent_axis(axes)
    for start, block in zip(starts, blocks, strict=False):
        cells = _of_block(group, block)
        centres.append(start + (len(cells) - 1) / 2)
        for place, (_, row) in enumerate(cells.iterrows()):
            if pd.notna(row[kind]):
                shape = marker(row["answering"], answerings)
                dot(
                    axes,
                    start + place,
                    row,
                    kind,
                    colour(row["mode"], modes),
                    filled=row["image"] == "with",
                    shape=shape,
                )
                value(axes, start + place, row, kind, **_weight(row, kind))
    axes.set_yticks(centres, [_block_label(block, group) for block in blocks])
    axes.set_ylim(starts[-1] - GAP + 0.1, -0.9)


def _weight(row: pd.Series, kind: str) -> dict[str, Any]:
    """Bold if the interval of the difference from the reference excludes zero."""
    low, high = row[f"{kind}_difference_low"], row[f"{kind}_difference_high"]
    return {"fontweight": "bold", "color": INK} if low > 0 or high < 0 else {}


def _block_label(block: tuple[str, str], group: pd.DataFrame) -> str:
    """What distinguishes a block: its variant, its image state, or both."""
    variant, image = block
    if group["image"].nunique() == 1:
        return variant
    return label(image) if group["variant"].nunique() == 1 else f"{variant},\n{label(image)}"


def _on_an_axis(table: pd.DataFrame) -> bool:
    """Whether each line has exactly one value per place, and there are at least two places."""
    keys = ["model", "domain", "mode", "image", "answering"]
    facets = [column for column in table.columns[: list(table.columns).index("protocol")] if column not in NOT_FACETS]
    at = table[table["mode"] != "base"]
    once = not at.duplicated([*dict.fromkeys([*keys, *facets]), "x"]).any()
    return bool(at["x"].notna().all() and at["x"].nunique() > 1 and once)


def _lines(axes: Axes, group: pd.DataFrame, kind: str, table: pd.DataFrame) -> None:
    modes, answerings = values_of(table, "mode"), values_of(table, "answering")
    places = np.sort(table["x"].dropna().unique())
    axes.axhline(CHANCE, **CHANCE_LINE)
    series = list(group.groupby(["mode", "answering", "image"], sort=False))
    for number, ((mode, answering, image), line) in enumerate(series):
        line = line[line[kind].notna()].sort_values("x")
        shade, shape = colour(mode, modes), marker(answering, answerings)
        if line["x"].nunique() < 2 or mode == "base":  # independent of the setting
            axes.plot(
                [places[0], places[-1]], [line[kind].iloc[0]] * 2, color=shade, linewidth=1.0, marker=shape, **_SMALL
            )
            continue
        away = [line[kind] - line[f"{kind}_low"], line[f"{kind}_high"] - line[kind]]
        face = shade if image == "with" else "white"
        style = {**DOT, "marker": shape, "color": shade, "markerfacecolor": face, "linewidth": 1.2, "elinewidth": 1.0}
        axes.errorbar(_aside(line["x"], number - (len(series) - 1) / 2, places), line[kind], away, **style)
    if _doubling(places):
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_ylim(0, 100)
    axes.set_yticks(range(0, 101, 25))
    axes.grid(axis="y")


def _doubling(places: np.ndarray) -> bool:
    """Whether to use a logarithmic axis, as for ranks of 4, 16 and 64."""
    return places[0] > 0 and places[-1] / places[0] >= 8


def _aside(x: pd.Series, steps: float, places: np.ndarray) -> pd.Series:
    """The places shifted slightly, so that the intervals of several lines do not overlap."""
    if _doubling(places):
        return x * (places[-1] / places[0]) ** (0.01 * steps)
    return x + 0.01 * steps * (places[-1] - places[0])


def axis_words(setting: str) -> str:
    """A setting, such as ``training.lora_rank``, as the label of an axis."""
    return _AXES.get(setting, setting.rpartition(".")[2].replace("_", " "))


_SMALL: Any = {"markersize": 3, "linestyle": (0, (5, 2))}


def _legend(figure: Figure, table: pd.DataFrame, title: str) -> None:
    """Colours of modes, shapes of prompting strategies, and what is open or dashed; only what occurs."""
    keys = shape_keys(values_of(table, "answering"))
    if table["image"].nunique() > 1:
        hollow: Any = {**DOT, "markerfacecolor": "white"}
        keys.append(Line2D([], [], color=SOFT, **hollow, linestyle="", label="image withheld or changed"))
    how: Any = (
        {"title": title, "title_fontproperties": {"weight": "bold", "size": type_size(9)}} if has_titles() else {}
    )
    legend(figure, values_of(table, "mode"), keys, {"linewidth": 2}, **how)


def _bold_said(table: pd.DataFrame) -> str:
    """What bold numbers mean, if anything was compared."""
    if not table[[f"{kind}_difference_low" for kind in KINDS]].notna().any(axis=None):
        return ""
    return f"bold: the 95 % interval of the paired difference from “{label(str(compared(table)[1]))}” excludes zero"
