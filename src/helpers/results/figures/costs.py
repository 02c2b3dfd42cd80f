"""Figure 2: the cost of the two kinds of training. Resource records in, bars out."""

from collections.abc import Container, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation

from helpers.results.figures.style import (
    INK,
    SMALL,
    STYLE,
    colour,
    column_width,
    is_narrow,
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

_COSTS = {
    "compute_seconds": "{of} time (s)",
    "memory_above_model_mb": "Memory above the\nloaded model (MB)",
    "energy_wh": "Energy (Wh)",
}
BARS = 0.8  # width of a model's bars, relative to the distance between two models
_GAP = 2.5  # points between the numbers of adjacent bars: with less, they would read as one number
CROWDED = 6  # bars per panel; with more, the numbers above them are rotated
SEED: Any = {"marker": "o", "markersize": 2.5, "color": INK, "markerfacecolor": "white", "markeredgewidth": 0.5}


def told_costs(resources: pd.DataFrame) -> dict[str, str]:
    """The costs that any of the records has, with the words for an axis; time is the CPU's or the GPU's."""
    clocks = " and ".join(values_of(resources, "compute_of")) if "compute_of" in resources else "CPU"
    found = {cost: words for cost, words in _COSTS.items() if cost in resources and resources[cost].notna().any()}
    return {cost: words.format(of=clocks) for cost, words in found.items()}


@styled
def figure2(resources: pd.DataFrame, one_column: bool = False) -> Figure:
    """Figure 2: time, memory and energy of training; one group of bars per model, one row of panels per domain.

    Time is that of the processor (or GPU), memory is what comes on top of the loaded model. A cost that no record has,
    such as energy without a meter, has no panel; the note says why. A bar is the mean over the seeds, its whisker the
    sample standard deviation, and each dot one seed. The bars of other modes also show their ratio to image-text, if
    that was trained. ``one_column`` makes the figure fit one column of a two-column page, with one column of panels per
    domain.
    """
    domains, costs = values_of(resources, "domain"), told_costs(resources)
    if not costs:
        return notice("No record has a cost that can be compared: train again (notebook 03), then draw again.")
    size = (column_width(), 1.0 + 1.15 * len(costs)) if one_column else (text_width(), 0.5 + 1.75 * len(domains))
    shape = (len(costs), len(domains)) if one_column else (len(domains), len(costs))
    if is_narrow():  # the next layout with fewer panels side by side
        shape = (len(costs) * len(domains), 1) if one_column else (len(costs), len(domains))
        size = (size[0], 1.0 + 1.3 * shape[0])
    figure = Figure(figsize=size, layout="constrained")
    in_columns = shape == (len(costs), len(domains))
    share: Any = {"sharex": "col", "sharey": "row"} if in_columns else {}
    drawn = figure.subplots(*shape, squeeze=False, **share)
    panels = drawn.T if in_columns else drawn.reshape(len(domains), len(costs))  # one row per domain
    said: list[list[Annotation]] = []  # the numbers above the bars of each model
    for row, domain in zip(panels, domains, strict=True):
        runs = resources[resources["domain"] == domain]
        for axes, cost in zip(row, costs, strict=True):
            said += _bars(axes, runs, cost)
            axes.tick_params(axis="x", labelsize=SMALL if one_column else STYLE["xtick.labelsize"])
            if not in_columns or domain == domains[0]:
                axes.set_ylabel(costs[cost] + _how_measured(runs, cost))
        if len(domains) > 1:
            row[0].set_title(label(domain), loc="left", fontweight="bold")
    modes = _cost_modes(resources)
    keys: list[Artist] = [Patch(facecolor=colour(mode, modes), label=f"trained on {label(mode)}") for mode in modes]
    if (seeds := resources["seed"].nunique()) > 1:
        dots = f"one of {seeds} seeds;{chr(10) if one_column and is_narrow() else ' '}whisker: standard deviation"
        keys.append(Line2D([], [], **SEED, linestyle="", label=dots))
    legend_above(figure, keys, 1 if one_column else 3)
    note_below(figure, seeds_said(resources) if seeds == 1 else "", *_without_panel(resources, costs))
    figure.draw_without_rendering()  # the numbers get their position and width here
    for numbers in said:
        _spread(numbers, figure.dpi / 72)
    return figure


def _without_panel(resources: pd.DataFrame, costs: Container[str]) -> Iterator[str]:
    """Why a cost is not drawn."""
    if "compute_seconds" not in costs:
        yield "time: not recorded by a clock that repeats"
    if "memory_above_model_mb" not in costs:
        yield "memory above the loaded model: not recorded"
    if "energy_wh" not in costs:
        sources = values_of(resources, "energy_source") if "energy_source" in resources else ["not recorded"]
        yield f"energy: {', '.join(sources)}"


def _cost_modes(resources: pd.DataFrame) -> list[str]:
    """The trained modes, with the paper's reference (image-text) first."""
    return sorted(values_of(resources, "mode"), key=lambda mode: mode != "image_text")


def _how_measured(runs: pd.DataFrame, cost: str) -> str:
    """What of the energy was measured and how, for the axis label, if the records say so."""
    if cost != "energy_wh" or "energy_source" not in runs.columns:
        return ""
    return "\n" + ", ".join(sorted(runs.loc[runs[cost].notna(), "energy_source"].dropna().unique()))


def _bars(axes: Axes, runs: pd.DataFrame, cost: str) -> list[list[Annotation]]:
    """Draw a panel's bars; returns the numbers above them, by model."""
    said: list[list[Annotation]] = []
    modes, models = _cost_modes(runs), values_of(runs, "model")
    width, upright = BARS / max(2, len(modes)), len(modes) * len(models) > CROWDED
    for place, model in enumerate(models):
        said.append([])
        of_model = {mode: runs[(runs["model"] == model) & (runs["mode"] == mode)][cost] for mode in modes}
        for offset, mode in enumerate(modes):
            if of_model[mode].notna().any():
                where = place + (offset - (len(modes) - 1) / 2) * width
                values = of_model[mode].dropna()
                _bar(axes, where, width, values, colour(mode, modes))
                reference = of_model.get("image_text") if mode != "image_text" else None
                said[-1].append(_said(axes, where, values, reference, upright))
    axes.set_xticks(range(len(models)), [label(model).replace(" (", "\n(") for model in models], linespacing=1)
    axes.set_xlim(-0.5 - 0.25 / len(models), len(models) - 0.5 + 0.25 / len(models))
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.6 if upright else 0.22)
    axes.set_ylim(bottom=0)
    return said


def _bar(axes: Axes, where: float, width: float, values: pd.Series, shade: str) -> None:
    """Draw one bar with its seeds and their standard deviation."""
    axes.bar(where, values.mean(), 0.94 * width, color=shade)
    if len(values) > 1:
        axes.errorbar(where, values.mean(), values.std(), color=INK, linewidth=0.8, capsize=2, capthick=0.8)
        spread = [where + width * (0.5 * place / (len(values) - 1) - 0.25) for place in range(len(values))]
        axes.plot(spread, values, **SEED, linestyle="", zorder=3)


def _said(axes: Axes, where: float, values: pd.Series, reference: pd.Series | None, upright: bool) -> Annotation:
    """The mean above its bar, with its ratio to the runs in `reference`."""
    top = max(values.mean() + (values.std() if len(values) > 1 else 0), values.max())
    said = _number(values.mean())
    if reference is not None and reference.notna().any() and reference.mean() > 0:
        said += f"{'  ' if upright else chr(10)}×{values.mean() / reference.mean():.2f}"
    style: Any = {
        "ha": "center",
        "va": "bottom",
        "fontsize": type_size(SMALL),
        "linespacing": 1,
        "rotation": 90 * upright,
    }
    return axes.annotate(said, (where, top), (0, 2), textcoords="offset points", **style)


def _spread(numbers: Sequence[Annotation], point: float) -> None:
    """Move a model's numbers apart around their centre if any two are closer than _GAP; `point` is in pixels."""
    boxes = [number.get_window_extent() for number in numbers]
    middles = [(box.x0 + box.x1) / 2 for box in boxes]
    pairs = pairwise(zip(boxes, middles, strict=True))
    needed = [((a.width + b.width) / 2 + _GAP * point) / (right - left) for (a, left), (b, right) in pairs]
    for number, middle in zip(numbers, middles, strict=True):
        apart = (max([1.0, *needed]) - 1) * (middle - (middles[0] + middles[-1]) / 2)
        number.xyann = (apart / point, number.xyann[1])


def _number(value: float) -> str:
    """Three significant digits without powers of ten; a whole number from 100."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
