"""The rows of every file: training texts, training samples, test questions, answers, and the cost of a training run.

A `ClassText` is what a writer says about a class (notebook 01). A `Sample` is one conversation that a model is trained
on (notebook 02), in the chat format of the Hugging Face libraries. A `Question` has four options, one of them right.
As in the paper, type 1 tests recognition ("which species is this?") and type 2 tests knowledge about what the image
shows. The order of the options is drawn once, when the question is written, so every model and mode sees the same
order. An `AnswerRow` is one answer to one question (notebooks 04 and 12), and a `ResourceRecord` describes one training
run (notebook 03). Every table derives from these two.
"""

import hashlib
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from helpers.paths import MAIN
from helpers.rows import NotNegative, RelativePath, Row, Text, iterate_rows, read_rows, write_rows

# The forms that models write marks in: <|im_end|>, <s>, <image>, <start_of_turn>, [INST], <<SYS>>
_MARKS = re.compile(
    r"<[|｜][^<>|｜\s]{1,60}[|｜]>|</?(?:s|bos|eos|pad|unk|mask|sep|cls|image|img|video|audio|think|tool_call)>"
    r"|<(?:im|image|vision|start_of|end_of)_[a-z_]{1,30}>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]"
    r"|\[IMG(?:_BREAK|_END)?\]|<</?SYS>>"
)


def chat_mark(text: str, tokens: Iterable[str] = ()) -> str | None:
    """The first mark of a chat template in the text, which a model would not read as text; None if there is none.

    ``tokens``: the special tokens of a processor, besides the forms that are common to many.
    """
    found = _MARKS.search(text)
    return found[0] if found else next((token for token in tokens if token in text), None)


def _without_marks(text: str) -> str:
    if mark := chat_mark(text):
        raise ValueError(f"holds {mark!r}, which a model takes for a mark of its chat; delete it, or say it in words")
    return text


def _four_different(options: list[str]) -> list[str]:
    if len(options) != 4 or len(set(options)) != 4:
        raise ValueError("must be four different options")
    return options


def _with_option(form: str) -> str:
    if "{option}" not in form or set(form.replace("{option}", "")) & set("{}"):
        raise ValueError("must hold {option} where the option goes, and no other braces")
    return form


OPTION_LETTERS = "ABCD"  # label a question's four options where they are listed
LETTER_TOKENS = 3  # generated for a reply that should be a letter
QuestionType = Literal[1, 2]
QuestionSplit = Literal["test", "dev"]
Said = Annotated[Text, AfterValidator(_without_marks)]  # whatever a model reads: every source's words pass this check
Options = Annotated[list[Said], AfterValidator(_four_different)]
Answer = Annotated[int, Field(ge=0, le=3)]
AnswerForm = Annotated[Said, AfterValidator(_with_option)]
ShownAs = Literal[
    "with", "without", "blank", "other", "described", "named", "guided"
]  # see `helpers.evaluation.strategies`
NamedBy = Literal["likelihood", "free_text"]
_Name = Annotated[str, Field(min_length=1)]  # validated without Python code, as there are many rows of answers


class Question(Row):
    """One test question; ``answer`` is the index of the right option, from 0."""

    domain: Text  # as `ClassText.domain`: the test uses the same language as the training
    question_id: Text  # unique within a file
    question_type: QuestionType
    category: Text
    class_id: Text | None  # the class in the image; None if the data set does not say
    question: Said
    options: Options
    answer: Answer
    image: RelativePath | None  # relative to the folder of the questions file; None: asked without an image
    split: QuestionSplit  # settings are chosen on "dev"; the tables report "test"
    answer_form: AnswerForm = "{option}"  # the sentence in which an option is scored, e.g. "It lives in {option}."
    refers: Text | None = None  # how it refers to the thing in the image ("this butterfly"), if known
    described: Said | None = None  # the image in words that no training text has, for image "described"; None: unknown

    @model_validator(mode="after")
    def _sentences_without_marks(self) -> "Question":
        for sentence in self.sentences():  # "<{option}>" and "image" are harmless apart
            _without_marks(sentence)
        return self

    def sentences(self) -> list[str]:
        """The four options, each as a complete answer."""
        return [self.answer_form.format(option=option) for option in self.options]

    @property
    def key(self) -> str:
        """Its id."""
        return self.question_id

    @property
    def images(self) -> list[str]:
        """At most one."""
        return [] if self.image is None else [self.image]

    @property
    def right_option(self) -> str:
        """The answer in words."""
        return self.options[self.answer]


def shuffled_question(rng: random.Random, options: Sequence[str], **fields: Any) -> Question:
    """A question whose options, the right one first, are put in random order; ``fields`` are its other fields."""
    shuffled = rng.sample(options, k=len(options))
    return Question(options=shuffled, answer=shuffled.index(options[0]), **fields)


class ClassText(Row):
    """What a writer says about one class, in one wording: a row of ``texts.jsonl``."""

    class_id: Text
    name: Said
    domain: Text  # decides the language of the prompts; a domain without its own gets the generic one
    appearance: Said  # one or more sentences about its appearance
    background: Said  # one or more sentences about what else is known of it
    wording: NotNegative  # which of several ways to say the same, from 0
    writer: Text  # "offline" in the demo
    image: RelativePath | None  # the class's training image, relative to the folder of the file
    prompt_hash: str | None = None  # identifies the prompt that a model answered; None: no model was asked
    facts: dict[Text, Said] = Field(default_factory=dict)  # of a drawn domain: what the background says, one by one

    @property
    def option_names(self) -> tuple[str, str]:
        """How an option may name the class: with or without "the"."""
        return self.name, self.name.removeprefix("the ")

    @property
    def key(self) -> str:
        """A class has one text per wording."""
        return f"{self.class_id}, wording {self.wording}"

    @property
    def images(self) -> list[str]:
        """At most one."""
        return [] if self.image is None else [self.image]


class ImagePart(Row):
    """An image within a message; ``path`` is relative to the folder of the samples file."""

    type: Literal["image"] = "image"
    path: RelativePath


class TextPart(Row):
    """Text within a message."""

    type: Literal["text"] = "text"
    text: Said


class Message(Row):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: list[Annotated[ImagePart | TextPart, Field(discriminator="type")]]

    @property
    def form(self) -> tuple[str, ...]:
        """The types of the parts, in order, such as ("image", "text")."""
        return tuple(part.type for part in self.content)


class Sample(Row):
    """One exchange: a user's prompt, with or without an image before it, and the assistant's answer.

    ``direction`` says what leads to what: "name_to_description", "description_to_name", "image_to_name", ... It
    begins with "image" if and only if the sample has an image, so the direction alone says what a model was given.
    """

    id: Text  # unique within a file
    domain: Text
    class_id: Text
    direction: Text
    messages: list[Message]

    @model_validator(mode="after")
    def _one_exchange(self) -> "Sample":
        if [message.role for message in self.messages] != ["user", "assistant"]:
            raise ValueError("messages must be one from the user, then one from the assistant")
        if self.messages[0].form not in {("text",), ("image", "text")} or self.messages[1].form != ("text",):
            raise ValueError("the user's content must be a text, or an image and then a text; the assistant's, a text")
        if bool(self.images) != self.direction.startswith("image"):
            raise ValueError("direction must begin with 'image' if and only if the sample has an image")
        return self

    @property
    def key(self) -> str:
        """Its id."""
        return self.id

    @property
    def images(self) -> list[str]:
        """At most one."""
        return [part.path for message in self.messages for part in message.content if isinstance(part, ImagePart)]

    @property
    def texts(self) -> list[str]:
        """Prompt and answer."""
        return [part.text for message in self.messages for part in message.content if isinstance(part, TextPart)]


class AnswerRow(Row):
    """One answer to one question, with one strategy and one protocol; also used for baselines.

    The fields without a default are the columns of every table of answers.
    """

    model_config = ConfigDict(extra="ignore")  # fields that other versions wrote are ignored when read

    model: _Name
    domain: _Name  # the profile's name, which need not be the question's
    mode: _Name
    variant: _Name
    seed: NotNegative
    image: ShownAs
    answering: _Name
    protocol: _Name
    question_id: _Name
    question_type: QuestionType
    category: _Name
    image_path: str | None
    class_id: str | None
    prompt_hash: str
    options: Annotated[list[str], Field(min_length=4, max_length=4)]
    answer: Answer
    scores: Annotated[list[float], Field(min_length=4, max_length=4)] | None  # None: the protocol reads a reply
    description: str | None  # the model's own description, if it describes first
    named: str | None  # the name that it derived from the description
    reply: str | None
    parsed: Answer | None  # the chosen option; None: the reply is unreadable, and so wrong
    correct: bool
    new_tokens: NotNegative
    dataset_hash: str | None = None  # `questions_hash` of the question's set; None: an older row, so unknown
    rotation_scores: list[list[float]] | None = None  # `helpers.evaluation.protocols` explains these five
    rotation_parsed: list[int | None] | None = None
    rotation_replies: list[str] | None = None
    letter_form: str | None = None
    alternative_parsed: int | None = None
    left_out: NotNegative | None = None  # questions of the data set that were left out; None: none
    named_by: NamedBy | None = None  # how the name was found; None: no name was looked for
    name_correct: bool | None = None  # whether it is the class's; None: not looked for, or the class's is not known

    @model_validator(mode="after")
    def _right_if_the_answer(self) -> "AnswerRow":
        if self.correct != (self.parsed == self.answer):
            raise ValueError(f"correct is {self.correct}; it must be true if and only if parsed equals answer")
        return self

    @property
    def key(self) -> str:
        """A run answers a question once per combination of image, strategy and protocol."""
        run = f"{self.model}/{self.domain}/{self.mode}/{self.variant}/{self.seed}"
        return f"{run}/{self.image}/{self.answering}/{self.protocol}/{self.question_id}"


NO_METER = "not measured (no meter: an estimate would be time told twice)"  # why a record has no energy


class ResourceRecord(Row):
    """The cost of a training run: ``resources.json``. Further fields (phases, operations, hardware) are kept; of these,
    ``texts_hash`` (see `texts_hash`) says what was trained on."""

    model_config = ConfigDict(extra="allow")

    model: _Name
    domain: _Name
    mode: _Name
    variant: _Name = MAIN  # a record without a variant belongs to the unchanged profile
    seed: NotNegative
    compute_seconds: float | None = None  # of the CPU or the GPU: the clock that repeats
    compute_of: str = "CPU"
    seconds: float  # by the wall
    memory_above_model_mb: float | None = None  # the peak above the loaded model; None: an older record
    peak_memory_mb: float
    energy_wh: float | None  # None: no meter measured it
    energy_source: str = "not recorded"  # how it was measured, or why it is empty
    vision_tower_calls: NotNegative
    tokens: NotNegative
    samples: NotNegative

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, record: Any) -> Any:
        """Earlier, an estimated energy was recorded like a measured one, and compute seconds were those of the CPU."""
        if not isinstance(record, dict) or "compute_seconds" in record or "energy_wh" not in record:
            return record
        modes = (record.get("energy_modes") or {}).items()
        measured = [record[f"{part}_wh"] for part, mode in modes if str(mode).startswith("measured")]
        energy = sum(measured) if measured and None not in measured else None
        clock = "GPU" if record.get("memory_of") == "GPU" else "CPU"
        return {
            **record,
            **{"energy_wh": energy, "energy_estimate_wh": record["energy_wh"]},
            **({} if measured else {"energy_source": NO_METER}),
            **{"compute_of": clock, "compute_seconds": record.get("cpu_seconds") if clock == "CPU" else None},
        }


def questions_hash(questions: Iterable[Question]) -> str:
    """Twelve hex digits that identify a set of questions, whichever file it is in; the order matters."""
    content = hashlib.sha256()
    for question in questions:
        content.update(question.model_dump_json().encode())
    return content.hexdigest()[:12]


def texts_hash(folder: str | Path) -> str | None:
    """Twelve hex digits that identify the texts in a data set's ``texts.jsonl``; None without such a file."""
    file, content = Path(folder) / "texts.jsonl", hashlib.sha256()
    if not file.is_file():
        return None
    for text in iterate_rows(file, ClassText):
        content.update("\0".join((text.class_id, text.name, text.appearance, text.background)).encode())
    return content.hexdigest()[:12]


def exchange(prompt: str, answer: str, image: str | None = None) -> list[Message]:
    """The messages of a sample; the image, if any, comes before the prompt."""
    seen = [] if image is None else [ImagePart(path=image)]
    user = Message(role="user", content=[*seen, TextPart(text=prompt)])
    return [user, Message(role="assistant", content=[TextPart(text=answer)])]


def read_texts(path: str | Path) -> list[ClassText]:
    """All texts of a file, in file order. Raises as `helpers.rows.iterate_rows` does."""
    return read_rows(path, ClassText)


def write_texts(path: str | Path, rows: Iterable[ClassText]) -> Path:
    """Write the texts, all or none; their images must already be there."""
    return write_rows(path, rows)


def read_samples(path: str | Path, text_only: bool = False) -> list[Sample]:
    """All samples of a file, in file order. If it has to be ``text_only``, an image is an error too."""
    samples = read_rows(path, Sample)
    return list(_without_images(samples, path)) if text_only else samples


def write_samples(path: str | Path, rows: Iterable[Sample], text_only: bool = False) -> Path:
    """Write the samples, all or none; their images must already be there."""
    return write_rows(path, _without_images(rows, path) if text_only else rows)


def _without_images(rows: Iterable[Sample], path: str | Path) -> Iterator[Sample]:
    for row in rows:
        if row.images:
            raise ValueError(f"{path}: sample {row.id!r} shows {row.images[0]!r}; a text-only set has no images")
        yield row


def read_questions(path: str | Path) -> list[Question]:
    """All questions of a file, in file order. Raises as `helpers.rows.iterate_rows` does."""
    return read_rows(path, Question)


def write_questions(path: str | Path, rows: Iterable[Question]) -> Path:
    """Write the questions, all or none; their images must already be there."""
    return write_rows(path, rows)
