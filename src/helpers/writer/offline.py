"""The writer that needs no network: it says in sentences what a facts table holds, in varied wording.

One of the project's writers; `openai_compatible` and `local` are the others. They share one promise: `ClassText.look`
says what the class looks like *without its name*, so that the text can be read in both directions.
"""

from collections.abc import Iterator
from functools import singledispatch
from typing import Any

from helpers.domains import ButterflyPhotoDomain, DrawnDomain, KViscuitDomain
from helpers.domains.own import OwnDomain
from helpers.schemas import ClassText
from helpers.synthetic import language as say


@singledispatch
def write(domain: Any, wordings: int) -> Iterator[ClassText]:
    """The texts of a domain's classes, ``wordings`` of each."""
    raise TypeError(
        f"the offline writer knows nothing of a {type(domain).__name__}; set writer.backend to openai or local"
    )


@write.register(DrawnDomain)
@write.register(ButterflyPhotoDomain)
def _write_table(domain: DrawnDomain | ButterflyPhotoDomain, wordings: int) -> Iterator[ClassText]:
    """Never in the held-out wording, which belongs to the test. ``ValueError`` for more wordings than there are."""
    for thing in domain.classes:
        looks, backgrounds = say.training_wordings(say.DESCRIPTIONS[thing.domain]), say.BACKGROUNDS[thing.domain]
        if wordings > len(looks):
            raise ValueError(f"wordings_per_class is {wordings}; the offline writer has {len(looks)} wordings")
        for wording in range(wordings):
            yield ClassText(
                class_id=thing.class_id,
                name=say.subject(thing.domain, thing.name),
                domain=thing.domain,
                look=say.describe(thing.domain, thing.look, wording),
                background=say.background(thing.domain, thing.facts, wording % len(backgrounds)),
                wording=wording,
                writer="offline",
                picture=domain.training_picture(thing),
            )


@write.register
def _write_own(domain: OwnDomain, wordings: int) -> Iterator[ClassText]:
    """The folder's own texts, and the columns of its table in sentences, in one wording, for classes without any."""
    yield from domain.texts()


@write.register
def _write_keywords(domain: KViscuitDomain, wordings: int) -> Iterator[ClassText]:
    """All that is known offline of a keyword is its category, and nothing of its look: enough to run the whole way, not
    enough to learn from. A writer with knowledge of the world does better. There is one wording.
    """
    categories = {q.right_option: q.category for q in domain.data.questions if q.question_type == 1}
    for keyword in domain.data.keywords():
        yield ClassText(
            class_id=keyword,
            name=keyword,
            domain="kviscuit",
            look=f"This belongs to the Korean culture, category {categories[keyword]}.",
            background="Nothing more is known of it offline.",
            wording=0,
            writer="offline",
            picture=None,
        )
