"""Two ways of answering a question about a picture: directly, or by describing it first.

**direct**: the picture and the question go in, an option comes out.

**describe** (this project's addition to the paper): the model first writes what it sees. For recognition (Type 1) it is
then asked the question about its own words, without the picture. For knowledge (Type 2) it also writes the name that
follows from its words, and is asked about that name. A model that learnt a class from text alone meets, in its own
description, the kind of input that it learnt from.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from PIL.Image import Image

from helpers.pictures import open_picture
from helpers.questions import Question
from helpers.scoring.protocols import PROTOCOLS, Choice, Prompt, Reader
from helpers.world import language as say

Row = dict[str, Any]
Words = tuple[str | None, str | None]  # the model's own description, and the name that it led to

GENERIC_DESCRIBING = "Describe what you see in the picture: form, colours, pattern, and what stands out."
GENERIC_NAMING = "What is this called?"
ANSWERING = ("direct", "describe")


def answer_all(
    reader: Reader,
    questions: Sequence[Question],
    folder: str | Path,
    image: str,
    answering: str,
    protocol: str,
    describe_with: str = "tuned",
    max_pixels: int | None = None,
) -> list[Row]:
    """One row a question (`tables.ANSWER_COLUMNS` without the run's own columns).

    ``image``: "with", or "without" = the same question with the picture withheld. ``describe_with``: who writes the
    description, the "tuned" model or the "base" (adapter off). Raises ``ValueError`` for a value that is none of these.
    """
    for name, value, known in (
        ("answering", answering, ANSWERING),
        ("protocol", protocol, PROTOCOLS),
        ("image", image, ("with", "without")),
        ("describe_with", describe_with, ("tuned", "base")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}")
    pictures = [_picture(q, folder, max_pixels) if image == "with" else None for q in questions]
    if answering == "direct":
        prompts = [Prompt(q.question, picture) for q, picture in zip(questions, pictures, strict=True)]
        words: Sequence[Words] = [(None, None)] * len(questions)
    else:
        words = _described_and_named(reader, questions, pictures, describe_with)
        prompts = [Prompt(_question_on_words(q, d, n)) for q, (d, n) in zip(questions, words, strict=True)]
    options = [q.options if protocol == "letter" else q.sentences() for q in questions]
    choices = PROTOCOLS[protocol](reader, prompts, options)
    fixed = {"image": image, "answering": answering, "protocol": protocol}
    return [
        {**fixed, **_row(q, prompt, choice), "description": d, "named": n}
        for q, prompt, choice, (d, n) in zip(questions, prompts, choices, words, strict=True)
    ]


def _picture(question: Question, folder: str | Path, max_pixels: int | None) -> Image | None:
    return open_picture(Path(folder) / question.picture, max_pixels) if question.picture else None


def _described_and_named(
    reader: Reader, questions: Sequence[Question], pictures: Sequence[Image | None], describe_with: str
) -> list[Words]:
    """Description and, for Type 2, the name that the model concludes from it. A picture is described once."""
    first = {q.picture or q.question_id: i for i, q in reversed(list(enumerate(questions)))}
    asked = [Prompt(_describing(questions[i]), pictures[i]) for i in first.values()]
    with _describer(reader.model, describe_with):
        described = dict(zip(first, reader.write(asked, "description"), strict=True))
    descriptions = [described[q.picture or q.question_id] for q in questions]
    to_name = [i for i, q in enumerate(questions) if q.question_type == 2]
    prompts = [Prompt(f"{descriptions[i]}\n{_naming(questions[i])}") for i in to_name]
    names = dict(zip(to_name, map(read_name, reader.write(prompts, "name", max_new_tokens=32)), strict=True))
    return [(description, names.get(i)) for i, description in enumerate(descriptions)]


def _describer(model: Any, describe_with: str) -> AbstractContextManager[Any]:
    """The base model is the tuned one with its adapter off; an untuned model has none to turn off."""
    off = describe_with == "base" and hasattr(model, "disable_adapter")
    return model.disable_adapter() if off else nullcontext()


def _domain_of(question: Question) -> str | None:
    """The drawn domain whose language a question is in, by its words for the thing."""
    return next((domain for domain in say.NAMING if question.refers == say.subject(domain)), None)


def _describing(question: Question) -> str:
    domain = _domain_of(question)
    return say.DESCRIBING[domain][say.HELD_OUT] if domain else GENERIC_DESCRIBING


def _naming(question: Question) -> str:
    domain = _domain_of(question)
    return say.NAMING[domain].asked[say.HELD_OUT] if domain else GENERIC_NAMING


def read_name(reply: str) -> str | None:
    """The name in "This is the Red Admiral. It lives ..."; None if the reply names nothing."""
    found = re.match(r"(?:This|It) is ([^.\n]+)", reply)
    return found[1].strip() if found else (reply.split("\n")[0].strip(" .") or None)


def _question_on_words(question: Question, description: str | None, name: str | None) -> str:
    """The question without its picture: about the description, or about the name that it led to."""
    if question.question_type == 1:
        return f"{description}\n{question.question}"
    if name and question.refers:
        return question.question.replace(question.refers, name)
    return f"{description}\nThis is {name}.\n{question.question}" if name else f"{description}\n{question.question}"


def _row(question: Question, prompt: Prompt, choice: Choice) -> Row:
    return {
        "question_id": question.question_id,
        "question_type": question.question_type,
        "category": question.category,
        "picture": question.picture,
        "class_id": question.class_id,
        "prompt_hash": hashlib.sha256(prompt.text.encode()).hexdigest()[:12],
        "options": question.options,
        "answer": question.answer,
        "scores": choice.scores,
        "reply": choice.reply,
        "parsed": choice.parsed,
        "correct": choice.parsed == question.answer,
    }
