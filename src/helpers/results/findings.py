"""What the ablations show: one rule per finding, judged on the tables of the grids (`config/grids/`, notebook 08).

Each rule names rows of one grid and what must hold for their Type-1 accuracy: Wilson's 95 % interval contains chance,
lies above or below that of other rows, or overlaps it. A rule holds if this is true for every model, domain and
prompting strategy of the grid. The rules were written before the numbers were known; a rule that fails stays.
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
_WORDS = ("holds", "holds in part", "does not hold")
WITHIN = ["model", "domain", "answering"]
_SHOWN = 3  # reasons given for a table that is not judged


@dataclass(frozen=True)
class Rule:
    """``subject`` and ``rival`` select rows by column values. Both must agree on the columns `WITHIN`."""

    claim: str
    grid: str
    subject: Mapping[str, Any]
    relation: Relation
    rival: Mapping[str, Any] = field(default_factory=dict)
    measure: str = "type1"
    ways: tuple[str, ...] = ("direct", "describe_then_answer")  # the subject's prompting strategies


@dataclass(frozen=True)
class Claim:
    """A claim of the paper or a rule of ours, our verdict, the numbers behind it, and the file that they come from."""

    claim: str
    verdict: str
    evidence: tuple[str, ...]
    file: str


TEXT, BOTH = {"mode": "text_only"}, {"mode": "image_text"}
_DIRECT, _DESCRIBE = {"answering": "direct"}, {"answering": "describe_then_answer"}
_OWN = {"variant": "own descriptions"}
RULES = (
    Rule(
        "The descriptions matter: with those of other classes, recognition stays at chance",
        "controls", {"variant": "shuffled"}, "at chance",
    ),
    Rule(
        "Appearance matters: background facts alone leave recognition at chance",
        "controls", {"variant": "background only"}, "at chance",
    ),
    Rule(
        "Appearance alone does as well as appearance and background",
        "controls", {"variant": "look only"}, "not below", {"variant": "whole text"},
    ),
    Rule(
        "The reversal curse: texts that only go from name to description leave recognition at chance",
        "directions", {"variant": "name to description"}, "at chance",
    ),
    Rule(
        "Description to name alone does as well as both directions",
        "directions", {"variant": "description to name"}, "not below", {"variant": "both"},
    ),
    Rule(
        "After text-only training, the model recognises better if it describes the image first",
        "answering", {**TEXT, **_OWN, **_DESCRIBE}, "above", {**TEXT, **_OWN, **_DIRECT}, ways=("describe_then_answer",),
    ),
    Rule(
        "The same holds after image-text training (does only text-only training gain?)",
        "answering", {**BOTH, **_OWN, **_DESCRIBE}, "above", {**BOTH, **_OWN, **_DIRECT}, ways=("describe_then_answer",),
    ),
    Rule(
        "Describing first is no shortcut: with shuffled descriptions, it stays at chance too",
        "answering", {**TEXT, "variant": "shuffled descriptions"}, "at chance",
    ),
    Rule(
        "Text-only training preserves what the model could see before (visual questions)",
        "answering", {**TEXT, **_OWN, **_DIRECT}, "level with", {"mode": "base", **_OWN, **_DIRECT},
        "retention_visual", ("direct",),
    ),
    Rule("Less visual detail in the text means less recognition", "detail", {"x": 0.33}, "below", {"x": 1.0}),
    Rule(
        "Several wordings per description help, at the same number of steps",
        "wordings", {"x": 4.0}, "above", {"x": 1.0},
    ),
    Rule("Half the epochs are enough", "epochs", {"x": 6.0}, "not below", {"x": 12.0}),
    Rule(
        "Images for half of the classes help when the model is asked directly",
        "hybrid", {"x": 0.5}, "above", {"x": 0.0}, ways=("direct",),
    ),
    Rule(
        "4-bit base weights cost no accuracy",
        "methods", {**TEXT, "variant": "QLoRA"}, "not below", {**TEXT, "variant": "LoRA"},
    ),
    Rule(
        "Prompt tuning learns the classes as well as LoRA does",
        "methods", {**TEXT, "variant": "prompt tuning"}, "not below", {**TEXT, "variant": "LoRA"},
    ),
    Rule(
        "The projector alone cannot learn the classes, even from images",
        "methods", {**BOTH, "variant": "projector alone"}, "at chance",
    ),
    Rule("A rank of 4 is enough", "ranks", {"x": 4.0}, "not below", {"x": 16.0}),
    Rule(
        "Look-alike distractors are harder than random ones",
        "distractors", {**TEXT, "variant": "look-alikes"}, "below", {**TEXT, "variant": "drawn at random"},
    ),
    Rule(
        "Nothing carries over to classes that training never mentioned",
        "transfer", {**TEXT, "variant": "the other half"}, "at chance",
    ),
    Rule(
        "An image of another class is no better than none",
        "images", {**TEXT, "image": "other"}, "not above", {**TEXT, "image": "without"},
    ),
)  # fmt: skip


def findings(folder: Path, checked: Verified) -> list[Claim]:
    """Every rule, judged on the grid tables in a run's folder or in a folder of published figures."""
    return [judged(rule, folder, checked) for rule in RULES]


def judged(rule: Rule, folder: Path, checked: Verified) -> Claim:
    """One rule: "not measured" without a table or matching rows, not judged if the table is stale or unrecorded."""
    places = (folder / "grids" / rule.grid / f"{rule.grid}.csv", folder / "ablations" / f"{rule.grid}.csv")
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return Claim(rule.claim, "not measured", (), "")
    if doubt := checked.doubt(file):
        return withheld(rule.claim, doubt, str(portable(file)))
    compared = list(_compared(rule, pd.read_csv(file)))
    outcomes = [_holds(rule, subject, rival) for _, subject, rival in compared]
    evidence = tuple(_words(rule, *each) for each in compared)
    return Claim(rule.claim, verdict_on(outcomes, _WORDS), evidence, str(portable(file)))


def withheld(claim: str, doubt: Doubt, file: str) -> Claim:
    """A claim that is not judged because its table is stale or unrecorded. The reasons stand in for evidence."""
    return Claim(claim, f"not judged: {doubt.status}", reasons_shown(doubt.reasons), file)


def reasons_shown(reasons: Sequence[str]) -> tuple[str, ...]:
    """The first reasons, and how many more there are."""
    more = len(reasons) - _SHOWN
    return (*reasons[:_SHOWN], *([f"and {more} more"] if more > 0 else []))


def _compared(rule: Rule, table: pd.DataFrame) -> Iterator[tuple[str, Any, Any]]:
    """Model, domain and strategy in words, the subject's row, and the rival's (None if the rule has no rival)."""
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
    said = share(subject, rule.measure) + (f", compared with {share(rival, rule.measure)}" if rival is not None else "")
    return f"{where}: {said}" if where else said


def share(row: Any, measure: str) -> str:
    """An accuracy with its interval, in percent."""
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    return f"{row[measure]:.1f}\xa0% [{low:.1f},\xa0{high:.1f}]"  # no line break between number, unit and interval


def verdict_on(outcomes: Sequence[bool], words: tuple[str, str, str]) -> str:
    """The first word if all outcomes hold, the second if some do, the third if none does."""
    if not len(outcomes):
        return "not measured"
    return words[0] if all(outcomes) else words[1] if any(outcomes) else words[2]
