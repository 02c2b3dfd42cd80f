"""Which members of the families of models are run, and how (notebook 14)."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from helpers.config import Settings

Level = Literal["captions", "texts"]
CAPTIONS, TEXTS = "captions", "texts"  # in whose words a class is described: the images' captions, the data set's texts
CONTROL = ", shuffled"  # ends the variant of a member that read another class's descriptions


Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Families(Settings):
    """The study of `helpers.families`: all members on the first drawn domain, one of each family on the others."""

    members: list[Key] = Field(default=[], description="keys of helpers.families.registry; empty: all that are taught")
    levels: list[Level] = Field(
        default=["captions", "texts"],
        min_length=1,
        description="in whose words a class is described: the images' captions' or the data set's texts'",
    )
    steps: PositiveInt | None = Field(default=None, description="of each training; null: each member's own number")
    limit_questions: PositiveInt | None = Field(default=None, description="fewer for a check; null: all of Type 1")
