"""From texts to training samples: the same words in several directions, with or without an image.

| mode | direction | prompt | answer |
|---|---|---|---|
| text_only | name_to_description | tell me about NAME | appearance and background |
| text_only | description_to_name | appearance; what is it called? | NAME and background |
| image_text | image_to_description | image; tell me about NAME | appearance and background |
| image_text | image_to_name | image; what is it called? | NAME and background |
| all | name_to_fact | where does NAME live? | the fact in a sentence |

These two modes differ only in this: one has the look in words, the other has the image. Questions about single facts
(`Build.directions`) show neither, so their samples are the same in all modes. The other modes derive from these two.
``joint`` has the samples of both for every class (joint training on image-text and text-only samples, as in VILA,
arXiv 2312.07533): image_text alone never reads a description before a name, so joint is the fair rival of text_only.
``hybrid`` has the text samples of all classes and the image samples of some. ``printed`` is image_text with the look
printed as an image (`helpers.datasets.rendered_text`). The wordings are data: the settings name a prompt file
(`helpers.config.prompts.TrainingPrompts`).

A class with samples of both kinds has twice as many. Training takes equal steps all the same
(`helpers.training.trainer.steps_of`).

Texts are read more than once and never held: pass a list or a `helpers.rows.RowFile`, not a generator.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, get_args

from helpers.config.build import Build, Mode
from helpers.config.prompts import TrainingPrompts, of_domain, training_prompts
from helpers.datasets.rendered_text import lay_out, print_words
from helpers.domains.names import without_names
from helpers.paths import atomic_write, file_name
from helpers.schemas import ClassText, Question, Sample, TextPart, exchange
from helpers.synthetic import language as say
from helpers.synthetic.appearances import VOCABULARIES

_MODES: tuple[str, ...] = get_args(Mode)
TWINS = {"name_to_description": "image_to_description", "description_to_name": "image_to_name"}
PRINTED = "images/printed"
# After a full stop and a space, unless lower case or a digit follows ("c. 5 cm"); East Asian full stops need no space
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?![a-z0-9])|(?<=[。！？])\s*")


class Classes(NamedTuple):
    """The classes that the settings choose, in the order of the texts."""

    described: list[str]  # covered by the training
    held_back: list[str]  # the rest, to measure transfer
    with_image: list[str]  # the described classes whose image mode hybrid shows too


def build_samples(texts: Iterable[ClassText], mode: str, settings: Build) -> Iterator[Sample]:
    """One sample per text, direction and kind (in words, with the image). Wordings take turns; both kinds share them.

    Raises ``ValueError`` for an unknown mode, for a text without the image that the mode needs, for a generator, and
    for unusable prompts. The images of mode printed are made by `print_images`, before the samples are written.
    """
    if mode not in _MODES:
        raise ValueError(f"mode is {mode!r}; known: {', '.join(_MODES)}")
    shown = frozenset(choose_classes(texts, settings).with_image) if mode == "hybrid" else frozenset()
    prompts = training_prompts(settings.prompts)
    for turn, text in enumerate(chosen_texts(texts, settings)):
        for kind, image in enumerate(_images(text, mode, shown)):
            for direction in settings.directions:
                if direction == "name_to_fact":  # without image or description: once, in every mode
                    yield from _fact_samples(text, turn) if kind == 0 and "background" in settings.parts else ()
                    continue
                yield _sample(text, direction, turn, settings.parts, image, prompts)


def choose_classes(texts: Iterable[ClassText], settings: Build) -> Classes:
    """Which classes are described, and which have their image too in mode hybrid, at random by ``settings.seed``.

    With the same seed, a smaller share is a subset of a larger one, so that a curve over shares adds classes and never
    swaps them. At least one class is described.
    """
    ids = list(dict.fromkeys(text.class_id for text in _repeatable(texts)))
    described = _share(ids, settings.described_share, f"described/{settings.seed}", least=1)
    shown = _share(described, settings.hybrid_share, f"hybrid/{settings.seed}", least=0)
    return Classes(described, [name for name in ids if name not in set(described)], shown)


def _share(ids: Sequence[str], share: float, seed: str, least: int) -> list[str]:
    order = list(ids)
    random.Random(seed).shuffle(order)
    kept = set(order[: max(least, round(share * len(ids)))])
    return [name for name in ids if name in kept]


def _repeatable(texts: Iterable[ClassText]) -> Iterable[ClassText]:
    if iter(texts) is texts:
        raise ValueError("texts can be read only once; pass a list or a helpers.rows.RowFile")
    return texts


def chosen_texts(texts: Iterable[ClassText], settings: Build) -> Iterator[ClassText]:
    """The described classes' texts, as used for the samples: names shuffled if so set, looks shortened."""
    described = None if settings.described_share == 1 else set(choose_classes(texts, settings).described)

    def read() -> Iterator[ClassText]:
        return (text for text in _repeatable(texts) if described is None or text.class_id in described)

    for text in _shuffled(read) if settings.shuffled else read():
        yield text.model_copy(update={"appearance": first_sentences(text.appearance, settings.detail_share)})


def first_sentences(text: str, share: float) -> str:
    """The first ceil(share x number) sentences; so 0.34 of three are two, and 0.33 of three are one."""
    if share == 1:
        return text
    found = sentences(text)
    return " ".join(found[: math.ceil(share * len(found) - 1e-9)])  # 0.1 x 30 is 3, despite binary rounding


def sentences(text: str) -> list[str]:
    """The sentences of a text, which end with ``.``, ``!``, ``?`` or their East Asian forms."""
    return [part for line in text.splitlines() for part in SENTENCE_END.split(line.strip()) if part]


# ---- the modes' images ---------------------------------------------------------------------------------------------


def obstacle(texts: Iterable[ClassText], mode: str, settings: Build) -> str | None:
    """Why a mode cannot be built from these texts (the first text that fails), or None.

    A data set may lack what a mode needs: K-VISCUIT's photographs are all in the test. The mode's file is then empty,
    and the card gives the reason.
    """
    if mode == "text_only":
        return None
    shown = frozenset(choose_classes(texts, settings).with_image)
    try:
        for text in chosen_texts(texts, settings):
            if mode == "printed":
                _printable(text, settings)
            else:
                _images(text, mode, shown)
    except ValueError as error:
        return str(error)
    return None


def _images(text: ClassText, mode: str, shown: frozenset[str]) -> list[str | None]:
    """What the text's samples show, one entry per kind; None: nothing, so the look is in words.

    ``shown``: the classes with an image in mode hybrid.
    """
    if mode == "printed":
        return [printed_path(text)]
    if mode == "text_only" or (mode == "hybrid" and text.class_id not in shown):
        return [None]
    if text.image is None:
        raise ValueError(f"class {text.class_id!r} has no training image; mode {mode} needs one per class")
    return [text.image] if mode == "image_text" else [None, text.image]


def print_images(texts: Iterable[ClassText], settings: Build, folder: Path) -> int:
    """Write the images of mode printed into ``folder``, one per text, never showing the name; returns their number.

    Raises ``ValueError``, naming the class, for words that cannot be printed, and for two classes with the same file
    name.
    """
    used: dict[str, str] = {}
    written = 0
    for written, text in enumerate(chosen_texts(texts, settings), start=1):  # noqa: B007
        words, path = _printable(text, settings), printed_path(text)
        if used.setdefault(file_name(text.class_id).casefold(), text.class_id) != text.class_id:
            raise ValueError(f"class {text.class_id!r}: another class has the file name {path}; rename one of them")
        with atomic_write(folder / path) as temporary:
            print_words(words, settings.printed).save(temporary)
    return written


def printed_path(text: ClassText) -> str:
    """Where the printed image of a text is, relative to the data set's folder."""
    return f"{PRINTED}/{file_name(text.class_id)}-{text.wording}.png"


def _printable(text: ClassText, settings: Build) -> str:
    words = nameless(_described(text, settings.parts), text)
    try:
        lay_out(words, settings.printed)
    except ValueError as error:
        raise ValueError(f"class {text.class_id!r}, wording {text.wording}: {error}") from None
    return words


# ---- a sample's words ----------------------------------------------------------------------------------------------


def _sample(
    text: ClassText, direction: str, turn: int, parts: Sequence[str], image: str | None, prompts: TrainingPrompts
) -> Sample:
    if direction == "name_to_description":
        prompt, answer = _telling(text, turn, parts, prompts)
    else:
        prompt, answer = _naming(text, turn, parts, image is not None, prompts)
    name = direction if image is None else TWINS[direction]
    return Sample(
        id=f"{text.class_id}/{text.wording}/{name}",
        domain=text.domain,
        class_id=text.class_id,
        direction=name,
        messages=exchange(prompt, answer, image),
    )


def _fact_samples(text: ClassText, turn: int) -> Iterator[Sample]:
    """One question per fact of the text, in the training wordings; every second answer names the class."""
    for number, (fact, value) in enumerate(text.facts.items()):
        phrased = say._FACTS[text.domain][fact]
        wordings = say.training_wordings(phrased.asked)
        prompt = phrased.asked[wordings[(turn + number) % len(wordings)]].format(s=text.name)
        by_name = phrased.answer.format(S=say.capitalise(text.name), s=text.name, v=value)
        answer = by_name if (turn + number) % 2 else say.fact_answer(text.domain, fact, value)
        yield Sample(
            id=f"{text.class_id}/{text.wording}/name_to_fact_{fact}",
            domain=text.domain,
            class_id=text.class_id,
            direction="name_to_fact",
            messages=exchange(prompt, answer),
        )


def transcript(sample: Sample) -> str:
    """A sample in readable form: who says what; an image is shown as its path."""
    said = (
        (message.role, (part.text if isinstance(part, TextPart) else f"[{part.path}]" for part in message.content))
        for message in sample.messages
    )
    return "\n\n".join(f"{role}: " + "\n".join(parts) for role, parts in said)


def _telling(text: ClassText, turn: int, parts: Sequence[str], prompts: TrainingPrompts) -> tuple[str, str]:
    prompt = prompts.telling[turn % len(prompts.telling)].format(name=text.name)
    said = {"appearance": named(text), "background": text.background}
    return prompt, " ".join(words for part, words in said.items() if part in parts)


def _naming(
    text: ClassText, turn: int, parts: Sequence[str], with_image: bool, prompts: TrainingPrompts
) -> tuple[str, str]:
    """The answer has the background only if the look is used too; otherwise the prompt already gives it."""
    asked = of_domain(prompts.naming, text.domain)
    question = asked[turn % len(asked)]
    description = _described(text, parts)
    described = prompts.described.format(description=description, question=question)
    both = "appearance" in parts and "background" in parts
    answer = prompts.named.format(name=text.name, description=description) + (f" {text.background}" if both else "")
    return question if with_image else described, answer


def _described(text: ClassText, parts: Sequence[str]) -> str:
    """The description that identifies a class: its look or, if that is left out, its background without the name."""
    return text.appearance if "appearance" in parts else nameless(text.background, text)


def named(text: ClassText) -> str:
    """The look with the class's name instead of "this butterfly"; a look without such words is unchanged."""
    if text.domain not in VOCABULARIES:
        return text.appearance
    neutral = say.subject(text.domain)
    return text.appearance.replace(say.capitalise(neutral), say.capitalise(text.name)).replace(neutral, text.name)


def nameless(words: str, text: ClassText) -> str:
    """The words with "this butterfly", or "this", instead of the class's name and its article, if any.

    Case matters, so that the Peacock's name is replaced but its peacock eyespots are kept.
    """
    neutral = say.subject(text.domain) if text.domain in VOCABULARIES else "this"
    return without_names(words, text.name, neutral, small=False)


def _shuffled(read: Callable[[], Iterator[ClassText]]) -> Iterator[ClassText]:
    """The control: every name with another class's text but its own image.

    Neighbours in the table may look alike, so the classes are shifted by half their number; nothing is random. In the
    other class's background, "this" replaces the name. Two readers, one half the classes ahead, keep memory flat.
    Raises ``ValueError`` if a class would get its own text.
    """
    wordings = list(Counter(text.class_id for text in read()).values())
    ahead = sum(wordings[: len(wordings) // 2])
    others = chain(islice(read(), ahead, None), islice(read(), ahead))
    for text, other in zip(read(), others, strict=True):
        if other.class_id == text.class_id:
            raise ValueError(
                f"build.shuffled: class {text.class_id!r} would get its own text; the control needs two classes or "
                "more, with about equal numbers of wordings, and the wordings of each class next to each other"
            )
        own = {key: getattr(text, key) for key in ("class_id", "name", "wording", "image")}
        yield other.model_copy(update={**own, "background": nameless(other.background, other)})


# ---- files and questions -------------------------------------------------------------------------------------------


def choose_questions(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most ``limit`` questions per split and type, chosen at random, in their original order; None: all."""
    if limit is None:
        return list(questions)
    rng = random.Random(seed)
    groups: dict[tuple[str, int], list[str]] = {}
    for question in questions:
        groups.setdefault((question.split, question.question_type), []).append(question.question_id)
    kept = {name for ids in groups.values() for name in rng.sample(ids, k=min(limit, len(ids)))}
    return [question for question in questions if question.question_id in kept]


def asked_about(questions: Iterable[Question], classes: Classes, asked: str) -> list[Question]:
    """The questions about all classes, about those that training covers (described), or about the others."""
    if asked == "all":
        return list(questions)
    wanted = set(classes.described if asked == "described" else classes.held_back)
    return [question for question in questions if question.class_id in wanted]
