"""One fine-tuning run (notebook 03)."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from helpers.config import Dtype, Settings

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")  # every linear layer
MAX_LENGTH = 4096  # tokens
Method = Literal["qlora", "lora", "prompt_tuning", "ia3", "projector"]
Optimizer = Literal[  # those in transformers that need no further package
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "lion_8bit",
    "paged_lion_8bit",
    "adafactor",
    "adagrad",
    "rmsprop",
    "sgd",
]
_Layer = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]  # the last part of a module's name


class Training(Settings):
    """One fine-tuning run."""

    method: Method = Field(default="qlora", description="qlora: 4-bit base weights; the others: full precision")
    epochs: PositiveInt = Field(
        default=12,
        description="passes over the texts, in any mode: 300 steps in the demo, after which the loss is below 0.1",
    )
    max_steps: PositiveInt | None = Field(default=None, description="null: as many as the epochs need")
    batch_size: PositiveInt = Field(
        default=8,
        description="learned more than twice the batch in half the steps did (chosen on the demo's dev questions)",
    )
    gradient_accumulation: PositiveInt = Field(default=1, description="batches per step")
    learning_rate: PositiveFloat = Field(
        default=1.5e-3,
        description="the peak; right for a small model (chosen on the demo's dev questions); 7B takes a tenth of it",
    )
    optimizer: Optimizer | None = Field(
        default=None,
        description="null: adamw_torch_fused, one operation per step; adamw_8bit on a GPU where its states do not fit",
    )
    warmup_share: float = Field(default=0.05, ge=0, le=1, description="share of all steps")
    weight_decay: NonNegativeFloat = Field(default=0.0, description="none: the adapter is small and the run is short")
    lora_rank: PositiveInt = Field(default=16, description="rank of the low-rank matrices")
    lora_alpha: PositiveInt = Field(
        default=32, description="lora_alpha / lora_rank scales the update; twice the rank is common"
    )
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="on the input of the low-rank matrices")
    lora_targets: list[_Layer] = Field(
        default=list(LORA_TARGETS),
        min_length=1,
        description="names of the language model's linear layers that LoRA adapts; by default all",
    )
    prompt_tokens: PositiveInt = Field(default=16, description="prompt_tuning only: trained vectors before the text")
    train_projector: bool = Field(
        default=True, description="as in the paper; ignored by prompt_tuning, which trains nothing else"
    )
    own_words: bool = Field(
        default=False,
        description="the untuned model rewords every description first (helpers.training.own_words); off: the paper's "
        "way, the texts as they are",
    )
    text_noise: NonNegativeFloat = Field(
        default=0.0,
        description="noise on the embeddings of a prompt's description, in their own standard deviations "
        "(helpers.training.bridge); 0: none",
    )
    text_shift: NonNegativeFloat = Field(
        default=0.0,
        description="how far those embeddings are moved towards image tokens; 1: by the whole mean difference; 0: not",
    )
    dtype: Dtype = Field(
        default="float32",
        description="for computation; auto: float32 on a CPU, bfloat16 on a GPU that has it, else float16 with loss "
        "scaling; qlora's frozen weights are always NF4",
    )
    max_pixels: PositiveInt | None = Field(
        default=None, description="a larger image is scaled down to this area; null: the processor's own rule"
    )
    max_length: PositiveInt = Field(
        default=MAX_LENGTH,
        description="per sample, image included: as many as LLaVA has positions, and memory grows with it; a longer "
        "sample is refused before training, never truncated",
    )
    checkpoint_steps: PositiveInt = Field(
        default=100, description="steps that a killed run loses at most; in the demo about ten seconds of work"
    )
    logging_steps: PositiveInt | None = Field(
        default=None,
        description="steps per line of losses.csv; null: 1 on a CPU, 10 on a GPU, which has to be waited for",
    )
    packing: bool = Field(
        default=True,
        description="put a batch's samples in one row without padding: same loss and gradients, in less time",
    )
    unpack_weights: bool | Literal["auto"] = Field(
        default="auto",
        description="unpack 4-bit weights once, not per pass: same values, more memory; auto: if there is room",
    )
    tower_cache: bool = Field(
        default=False,
        description="compute an image's tower features once; off when comparing costs as the paper does",
    )
    gradient_checkpointing: bool | Literal["with_images", "selective", "auto"] = Field(
        default=False,
        description="less memory for a third more time; with_images: only for samples with images, which are longer; "
        "selective: norms and activations alone; auto: on a GPU, what an estimate finds necessary",
    )
    compile_layers: bool = Field(
        default=False, description="compile each layer for each length: minutes first, so for long runs"
    )
    main_memory: bool = Field(
        default=False,
        description="text alone: tower and embeddings stay in main memory, 2.4 GB less on the GPU at 7B, and slower",
    )
    encode_threads: NonNegativeInt | None = Field(
        default=None,
        description="threads that encode all samples ahead; null: none on a CPU, 8 beside a GPU; 0: each batch in turn",
    )
    cuda_graphs: bool | Literal["auto"] = Field(
        default="auto",
        description="the language model's pass as CUDA graphs, one per length: the host starts one operation, not "
        "thousands; auto: on a GPU, where a replay gives the same numbers; true: on a CPU the same shapes, no graph",
    )
    report_to: list[Literal["tensorboard", "mlflow", "wandb"]] = Field(
        default=[], description="trackers of the losses; see helpers.training.trackers"
    )

    def checkpointed(self, images: bool) -> bool:
        """Whether training on samples with or without images computes all activations twice."""
        return images if self.gradient_checkpointing == "with_images" else self.gradient_checkpointing is True

    @property
    def four_bit(self) -> bool:
        """Whether the base weights are loaded in 4-bit precision."""
        return self.method == "qlora"
