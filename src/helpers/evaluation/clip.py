"""Classification by description (arXiv 2210.07183) with a contrastive model, as a baseline that needs no fine-tuning.

    python -m helpers.evaluation.clip train OUTPUT_DIR

Any CLIP or SigLIP checkpoint compares the image with the sentences that describe each option and takes the option whose
sentences fit best on average. For the demo there is a tiny CLIP of the drawn world. The command above trains it from
scratch on random appearances and their descriptions. Like the other base models, it has seen no class of the test.
"""

import argparse
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from helpers.evaluation.baselines import baseline_run, scored_row
from helpers.evaluation.strategies import ReadAnswer
from helpers.paths import DATA
from helpers.schemas import ClassText, Question
from helpers.workflow.progress import Ticker

TOKENIZER_FROM = DATA / "models" / "tiny-qwen2-vl"


@dataclass
class Comparer:
    """A contrastive model: how well sentences fit images."""

    model: Any
    processor: Any
    batch_size: int = 64

    @torch.inference_mode()
    def images(self, images: Sequence[Any]) -> torch.Tensor:
        """images x width, of length 1."""
        found = []
        for start in range(0, len(images), self.batch_size):
            shown = self.processor.image_processor(
                images=list(images[start : start + self.batch_size]), return_tensors="pt"
            )
            found.append(self.image_vectors(shown["pixel_values"]))
        return torch.cat(found)

    @torch.inference_mode()
    def sentences(self, sentences: Sequence[str]) -> torch.Tensor:
        """sentences x width, of length 1."""
        starts = range(0, len(sentences), self.batch_size)
        return torch.cat([self.text_vectors(sentences[start : start + self.batch_size]) for start in starts])

    def image_vectors(self, pixels: torch.Tensor) -> torch.Tensor:
        """The same for one batch of images x 3 x side x side, as the processor makes them; gradients pass."""
        return _unit(self.model.get_image_features(pixel_values=pixels))

    def text_vectors(self, sentences: Sequence[str]) -> torch.Tensor:
        """The same for one batch; gradients pass. SigLIP needs what it was trained with: full length, unmasked."""
        padding = "max_length" if self._siglip else True
        tokens = self.processor.tokenizer(list(sentences), padding=padding, truncation=True, return_tensors="pt")
        given = {"input_ids": tokens["input_ids"]} if self._siglip else _text_inputs(tokens)
        return _unit(self.model.get_text_features(**given))

    def pairing_loss(self, ones: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """How badly each of ``ones`` is told to belong to the one of ``others`` in its place: the model's own loss.

        CLIP: a choice among the batch, in both directions. SigLIP: yes or no for each pair (arXiv 2303.15343).
        """
        fits = ones @ others.T * self.model.logit_scale.exp()
        if self._siglip:
            right = 2 * torch.eye(len(fits)) - 1
            return -torch.nn.functional.logsigmoid(right * (fits + self.model.logit_bias)).sum(1).mean()
        places = torch.arange(len(fits))
        return torch.stack([torch.nn.functional.cross_entropy(each, places) for each in (fits, fits.T)]).mean()

    @property
    def _siglip(self) -> bool:
        return self.model.config.model_type.startswith("siglip")


def _unit(output: Any) -> torch.Tensor:
    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features / features.norm(dim=-1, keepdim=True)


def _text_inputs(tokens: Any) -> dict[str, Any]:
    return {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}


def load_comparer(path: str | Path) -> Comparer:
    """A CLIP or SigLIP checkpoint: a folder, or a hub name such as openai/clip-vit-base-patch32."""
    from transformers import AutoModelForZeroShotImageClassification, AutoProcessor

    processor = AutoProcessor.from_pretrained(str(path), trust_remote_code=False)
    model = AutoModelForZeroShotImageClassification.from_pretrained(
        str(path), use_safetensors=True, trust_remote_code=False
    )
    return Comparer(model.eval(), processor)


def by_description(
    comparer: Comparer,
    questions: Sequence[Question],
    folder: str | Path,
    appearances: Mapping[str, str],
    domain: str,
    max_pixels: int | None = None,
) -> list[ReadAnswer]:
    """A row for each question with an image. ``appearances``: descriptions by option, of `appearances_by_option`.

    An option without a description, such as the value of a fact, is represented by its answer sentence.
    """
    from helpers.images import open_image

    asked = [question for question in questions if question.image]
    descriptors = [
        [_descriptors(o, s, appearances) for o, s in zip(q.options, q.sentences(), strict=True)] for q in asked
    ]
    distinct = list(dict.fromkeys(d for four in descriptors for several in four for d in several))
    vectors = dict(zip(distinct, comparer.sentences(distinct), strict=True)) if distinct else {}
    run = baseline_run("contrastive", domain, questions)
    rows, ticker = [], Ticker("question", len(asked))
    for start in range(0, len(asked), comparer.batch_size):
        some = asked[start : start + comparer.batch_size]
        seen = comparer.images([open_image(Path(folder) / str(q.image), max_pixels) for q in some])
        for question, four, image in zip(some, descriptors[start : start + comparer.batch_size], seen, strict=True):
            scores = [torch.stack([vectors[d] for d in several]).matmul(image).mean().item() for several in four]
            rows.append(scored_row(question, scores, run, "with"))
        ticker.tick(len(rows))
    return rows


def appearances_by_option(texts: Iterable[ClassText]) -> dict[str, str]:
    """Each class's first description, by the names an option may use: with or without "the"."""
    found: dict[str, str] = {}
    for text in texts:
        for option in text.option_names:
            found.setdefault(option, text.appearance)
    return found


def _descriptors(option: str, sentence: str, appearances: Mapping[str, str]) -> list[str]:
    return re.split(r"(?<=\.)\s+", appearances[option]) if option in appearances else [sentence]


# ---- the demo's model ------------------------------------------------------------------------------------------------


def tiny_clip(seed: int = 0) -> Comparer:
    """An untrained CLIP with 16 patches of 14 pixels and the tokenizer of the demo's other models."""
    from tokenizers.processors import TemplateProcessing
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER_FROM)
    # CLIP takes a sentence's features at its end token. <|im_end|> has id 2, which transformers treats as the mark of
    # an old checkpoint with a different rule, so another special token ends a sentence here.
    end, tokenizer.model_max_length = "<|im_start|>", 96
    special = [(end, tokenizer.convert_tokens_to_ids(end))]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"$A {end}", special_tokens=special)
    tokenizer.eos_token = end
    size = {"height": 56, "width": 56}
    images = CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)
    shared = dict(hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4)
    ids = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None)
    config = CLIPConfig(
        text_config=dict(**shared, **ids, vocab_size=len(tokenizer), max_position_embeddings=96),
        vision_config=dict(**shared, image_size=56, patch_size=14),
        projection_dim=128,
    )
    torch.manual_seed(seed)
    return Comparer(CLIPModel(config), CLIPProcessor(images, tokenizer))


def lessons(domains: Sequence[str], batch_size: int, seed: int) -> Iterator[tuple[list[Any], list[str]]]:
    """Endless batches of images of random appearances, and their descriptions.

    The descriptions are in all dialects. Half are complete, half are a single sentence, since classification compares
    single sentences.
    """
    from helpers.synthetic.appearances import VOCABULARIES
    from helpers.synthetic.dialects import DIALECTS, tell
    from helpers.synthetic.drawing import draw

    rng = random.Random(f"contrastive-{seed}")
    while True:
        images, texts = [], []
        for i in range(batch_size):
            domain = domains[i % len(domains)]
            appearance = VOCABULARIES[domain].sample(rng)
            text = tell(domain, appearance, rng.choice(DIALECTS), rng)
            images.append(draw(domain, appearance, rng))
            texts.append(text if rng.random() < 0.5 else rng.choice(re.split(r"(?<=\.)\s+", text)))
        yield images, texts


def train(comparer: Comparer, steps: int, batch_size: int = 64, rate: float = 2e-3, seed: int = 0) -> list[float]:
    """Contrastive training in place (arXiv 2103.00020); returns the loss of each step."""
    model = comparer.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), rate, (0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=min(0.5, 100 / steps))
    losses: list[float] = []
    ticker = Ticker("step", steps)
    for images, texts in lessons(("butterfly", "culture"), batch_size, seed):
        shown = comparer.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        tokens = comparer.processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        loss = model(pixel_values=shown, **_text_inputs(tokens), return_loss=True).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        ticker.tick(len(losses), f", loss {losses[-1]:.2f}")
        if len(losses) == steps:
            break
    model.eval()
    return losses


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: zero-shot-image-classification
---

# {name}

`CLIPModel` with {parameters:.2f} million parameters, trained from scratch by `python -m helpers.evaluation.clip train`
on random appearances from this project's drawn world and their descriptions. It knows that world and nothing else, and
no class of the demo's tests by name.

{steps} steps of {batch} pairs, {minutes:.1f} minutes on one CPU core; mean loss of the last tenth {loss:.2f}, where
chance is {chance:.2f}. Weights are stored in float16.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the demo's tiny CLIP")
    parser.add_argument("action", choices=("train",))
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    comparer, begin = tiny_clip(), time.perf_counter()
    losses = train(comparer, given.steps, given.batch)
    last = losses[-max(1, len(losses) // 10) :]
    minutes = (time.perf_counter() - begin) / 60
    comparer.model.half().save_pretrained(given.output)
    comparer.processor.save_pretrained(given.output)
    card = CARD.format(
        name=given.output.name,
        parameters=sum(p.numel() for p in comparer.model.parameters()) / 1e6,
        steps=given.steps,
        batch=given.batch,
        minutes=minutes,
        loss=sum(last) / len(last),
        chance=torch.tensor(float(given.batch)).log().item(),
    )
    (given.output / "README.md").write_text(card, encoding="utf-8")
    print(f"{given.output}: {minutes:.1f} minutes, loss {losses[0]:.2f} to {sum(last) / len(last):.2f}")


if __name__ == "__main__":
    main()
