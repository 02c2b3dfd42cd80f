"""How similarly a model represents an image and its description, layer by layer, before and after training."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from helpers.results.figures.style import (
    SOFT,
    colour,
    label,
    legend_above,
    note_below,
    seeds_said,
    styled,
    text_width,
    values_of,
)

STAGES: dict[str, Any] = {
    "before": {"linestyle": (0, (3, 2)), "marker": "o", "markerfacecolor": "white"},
    "after": {"linestyle": "-", "marker": "o"},
}
COLUMNS = ("model", "layer", "stage", "mode", "cka")


@styled
def cka_figure(table: pd.DataFrame) -> Figure:
    """Linear CKA between the representations of images and of texts about the same classes, by layer.

    One panel per model and one line per mode, dashed and open before training, solid and filled after it. `table` has
    the columns model, layer (a number), stage (before or after), mode, cka (0 to 1). Rows that differ only in `cka`
    (seeds) are averaged. Raises ``ValueError`` for a missing column or another stage.
    """
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise ValueError(f"the table lacks {', '.join(missing)}; it needs the columns {', '.join(COLUMNS)}")
    if unknown := sorted(set(table["stage"]) - set(STAGES)):
        raise ValueError(f"stage is {unknown[0]!r}; it must be before or after")
    models, modes = values_of(table, "model"), values_of(table, "mode")
    figure = Figure((min(text_width(), 1.0 + 3.0 * len(models)), 2.7), layout=ConstrainedLayoutEngine(wspace=0.05))
    panels = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    means = table.groupby(["model", "stage", "mode", "layer"], sort=False)["cka"].mean().reset_index()
    for axes, model in zip(panels, models, strict=True):
        for (stage, mode), line in means[means["model"] == model].groupby(["stage", "mode"], sort=False):
            line = line.sort_values("layer")
            style = {"markersize": 3.5, "linewidth": 1.2, "color": colour(mode, modes), **STAGES[stage]}
            axes.plot(line["layer"], line["cka"], **style)
        axes.set_title(label(model), loc="left", fontweight="bold", pad=3)
        axes.set_xlabel("layer of the language model")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(0, 1)
        axes.grid(axis="y")
    panels[0].set_ylabel("similarity of image and text (CKA)")
    keys = [Line2D([], [], color=colour(mode, modes), linewidth=1.6, label=label(mode)) for mode in modes]
    keys += [Line2D([], [], color=SOFT, markersize=3.5, **STAGES[stage], label=f"{stage} training") for stage in STAGES]
    columns = len(keys) if len(models) > 1 else 2
    legend_above(figure, keys, columns, columnspacing=1.4, handlelength=2.2)
    note_below(figure, seeds_said(table))
    return figure
