"""Where a domain comes from, and how much of it is drawn, written and asked (notebook 01)."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from helpers.config import Settings

Distractors = Literal["random", "look_alike"]
FACTS_PER_CLASS = 5  # that a class of the facts tables has; each test picture of a class asks for another one


class DomainSettings(Settings):
    """Where one domain's pictures and questions come from; `helpers.domains.check_source` says what goes together."""

    source: str = Field(description="what kind of domain it is: one of `helpers.domains.SOURCES`")
    path: str | None = Field(
        default=None, description="the folder or, where the source reads it, owner/name[@revision] on the hub"
    )
    training_pictures: str | None = Field(
        default=None, description="a folder of pictures for classes without one: <class>.jpg or <class>/*.jpg"
    )


class Data(Settings):
    """How much is drawn, written and asked."""

    test_pictures_per_class: PositiveInt = Field(
        default=1, description=f"of drawn domains; each asks for another fact, so at most {FACTS_PER_CLASS}"
    )
    wordings_per_class: PositiveInt = Field(
        default=1, description="differently worded descriptions per class; the paper has one"
    )
    limit_classes: PositiveInt | None = Field(default=None, description="null: all classes")
    distractors: Distractors = Field(
        default="random", description="wrong options of Type 1: any other class, as in the paper, or the most alike"
    )
    picture_size: PositiveInt = Field(
        default=56, description="pixels per side, of drawn domains only: what the tiny models were trained to see"
    )
    seed: NonNegativeInt = Field(
        default=0, description="of drawing and wording; the same for every training seed, so that only training varies"
    )

    @field_validator("test_pictures_per_class")
    @classmethod
    def one_fact_per_picture(cls, count: int) -> int:
        if count > FACTS_PER_CLASS:
            raise ValueError(f"{count} test pictures per class: each asks for another fact; at most {FACTS_PER_CLASS}")
        return count
