"""Baselines that do not look at the image. Their rows are like a model's, so the same tables can hold them.

Chance needs no rows: it is a quarter. The longest and the most frequent option need no model. ``option_only`` asks a
model how likely each option is by itself, without question or image. `helpers.evaluation.clip` has another baseline.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from helpers.evaluation.prompts import Prompt
from helpers.evaluation.protocols import Choice
from helpers.evaluation.reader import Reader
from helpers.evaluation.strategies import ReadAnswer, row
from helpers.schemas import Question, questions_hash

MODEL = "baseline"
NOTHING = Prompt("")


def longest_option(questions: Sequence[Question], domain: str) -> list[ReadAnswer]:
    """The option with the most characters; a tie is broken at random, reproducibly."""
    return _blind("longest_option", questions, domain, len)


def most_frequent_option(questions: Sequence[Question], domain: str) -> list[ReadAnswer]:
    """The option that occurs in the most questions; a tie is broken at random, reproducibly."""
    frequency = Counter(option for question in questions for option in question.options)
    return _blind("most_frequent_option", questions, domain, frequency.__getitem__)


def _blind(mode: str, questions: Sequence[Question], domain: str, score: Callable[[str], int]) -> list[ReadAnswer]:
    run = baseline_run(mode, domain, questions)
    return [scored_row(q, [float(score(option)) for option in q.options], run, "without") for q in questions]


def option_only(reader: Reader, questions: Sequence[Question], run: Mapping[str, Any]) -> list[ReadAnswer]:
    """The option that the model finds most likely after an empty prompt; ``run``: the model's own columns."""
    found = reader.likelihoods([NOTHING] * len(questions), [q.sentences() for q in questions], "option alone")
    fixed = {**run, "answering": "option_only", "protocol": "option_likelihood"}
    fixed |= {"dataset_hash": questions_hash(questions)}
    return [scored_row(q, [o.total for o in four], fixed, "without") for q, four in zip(questions, found, strict=True)]


def baseline_run(mode: str, domain: str, questions: Sequence[Question]) -> dict[str, Any]:
    """The run's columns for a baseline without a model that is asked all ``questions``."""
    named = {"model": MODEL, "domain": domain, "mode": mode, "variant": "main", "seed": 0}
    return named | {"answering": "direct", "protocol": "option_score", "dataset_hash": questions_hash(questions)}


def scored_row(question: Question, scores: list[float], run: Mapping[str, Any], image: str) -> ReadAnswer:
    """A row for the option with the highest score."""
    best = [i for i, score in enumerate(scores) if score == max(scores)]
    parsed = random.Random(f"{run['mode']}/{question.question_id}").choice(best)
    own = {"description": None, "named": None, "new_tokens": 0}
    return {**run, "image": image, **row(question, NOTHING, Choice(scores, None, parsed)), **own}
