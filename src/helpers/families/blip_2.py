"""BLIP-2 (arXiv 2301.12597): a small transformer of queries learns to see for a language model, in two stages."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from helpers.families.connectors import Connector
from helpers.families.interface import Course
from helpers.families.language_model import llama
from helpers.families.scenes import Scenes, pool
from helpers.families.tower import WIDTH as SEEN_WIDTH
from helpers.families.tower import image_tower

QUERIES, LENGTH, TEMPERATURE = 8, 64, 0.07


def blip_2_config(tokenizer: Any) -> Any:
    """A tiny one, round the shared tower and language model."""
    from transformers import Blip2Config

    qformer = {
        **{"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 192},
        **{"cross_attention_frequency": 1, "encoder_hidden_size": SEEN_WIDTH, "vocab_size": len(tokenizer)},
        **{"max_position_embeddings": LENGTH, "use_qformer_text_input": True, "pad_token_id": tokenizer.pad_token_id},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    }
    unused = {"hidden_size": SEEN_WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 8}
    return Blip2Config(
        vision_config=unused | {"image_size": 56, "patch_size": 14},  # CLIP's tower takes its place
        qformer_config=qformer,
        text_config=llama().config.to_dict(),
        num_query_tokens=QUERIES,
        image_text_hidden_size=64,
    )


class QFormer(Connector):
    """`Blip2ForConditionalGeneration` of transformers with a Llama, and CLIP's tower in place of its own."""

    LOOKS = QUERIES
    lends: ClassVar = {"vision_model.": ("clip", "vision_model."), "language_model.": ("llava_next", "language_model.")}

    def build(self) -> nn.Module:
        from transformers import Blip2ForConditionalGeneration

        model = Blip2ForConditionalGeneration(blip_2_config(self.tokenizer))
        model.vision_model = image_tower()
        nn.init.normal_(model.query_tokens, std=0.02)
        return model

    @property
    def words(self) -> Any:
        return self.model.language_model

    def see(self, shown: Tensor) -> Tensor:
        found: Tensor = self.model.language_projection(self.queries(self.patches(shown)))
        return found

    def patches(self, shown: Tensor) -> Tensor:
        """What the tower sees."""
        found: Tensor = self.model.vision_model(shown).last_hidden_state
        return found

    def queries(self, patches: Tensor) -> Tensor:
        """Images x queries x width: what the Q-Former has gathered."""
        asked = self.model.query_tokens.expand(len(patches), -1, -1)
        found: Tensor = self.model.qformer(query_embeds=asked, encoder_hidden_states=patches).last_hidden_state
        return found


class Blip2(QFormer):
    """A lesson in two stages: the Q-Former in `Blip2ForImageTextRetrieval`, then before the language model."""

    key, title, source = "blip_2", "BLIP-2", "2301.12597"
    idea = (
        "A Q-Former, a transformer with learned queries, looks at the image through cross-attention. First it learns "
        "with texts: to find the text of an image, to tell whether both match, and to write it. Then a linear map "
        "hands its queries to a frozen language model."
    )
    faithful = (
        "The library's classes, tiny, with CLIP's tower; the three losses of stage 1 with their masks as published, "
        "but a wrong text is another of the batch, however alike. What is in stage 1 alone is not kept."
    )
    stage_1 = Course(250, 32, 1e-3)

    def build(self) -> nn.Module:
        from transformers import Blip2ForImageTextRetrieval

        model = super().build()
        self.first = Blip2ForImageTextRetrieval(blip_2_config(self.tokenizer))  # the parts that only stage 1 needs
        del self.first.vision_model, self.first.qformer, self.first.query_tokens
        return model

    # ---- stage 1 ---------------------------------------------------------------------------------------------------

    def teach(self, seed: int = 0, course: Course | None = None) -> list[float]:
        first, batches = course or self.stage_1, pool().batches(self.stage_1.batch, seed + 2)
        losses = self._fit("stage 1", first, lambda _: self.first_loss(next(batches)))
        return losses + super().teach(seed, course)

    def learns(self, stage: str) -> Iterable[nn.Parameter]:
        if stage == "stage 1":
            return [*self.first.parameters(), *self.model.qformer.parameters(), self.model.query_tokens]
        return super().learns(stage)

    def first_loss(self, scenes: Scenes) -> Tensor:
        """Contrast, matching and writing, added up."""
        text = self._tokens([f"{self.tokenizer.bos_token}{caption}" for caption in scenes.captions()], "right")
        patches = self.patches(scenes.shown)
        return self.contrast(patches, text) + self.matching(patches, text) + self.writing(patches, text)

    def contrast(self, patches: Tensor, text: dict[str, Tensor]) -> Tensor:
        """Queries and text do not see each other; the query that is nearest to the text counts."""
        first = self.first
        seen = normalize(first.vision_projection(self.queries(patches)), dim=-1)
        words = first.embeddings(input_ids=text["input_ids"])
        read = self.model.qformer(query_embeds=words, query_length=0, attention_mask=text["attention_mask"])
        read = normalize(first.text_projection(read.last_hidden_state[:, 0]), dim=-1)
        logits = torch.einsum("iqw,tw->itq", seen, read).amax(dim=-1) / TEMPERATURE
        right = torch.arange(len(logits))
        return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2

    def matching(self, patches: Tensor, text: dict[str, Tensor]) -> Tensor:
        """Queries and text see each other; half of the pairs are wrong."""
        wrong = torch.arange(len(patches)).roll(1)
        both = {name: torch.cat([ids, ids[wrong]]) for name, ids in text.items()}
        seen = self._together(patches.repeat(2, 1, 1), both, self.mask_of_all(both["attention_mask"]))[:, :QUERIES]
        return cross_entropy(self.first.itm_head(seen).mean(dim=1), (torch.arange(len(seen)) < len(wrong)).long())

    def writing(self, patches: Tensor, text: dict[str, Tensor]) -> Tensor:
        """Queries see queries; each word sees the queries and the words before it."""
        read = self._together(patches, text, self.mask_of_writing(text["attention_mask"]))[:, QUERIES:-1]
        logits = read @ self.first.embeddings.word_embeddings.weight.T
        said = text["attention_mask"][:, 1:].bool()
        return cross_entropy(logits[said], text["input_ids"][:, 1:][said])

    def _together(self, patches: Tensor, text: dict[str, Tensor], mask: Tensor) -> Tensor:
        asked = self.model.query_tokens.expand(len(patches), -1, -1)
        both = self.first.embeddings(input_ids=text["input_ids"], query_embeds=asked)
        barred = (1 - mask.float())[:, None] * torch.finfo(torch.float32).min
        found: Tensor = self.model.qformer(
            query_embeds=both, query_length=QUERIES, attention_mask=barred, encoder_hidden_states=patches
        ).last_hidden_state
        return found

    @staticmethod
    def mask_of_all(words: Tensor) -> Tensor:
        """Texts x from x to: 1 where one sees the other; ``words``: texts x words."""
        to = torch.cat([words.new_ones(len(words), QUERIES), words], dim=1)
        return to[:, None].expand(-1, to.shape[1], -1)

    @classmethod
    def mask_of_writing(cls, words: Tensor) -> Tensor:
        """As `mask_of_all`, but queries see no word, and a word sees none behind it."""
        mask = cls.mask_of_all(words).tril()
        mask[:, :QUERIES, :QUERIES] = 1
        return mask
