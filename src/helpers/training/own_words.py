"""Texts in the model's own words: the untuned model rewords each description before it is trained on them.

Asked about an image, a model looks for what it would itself say of it. A text by somebody else says the same in other
words; trained on it as it is, a model learns those words, and less of what they mean. So it is first asked to describe
what it has read, as if it saw it (setting ``training.own_words``). No image is involved and nothing is added to the
text: whatever the model misreads is lost. Rephrasing texts before training on them is known from language models
(arXiv 2401.16380); here the model rephrases for itself, in the words in which it will describe.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from helpers.config.evaluation import Evaluation
from helpers.config.prompts import evaluation_prompts
from helpers.datasets.build import named
from helpers.evaluation.baselines import translated
from helpers.evaluation.reader import Reader
from helpers.rows import RowFile
from helpers.schemas import ClassText, Sample, exchange


class Reworded(NamedTuple):
    """Samples in the model's own words, the descriptions before and after, and the seconds that it took."""

    samples: list[Sample]
    words: dict[str, str]
    seconds: float


def in_own_words(
    model: Any, processor: Any, samples: Sequence[Sample], folder: str | Path, asking: Evaluation
) -> Reworded:
    """The samples with every description as the untuned ``model`` rewords it; ``folder`` holds their ``texts.jsonl``.

    ``asking``: the prompt that asks for a description, the batch size and the longest reply. A description that the
    model answers with nothing stays as it is. Raises ``ValueError`` for samples in which no description of the texts is
    found (shortened ones, `build.detail_share`, are not).
    """
    begin = time.perf_counter()
    texts = list(RowFile(Path(folder) / "texts.jsonl", ClassText))
    reader = Reader(model, processor, asking.batch_size, asking.max_new_tokens)
    words: dict[str, str] = {}
    for domain in dict.fromkeys(text.domain for text in texts):  # each is asked about in its own terms
        descriptions = list(dict.fromkeys(text.appearance for text in texts if text.domain == domain))
        found = translated(reader, descriptions, domain, evaluation_prompts(asking.prompts))
        words |= {old: new or old for old, new in zip(descriptions, found, strict=True)}
    names = {text.class_id: text for text in texts}
    changed = [_reworded(sample, names, words) for sample in samples]
    if samples and list(samples) == changed:
        raise ValueError(
            f"training.own_words: none of {len(samples)} samples holds a whole description of its texts; "
            "build them from whole descriptions (build.detail_share 1, parts with appearance), or switch it off"
        )
    return Reworded(changed, words, time.perf_counter() - begin)


def _reworded(sample: Sample, names: Mapping[str, ClassText], words: Mapping[str, str]) -> Sample:
    """A sample with its description replaced: nameless in a prompt, with the class's name in an answer."""
    prompt, answer = (_in_words(said, names.get(sample.class_id), words) for said in sample.texts)
    return sample.model_copy(update={"messages": exchange(prompt, answer, next(iter(sample.images), None))})


def _in_words(said: str, text: ClassText | None, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        if old in said:
            return said.replace(old, new)
        if text and (with_name := named(text.model_copy(update={"appearance": old}))) in said:
            return said.replace(with_name, named(text.model_copy(update={"appearance": new})))
    return said
