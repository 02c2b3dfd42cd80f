"""Where a domain comes from, and how much is drawn, written and asked (notebook 01)."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from helpers.config import Settings

MissingImages = Literal["refuse", "leave_out"]
Distractors = Literal["random", "look_alike"]
Dialect = Literal["captions", "reordered", "synonyms", "similes"]  # see `helpers.synthetic.dialects`
FACTS_PER_CLASS = 5  # in the facts tables; each test image of a class asks for a different one


class DomainSettings(Settings):
    """Where a domain's images and questions come from; `helpers.domains.check_source` checks the combination."""

    source: str = Field(description="the kind of domain: one of `helpers.domains.SOURCES`")
    path: str | None = Field(
        default=None, description="the folder or, if the source supports it, owner/name[@revision] on the hub"
    )
    training_images: str | None = Field(
        default=None, description="a folder of images for classes without one: <class>.jpg or <class>/*.jpg"
    )
    missing_images: MissingImages = Field(
        default="refuse",
        description="questions whose image is missing or unreadable: an error, or (K-VISCUIT) left out and counted",
    )


class Data(Settings):
    """How much is drawn, written and asked."""

    test_images_per_class: PositiveInt = Field(
        default=1, description=f"for drawn domains; each asks for a different fact, so at most {FACTS_PER_CLASS}"
    )
    wordings_per_class: PositiveInt = Field(
        default=1, description="differently worded descriptions per class; the paper has one"
    )
    dialect: Dialect = Field(
        default="captions",
        description="the offline writer's words for a look, where there is a facts table: the captions' own, or others",
    )
    limit_classes: PositiveInt | None = Field(default=None, description="null: all classes")
    distractors: Distractors = Field(
        default="random", description="wrong options of type 1: any other classes, as in the paper, or the most similar"
    )
    image_size: PositiveInt = Field(
        default=56, description="pixels per side, for drawn domains only: what the tiny models were trained on"
    )
    seed: NonNegativeInt = Field(
        default=0, description="for drawing and wording; the same for all training seeds, so that only training varies"
    )

    @field_validator("test_images_per_class")
    @classmethod
    def one_fact_per_image(cls, count: int) -> int:
        if count > FACTS_PER_CLASS:
            raise ValueError(
                f"{count} test images per class: each asks for a different fact; at most {FACTS_PER_CLASS}"
            )
        return count
