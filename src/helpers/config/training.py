"""One fine-tuning run (notebook 03)."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from helpers.config import Settings

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")  # every linear layer
Method = Literal["qlora", "lora", "prompt_tuning", "ia3", "projector"]


class Training(Settings):
    """One fine-tuning run."""

    method: Method  # qlora: base weights in 4 bit; the others: in full precision
    epochs: PositiveInt
    max_steps: PositiveInt | None  # null: as many as the epochs give
    batch_size: PositiveInt
    gradient_accumulation: PositiveInt
    learning_rate: PositiveFloat  # peak
    warmup_share: float = Field(ge=0, le=1)  # of all steps
    weight_decay: NonNegativeFloat
    lora_rank: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: float = Field(ge=0, lt=1)
    lora_targets: list[str] = Field(default_factory=lambda: list(LORA_TARGETS), min_length=1)  # of the language model
    optimizer: str | None = None  # a name of transformers' own; null: what fits the machine
    prompt_tokens: PositiveInt = 16  # trained vectors before the text, of prompt_tuning only
    train_projector: bool  # not of prompt_tuning, which trains nothing else
    dtype: Literal["float32", "bfloat16"]  # of computation; qlora's frozen weights are NF4 whatever this says
    max_pixels: PositiveInt | None  # a larger picture is scaled down to this area; null: the processor's own rule
    checkpoint_steps: PositiveInt  # a killed run loses at most so many steps
    packing: bool = True  # samples of a batch in one row, without padding: the same loss and gradients, in less time
    tower_cache: bool = False  # compute a picture's tower features once; off where costs are compared as in the paper
    # Less memory for about a third more time; with_pictures: where the samples have pictures, whose tokens are many
    gradient_checkpointing: bool | Literal["with_pictures"] = False
    report_to: list[Literal["tensorboard", "mlflow", "wandb"]] = Field(
        default_factory=list
    )  # see helpers.training.trackers

    def checkpointed(self, pictures: bool) -> bool:
        """Whether a training on samples with or without pictures recomputes its activations."""
        return pictures if self.gradient_checkpointing == "with_pictures" else self.gradient_checkpointing

    @property
    def four_bit(self) -> bool:
        """Whether the base weights are loaded in 4 bit."""
        return self.method == "qlora"
