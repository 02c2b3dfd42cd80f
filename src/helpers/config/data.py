"""Where a domain comes from, and how much of it is drawn, written and asked (notebook 01)."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, field_validator

from helpers.config import Settings

Distractors = Literal["random", "look_alike"]
FACTS_PER_CLASS = 5  # that a class of the facts tables has; each test picture of a class asks for another one


class DomainSettings(Settings):
    """Where one domain's pictures and questions come from; `helpers.domains.check_source` says what goes together."""

    source: str  # one of `helpers.domains.SOURCES`
    path: str | None = None  # the folder or, where the source reads it, owner/name[@revision] on the hub
    training_pictures: str | None = None  # a folder of pictures for classes without one: <class>.jpg or <class>/*.jpg


class Data(Settings):
    """How much is drawn, written and asked."""

    test_pictures_per_class: PositiveInt
    wordings_per_class: PositiveInt  # how many differently worded descriptions of a class are written
    limit_classes: PositiveInt | None  # null: all classes
    distractors: Distractors  # the wrong options of Type 1: any other class (paper), or the most alike
    picture_size: PositiveInt  # pixels, both sides; drawn domains only
    seed: NonNegativeInt  # of drawing and wording; the same for every training seed, so that only training varies

    @field_validator("test_pictures_per_class")
    @classmethod
    def one_fact_a_picture(cls, count: int) -> int:
        if count > FACTS_PER_CLASS:
            raise ValueError(
                f"{count} test pictures a class: each asks for another fact, and a class has {FACTS_PER_CLASS}; at most {FACTS_PER_CLASS}"
            )
        return count
