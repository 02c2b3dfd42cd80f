"""MiniGPT-4 (arXiv 2304.10592): BLIP-2's tower and Q-Former as they are, one linear map, and a better speaker."""

from typing import ClassVar

from helpers.families.blip_2 import QFormer


class MiniGpt4(QFormer):
    """`Blip2ForConditionalGeneration` of transformers with a Llama."""

    key, title, source = "minigpt_4", "MiniGPT-4", "2304.10592"
    idea = (
        "BLIP-2's tower and Q-Former are taken over and frozen, and so is a language model that follows instructions. "
        "One linear map between them is all that learns. It is enough, since both sides have had their lessons."
    )
    faithful = (
        "The library's class with a Llama; only the map is trained, as published. The Q-Former is that of the BLIP-2 "
        "here. There is one language model, so it differs from BLIP-2 by what is frozen."
    )
    lends: ClassVar = QFormer.lends | {"qformer.": ("blip_2", "qformer."), "query_tokens": ("blip_2", "query_tokens")}
