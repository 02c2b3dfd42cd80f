"""How a model is asked and how its answers are read (notebook 04)."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from helpers.config import Dtype, Settings
from helpers.schemas import NamedBy, QuestionSplit, ShownAs

Protocol = Literal["option_likelihood", "option_likelihood_normalised", "letter", "letter_likelihood"]
Answering = Literal[
    "direct",
    "describe_then_answer",
    "describe_then_answer_image_kept",
    "describe_then_answer_tuned",
    "one_pass_chain",
]


class Evaluation(Settings):
    """One evaluation run: every prompting strategy with every protocol, for each way to show the image."""

    split: QuestionSplit = Field(
        default="test",
        description="which questions: those that the tables report, or dev, on which settings are chosen "
        "(grids of the collection searches)",
    )
    protocols: list[Protocol] = Field(
        default=["option_likelihood"],
        min_length=1,
        description="the tables report the first; models as small as the demo's do not learn lettered options",
    )
    circular: bool = Field(
        default=False, description="ask every question in its four rotations; right means right in all of them"
    )
    answering: list[Answering] = Field(
        default=["direct", "describe_then_answer"],
        min_length=1,
        description="describe_then_answer: the adapter is off while describing, as tuning makes the demo's "
        "descriptions worse (chosen on the dev questions), and the second prompt drops the image; "
        "describe_then_answer_image_kept: it keeps it; describe_then_answer_tuned: the adapter is on; one_pass_chain: "
        "description and answer in one reply to the image, for a model trained with build.prompts training_chain",
    )
    name_by: NamedBy = Field(
        default="likelihood",
        description="Type 2, describing first: the class is the likeliest of the names that the data set describes; "
        'free_text: what the model writes, if it is one of them (it may write a fact: "It is made of herbs.")',
    )
    ablation_images: list[ShownAs] = Field(
        default=["without"],
        description="also ask with the image withheld, as in the paper, or changed; "
        "named: Type 2 about the true name, the ceiling of describing first",
    )
    representations: bool = Field(
        default=False, description="also compare images of classes with their descriptions, layer by layer (CKA)"
    )
    guidance: NonNegativeFloat = Field(
        default=1.0, description="weight of contrastive region guidance, for guided images"
    )
    batch_size: PositiveInt = Field(
        default=50, description="smaller for images of varying sizes, whose padding costs more than small batches do"
    )
    max_new_tokens: PositiveInt = Field(
        default=64, description="per description or written reply; the demo's longest description is shorter"
    )
    dtype: Dtype = Field(default="float32", description="for computation, as in training")
    max_pixels: PositiveInt | None = Field(default=None, description="as in training")
    unpack_weights: bool | Literal["auto"] = Field(
        default="auto",
        description="unpack 4-bit weights once, not per pass: same values, more memory; auto: if there is room",
    )
    prompts: str = Field(
        default="evaluation", description="how the test asks: a file in data/prompts, or the path of your own"
    )
