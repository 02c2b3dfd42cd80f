"""The paper's figures, in one style: tables in, figures out. Nothing here depends on a trainer, model or domain."""

from helpers.results.figures.accuracies import ablation_figure, accuracy_figure
from helpers.results.figures.answering import answering_figure
from helpers.results.figures.claims import claims_figure
from helpers.results.figures.concept import figure1
from helpers.results.figures.costs import figure2
from helpers.results.figures.grid import axis_words, grid_figure
from helpers.results.figures.latex import latex_table
from helpers.results.figures.representations import cka_figure
from helpers.results.figures.style import save
from helpers.results.figures.typeset import table_figure

__all__ = [
    "ablation_figure", "accuracy_figure", "answering_figure", "axis_words", "cka_figure", "claims_figure", "figure1",
    "figure2", "grid_figure", "latex_table", "save", "table_figure",
]  # fmt: skip
