"""Prompting strategies for questions about an image, and what is shown in place of the image.

**direct**: the model gets image and question, and chooses an option.

**describe_then_answer** (ours): the model first describes what it sees. For recognition (Type 1) it is then asked about
its own description, without the image. For knowledge (Type 2) it also concludes a name from the description, the
likeliest of those that the data set describes, and is asked about that name. A model that has learnt a class from text
alone then finds, in its own description, the kind of input that it learnt from. The untuned model (adapter off) writes
the description; in ``describe_then_answer_tuned`` the tuned one does. In ``describe_then_answer_image_kept`` the image
stays in every prompt, beside the untuned model's description, for models that learnt from images.

**one_pass_chain**: the model is asked once, with the image, and writes description and name in one reply, as it was
trained to (`data/prompts/training_chain.yaml`). Each option is scored behind its description and, for Type 2, behind
the name as well. Nothing is asked without the image, and no adapter is switched off.

What is shown: the image (``with``), nothing (``without``), grey of the same size (``blank``), an image of another class
(``other``), the image in words (``described``: in a held-out wording where the question has one, else the class's
training description), the class's true name in words (``named``, Type 2 only: the ceiling of describing first), or the
image with its centre weighted against the rest (``guided``). The last three are only asked directly, since there is
nothing to describe.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from helpers.config.evaluation import Answering
from helpers.config.prompts import EvaluationPrompts, evaluation_prompts, of_domain
from helpers.evaluation.descriptions import Descriptions
from helpers.evaluation.prompts import CHANGES, Prompt, Shown, other_images
from helpers.evaluation.protocols import LETTERED, LIKELIHOODS, PROTOCOLS, Choice, choose_option
from helpers.evaluation.reader import Reader, Reply
from helpers.schemas import NamedBy, Question, ShownAs

ReadAnswer = dict[str, Any]

NAME_TOKENS = 32
CHAIN = "one_pass_chain"
ANSWERING: tuple[str, ...] = get_args(Answering)
_TUNED, _IMAGE_KEPT = "describe_then_answer_tuned", "describe_then_answer_image_kept"
IMAGES: tuple[str, ...] = get_args(ShownAs)
DIRECT_ONLY = ("described", "named", "guided")


class Words(NamedTuple):
    """The model's own description, the name concluded from it, and the number of tokens of both: columns of a row."""

    description: str | None = None
    named: str | None = None
    new_tokens: int = 0
    named_by: NamedBy | None = None
    name_correct: bool | None = None


@dataclass(frozen=True)
class Exam:
    """Some questions, and what is needed to ask them.

    ``appearances``: for image "described", each class's description. ``guidance``: for image "guided". ``names``: each
    class's name as used in a sentence, for image "named" and for the names concluded from descriptions; without any,
    those are free text.
    """

    questions: Sequence[Question]
    folder: Path
    max_pixels: int | None = None
    appearances: Mapping[str, str] = field(default_factory=dict)
    guidance: float = 1.0
    circular: bool = False
    prompts: EvaluationPrompts = field(default_factory=evaluation_prompts)
    names: Mapping[str, str] = field(default_factory=dict)
    name_by: NamedBy = "likelihood"

    def shown_as(self, image: str) -> "Exam":
        """The exam with the questions that make sense with the image in this state: named, only those of Type 2."""
        if image != "named":
            return self
        return replace(self, questions=[question for question in self.questions if question.question_type == 2])


def check_strategies(image: str, answering: str, protocol: str) -> None:
    """Raise ``ValueError`` for an unknown value or a meaningless combination."""
    for name, value, known in (
        ("answering", answering, ANSWERING),
        ("protocol", protocol, PROTOCOLS),
        ("image", image, IMAGES),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}")
    if why := impossible(image, answering, protocol):
        raise ValueError(why)


def impossible(image: str, answering: str, protocol: str) -> str | None:
    """Why an image state, a prompting strategy and a protocol do not go together; None if they do."""
    if image in DIRECT_ONLY and answering != "direct":
        return f"image {image!r} is only asked directly, not with answering {answering!r}"
    if answering == CHAIN and protocol != "option_likelihood":
        return f"answering {answering!r} is read by protocol option_likelihood only, not {protocol!r}"
    if image == "guided" and protocol not in LIKELIHOODS:
        return f"image 'guided' weights scores, and protocol {protocol!r} has none; use {', '.join(LIKELIHOODS)}"
    return None


def answer_all(reader: Reader, exam: Exam, image: str, answering: str, protocol: str) -> list[ReadAnswer]:
    """One row per question (`helpers.schemas.AnswerRow` without the run's own columns)."""
    check_strategies(image, answering, protocol)
    exam = exam.shown_as(image)
    words = own_words(reader, exam, image, answering, Descriptions())
    return protocol_rows(reader, exam, image, answering, protocol, words)


def own_words(reader: Reader, exam: Exam, image: str, answering: str, untuned: Descriptions) -> list[Words]:
    """What the model writes before it is asked; nothing for answering "direct". Each image is described once.

    ``untuned``: the untuned model's descriptions so far; missing ones are added.
    """
    if answering == "direct":
        return [Words()] * len(exam.questions)
    if answering == CHAIN:
        longest = reader.max_new_tokens + NAME_TOKENS  # as much as description and name have in two turns
        replies = reader.replies(_prompts(exam, image, "direct", []), "chain", longest)
        return [Words(*read_chain(reply.text), reply.tokens) for reply in replies]
    asked = [
        Prompt(of_domain(exam.prompts.describing, q.domain), shown)
        for q, shown in zip(exam.questions, _shown(exam, image), strict=True)
    ]
    described = reader.replies(asked, "description") if answering == _TUNED else untuned.of(reader, asked)
    return _named(reader, exam, described, _shown_again(exam, image, answering))


def _named(reader: Reader, exam: Exam, described: Sequence[Reply], shown: Sequence[Shown | None]) -> list[Words]:
    """The descriptions and, for Type 2, the names that the model concludes from them, and from what is shown."""
    to_name = {i: naming_question(q, exam.prompts) for i, q in enumerate(exam.questions) if q.question_type == 2}
    prompts = [Prompt(exam.prompts.about(described[i].text, question), shown[i]) for i, question in to_name.items()]
    by: NamedBy = exam.name_by if exam.names else "free_text"
    conclude = _likeliest_names if by == "likelihood" else _written_names
    names = dict(zip(to_name, conclude(reader, exam, prompts), strict=True))
    words = [Words(reply.text, None, reply.tokens) for reply in described]
    for i, (name, tokens) in names.items():
        true_name = exam.names.get(exam.questions[i].class_id or "")
        correct = None if true_name is None else name == true_name
        words[i] = Words(described[i].text, name, described[i].tokens + tokens, by, correct)
    return words


def _likeliest_names(reader: Reader, exam: Exam, prompts: Sequence[Prompt]) -> list[tuple[str | None, int]]:
    sentences = {exam.prompts.naming_answer.format(name=name): name for name in exam.names.values()}
    return [(sentences[found], 0) for found in reader.likeliest(prompts, list(sentences), "name")]


def _written_names(reader: Reader, exam: Exam, prompts: Sequence[Prompt]) -> list[tuple[str | None, int]]:
    """Free text and its tokens; only a name of the data set counts as one, if the data set's names are known."""
    replies = reader.replies(prompts, "name", NAME_TOKENS)
    known = {form.casefold(): name for name in exam.names.values() for form in (name.removeprefix("the "), name)}
    read = [(read_name(reply.text), reply.tokens) for reply in replies]
    return [(known.get((name or "").casefold()) if known else name, tokens) for name, tokens in read]


def protocol_rows(
    reader: Reader, exam: Exam, image: str, answering: str, protocol: str, words: Sequence[Words]
) -> list[ReadAnswer]:
    """The rows of one protocol, given the model's own words."""
    questions = exam.questions
    prompts = _prompts(exam, image, answering, words)
    options = [q.options if protocol in LETTERED else q.sentences() for q in questions]
    if answering == CHAIN:
        options = [[f"{_begun(q, w)}{o}" for o in four] for q, w, four in zip(questions, words, options, strict=True)]
    against = _prompts(exam, "without_centre", "direct", words) if image == "guided" else None
    answers = [q.answer for q in questions]
    choices = choose_option(
        protocol, reader, prompts, options, answers, exam.circular, against, exam.guidance, exam.prompts
    )
    fixed = {"image": image, "answering": answering, "protocol": protocol}
    prompts = scored_prompts(exam, image, answering, protocol, words)
    return [
        {**fixed, **row(q, prompt, choice), **w._asdict()}
        | {"new_tokens": choice.new_tokens + w.new_tokens, **choice.columns}
        for q, prompt, choice, w in zip(questions, prompts, choices, words, strict=True)
    ]


def scored_prompts(
    exam: Exam, image: str, answering: str, protocol: str, words: Sequence[Words] | None = None
) -> list[Prompt]:
    """The prompt before each answer that is scored, with options if the protocol lists them.

    ``words``: the result of `own_words`, for the strategies that need it.
    """
    prompts = _prompts(exam, image, answering, words or [Words()] * len(exam.questions))
    if protocol not in LETTERED:
        return prompts
    return [
        Prompt(exam.prompts.with_letters(prompt.text, question.options), prompt.image)
        for prompt, question in zip(prompts, exam.questions, strict=True)
    ]


def _prompts(exam: Exam, image: str, answering: str, words: Sequence[Words]) -> list[Prompt]:
    if answering not in ("direct", CHAIN):
        asked = [_question_on_words(exam, q, w) for q, w in zip(exam.questions, words, strict=True)]
        return list(map(Prompt, asked, _shown_again(exam, image, answering)))
    if image == "described":
        return [
            Prompt(exam.prompts.about(_appearance(exam, question), question.question)) for question in exam.questions
        ]
    if image == "named":
        return [Prompt(_question_on_name(exam, question)) for question in exam.questions]
    return [Prompt(q.question, shown) for q, shown in zip(exam.questions, _shown(exam, image), strict=True)]


def _appearance(exam: Exam, question: Question) -> str:
    if question.described is not None:
        return question.described
    return _of_class(question, exam.appearances, "description", "described")


def _question_on_name(exam: Exam, question: Question) -> str:
    """The question about the class's true name."""
    name = _of_class(question, exam.names, "name", "named")
    if question.refers:
        return question.question.replace(question.refers, name)
    return exam.prompts.about(exam.prompts.naming_answer.format(name=name), question.question)


def _of_class(question: Question, by_class: Mapping[str, str], what: str, image: str) -> str:
    if question.class_id is None or question.class_id not in by_class:
        raise ValueError(
            f"question {question.question_id!r}: class {question.class_id!r} has no {what}, and image {image!r} shows "
            f"one in place of the image ({len(by_class)} classes have one); write it, or drop {image!r}"
        )
    return by_class[question.class_id]


def _shown(exam: Exam, image: str) -> list[Shown | None]:
    """The image for each question; None for a question without one."""
    if image == "without":
        return [None] * len(exam.questions)
    others = other_images(exam.questions) if image == "other" else {}
    change = image if image in CHANGES else "none"
    images = [others.get(q.image or "", q.image) for q in exam.questions]
    return [Shown(exam.folder / path, exam.max_pixels, change) if path else None for path in images]


def _shown_again(exam: Exam, image: str, answering: str) -> list[Shown | None]:
    """The image beside the description of it: none, unless it is kept."""
    return _shown(exam, image if answering == _IMAGE_KEPT else "without")


def naming_question(question: Question, prompts: EvaluationPrompts) -> str:
    """The question for a thing's name, in this question's domain."""
    return of_domain(prompts.naming, question.domain)


def read_name(reply: str) -> str | None:
    """The name in "This is the Red Admiral. It lives ..."; None if the reply names nothing."""
    found = re.match(r"(?:This|It) is ([^.\n]+)", reply)
    return found[1].strip() if found else (reply.split("\n")[0].strip(" .") or None)


def read_chain(reply: str) -> tuple[str, str | None]:
    """Description and name in "The wings are red. This is the Monarch. It lives ..."; None for no or half a name."""
    found = re.search(r"(?:^|(?<=[.!?])\s+)This is ([^.\n]+)(\.?)", reply)
    if not found:
        return reply, None
    return reply[: found.start()].strip(), found[1].strip() if found[2] else None


def _begun(question: Question, words: Words) -> str:
    """What an option follows in a chain: the description and, for Type 2, the name."""
    name = f"This is {words.named}." if question.question_type == 2 and words.named else ""
    return "".join(f"{part} " for part in (words.description, name) if part)


def _question_on_words(exam: Exam, question: Question, words: Words) -> str:
    """The question's words: about the description, or about the name concluded from it."""
    description, name = words.description, words.named
    if question.question_type == 1 or not name:
        return exam.prompts.about(description, question.question)
    if question.refers:
        return question.question.replace(question.refers, name)
    return exam.prompts.named.format(description=description, name=name, question=question.question)


def row(question: Question, prompt: Prompt, choice: Choice) -> ReadAnswer:
    """The part of an `AnswerRow` that every answer has, including a baseline's."""
    return {
        "question_id": question.question_id,
        "question_type": question.question_type,
        "category": question.category,
        "image_path": question.image,
        "class_id": question.class_id,
        "prompt_hash": hashlib.sha256(prompt.text.encode()).hexdigest()[:12],
        "options": question.options,
        "answer": question.answer,
        "scores": choice.scores,
        "reply": choice.reply,
        "parsed": choice.parsed,
        "correct": choice.parsed == question.answer,
    }
