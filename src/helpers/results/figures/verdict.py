"""The verdict as a figure: each mode's accuracy with its interval, a panel a model and question type."""

import pandas as pd
from matplotlib.figure import Figure

from helpers.results.figures.style import SMALL, SOFT, TEXT_WIDTH, colour, label, styled, values_of
from helpers.results.stats import CHANCE


@styled
def verdict_figure(table: pd.DataFrame) -> Figure:
    """From `helpers.results.verdict.verdict_table`: rows of panels are models, columns question types."""
    models, kinds = values_of(table, "model"), sorted(values_of(table, "question_type"))
    modes = values_of(table, "mode")
    figure = Figure((TEXT_WIDTH, 0.5 + len(models) * (0.42 + 0.24 * len(modes))), layout="constrained")
    panels = figure.subplots(len(models), len(kinds), squeeze=False, sharex=True)
    for row, model in zip(panels, models, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            group = table[(table["model"] == model) & (table["question_type"] == kind)]
            axes.axvline(CHANCE, color=SOFT, linewidth=0.8, linestyle=(0, (3, 2)))
            for height, (_, line) in enumerate(group.iterrows()):
                shade = colour(line["mode"], modes)
                axes.plot([line["low"], line["high"]], [height] * 2, color=shade, linewidth=1.2)
                axes.plot(line["accuracy"], height, "o", color=shade, markersize=4.5, clip_on=False)
                text = f"{line['accuracy']:.1f}"
                right = line["high"] < 85
                place, side = (line["high"], 3) if right else (line["low"], -3)
                axes.annotate(
                    text,
                    (place, height),
                    (side, 0),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    va="center",
                    fontsize=SMALL,
                    color=SOFT,
                )
            ways = [f"{label(line['mode'])}\n({label(line['answering'])})" for _, line in group.iterrows()]
            axes.set_yticks(range(len(group)), ways, fontsize=SMALL)
            axes.tick_params(axis="y", length=0)
            axes.set(xlim=(0, 100), ylim=(len(group) - 0.4, -0.6), xticks=range(0, 101, 25))
            axes.grid(axis="x")
            n = int(group["n"].max()) if len(group) else 0
            axes.set_title(f"{label(model)}: {label(f'type{kind}')} (n = {n})", loc="left", pad=3)
    for axes in panels[-1]:
        axes.set_xlabel("accuracy (%), 95 % interval; dashed: chance")
    return figure
