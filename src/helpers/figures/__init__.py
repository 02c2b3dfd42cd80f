"""The paper's figures, in one style: tables in, pictures out. Nothing here knows a trainer, a model or a domain."""

from helpers.figures.accuracies import ablation_figure, accuracy_figure
from helpers.figures.answering import answering_figure
from helpers.figures.concept import figure1
from helpers.figures.costs import figure2
from helpers.figures.grid import grid_figure
from helpers.figures.representations import cka_figure
from helpers.figures.style import save
from helpers.figures.typeset import table_figure

__all__ = [
    "ablation_figure",
    "accuracy_figure",
    "answering_figure",
    "cka_figure",
    "figure1",
    "figure2",
    "grid_figure",
    "save",
    "table_figure",
]
