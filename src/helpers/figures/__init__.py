"""The paper's figures, in one style: tables in, pictures out. Nothing here knows a trainer, a model or a domain."""

from helpers.figures.accuracies import ablation_figure, accuracy_figure
from helpers.figures.concept import figure1
from helpers.figures.costs import figure2
from helpers.figures.style import save
from helpers.figures.typeset import table_figure

__all__ = ["ablation_figure", "accuracy_figure", "figure1", "figure2", "save", "table_figure"]
