"""What the training samples are made of (notebook 02)."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from helpers.config import Settings

Mode = Literal["text_only", "image_text", "joint", "hybrid", "printed"]
Direction = Literal["name_to_description", "description_to_name", "name_to_fact"]
TextKind = Literal["appearance", "background"]
AskedClasses = Literal["all", "described", "held_back"]


class Printed(Settings):
    """Mode printed: how a description is drawn. All classes look the same, so that only the words differ."""

    canvas: PositiveInt = Field(
        default=448, description="pixels per side: 16 x 16 image tokens of Qwen2-VL, room for about 800 letters"
    )
    font_size: PositiveInt = Field(default=18, description="pixels")
    font: str | None = Field(
        default=None, description="a TrueType file; null: Pillow's own, which has only Latin letters"
    )


class Build(Settings):
    """How texts become samples. All fields but ``directions`` serve the ablations."""

    directions: list[Direction] = Field(
        default=["name_to_description", "description_to_name"],
        min_length=1,
        description="what comes first in a sample, name or description; the first alone does not teach naming. "
        "name_to_fact: single questions about a named class's facts, where a text has them; without these a model can "
        "recite its facts but not answer questions about them",
    )
    parts: list[TextKind] = Field(
        default=["appearance", "background"], min_length=1, description="which parts of a class's text are used"
    )
    detail_share: float = Field(
        default=1.0, gt=0, le=1, description="share of the sentences about the appearance, starting with the first"
    )
    shuffled: bool = Field(default=False, description="control: every name gets another class's text")
    hybrid_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="mode hybrid only: share of the classes that have their image besides their text",
    )
    described_share: float = Field(
        default=1.0, gt=0, le=1, description="share of the classes that training covers; the rest measure transfer"
    )
    asked: AskedClasses = Field(
        default="all", description="which classes the questions are about: all, those in training, or the others"
    )
    limit_questions: PositiveInt | None = Field(default=None, description="per question type; null: all")
    seed: NonNegativeInt = Field(default=0, description="for every random choice")
    printed: Printed = Field(default=Printed(), description="how mode printed draws a description")
    prompts: str = Field(
        default="training", description="prompts and answers: a file in data/prompts, or the path of your own"
    )
