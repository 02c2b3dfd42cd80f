"""The verdict as a figure: each mode's accuracy with its interval; and images beside what a model says of them."""

import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from helpers.images import open_image
from helpers.results.figures.accuracies import accuracy_dots, percent_axis
from helpers.results.figures.style import (
    SMALL,
    colour,
    is_narrow,
    label,
    note_below,
    seeds_said,
    styled,
    text_width,
    type_size,
    values_of,
)


@styled
def verdict_figure(table: pd.DataFrame) -> Figure:
    """`helpers.results.verdict.verdict_table` drawn: one row of panels per model, one column per question type."""
    table = table.rename(columns={"low": "accuracy_low", "high": "accuracy_high"})
    models, kinds = values_of(table, "model"), sorted(values_of(table, "question_type"))
    modes = values_of(table, "mode")
    gap = "\n" if is_narrow() else " "
    figure = Figure(
        (text_width(), 0.5 + 0.2 * is_narrow() + len(models) * (0.42 + 0.13 * is_narrow() + 0.24 * len(modes))),
        layout="constrained",
    )
    panels = figure.subplots(len(models), len(kinds), squeeze=False, sharex=True)
    for row, model in zip(panels, models, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            group = table[(table["model"] == model) & (table["question_type"] == kind)]
            percent_axis(axes)
            for height, mode in enumerate(group["mode"]):
                accuracy_dots(axes, height, group.iloc[[height]], "accuracy", colour(mode, modes))
            ways = [f"{label(line['mode'])}\n({label(line['answering'])})" for _, line in group.iterrows()]
            axes.set_yticks(range(len(group)), ways, fontsize=type_size(SMALL))
            axes.set_ylim(len(group) - 0.4, -0.6)
            n = int(group["n"].max()) if len(group) else 0
            axes.set_title(f"{label(model)}:{gap}{label(f'type{kind}')} (n = {n})", loc="left", pad=3)
    for axes in panels[-1]:
        axes.set_xlabel(f"accuracy (%), 95 % interval;{gap}dashed: chance")
    note_below(figure, seeds_said(table))
    return figure


@styled
def described_figure(images: pd.DataFrame, folder: Path, count: int = 6) -> Figure:
    """Some images of each model beside its description: the first of each class, ``count`` at most, two to a row.

    ``images``: rows of `helpers.results.sight.described_images`, at least one; their paths are relative to ``folder``.
    """
    shown = images.drop_duplicates(["model", "class_id"]).groupby("model", sort=False).head(count)
    figure = Figure((text_width(), 1.15 * ((len(shown) + 1) // 2)), layout="constrained")
    cards = figure.subplots((len(shown) + 1) // 2, 4, squeeze=False, width_ratios=[1, 2.4, 1, 2.4]).reshape(-1, 2)
    for axes in cards.flat:
        axes.axis("off")
    for (left, right), (_, row) in zip(cards, shown.iterrows(), strict=False):
        if (folder / row["image_path"]).is_file():
            left.imshow(open_image(folder / row["image_path"]))
        said = textwrap.shorten(row["description"], 240, placeholder=" ...")
        lines = [f"{label(row['model'])}, {row['class_id']}:", *textwrap.wrap(said, 46)]
        right.text(0, 1, "\n".join(lines), va="top", fontsize=SMALL, parse_math=False)
    return figure
