"""What a writer is told of each class of a domain, whatever kind of domain it is.

Pictures of the test are never shown to a writer: a text written after them would carry the answers into the training.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from helpers.domains import ButterflyPhotoDomain, DrawnDomain, KViscuitDomain
from helpers.domains.drawn import FACTS_TABLES
from helpers.domains.own import OwnDomain, drawn_language
from helpers.synthetic import language as say


@dataclass(frozen=True)
class Subject:
    """One class: ``name`` as a text must not give it away, ``called`` as `ClassText.name` has it ("the Monarch")."""

    domain: str
    class_id: str
    name: str
    called: str
    category: str | None = None
    look: dict[str, str] = field(default_factory=dict)  # the facts table, where there is one
    facts: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()  # other names that would give it away, such as the scientific one
    refers: str | None = None  # words for it where its name must not be given away ("this bird")
    picture: str | None = None  # its training picture, from the domain's folder
    asked: tuple[tuple[str, str], ...] = ()  # (split, picture) of those that questions are to be written about


@singledispatch
def subjects(domain: Any) -> list[Subject]:
    """The classes of a domain, in its order."""
    raise TypeError(
        f"no writer knows how to read the classes of a {type(domain).__name__}; see helpers.writer.class_info"
    )


@subjects.register(DrawnDomain)
@subjects.register(ButterflyPhotoDomain)
def _of_table(domain: DrawnDomain | ButterflyPhotoDomain) -> list[Subject]:
    aliases = scientific_names()
    return [
        Subject(
            domain=thing.domain,
            class_id=thing.class_id,
            name=thing.name,
            called=say.subject(thing.domain, thing.name),
            category=thing.category,
            look=thing.look,
            facts=thing.facts,
            aliases=aliases.get(thing.class_id, ()) if thing.domain == "butterfly" else (),
            picture=domain.training_picture(thing),
        )
        for thing in domain.classes
    ]


def scientific_names() -> dict[str, tuple[str, ...]]:
    """By class: they give a butterfly away as its name does."""
    with FACTS_TABLES["butterfly"].open(encoding="utf-8", newline="") as file:
        return {row["class_id"]: (row["scientific_name"],) for row in csv.DictReader(file)}


@subjects.register
def _of_own(domain: OwnDomain) -> list[Subject]:
    return [
        Subject(
            domain=drawn_language(thing.noun) or domain.domain,
            class_id=thing.class_id,
            name=thing.name,
            called=domain.called(thing),
            category=thing.category,
            look=thing.look,
            facts=thing.facts,
            refers=f"this {thing.noun}" if thing.noun else None,
            picture=thing.train[0] if thing.train else None,
            asked=tuple(("test", picture) for picture in thing.test),
        )
        for thing in domain.classes
    ]


@subjects.register
def _of_kviscuit(domain: KViscuitDomain) -> list[Subject]:
    categories = {q.right_option: q.category for q in domain.data.questions if q.question_type == 1}
    return [
        Subject(domain="kviscuit", class_id=keyword, name=keyword, called=keyword, category=categories[keyword])
        for keyword in domain.data.keywords()
    ]


def prompt_name(domain: str) -> str:
    """Which prompt file a domain's texts are asked for with."""
    known = {"butterfly": "butterfly", "butterflies": "butterfly", "culture": "culture", "kviscuit": "culture"}
    return known.get(domain, "generic")


def vocabulary(every: Sequence[Subject], column: str) -> frozenset[str]:
    """All values of one column of the facts table."""
    return frozenset(value for one in every if (value := {**one.look, **one.facts}.get(column)))
