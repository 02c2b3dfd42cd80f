"""Rules: what a claim says of the answers, and when the answers bear it out.

A `Rule` names rows of answers and what must be true of them. Both sides answered the same questions, so they are
compared question by question (`stats.difference`), and the interval of their difference resamples classes and seeds.
One margin serves every rule: 10 points, stated before anything was measured (`stats.MARGIN`).

| relation | yes | no |
|---|---|---|
| above | better: the interval lies above 0, and McNemar's p < 5 % | the interval lies below the margin |
| below | the same, the other way round | |
| not below | as well: the interval lies above minus the margin | the interval lies below minus the margin |
| not above | the same, the other way round | |
| level with | the interval lies within the margin on both sides | it lies beyond the margin on one side |
| at chance | level with chance | as above |

Without a rival the other side is chance: 25 %, or what each question's trained and untrained options leave of it
(`Rule.names`).

Whatever is neither yes nor no is "open": the questions are too few to tell. The p-values are corrected by Holm's method
over the family that is read together, which is all rows of a table. Being as well is no discovery that needs one: it
rests on the interval alone, at 95 %, where two one-sided tests at 5 % would do with 90 %.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from helpers.results.figures.style import label
from helpers.results.stats import (
    CHANCE,
    MARGIN,
    among_untrained,
    difference,
    from_chance,
    holm,
    names_table,
    right_names,
    trained_chosen,
)
from helpers.results.stats.power import ALPHA

Relation = Literal["at chance", "above", "below", "level with", "not above", "not below"]
WITHIN = ["model", "domain", "mode", "image", "answering"]
CONTRASTS = (
    *("claim", "relation", "question_type", *WITHIN, "against", "n", "seeds", "accuracy", "against_accuracy"),
    *("difference", "low", "high", "p_value"),
)


@dataclass(frozen=True)
class Rule:
    """``subject`` and ``rival`` select rows by column values; both agree on the columns `WITHIN` that none names.

    ``category``: an old ability, whose answers are kept apart from those to the test questions. ``names``: what is
    judged is the choice among the untrained names, or whether a trained one is chosen (`helpers.results.stats.names`);
    ``trained`` selects the rows whose right options are the names that training mentioned. ``contrary``: the claim in
    words where the answers rule it out.
    """

    claim: str
    grid: str  # whose answers the rule is about; empty: those of the run itself
    subject: Mapping[str, Any]
    relation: Relation
    rival: Mapping[str, Any] = field(default_factory=dict)
    question_type: int = 1
    ways: tuple[str, ...] = ("direct", "describe_then_answer")  # the subject's prompting strategies
    category: str | None = None
    names: Literal["among untrained", "trained chosen"] | None = None
    trained: Mapping[str, Any] = field(default_factory=dict)
    contrary: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper or a rule of ours, our verdict, the numbers behind it, and the file that they come from."""

    claim: str
    verdict: str
    evidence: tuple[str, ...]
    file: str


def contrast_table(rules: Sequence[Rule], rows: pd.DataFrame, retention: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per rule, model, domain and prompting strategy: both accuracies, their difference and its p-value.

    ``rows`` and ``retention`` are answers read by one protocol. Columns as in `CONTRASTS`; accuracies in percent,
    differences in points above ``against``. Rules without answers have no row.
    """
    found = []
    for rule in rules:
        asked = rows[rows["question_type"] == rule.question_type]
        if rule.category is not None:
            asked = retention[retention["category"] == rule.category] if retention is not None else rows[:0]
        for within, subject, rival in _compared(rule, asked):
            subject = _by_names(rule, subject, asked[asked["domain"] == within["domain"]])
            if subject.empty:
                continue
            measured = from_chance(subject) if rival is None else difference(rival, subject)
            found.append(_row(rule, within, measured, _named(rule, within, rival)))
    return pd.DataFrame(found, columns=list(CONTRASTS))


def _compared(rule: Rule, rows: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame, pd.DataFrame | None]]:
    """Each model, domain and strategy with the subject's rows and the rival's (None if the rule has no rival)."""
    subjects = _chosen(rows[rows["answering"].isin(rule.ways)], rule.subject)
    rivals = _chosen(rows, rule.rival)
    for key, subject in subjects.groupby(WITHIN, sort=False):
        within = dict(zip(WITHIN, key, strict=True))
        if not rule.rival:
            yield within, subject, None
            continue
        rival = _chosen(rivals, {name: value for name, value in within.items() if name not in rule.rival})
        if set(rival["question_id"]) == set(subject["question_id"]):
            yield within, subject, rival


def _by_names(rule: Rule, subject: pd.DataFrame, of_domain: pd.DataFrame) -> pd.DataFrame:
    if rule.names is None:
        return subject
    trained = right_names(_chosen(of_domain, rule.trained))
    return (among_untrained if rule.names == "among untrained" else trained_chosen)(subject, trained)


def preferred_names(rules: Sequence[Rule], rows: pd.DataFrame) -> pd.DataFrame:
    """`names_table` of the answers about classes that training never mentioned; empty if no rule is about names."""
    by, found = ["model", "domain", "mode", "answering", "variant"], []
    for _, of_domain in rows.groupby("domain", sort=False):
        chosen = [_chosen(of_domain, rule.trained) for rule in rules if rule.trained]
        trained = frozenset[str]().union(*map(right_names, chosen))
        if trained:
            table = names_table(of_domain, by, trained)
            found.append(table[table["untrained_questions"] > 0])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _chosen(rows: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    for column, value in values.items():
        rows = rows[rows[column] == value] if column in rows else rows[:0]
    return rows


def _named(rule: Rule, within: Mapping[str, Any], rival: pd.DataFrame | None) -> str:
    """The rival in words, by what tells it from the subject; a place on a numeric axis by its variant."""
    if rival is None:
        return "chance"
    named = dict(rule.rival) | ({"x": rival["variant"].iloc[0]} if "x" in rule.rival else {})
    known = {**within, **rule.subject}
    telling = [label(str(value)) for name, value in named.items() if known.get(name) != value and name != "model"]
    return ", ".join(telling)


def _row(rule: Rule, within: Mapping[str, Any], measured: Mapping[str, Any], against: str) -> dict[str, Any]:
    return {
        **{"claim": rule.claim, "relation": rule.relation, "question_type": rule.question_type, **within},
        **{"against": against, "n": measured["n"], "seeds": measured["seeds"]},
        **{"accuracy": measured["accuracy_second"], "against_accuracy": measured["accuracy_first"]},
        **{name: measured.get(name) for name in ("difference", "low", "high")},
        "p_value": measured.get("p_value") if rule.relation in ("above", "below") else None,
    }


def decided(table: pd.DataFrame) -> pd.DataFrame:
    """The table with ``p_holm``, corrected over all of its rows, and ``outcome``: "yes", "no" or "open"."""
    table = table.assign(p_holm=holm(table["p_value"]))
    outcomes = [_outcome(row) for row in table.to_dict("records")]
    return table.assign(outcome=pd.Series(outcomes, index=table.index, dtype=str))


def _outcome(row: Mapping[Any, Any]) -> str:
    low, high = row["low"], row["high"]
    if row["relation"] in ("below", "not above"):  # the mirror image of the other two
        low, high = -high, -low
    if row["relation"] in ("above", "below"):
        yes, no = low > 0 and row["p_holm"] < ALPHA, high < MARGIN
    elif row["relation"] in ("not below", "not above"):
        yes, no = low > -MARGIN, high < -MARGIN
    else:
        yes, no = low > -MARGIN and high < MARGIN, high < -MARGIN or low > MARGIN
    return "yes" if yes else "no" if no else "open"


def verdict_on(outcomes: Sequence[str], words: tuple[str, str, str, str]) -> str:
    """The first word if all outcomes are yes, the second if some are, the third if some are no, else the fourth."""
    if not len(outcomes):
        return "not measured"
    said = set(outcomes)
    return words[0] if said == {"yes"} else words[1] if "yes" in said else words[2] if "no" in said else words[3]


def told(rule: Rule, rows: pd.DataFrame, words: tuple[str, str, str, str]) -> tuple[str, str, tuple[str, ...]]:
    """The claim as the answers have it, its verdict, and its evidence; ``rows``: the rule's, decided.

    A rule that the answers rule out is told as its contrary, if it has one.
    """
    if rule.contrary and verdict_on(list(rows["outcome"]), words) == words[2]:
        opposite = rows.assign(outcome=rows["outcome"].replace({"yes": "no", "no": "yes"}))
        return rule.contrary, verdict_on(list(opposite["outcome"]), words), evidence(opposite)
    return rule.claim, verdict_on(list(rows["outcome"]), words), evidence(rows)


def evidence(table: pd.DataFrame) -> tuple[str, ...]:
    """A rule's rows in words: where, the accuracy, what it is compared with, the difference with its interval."""
    if table.empty:
        return ()
    varying = [column for column in WITHIN if table[column].nunique() > 1]
    return tuple(_said(row, varying) for row in table.to_dict("records"))


def _said(row: Mapping[Any, Any], varying: Sequence[str]) -> str:
    where = ", ".join(label(str(row[column])) for column in varying)
    usual = row["against"] == "chance" and row["against_accuracy"] == CHANCE
    against = "chance" if usual else f"{row['against']} ({row['against_accuracy']:.1f}\xa0%)"
    said = f"{row['accuracy']:.1f}\xa0%, {points(row)} compared with {against}"
    return f"{where}: {said}; {row['outcome']}" if where else f"{said}; {row['outcome']}"


def points(row: Mapping[Any, Any]) -> str:
    """A difference with its interval, in points; no line break between number and interval."""
    return f"{row['difference']:+.1f} [{row['low']:+.1f},\xa0{row['high']:+.1f}]"
