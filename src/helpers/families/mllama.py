"""Fusion inside the language model (Llama 3.2 Vision, arXiv 2407.21783): layers of cross-attention behind gates."""

from typing import Any, ClassVar

from torch import Tensor, nn

from helpers.families.connectors import Connector
from helpers.families.language_model import LAYERS, WIDTH, llama
from helpers.families.tower import WIDTH as SEEN_WIDTH
from helpers.families.tower import image_tower

CROSSING = (2, 4)  # which layers look at the image; the others are the language model's
_PARTS = ("model.embed_tokens", "model.norm", "lm_head")  # of the language model, beside its layers
READING = [i for i in range(LAYERS + len(CROSSING)) if i not in CROSSING]


class Mllama(Connector):
    """`MllamaForCausalLM` of transformers: the text half of `MllamaForConditionalGeneration`."""

    key, title, source = "mllama", "Gated cross-attention (Llama 3.2)", "2407.21783"
    idea = (
        "The image is no word: new layers between those of the language model let each word look at it. A gate, closed "
        "at first, opens in the lesson. Without an image the new layers are left out, and the language model is as "
        "it was."
    )
    faithful = (
        "The library's text half, tiny, with its gates, and only the new layers trained, as published. The tower is "
        "CLIP's instead of one of tiles."
    )
    LOOKS = 1  # a mark in the prompt, which is a word like others
    lends: ClassVar = {
        "tower.": ("clip", "vision_model."),
        **{f"words.{part}.": ("llava_next", f"language_model.{part}.") for part in _PARTS},
        **{
            f"words.model.layers.{i}.": ("llava_next", f"language_model.model.layers.{n}.")
            for n, i in enumerate(READING)
        },
    }

    def build(self) -> nn.Module:
        from transformers import MllamaForCausalLM
        from transformers.models.mllama.configuration_mllama import MllamaTextConfig

        llamas = llama().config
        shared = "vocab_size hidden_size intermediate_size num_attention_heads num_key_value_heads rms_norm_eps".split()
        shared += "max_position_embeddings rope_parameters bos_token_id eos_token_id".split()
        config = MllamaTextConfig(
            **{name: getattr(llamas, name) for name in shared},
            num_hidden_layers=LAYERS + len(CROSSING),
            cross_attention_layers=list(CROSSING),
            pad_token_id=None,
        )
        config._attn_implementation = "eager"
        words = MllamaForCausalLM(config)
        words.model.embed_tokens = nn.Embedding(config.vocab_size, WIDTH)  # without room for marks of images
        return nn.ModuleDict({"tower": image_tower(), "connector": nn.Linear(SEEN_WIDTH, WIDTH), "words": words})

    def layers(self) -> nn.ModuleList:
        return nn.ModuleList(self.decoder.layers[i] for i in READING)

    def run(self, tokens: dict[str, Tensor], seen: Tensor | None = None, past: Any = None) -> Tensor:
        inputs = self.decoder.embed_tokens(tokens["input_ids"])
        return self.decode(inputs, tokens["attention_mask"], past, cross_attention_states=seen)
