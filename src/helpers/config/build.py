"""What the training samples are made of (notebook 02)."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from helpers.config import Settings

Mode = Literal["text_only", "image_text", "hybrid", "printed"]
Direction = Literal["name_to_description", "description_to_name"]
TextKind = Literal["look", "background"]
AskedClasses = Literal["all", "described", "held_back"]


class Printed(Settings):
    """Mode printed: how a description is drawn. One form for all classes, so that only the words differ."""

    canvas: PositiveInt = 448  # pixels, both sides: 16 x 16 picture tokens of Qwen2-VL, room for about 800 letters
    font_size: PositiveInt = 18  # pixels
    font: str | None = None  # a TrueType file; null: Pillow's own, which has Latin letters alone


class Build(Settings):
    """How texts become samples. All but ``directions`` serve the ablations."""

    directions: list[Direction] = Field(min_length=1)  # in which a class's text is read, name or description first
    parts: list[TextKind] = Field(min_length=1)  # of a class's text: its look, its background
    detail_share: float = Field(gt=0, le=1)  # how many of the sentences about its look, from the first
    shuffled: bool  # control: every name with somebody else's text
    hybrid_share: float = Field(ge=0, le=1)  # mode hybrid: the share of the classes that come with their picture
    described_share: float = Field(gt=0, le=1)  # the share of the classes that training speaks of; the rest: transfer
    asked: AskedClasses  # about which classes: all, or only those that training spoke of, or only the others
    limit_questions: PositiveInt | None  # of each question type; null: all
    seed: NonNegativeInt  # of every choice at random
    printed: Printed = Printed()
    prompts: str = Field(
        default="training",
        description="what is asked and how it is answered: a file of data/prompts, or the path of your own",
    )
