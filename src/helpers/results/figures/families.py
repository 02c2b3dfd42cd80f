"""The figure of all families: members down, accuracy across, a panel per level of the texts."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from helpers.config.families import CAPTIONS, CONTROL, TEXTS
from helpers.paths import MAIN
from helpers.results.families import in_short
from helpers.results.figures.accuracies import CHANCE_LINE, percent_axis
from helpers.results.figures.latex import escaped
from helpers.results.figures.style import (
    COLOURS,
    FAINT,
    OTHER_COLOURS,
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
from helpers.results.stats import CHANCE

_LEVELS = {CAPTIONS: "texts in the captions' words", TEXTS: "texts in other words"}
_WAYS = {"describe_then_answer": "describing first", "draw": "drawing, judged by CLIP"}
_LINE = 0.17  # inches
_MARKS: dict[str, dict[str, Any]] = {  # from the back to the front
    "told in words": {"marker": "|", "color": COLOURS["base"], "markersize": 7},
    "dictionary": {"marker": "+", "color": OTHER_COLOURS[1], "markersize": 5},
    "shuffled": {"marker": "x", "color": COLOURS["text_only"], "markersize": 4},
    "untuned": {"marker": "o", "color": COLOURS["base"], "markersize": 4},
    "image + text": {"marker": "s", "color": COLOURS["image_text"], "markersize": 4},
    "by description": {"marker": "D", "color": COLOURS["hybrid"], "markersize": 3.5, "markerfacecolor": "white"},
    "text only": {"marker": "o", "color": COLOURS["text_only"], "markersize": 5},
}


@styled
def families_figure(table: pd.DataFrame) -> Figure:
    """`families_table` drawn: a block per domain, a line per member and way of asking, a panel per level."""
    asked = table[table["model"] != "baseline"]
    if asked.empty:
        return notice("No member has answered yet.")
    domains = values_of(asked, "domain")
    lines = {domain: _lines(asked[asked["domain"] == domain]) for domain in domains}
    heights = [len(lines[domain]) + 1.5 for domain in domains]
    figure = Figure((text_width(), 0.9 + _LINE * sum(heights) + 0.2 * len(domains)), layout="constrained")
    panels = figure.subplots(len(domains), 2, squeeze=False, sharey="row", height_ratios=heights)
    for row, domain in zip(panels, domains, strict=True):
        of_domain = table[table["domain"] == domain]
        _family_names(row[-1], lines[domain])
        for axes, level in zip(row, _LEVELS, strict=True):
            _panel(axes, of_domain, lines[domain], level)
            n = int(of_domain["n_type1"].max())
            axes.set_title(f"{label(domain)}, {_LEVELS[level]} (n = {n})", loc="left", pad=3)
    keys = [Line2D([], [], linestyle="", **how, label=name) for name, how in reversed(_MARKS.items())]
    keys += [Line2D([], [], **CHANCE_LINE, label=f"chance ({CHANCE:.0f} %)")]
    legend_above(figure, keys, 4, columnspacing=1.4, handlelength=1.8)
    note_below(
        figure,
        "accuracy in recognition (%)",
        f"bar: 95 % interval of text only; {seeds_said(asked[asked['mode'] == 'text_only'])}",
        _nearest_said(table),
    )
    return figure


def _nearest_said(table: pd.DataFrame) -> str:
    rows = table[table["mode"] == "nearest_pixels"]
    said = ", ".join(f"{label(row.domain)} {row.type1:.1f}" for row in rows.itertuples())
    return f"nearest image per class, by its pixels: {said}" if said else ""


def _lines(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Family, model and way of asking of each line, from top to bottom."""
    ways = table[table["mode"].isin(("base", "text_only"))][["family", "model", "answering"]].drop_duplicates()
    return [(str(row.family), str(row.model), str(row.answering)) for row in ways.itertuples()]


def _panel(axes: Axes, table: pd.DataFrame, lines: list[tuple[str, str, str]], level: str) -> None:
    percent_axis(axes)
    for height, (family, model, answering) in enumerate(lines):
        rows = table[(table["model"] == model) & (table["answering"] == answering)]
        if height and family != lines[height - 1][0]:
            axes.axhline(height - 0.5, color=FAINT, linewidth=0.8)
        for name, how in _MARKS.items():
            for row in _of(rows, name, level).itertuples():
                if name == "text only":
                    axes.plot([row.type1_low, row.type1_high], [height] * 2, color=how["color"], linewidth=1)
                axes.plot(row.type1, height, linestyle="", clip_on=False, **how)
    titles = dict(zip(table["model"], table["title"], strict=True))
    names = [titles[model] if way == "direct" else _WAYS[way] for _, model, way in lines]
    axes.set_yticks(range(len(lines)), names, fontsize=type_size(SMALL))
    axes.set_ylim(len(lines) - 0.4, -0.6)


def _family_names(axes: Axes, lines: list[tuple[str, str, str]]) -> None:
    """Each family's name on the right, beside its first line."""
    place, first = ("axes fraction", "data"), {family: height for height, (family, *_) in reversed([*enumerate(lines)])}
    for family, height in first.items():
        how: Any = {"fontsize": type_size(SMALL), "va": "center", "color": SOFT}
        axes.annotate(family, (1.02, height), xycoords=place, **how)


def _of(rows: pd.DataFrame, mark: str, level: str) -> pd.DataFrame:
    """The rows behind a mark at a level."""
    mode, variant = {
        "untuned": ("base", MAIN),
        "image + text": ("image_text", MAIN),
        "shuffled": ("text_only", level + CONTROL),
    }.get(mark, ("text_only" if mark == "told in words" else mark.replace(" ", "_"), level))
    in_words = rows["image"] == "described"
    return rows[(rows["mode"] == mode) & (rows["variant"] == variant) & (in_words == (mark == "told in words"))]


def families_latex(table: pd.DataFrame) -> str:
    r"""`in_short` of each domain as LaTeX. Needs ``\usepackage{booktabs}``."""
    lines = [r"% needs \usepackage{booktabs}"]
    for domain in values_of(table[table["model"] != "baseline"], "domain"):
        short = in_short(table, domain)
        marks = list(short.columns[3:])
        lines += [
            rf"\begin{{tabular}}{{lll{'r' * len(marks)}}}",
            r"\toprule",
            " & ".join(map(escaped, (label(domain), "", "asked", *marks))) + r" \\",
            r"\midrule",
        ]
        for row in short.to_dict("records"):
            numbers = ("" if pd.isna(row[mark]) else f"{row[mark]:.1f}" for mark in marks)
            names = map(escaped, (row["family"], row["title"], label(row["answering"])))
            lines.append(" & ".join([*names, *numbers]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)
