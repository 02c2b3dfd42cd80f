"""The one form of a test question, for every domain, real or drawn: four options, one of them right.

Type 1 asks for recognition ("which species is this?"), type 2 for knowledge about what the picture shows, as in the
paper. The order of the options is part of the question: it is drawn once, when the question is written, so that every
model and mode meets the same four in the same places.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from helpers.rows import RelativePath, Row, Text, read_rows, write_rows


def _four_different(options: list[str]) -> list[str]:
    if len(options) != 4 or len(set(options)) != 4:
        raise ValueError("must be four different options")
    return options


def _with_option(form: str) -> str:
    if "{option}" not in form or set(form.replace("{option}", "")) & set("{}"):
        raise ValueError("must hold {option}, where the option goes, and no other braces")
    return form


QuestionType = Literal[1, 2]
Options = Annotated[list[Text], AfterValidator(_four_different)]
Answer = Annotated[int, Field(ge=0, le=3)]
AnswerForm = Annotated[Text, AfterValidator(_with_option)]


class Question(Row):
    """One test question; ``answer`` is the place of the right option, counted from 0."""

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


def read_questions(path: str | Path) -> list[Question]:
    """All questions of a file, in its order; `helpers.rows.iterate_rows` says what it refuses."""
    return read_rows(path, Question)


def write_questions(path: str | Path, rows: Iterable[Question]) -> Path:
    """Write the questions, all or nothing; their pictures have to be there before."""
    return write_rows(path, rows)
