"""What the ablations say: a rule a finding, judged on the tables of the grids (`config/grids/`, notebook 08).

Each rule names the rows of one grid that it speaks of, and what must hold for them in Type 1: Wilson's 95 % interval
contains chance, or lies above or below that of other rows, or overlaps it. A rule holds where it does so for every
model, domain and way of asking that the grid has. Rules were written before the numbers; one that fails stays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from helpers.results.figures.style import label
from helpers.results.stats.accuracy import CHANCE
from helpers.workflow.provenance import portable
from helpers.workflow.verify import Doubt, Verified

Relation = Literal["at chance", "above", "below", "level with", "not above", "not below"]
Withheld = Literal["not judged: stale", "not judged: unrecorded"]
_WORDS = ("holds", "holds in part", "does not hold")
WITHIN = ["model", "domain", "answering"]
_SHOWN = 3  # reasons why something is not judged


@dataclass(frozen=True)
class Rule:
    """``subject`` and ``rival`` choose rows by the values of some columns; a rival is compared within `WITHIN`."""

    claim: str
    grid: str
    subject: Mapping[str, Any]
    relation: Relation
    rival: Mapping[str, Any] = field(default_factory=dict)
    measure: str = "type1"
    ways: tuple[str, ...] = ("direct", "describe")  # of asking, those of the subject


@dataclass(frozen=True)
class Claim:
    """A claim of the paper's or a rule of ours, our verdict, the numbers behind it, and the file that they are from."""

    claim: str
    verdict: str
    evidence: tuple[str, ...]
    file: str


TEXT, BOTH = {"mode": "text_only"}, {"mode": "image_text"}
RULES = (
    Rule(
        "The descriptions do it: with somebody else's, recognition stays at chance",
        "controls",
        {"variant": "shuffled"},
        "at chance",
    ),
    Rule(
        "It is the look that counts: the background alone leaves recognition at chance",
        "controls",
        {"variant": "background only"},
        "at chance",
    ),
    Rule(
        "The look alone does as well as look and background",
        "controls",
        {"variant": "look only"},
        "not below",
        {"variant": "whole text"},
    ),
    Rule(
        "The reversal curse: read from name to description alone, the text leaves recognition at chance",
        "directions",
        {"variant": "name to description"},
        "at chance",
    ),
    Rule(
        "Description to name alone does as well as both directions",
        "directions",
        {"variant": "description to name"},
        "not below",
        {"variant": "both"},
    ),
    Rule(
        "Text-only training recognises better if the model describes first",
        "answering",
        {**TEXT, "variant": "own descriptions", "answering": "describe"},
        "above",
        {**TEXT, "variant": "own descriptions", "answering": "direct"},
        ways=("describe",),
    ),
    Rule(
        "So does image-text training (is it text-only that gains, or everyone?)",
        "answering",
        {**BOTH, "variant": "own descriptions", "answering": "describe"},
        "above",
        {**BOTH, "variant": "own descriptions", "answering": "direct"},
        ways=("describe",),
    ),
    Rule(
        "Describing first is no trick: with shuffled descriptions it stays at chance too",
        "answering",
        {**TEXT, "variant": "shuffled descriptions"},
        "at chance",
    ),
    Rule(
        "Text-only training keeps what the model could see before (visual questions)",
        "answering",
        {**TEXT, "variant": "own descriptions", "answering": "direct"},
        "level with",
        {"mode": "base", "variant": "own descriptions", "answering": "direct"},
        "retention_visual",
        ("direct",),
    ),
    Rule(
        "Less visual detail in the text, less recognition",
        "detail",
        {"x": 0.33},
        "below",
        {"x": 1.0},
    ),
    Rule(
        "Several wordings of a description help, at the same number of steps",
        "wordings",
        {"x": 4.0},
        "above",
        {"x": 1.0},
    ),
    Rule("Half the epochs are enough", "epochs", {"x": 6.0}, "not below", {"x": 12.0}),
    Rule(
        "Pictures for half of the classes help when the model is asked directly",
        "hybrid",
        {"x": 0.5},
        "above",
        {"x": 0.0},
        ways=("direct",),
    ),
    Rule(
        "4-bit base weights cost nothing",
        "methods",
        {**TEXT, "variant": "QLoRA"},
        "not below",
        {**TEXT, "variant": "LoRA"},
    ),
    Rule(
        "Prompt tuning learns the classes as LoRA does",
        "methods",
        {**TEXT, "variant": "prompt tuning"},
        "not below",
        {**TEXT, "variant": "LoRA"},
    ),
    Rule(
        "The projector alone cannot learn them, even from pictures",
        "methods",
        {**BOTH, "variant": "projector alone"},
        "at chance",
    ),
    Rule("A rank of 4 is enough", "ranks", {"x": 4.0}, "not below", {"x": 16.0}),
    Rule(
        "Look-alikes as wrong options are harder than random ones",
        "distractors",
        {**TEXT, "variant": "look-alikes"},
        "below",
        {**TEXT, "variant": "drawn at random"},
    ),
    Rule(
        "Nothing carries over to classes that the training never spoke of",
        "transfer",
        {**TEXT, "variant": "the other half"},
        "at chance",
    ),
    Rule(
        "Somebody else's picture is no better than none",
        "pictures",
        {**TEXT, "image": "other"},
        "not above",
        {**TEXT, "image": "without"},
    ),
)


def findings(folder: Path, checked: Verified) -> list[Claim]:
    """Every rule, judged on the grids' tables below a run's folder or a folder of published figures."""
    return [judged(rule, folder, checked) for rule in RULES]


def judged(rule: Rule, folder: Path, checked: Verified) -> Claim:
    """One rule; "not measured" without a table or such rows in it, not judged where the table is in doubt."""
    places = (folder / "grids" / rule.grid / f"{rule.grid}.csv", folder / "ablations" / f"{rule.grid}.csv")
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return Claim(rule.claim, "not measured", (), "")
    if doubt := checked.doubt(file):
        return Claim(rule.claim, withheld(doubt), reasons_shown(doubt.reasons), str(portable(file)))
    compared = list(_compared(rule, pd.read_csv(file)))
    outcomes = [_holds(rule, subject, rival) for _, subject, rival in compared]
    evidence = tuple(_words(rule, *each) for each in compared)
    return Claim(rule.claim, verdict_on(outcomes, _WORDS), evidence, str(portable(file)))


def withheld(doubt: Doubt) -> Withheld:
    """The verdict on what cannot be relied on."""
    return "not judged: stale" if doubt.status == "stale" else "not judged: unrecorded"


def reasons_shown(reasons: Sequence[str]) -> tuple[str, ...]:
    """The first reasons of a doubt, in the place of evidence, and how many more there are."""
    more = len(reasons) - _SHOWN
    return (*reasons[:_SHOWN], *([f"and {more} more"] if more > 0 else []))


def _compared(rule: Rule, table: pd.DataFrame) -> Iterator[tuple[str, Any, Any]]:
    """Where, the subject's row, and the rival's (None where the rule has none)."""
    subjects = _chosen(table[table["answering"].isin(rule.ways)], rule.subject).dropna(subset=[rule.measure])
    rivals = _chosen(table, rule.rival).dropna(subset=[rule.measure])
    within = [column for column in WITHIN if column not in rule.rival]
    varying = [column for column in WITHIN if subjects[column].nunique() > 1]
    for _, subject in subjects.iterrows():
        alike = rivals[(rivals[within] == subject[within]).all(axis="columns")]
        where = ", ".join(label(str(subject[column])) for column in varying)
        if not rule.rival:
            yield where, subject, None
        elif len(alike):
            yield where, subject, alike.iloc[0]


def _chosen(table: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def _holds(rule: Rule, subject: Any, rival: Any) -> bool:
    low, high = (subject[f"{rule.measure}_{end}"] for end in ("low", "high"))
    if rule.relation == "at chance":
        return bool(low <= CHANCE <= high)
    other_low, other_high = (rival[f"{rule.measure}_{end}"] for end in ("low", "high"))
    return bool(
        {
            "above": low > other_high,
            "below": high < other_low,
            "not above": low <= other_high,
            "not below": high >= other_low,
            "level with": low <= other_high and high >= other_low,
        }[rule.relation]
    )


def _words(rule: Rule, where: str, subject: Any, rival: Any) -> str:
    said = share(subject, rule.measure) + (f" against {share(rival, rule.measure)}" if rival is not None else "")
    return f"{where}: {said}" if where else said


def share(row: Any, measure: str) -> str:
    """An accuracy with its interval."""
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    return f"{row[measure]:.1f}\xa0% [{low:.1f},\xa0{high:.1f}]"  # unbroken: a number keeps its unit and interval


def verdict_on(outcomes: Sequence[bool], words: tuple[str, str, str]) -> str:
    """The first of the words where all outcomes hold, the second where some do, the third where none does."""
    if not len(outcomes):
        return "not measured"
    return words[0] if all(outcomes) else words[1] if any(outcomes) else words[2]
