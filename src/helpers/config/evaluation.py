"""How a model is asked and how its answers are read (notebook 04)."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from helpers.config import Dtype, Settings

Protocol = Literal["option_likelihood", "option_likelihood_normalised", "letter", "letter_likelihood"]
Answering = Literal["direct", "describe", "describe_tuned"]
Image = Literal["with", "without", "blank", "other", "described", "guided"]


class Evaluation(Settings):
    """One evaluation run: every way of answering by every protocol, for each state of the picture."""

    protocols: list[Protocol] = Field(
        default=["option_likelihood"],
        min_length=1,
        description="the tables report the first; a model as small as the demo's does not learn lettered options",
    )
    circular: bool = Field(
        default=False, description="ask every question in its four rotations; right means right in all of them"
    )
    answering: list[Answering] = Field(
        default=["direct", "describe"],
        min_length=1,
        description="describe: the adapter is off while describing, as tuning makes the demo's descriptions worse "
        "(chosen on the dev questions); describe_tuned: it is on",
    )
    ablation_images: list[Image] = Field(
        default=["without"], description="asked again with the image withheld, as in the paper, or changed"
    )
    representations: bool = Field(
        default=False, description="also compare classes seen with classes described, layer by layer (CKA)"
    )
    guidance: NonNegativeFloat = Field(
        default=1.0, description="weight of contrastive region guidance, where the image is guided"
    )
    batch_size: PositiveInt = Field(
        default=50, description="images of many sizes need less: padding costs more than a small batch"
    )
    max_new_tokens: PositiveInt = Field(
        default=64, description="of a description or a written reply; the demo's longest description is shorter"
    )
    dtype: Dtype = Field(default="float32", description="of computation, as in training")
    max_pixels: PositiveInt | None = Field(default=None, description="as in training")
    unpack_weights: bool | Literal["auto"] = Field(
        default="auto",
        description="unpack 4-bit weights once, not in every pass: the same values, more memory; auto: where there is room",
    )
    prompts: str = Field(
        default="evaluation", description="how the test asks: a file of data/prompts, or the path of your own"
    )
