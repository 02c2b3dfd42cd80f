"""How a model is asked and how its answers are read (notebooks 04 and 05)."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from helpers.config import Settings

Protocol = Literal["option_likelihood", "option_likelihood_normalised", "letter", "letter_likelihood"]
Answering = Literal["direct", "describe", "describe_tuned"]
Image = Literal["with", "without", "blank", "other", "described", "guided"]


class Evaluation(Settings):
    """One evaluation run: every way of answering by every protocol, for each state of the picture."""

    protocols: list[Protocol] = Field(min_length=1)  # the first is what the tables report
    circular: bool  # ask every question in its four rotations; right = right in all of them
    answering: list[Answering] = Field(min_length=1)  # describe: adapter off while describing; describe_tuned: on
    ablation_images: list[Image]  # what notebook 05 does to the picture
    representations: bool  # notebook 05 also compares classes seen with classes described, layer by layer (CKA)
    guidance: NonNegativeFloat  # weight of contrastive region guidance, where the picture is "guided"
    batch_size: PositiveInt
    max_new_tokens: PositiveInt  # of a description or a written reply
    dtype: Literal["float32", "bfloat16"]  # of computation, as in training
    max_pixels: PositiveInt | None  # as in training
    prompts: str = Field(
        default="evaluation", description="how the test asks: a file of data/prompts, or the path of your own"
    )
