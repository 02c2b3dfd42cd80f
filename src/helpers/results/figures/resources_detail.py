"""What Figure 2 does not show: cost against accuracy, the origin of the saving, power and memory over time.

All three are drawn from the records of the training runs (`resources.json` and the samples next to it). What an older
record lacks (image tokens, GPU memory, FLOPs) is left out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.paths import MAIN
from helpers.results.figures.accuracies import CHANCE_LINE, DOT, legend, shape_keys
from helpers.results.figures.costs import told_costs
from helpers.results.figures.style import (
    FAINT,
    INK,
    SMALL,
    STYLE,
    colour,
    is_narrow,
    label,
    legend_above,
    marker,
    note_below,
    notice,
    seeds_said,
    styled,
    text_width,
    type_size,
    values_of,
)
from helpers.results.stats.accuracy import CHANCE
from helpers.results.tables.costs import COMPARED_MODES
from helpers.results.tables.order import in_order

RUN = ["model", "domain", "mode"]
SAMPLES = "resources.parquet"  # next to resources.json
_GAP = 0.5  # of a bar, between the causes and their effects
CAUSES = {  # columns of a record in words
    "vision_tower_calls": "vision-tower calls",
    "image_tokens": "image tokens",
    "tokens": "all tokens",
    "flops": "FLOPs (estimated)",
}
EFFECTS = {
    "compute_seconds": "time (CPU or GPU)",
    "seconds": "time (wall)",
    "memory_above_model_mb": "memory above the model",
    "peak_memory_mb": "peak memory, all",
    "energy_wh": "energy (measured)",
}
_SHARES = CAUSES | EFFECTS
PARTS = {
    "flops_tower": "vision tower",
    "flops_projector": "projector",
    "flops_image_tokens": "language model, image tokens",
    "flops_text_tokens": "language model, text tokens",
}


def tradeoff_table(resources: pd.DataFrame, accuracies: pd.DataFrame) -> pd.DataFrame:
    """Mean training cost over the seeds, and Type-1 accuracy, of each trained model: one row per prompting strategy."""
    told = list(told_costs(resources))
    kept = {"compute_of": "first"} if "compute_of" in resources else {}
    costs = resources.groupby(RUN, sort=False).agg(dict.fromkeys(told, "mean") | kept).reset_index()
    columns = [*RUN, "answering", "seeds", "type1", "type1_low", "type1_high"]
    digits = {"compute_seconds": 2, "memory_above_model_mb": 1, "energy_wh": 5}
    return costs.astype(dict.fromkeys(told, float)).merge(accuracies[columns], on=RUN).round(digits)


@styled
def tradeoff_figure(table: pd.DataFrame) -> Figure:
    """Type-1 accuracy with its interval over each cost of Figure 2; colour: mode, shape: prompting strategy.

    Up and to the left is better. ``table`` is a `tradeoff_table`; one column of panels per model and domain.
    """
    if table.empty or not (costs := told_costs(table)):
        return notice("No trained model was evaluated, or no cost recorded, so there is nothing to compare.")
    groups = list(table.groupby(["model", "domain"], sort=False))
    figure = Figure((text_width(), 0.75 + 0.13 * is_narrow() + 1.6 * len(costs)), layout="constrained")
    panels = figure.subplots(len(costs), len(groups), squeeze=False, sharey=True, sharex="row")
    modes, answerings = values_of(table, "mode"), values_of(table, "answering")
    for column, (place, group) in zip(panels.T, groups, strict=True):
        column[0].set_title(_place(place), loc="left", linespacing=1.1)
        for axes, cost in zip(column, costs, strict=True):
            _points(axes, group, cost, modes, answerings)
    for row, words in zip(panels, costs.values(), strict=True):
        row[0].set_ylabel("Type-1 accuracy (%)")
        for axes in row:
            axes.set_xlabel(words)
    legend(figure, modes, shape_keys(answerings), {**DOT, "linestyle": ""})
    note_below(figure, seeds_said(table))
    return figure


def _place(place: tuple[str, str]) -> str:
    """A model and domain, each on a line of its own, for panels side by side."""
    words = "\n".join(map(label, place))
    return words.replace(" (", "\n(") if is_narrow() else words


def _points(axes: Axes, group: pd.DataFrame, cost: str, modes: Sequence[str], answerings: Sequence[str]) -> None:
    axes.axhline(CHANCE, **CHANCE_LINE)
    for _, row in group.dropna(subset=[cost, "type1"]).iterrows():
        shade, shape = colour(row["mode"], modes), marker(row["answering"], answerings)
        axes.plot([row[cost]] * 2, [row["type1_low"], row["type1_high"]], color=shade, linewidth=1.0)
        axes.plot(row[cost], row["type1"], marker=shape, markersize=4.5, color=shade, linestyle="")
    axes.set(ylim=(0, 100), yticks=range(0, 101, 25))
    axes.set_xlim(0, 1.15 * max(axes.get_xlim()[1], group[cost].max()))
    axes.grid(axis="y")


def saving_table(resources: pd.DataFrame) -> pd.DataFrame:
    """Each cause and cost of text-only training relative to image-text training (means over the seeds), one row each.

    Columns: model, domain, cause, text_only, image_text, share, seeds. A cause that the records lack, or that is zero
    in image-text training, is left out.
    """
    rows, (of, to) = [], COMPARED_MODES
    for (model, domain), group in resources.groupby(["model", "domain"], sort=False):
        seeds = group.groupby("mode")["seed"].nunique().reindex([of, to]).min()
        for cause in (column for column in _SHARES if column in resources.columns):
            means = group.astype({cause: float}).groupby("mode")[cause].mean()
            if {of, to} <= set(means.dropna().index) and means[to] > 0:
                shared = {of: means[of], to: means[to], "share": means[of] / means[to], "seeds": seeds}
                rows.append({"model": model, "domain": domain, "cause": cause, **shared})
    return pd.DataFrame(rows, columns=["model", "domain", "cause", of, to, "share", "seeds"]).round(4)


@styled
def saving_figure(table: pd.DataFrame) -> Figure:
    """`saving_table` as bars from 0 to 1: the causes above, their effects below."""
    of, to = COMPARED_MODES
    if table.empty:
        return notice(f"No model was trained in both modes ({label(of)}, {label(to)}), so there is nothing to compare.")
    groups = list(table.groupby(["model", "domain"], sort=False))
    shown = [cause for cause in _SHARES if cause in set(table["cause"])]
    places = {cause: place + _GAP * (cause in EFFECTS) for place, cause in enumerate(shown)}
    figure = Figure((text_width(), 0.95 + 0.13 * is_narrow() + 0.19 * len(shown)), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axes, (place, group) in zip(panels, groups, strict=True):
        shares = group.set_index("cause")["share"].to_dict()
        _shares(axes, shares, places, colour(of, [of]))
        axes.set_title(_place(place), loc="left", linespacing=1.1)
    seeds = f" ({said})" if (said := seeds_said(table)) else ""
    figure.supxlabel(f"{label(of)} as a share of {label(to)}{seeds}", fontsize=STYLE["axes.labelsize"])
    panels[0].set_yticks(list(places.values()), [_SHARES[cause] for cause in places])
    panels[0].invert_yaxis()
    return figure


def _shares(axes: Axes, shares: Mapping[str, float], places: Mapping[str, float], shade: str) -> None:
    widest = max([1.0, *shares.values()])
    for cause, place in places.items():
        if cause in shares:
            axes.barh(place, 1, 0.62, color=FAINT)
            axes.barh(place, shares[cause], 0.62, color=shade)
            said: Any = {"textcoords": "offset points", "va": "center", "fontsize": type_size(SMALL), "color": INK}
            axes.annotate(f"{shares[cause]:.2f}", (max(1.0, shares[cause]), place), (3, 0), **said)
    axes.set(xlim=(0, 1.12 * widest), xticks=[0, 0.5, 1])
    axes.tick_params(axis="y", length=0)


@styled
def time_figure(samples: pd.DataFrame) -> Figure:
    """Power and memory over the time of some training runs; ``samples`` as in `read_meter_samples`.

    One line per mode, one column of panels per model and domain. Power is CPU + GPU, because that of RAM is a constant
    estimate. Memory is that of the GPU if one was used, otherwise of the process, including what was loaded before.
    """
    if samples.empty:
        return notice("No training run recorded its power and memory over time.")
    groups = list(samples.groupby(["model", "domain"], sort=False))
    figure = Figure((text_width(), 3.1 + 0.13 * is_narrow()), layout="constrained")
    panels = figure.subplots(2, len(groups), squeeze=False, sharex="col", sharey="row")
    modes = values_of(samples, "mode")
    for column, (place, group) in zip(panels.T, groups, strict=True):
        for mode, run in group.groupby("mode", sort=False):
            power, memory = _power(run), run["gpu_mb"].fillna(run["process_mb"])
            line: Any = {"color": colour(str(mode), modes), "linewidth": 1.1, "label": label(str(mode))}
            column[0].plot(run["seconds"].loc[power.index], power, drawstyle="steps-pre", **line)
            column[1].plot(run["seconds"], memory, **line)
        column[0].set_title(_place(place), loc="left", linespacing=1.1)
        column[1].set_xlabel("time (s)")
        for axes in column:
            axes.set_xlim(left=0)
            axes.set_ylim(0, max(axes.get_ylim()[1], 1.1 * _highest(axes)))
            axes.grid(axis="y")
    panels[0][0].set_ylabel("power of CPU\nand GPU (W)")
    panels[1][0].set_ylabel("memory (MB)")
    legend_above(figure, panels[0][0].get_legend_handles_labels()[0], len(modes))
    note_below(figure, "one run per mode: that of the lowest seed")
    return figure


def _power(run: pd.DataFrame) -> pd.Series:
    """Watts, without a last interval of less than half the usual length, whose energy is mostly rounding error."""
    power, lengths = run["cpu_w"] + run["gpu_w"].fillna(0), run["seconds"].diff()
    return power.iloc[:-1] if lengths.iloc[-1] < lengths.iloc[:-1].median() / 2 else power


def _highest(axes: Axes) -> float:
    return max(float(max(line.get_ydata())) for line in axes.get_lines())  # type: ignore[arg-type, type-var]


def split_table(resources: pd.DataFrame) -> pd.DataFrame:
    """The difference in FLOPs between text-only and image-text training, by part of the model; means over the seeds.

    Columns: model, domain, part, text_only, image_text, and percent: the part's contribution to the whole difference.
    Contributions add up to 100; a negative one costs text-only training more. Empty if the records have no FLOPs.
    """
    rows, (of, to) = [], COMPARED_MODES
    columns = ["model", "domain", "part", of, to, "percent"]
    if not set(PARTS) <= set(resources.columns):
        return pd.DataFrame(columns=columns)
    for (model, domain), group in resources.groupby(["model", "domain"], sort=False):
        means = group.groupby("mode")[[*PARTS, "flops"]].mean()
        if {of, to} <= set(means.dropna().index) and means.loc[to, "flops"] != means.loc[of, "flops"]:
            saved = means.loc[to] - means.loc[of]
            for part, words in PARTS.items():
                percent = round(float(100 * saved[part] / saved["flops"]), 1)
                rows.append([model, domain, words, means.loc[of, part], means.loc[to, part], percent])
    return pd.DataFrame(rows, columns=columns)


def read_meter_samples(resource_files: Iterable[str | Path]) -> pd.DataFrame:
    """The samples next to some `resources.json`: per model, domain and mode, those of the run with the lowest seed.

    Only the unchanged profile counts (variant `main`). Without samples, an empty table.
    """
    found: dict[tuple[str, ...], tuple[int, Path]] = {}
    for file in map(Path, resource_files):
        record = json.loads(file.read_text(encoding="utf-8"))
        samples, run = file.with_name(SAMPLES), tuple(record[column] for column in RUN)
        if samples.is_file() and record.get("variant", MAIN) == MAIN:
            found[run] = min(found.get(run, (record["seed"], samples)), (record["seed"], samples))
    frames = [pd.read_parquet(path).assign(**dict(zip(RUN, run, strict=True))) for run, (_, path) in found.items()]
    return in_order(pd.concat(frames, ignore_index=True)) if frames else pd.DataFrame(columns=["seconds", *RUN])
