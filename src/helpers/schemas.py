"""Every row that crosses a file: training texts, training samples, test questions, answers, what a training cost.

A `ClassText` is what a writer says of a class (notebook 01). A `Sample` is one conversation that a model is trained on
(notebook 02), in the chat format of the Hugging Face libraries. A `Question` has four options, one of them right. Type 1
asks for recognition ("which species is this?"), type 2 for knowledge about what the picture shows, as in the paper. The
order of the options is drawn once, when the question is written: every model and mode meets the same four in the same
places. An `AnswerRow` is one question answered once (notebooks 04 and 12), a `ResourceRecord` one training (notebook 03):
every table derives from these two.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from helpers.paths import MAIN
from helpers.rows import NotNegative, RelativePath, Row, Text, read_rows, write_rows


def _four_different(options: list[str]) -> list[str]:
    if len(options) != 4 or len(set(options)) != 4:
        raise ValueError("must be four different options")
    return options


def _with_option(form: str) -> str:
    if "{option}" not in form or set(form.replace("{option}", "")) & set("{}"):
        raise ValueError("must hold {option}, where the option goes, and no other braces")
    return form


OPTION_LETTERS = "ABCD"  # of a question's four options, where they are listed
LETTER_TOKENS = 3  # of a reply that is to be a letter
QuestionType = Literal[1, 2]
Options = Annotated[list[Text], AfterValidator(_four_different)]
Answer = Annotated[int, Field(ge=0, le=3)]
AnswerForm = Annotated[Text, AfterValidator(_with_option)]
ShownAs = Literal["with", "without", "blank", "other", "described", "guided"]  # see `helpers.evaluation.strategies`
_Name = Annotated[str, Field(min_length=1)]  # no validator in Python: there are many rows of answers


class Question(Row):
    """One test question; ``answer`` is the place of the right option, counted from 0."""

    domain: Text  # as `ClassText.domain`: the test is asked in the language that the training spoke
    question_id: Text  # unique within a file
    question_type: QuestionType
    category: Text
    class_id: Text | None  # the class in the picture; None where the data set does not say
    question: Text
    options: Options
    answer: Answer
    picture: RelativePath | None  # from the folder of the file of questions; None = asked without a picture
    split: Literal["test", "dev"]  # settings are chosen on "dev"; "test" is what the tables report
    answer_form: AnswerForm = "{option}"  # the sentence that an option is scored in, e.g. "It lives in {option}."
    refers: Text | None = None  # its words for the thing in view ("this butterfly"), where they are known

    def sentences(self) -> list[str]:
        """The four options, each as an answer in full."""
        return [self.answer_form.format(option=option) for option in self.options]

    @property
    def key(self) -> str:
        """Its id."""
        return self.question_id

    @property
    def pictures(self) -> list[str]:
        """None or one."""
        return [] if self.picture is None else [self.picture]

    @property
    def right_option(self) -> str:
        """The answer in words."""
        return self.options[self.answer]


class ClassText(Row):
    """What a writer says of one class in one wording: a row of ``texts.jsonl``."""

    class_id: Text
    name: Text
    domain: Text  # whose language the prompts about it use; a name without a language of its own is asked generically
    look: Text  # one or more sentences: what it looks like
    background: Text  # one or more sentences: what is known of it beyond its look
    wording: NotNegative  # which of several ways of saying the same, counted from 0
    writer: Text  # "offline" in the demo
    picture: RelativePath | None  # the class's training picture, from the folder of the file
    prompt_hash: str | None = None  # of the prompt that a model wrote it to; None: no model was asked

    @property
    def key(self) -> str:
        """A class has one text a wording."""
        return f"{self.class_id}, wording {self.wording}"

    @property
    def pictures(self) -> list[str]:
        """None or one."""
        return [] if self.picture is None else [self.picture]


class PicturePart(Row):
    """A picture within a message; ``path`` counts from the folder of the file of samples."""

    type: Literal["image"] = "image"
    path: RelativePath


class TextPart(Row):
    """Words within a message."""

    type: Literal["text"] = "text"
    text: Text


class Message(Row):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: list[Annotated[PicturePart | TextPart, Field(discriminator="type")]]

    @property
    def form(self) -> tuple[str, ...]:
        """What the parts are, in order, such as ("image", "text")."""
        return tuple(part.type for part in self.content)


class Sample(Row):
    """One exchange: a user's prompt, with or without a picture before it, and the assistant's answer.

    ``direction`` says what leads to what: "name_to_description", "description_to_name", "picture_to_name", ... It
    begins with "picture" if and only if the sample has one, so that a direction says by itself what a model was given.
    """

    id: Text  # unique within a file
    domain: Text
    class_id: Text
    direction: Text
    messages: list[Message]

    @model_validator(mode="after")
    def _one_exchange(self) -> "Sample":
        if [message.role for message in self.messages] != ["user", "assistant"]:
            raise ValueError("messages must be one of the user and then one of the assistant")
        if self.messages[0].form not in {("text",), ("image", "text")} or self.messages[1].form != ("text",):
            raise ValueError("the user's content must be a text, or an image and then a text; the assistant's, a text")
        if bool(self.pictures) != self.direction.startswith("picture"):
            raise ValueError("direction must begin with 'picture' if and only if the sample has a picture")
        return self

    @property
    def key(self) -> str:
        """Its id."""
        return self.id

    @property
    def pictures(self) -> list[str]:
        """None or one."""
        return [part.path for message in self.messages for part in message.content if isinstance(part, PicturePart)]

    @property
    def texts(self) -> list[str]:
        """Prompt and answer."""
        return [part.text for message in self.messages for part in message.content if isinstance(part, TextPart)]


class AnswerRow(Row):
    """One question answered once, in one way and read by one protocol; a baseline's too.

    The fields without a default are the columns of every table of answers.
    """

    model_config = ConfigDict(extra="ignore")  # reading passes over what other versions wrote; writing does not

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
    picture: str | None
    class_id: str | None
    prompt_hash: str
    options: Annotated[list[str], Field(min_length=4, max_length=4)]
    answer: Answer
    scores: Annotated[list[float], Field(min_length=4, max_length=4)] | None  # None: the protocol reads a reply
    description: str | None  # the model's own words, where it describes first
    named: str | None  # the name that they led to
    reply: str | None
    parsed: Answer | None  # the option that was chosen; None: the reply is unreadable, and so wrong
    correct: bool
    new_tokens: NotNegative
    dataset_hash: str | None = (
        None  # `questions_hash` of the set it was asked in; None: an older row, which tells nothing
    )
    rotation_scores: list[list[float]] | None = None  # these five: see `helpers.evaluation.protocols`
    rotation_parsed: list[int | None] | None = None
    rotation_replies: list[str] | None = None
    letter_form: str | None = None
    alternative_parsed: int | None = None

    @model_validator(mode="after")
    def _right_if_the_answer(self) -> "AnswerRow":
        if self.correct != (self.parsed == self.answer):
            raise ValueError(f"correct is {self.correct}; it must be true exactly when parsed equals answer")
        return self

    @property
    def key(self) -> str:
        """A run answers a question once in each way."""
        run = f"{self.model}/{self.domain}/{self.mode}/{self.variant}/{self.seed}"
        return f"{run}/{self.image}/{self.answering}/{self.protocol}/{self.question_id}"


class ResourceRecord(Row):
    """What a training cost: ``resources.json``. It may say more (phases, operations, hardware), which is kept."""

    model_config = ConfigDict(extra="allow")

    model: _Name
    domain: _Name
    mode: _Name
    variant: _Name = MAIN  # a record that names none is of the profile as it stands
    seed: NotNegative
    seconds: float
    peak_memory_mb: float
    energy_wh: float | None  # None: it could not be measured
    vision_tower_calls: NotNegative
    tokens: NotNegative
    samples: NotNegative


def questions_hash(questions: Iterable[Question]) -> str:
    """Twelve hex digits that tell one set of questions from another, whatever file it is in; the order counts."""
    content = hashlib.sha256()
    for question in questions:
        content.update(question.model_dump_json().encode())
    return content.hexdigest()[:12]


def exchange(prompt: str, answer: str, picture: str | None = None) -> list[Message]:
    """The messages of a sample; the picture, if any, comes before the prompt."""
    seen = [] if picture is None else [PicturePart(path=picture)]
    user = Message(role="user", content=[*seen, TextPart(text=prompt)])
    return [user, Message(role="assistant", content=[TextPart(text=answer)])]


def read_texts(path: str | Path) -> list[ClassText]:
    """All texts of a file, in its order; `helpers.rows.iterate_rows` says what it refuses."""
    return read_rows(path, ClassText)


def write_texts(path: str | Path, rows: Iterable[ClassText]) -> Path:
    """Write the texts, all or nothing; their pictures have to be there before."""
    return write_rows(path, rows)


def read_samples(path: str | Path, text_only: bool = False) -> list[Sample]:
    """All samples of a file, in its order; a picture in a file that is to be ``text_only`` is an error too."""
    samples = read_rows(path, Sample)
    return list(_without_pictures(samples, path)) if text_only else samples


def write_samples(path: str | Path, rows: Iterable[Sample], text_only: bool = False) -> Path:
    """Write the samples, all or nothing; their pictures have to be there before."""
    return write_rows(path, _without_pictures(rows, path) if text_only else rows)


def _without_pictures(rows: Iterable[Sample], path: str | Path) -> Iterator[Sample]:
    for row in rows:
        if row.pictures:
            raise ValueError(f"{path}: sample {row.id!r} shows {row.pictures[0]!r}; a text-only set has no picture")
        yield row


def read_questions(path: str | Path) -> list[Question]:
    """All questions of a file, in its order; `helpers.rows.iterate_rows` says what it refuses."""
    return read_rows(path, Question)


def write_questions(path: str | Path, rows: Iterable[Question]) -> Path:
    """Write the questions, all or nothing; their pictures have to be there before."""
    return write_rows(path, rows)
