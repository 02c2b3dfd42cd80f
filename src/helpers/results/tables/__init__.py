"""The paper's tables as data: answer rows and resource records in, tidy CSV out. `helpers.results.figures` draws them.

Every number is derived from the saved rows, never from another table, so the answers alone are enough to make a table
again. Percentages have one decimal. The order of rows is the same everywhere: models, domains, modes from untuned to
most informed, asked directly before describe-then-answer, with the image before without.
"""

from helpers.results.tables.answers import ANSWER_COLUMNS, of_protocol, of_variant, read_answers
from helpers.results.tables.appearances import look_alikes, read_drawn_appearances
from helpers.results.tables.benchmarks import costs_beside, steps_on_a_gpu, trainings_in_turns
from helpers.results.tables.costs import (
    answering_costs,
    break_even,
    cost_ratios,
    not_recorded,
    phases_table,
    read_resources,
    read_timings,
    resources_table,
)
from helpers.results.tables.files import find, rounded, write_csv
from helpers.results.tables.grid import grid_reading, grid_table, name_variants, read_retention, renamed
from helpers.results.tables.order import in_order
from helpers.results.tables.paper import GROUP, REPORTED_COLUMNS, comparison, read_reported, table1, table2
from helpers.results.tables.representations import read_representations

__all__ = [
    "ANSWER_COLUMNS", "GROUP", "REPORTED_COLUMNS", "answering_costs", "break_even", "comparison", "cost_ratios",
    "costs_beside", "find", "grid_reading", "grid_table", "in_order", "look_alikes", "name_variants", "not_recorded",
    "of_protocol", "of_variant", "phases_table", "read_answers", "read_drawn_appearances", "read_reported",
    "read_representations", "read_resources", "read_retention", "read_timings", "renamed", "resources_table", "rounded",
    "steps_on_a_gpu", "table1", "table2", "trainings_in_turns", "write_csv",
]  # fmt: skip
