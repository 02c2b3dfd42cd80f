"""Where a domain comes from, and how much of it is drawn, written and asked (notebook 01)."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from helpers.config import Settings

Distractors = Literal["random", "look_alike"]
FACTS_PER_CLASS = 5  # that a class of the facts tables has; each test picture of a class asks for another one


class DomainSettings(Settings):
    """Where one domain's pictures and questions come from.

    drawn: pictures made from a facts table; kviscuit: the photographs and questions of K-VISCUIT; butterflies: the
    photographs of the Kaggle set, the paper's authors' questions, or both; own: a folder of one's own classes.
    """

    source: Literal["drawn", "kviscuit", "butterflies", "own"] = Field(description="what kind of domain it is")
    path: str | None = Field(
        default=None, description="the folder or, for kviscuit and butterflies, owner/name[@revision] on the hub"
    )
    training_pictures: str | None = Field(
        default=None, description="a folder of pictures for classes without one: <class>.jpg or <class>/*.jpg"
    )

    @model_validator(mode="after")
    def path_where_needed(self) -> "DomainSettings":
        if self.source == "drawn" and self.path is not None:
            raise ValueError(f"source drawn with path {self.path!r}: a drawn domain takes none; leave path out")
        if self.source != "drawn" and self.path is None:
            raise ValueError(f"source {self.source} without a path: name the folder that it is read from")
        return self


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
