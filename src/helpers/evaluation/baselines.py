"""What simpler means achieve on the same questions. Their rows are like a model's, so the same tables can hold them.

| mode | what it has | how it chooses |
|---|---|---|
| longest_option, most_frequent_option | the questions | the longest; the one that most questions offer |
| prior | the texts | the option that the texts mention most often |
| dictionary | the texts; the *untuned* model's words about the image | TF-IDF: whose text is most like them |
| dictionary_translated | the same, and the untuned model's own wording of each text | as above, among these |
| embeddings | the texts and those words, as vectors of the untuned model | whose text's vector is nearest |
| options_described | an untuned model, the image, the options' descriptions in the prompt | the likeliest option |
| nearest_pixels, nearest_features | one image per class | the nearest, by pixels or by a tower's features |

Chance needs no rows: it is a quarter. ``option_only`` asks a model how likely each option is by itself, without
question or image. `helpers.evaluation.clip` has another baseline, which compares images with descriptions.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers.config.prompts import EvaluationPrompts, of_domain
from helpers.evaluation.prompts import Prompt, Shown
from helpers.evaluation.protocols import Choice
from helpers.evaluation.reader import Reader
from helpers.evaluation.representations import mean_states
from helpers.evaluation.strategies import ReadAnswer, row
from helpers.images import open_image
from helpers.schemas import ClassText, Question, questions_hash

MODEL = "baseline"
NOTHING = Prompt("")


def longest_option(questions: Sequence[Question], domain: str) -> list[ReadAnswer]:
    """The option with the most characters; a tie is broken at random, reproducibly."""
    return _blind("longest_option", questions, domain, len)


def most_frequent_option(questions: Sequence[Question], domain: str) -> list[ReadAnswer]:
    """The option that occurs in the most questions; a tie is broken at random, reproducibly."""
    frequency = Counter(option for question in questions for option in question.options)
    return _blind("most_frequent_option", questions, domain, frequency.__getitem__)


def _blind(mode: str, questions: Sequence[Question], domain: str, score: Callable[[str], int]) -> list[ReadAnswer]:
    run = baseline_run(mode, domain, questions)
    return [scored_row(q, [float(score(option)) for option in q.options], run, "without") for q in questions]


def option_only(reader: Reader, questions: Sequence[Question], run: Mapping[str, Any]) -> list[ReadAnswer]:
    """The option that the model finds most likely after an empty prompt; ``run``: the model's own columns."""
    found = reader.likelihoods([NOTHING] * len(questions), [q.sentences() for q in questions], "option alone")
    fixed = {**run, "answering": "option_only", "protocol": "option_likelihood"}
    fixed |= {"dataset_hash": questions_hash(questions)}
    return [scored_row(q, [o.total for o in four], fixed, "without") for q, four in zip(questions, found, strict=True)]


def prior(questions: Sequence[Question], texts: Sequence[ClassText], domain: str) -> list[ReadAnswer]:
    """The option that the texts of the classes mention most often: what reading teaches without any image."""
    whole = [f"{text.name} {text.appearance} {text.background}" for text in texts]
    mentions = {option: sum(option in text for text in whole) for q in questions for option in q.options}
    return _blind("prior", questions, domain, mentions.__getitem__)


def dictionary(
    questions: Sequence[Question],
    texts: Sequence[ClassText],
    words: Mapping[str, str],
    run: Mapping[str, Any],
    alike: Callable[[Sequence[str], Sequence[str]], np.ndarray] | None = None,
) -> list[ReadAnswer]:
    """The class whose text is most like the untuned model's own ``words`` about the image (by question id).

    ``alike`` makes descriptions x texts of both; None: `likeness`, by their words. Of an option that names no class,
    such as a fact, the likeness is that of the most alike class whose text mentions it. Questions without words are
    left out.
    """
    alike = alike or likeness
    asked = [question for question in questions if words.get(question.question_id)]
    if not asked:
        return []
    first = {text.class_id: text for text in reversed(texts)}
    found = alike([text.appearance for text in first.values()], [words[q.question_id] for q in asked])
    names = [text.option_names for text in first.values()]
    told = [f"{text.appearance} {text.background}" for text in first.values()]

    def score(option: str, likenesses: np.ndarray) -> float:
        fits = np.array([option in name for name in names])
        fits = fits if fits.any() else np.array([option in text for text in told])
        return float(likenesses[fits].max(initial=-1.0))

    return [
        scored_row(question, [score(option, likenesses) for option in question.options], run, "with")
        for question, likenesses in zip(asked, found, strict=True)
    ]


def likeness(texts: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
    """Descriptions x texts, from 0 to 1: the cosine of their TF-IDF vectors; 0 where they share no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(sublinear_tf=True)
    try:
        of_text = vectors.fit_transform(texts)
    except ValueError:  # texts without any word of two letters
        return np.zeros((len(descriptions), len(texts)))
    return np.asarray((vectors.transform(descriptions) @ of_text.T).toarray())


def translated(reader: Reader, texts: Sequence[str], domain: str, asking: EvaluationPrompts) -> list[str]:
    """Each text in the untuned model's own words: it reads the text and is asked what it would be of an image."""
    question = of_domain(asking.describing, domain)
    return reader.write([Prompt(asking.about(text, question)) for text in texts], "text, in its own words")


def embedding_likeness(reader: Reader, texts: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
    """Descriptions x texts: the cosine of their mean hidden states in the last layer, around the mean of each side.

    What all texts have in common, and all descriptions, tells none apart.
    """
    sides = (mean_states(reader, side) for side in (texts, descriptions))
    of_text, of_words = (_unit_rows(states - states.mean(axis=0)) for states in sides)
    return np.asarray(of_words @ of_text.T)


def options_described(
    reader: Reader,
    questions: Sequence[Question],
    folder: Path,
    appearances: Mapping[str, str],
    run: Mapping[str, Any],
    max_pixels: int | None = None,
) -> list[ReadAnswer]:
    """An untuned model that is told, in the prompt, what each option looks like: the text without any training.

    ``appearances``: descriptions by option. Only questions about an image whose four options all have one are asked.
    """
    asked = [q for q in questions if q.image and all(option in appearances for option in q.options)]
    prompts = [
        Prompt(
            "\n".join([*(f"{option}: {appearances[option]}" for option in q.options), q.question]),
            Shown(folder / str(q.image), max_pixels),
        )
        for q in asked
    ]
    found = reader.likelihoods(prompts, [q.sentences() for q in asked], "options described")
    return [scored_row(q, [o.total for o in four], run, "with") for q, four in zip(asked, found, strict=True)]


def nearest_image(
    mode: str,
    features: Callable[[list[Path]], np.ndarray],
    questions: Sequence[Question],
    folder: Path,
    texts: Sequence[ClassText],
    domain: str,
) -> list[ReadAnswer]:
    """The class whose one training image is nearest to the question's, by cosine: the image instead of the text.

    ``features`` makes images x width of files, such as `pixels`. Questions with an option that has no training image
    are left out.
    """
    known = {option: folder / text.image for text in texts if text.image for option in text.option_names}
    asked = [q for q in questions if q.image and all(option in known for option in q.options)]
    if not asked:
        return []
    files = sorted({known[option] for q in asked for option in q.options} | {folder / str(q.image) for q in asked})
    vectors = dict(zip(files, _unit_rows(features(files)), strict=True))
    run = baseline_run(mode, domain, questions)
    return [
        scored_row(q, [float(vectors[known[o]] @ vectors[folder / str(q.image)]) for o in q.options], run, "with")
        for q in asked
    ]


def pixels(files: Sequence[Path], side: int = 32) -> np.ndarray:
    """Images x numbers: the colours of each file at ``side`` x ``side``, around the mean image."""
    flat = np.stack([np.asarray(open_image(file).resize((side, side)), dtype=np.float32).ravel() for file in files])
    return flat - flat.mean(axis=0)


def _unit_rows(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def baseline_run(mode: str, domain: str, questions: Sequence[Question]) -> dict[str, Any]:
    """The run's columns for a baseline without a model that is asked all ``questions``."""
    named = {"model": MODEL, "domain": domain, "mode": mode, "variant": "main", "seed": 0}
    return named | {"answering": "direct", "protocol": "option_score", "dataset_hash": questions_hash(questions)}


def scored_row(question: Question, scores: list[float], run: Mapping[str, Any], image: str) -> ReadAnswer:
    """A row for the option with the highest score."""
    best = [i for i, score in enumerate(scores) if score == max(scores)]
    parsed = random.Random(f"{run['mode']}/{question.question_id}").choice(best)
    own = {"description": None, "named": None, "new_tokens": 0}
    return {**run, "image": image, **row(question, NOTHING, Choice(scores, None, parsed)), **own}
