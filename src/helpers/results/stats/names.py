"""Trained and untrained names among the options: what is chosen where training mentioned some of the names only.

A model that was trained on half of the classes may simply prefer names that it has read. Asked about a class of the
other half it is then wrong nearly always, which says nothing of whether anything carried over. So there are two
questions, each with a chance of its own per question (column ``chance``, a share, which `from_chance` subtracts):

- *among untrained names*: the trained options are struck out, and the highest score among the rest counts.
- *bias*: is the chosen option a trained name, more often than one of the four options is?
"""

from collections.abc import Sequence, Set

import pandas as pd

from helpers.results.stats.accuracy import each_group


def right_names(rows: pd.DataFrame) -> frozenset[str]:
    """The right options of Type-1 questions: of rows about the classes in training, the names that it mentioned."""
    asked = rows[rows["question_type"] == 1]
    return frozenset(options[answer] for options, answer in zip(asked["options"], asked["answer"], strict=True))


def among_untrained(rows: pd.DataFrame, trained: Set[str]) -> pd.DataFrame:
    """The answers to questions about untrained names, with the trained options struck out; columns as in the rows.

    ``correct``: the right option has the highest score of those left (of several, the first counts, as in the rows);
    ``chance``: one in their number. Without a second untrained option there is no choice, and without scores no second
    choice: such answers are left out.
    """
    kept, correct, chance = [], [], []
    for place, row in enumerate(rows.to_dict("records")):
        left = [n for n, option in enumerate(row["options"]) if option not in trained]
        if row["answer"] in left and len(left) > 1 and isinstance(row["scores"], Sequence):
            kept.append(place)
            correct.append(max(left, key=row["scores"].__getitem__) == row["answer"])
            chance.append(1 / len(left))
    return rows.iloc[kept].assign(correct=correct, chance=chance)


def trained_chosen(rows: pd.DataFrame, trained: Set[str]) -> pd.DataFrame:
    """The same answers, ``correct`` if the chosen option is a trained name; ``chance``: the share of options that are.

    An unreadable reply chooses none. Questions that offer only trained names, or none, are left out.
    """
    shares = [sum(option in trained for option in options) / len(options) for options in rows["options"]]
    chosen = [
        not pd.isna(parsed) and options[int(parsed)] in trained
        for parsed, options in zip(rows["parsed"], rows["options"], strict=True)
    ]
    asked = rows.assign(correct=chosen, chance=shares)
    return asked[(asked["chance"] > 0) & (asked["chance"] < 1)]


def names_table(rows: pd.DataFrame, by: Sequence[str], trained: Set[str]) -> pd.DataFrame:
    """Of the Type-1 answers in each group, in percent: the share of options that are trained names and of answers that
    are one, with their number; then the accuracy among untrained names, its chance, and its number of questions.
    """

    def measure(group: pd.DataFrame) -> dict[str, float]:
        found: dict[str, float] = {}
        for ends, part in (
            (("questions", "options_trained", "answers_trained"), trained_chosen(group, trained)),
            (("untrained_questions", "untrained_chance", "untrained_accuracy"), among_untrained(group, trained)),
        ):
            means = 100 * part["chance"].mean(), 100 * part["correct"].mean()
            found |= dict(zip(ends, (part["question_id"].nunique(), *means), strict=True))
        return found

    return each_group(rows[rows["question_type"] == 1], by, measure)
