"""From answer rows to accuracies, their uncertainty and their differences. Rows in, numbers out; nothing is drawn.

A *row* is one answer to one question (see `helpers.results.tables.read_answers`). Three decisions hold throughout:

- Accuracy over several seeds is the mean over the seeds. Its interval is Wilson's 95 % interval with n = the number of
  *questions*, not questions times seeds, because repeating a question does not make a new one.
- An unreadable reply is wrong. It lowers the accuracy, and `unreadable_table` says how often it happened.
- Two conditions are compared on the questions that both answered, never by whether two intervals overlap.
"""

from helpers.results.stats.accuracy import CHANCE, accuracy_table, seed_table, unreadable_table, wilson
from helpers.results.stats.agreement import agreement_table
from helpers.results.stats.bootstrap import bootstrap_table, resampled_interval
from helpers.results.stats.confusion import confusion_table, look_alike_table
from helpers.results.stats.leakage import leakage_table
from helpers.results.stats.names import among_untrained, names_table, right_names, trained_chosen
from helpers.results.stats.paired import (
    MARGIN,
    combined_p_value,
    difference,
    difference_table,
    from_chance,
    holm,
    mcnemar_exact,
    paired_table,
    seed_by_seed,
)
from helpers.results.stats.power import detectable_paired, detectable_unpaired

__all__ = [
    "CHANCE", "MARGIN", "accuracy_table", "agreement_table", "among_untrained", "bootstrap_table",
    "combined_p_value", "confusion_table", "detectable_paired", "detectable_unpaired", "difference",
    "difference_table", "from_chance", "holm", "leakage_table", "look_alike_table", "mcnemar_exact", "names_table",
    "paired_table", "resampled_interval", "right_names", "seed_by_seed", "seed_table", "trained_chosen",
    "unreadable_table", "wilson",
]  # fmt: skip
