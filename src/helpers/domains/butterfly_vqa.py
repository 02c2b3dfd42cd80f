"""Questions about butterflies from parquet files whose columns are found by type and name.

An image, a question, four options and the answer are required; a type and a class are used if there are columns for
them. The options are a list, four columns, or "A) ... B) ... C) ... D) ..." in one text, possibly the question's. The
answer is a letter, a number or the option itself. `helpers.domains.butterflies` describes the authors' set.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.domains import parquet_source
from helpers.domains.drawn import DrawnClass
from helpers.schemas import OPTION_LETTERS, Question
from helpers.synthetic import language as say

# The names that a column may have, the most likely first; compared in lower case.
QUESTION = ("question", "query", "prompt", "text", "instruction")
_OPTIONS = ("options", "choices", "candidates", "answers", "option", "choice")
ANSWER = "answer correct_answer answer_key answer_index correct target ground_truth gt solution".split()
TYPE = ("question_type", "type", "task_type", "qtype", "task", "category")
CLASS = ("label", "class", "class_name", "species", "label_name", "name", "butterfly", "keyword")
_OPTION_COLUMNS = [
    [f"{stem}{mark}" for mark in marks]
    for stem in ("option_", "option", "choice_", "choice", "answer_", "")
    for marks in ("abcd", "1234", "0123")
    if stem or marks == "abcd"
]
NAMING_WORDS = ("recog", "classif", "visual", "naming", "identif")  # in types given as words
KNOWING_WORDS = ("reason", "knowledge", "background", "ecolog")


@dataclass(frozen=True)
class Columns:
    """Which column has which part; ``options`` is one column, four, or none if they are in the question."""

    image: str
    question: str
    options: list[str]
    answer: str
    type_: str | None
    label: str | None

    def all(self) -> list[str]:
        named = [self.image, self.question, *self.options, self.answer, self.type_, self.label]
        return [name for name in named if name is not None]


def find_columns(kinds: Mapping[str, str], place: str) -> Columns:
    """Assign the columns of `parquet_source.columns`. Raises ``ValueError`` if one is missing."""
    images = [name for name, kind in kinds.items() if kind == "image"]
    question = _named(QUESTION, kinds, "text")
    answer = _named(ANSWER, kinds, "text", "number")
    parts = {"an image": images, "a question": question, "an answer": answer}
    if missing := [part for part, found in parts.items() if not found]:
        there = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise ValueError(
            f"{place}: no column for {' and '.join(missing)}; there are {there}. Rename the columns: a question is "
            f"called one of {', '.join(QUESTION)}; an answer is called one of {', '.join(ANSWER)}"
        )
    image = _named(("image", "picture", "photo"), kinds, "image") or images[0]
    type_, label = _named(TYPE, kinds, "text", "number"), _named(CLASS, kinds, "text")
    return Columns(image, str(question), _option_columns(kinds), str(answer), type_, label)


def _named(names: Sequence[str], kinds: Mapping[str, str], *allowed: str) -> str | None:
    found = {column.lower(): column for column, kind in kinds.items() if kind in allowed}
    return next((found[name] for name in names if name in found), None)


def _option_columns(kinds: Mapping[str, str]) -> list[str]:
    if one := _named(_OPTIONS, kinds, "texts", "text"):
        return [one]
    there = {column.lower(): column for column, kind in kinds.items() if kind == "text"}
    for four in _OPTION_COLUMNS:
        if all(name in there for name in four):
            return [there[name] for name in four]
    return []


def read(
    files: Sequence[Path], classes: Mapping[str, DrawnClass], known: AbstractSet[str]
) -> tuple[list[Question], parquet_source.ImageBook]:
    """The questions about ``classes`` (by label) and the book of their images.

    Rows about other ``known`` labels are skipped: a limit on the classes excludes them. One ``ValueError`` names every
    row that is not a valid question or has no readable image.
    """
    columns = find_columns(parquet_source.columns(files), str(files[0]))
    reader = _Reader(columns, _first_number(files, columns), classes, known)
    book = parquet_source.ImageBook(files, columns.image)
    questions, faults = [], []
    for place, values in parquet_source.iterate_parquet(files, columns.all()):
        try:
            if question := reader.question(values, place, files, book):
                questions.append(question)
        except ValueError as error:
            row = parquet_source.where(files, place)
            faults.append(str(error) if str(error).startswith(row) else f"{row}: {error}")
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise ValueError(f"{len(faults)} row(s) are not questions with an image:\n{listed}\nCorrect or remove them")
    if not questions:
        raise ValueError(f"{files[0]}: no question about the chosen classes; fetch it again, or choose more classes")
    return questions, book


def _first_number(files: Sequence[Path], columns: Columns) -> int:
    """Whether numbered answers count from 0 or from 1, which a single row cannot tell."""
    values = {str(row[columns.answer]).strip() for _, row in parquet_source.iterate_parquet(files, [columns.answer])}
    numbers = {int(value) for value in values if value.isdecimal()}
    if not numbers or (numbers <= {0, 1, 2, 3} and 0 in numbers):
        return 0
    if numbers <= {1, 2, 3, 4} and 4 in numbers:
        return 1
    if numbers <= {1, 2, 3}:
        raise ValueError(
            f"{files[0]}: answers are {sorted(numbers)}: is the first option 0 or 1? Write the letters A to D instead"
        )
    return 0  # not indices but options, such as years


@dataclass(frozen=True)
class _Reader:
    columns: Columns
    first_number: int
    classes: Mapping[str, DrawnClass]
    known: AbstractSet[str]

    def question(
        self,
        values: dict[str, Any],
        place: parquet_source.Place,
        files: Sequence[Path],
        book: parquet_source.ImageBook,
    ) -> Question | None:
        row = parquet_source.where(files, place)
        text, options = options_of(values, self.columns)
        answer = answer_of(values[self.columns.answer], options, self.first_number)
        kind = self._type(values, options)
        label = self._label(values, options[answer] if kind == 1 else "")
        if label not in self.classes:
            if label in self.known:
                return None
            if self.columns.label:  # without one, nothing says which class the image of a type-2 question shows
                raise ValueError(f"label {values[self.columns.label]!r} is not a class in data/butterflies.csv")
        thing = self.classes.get(label)
        stem = f"images/test/{thing.class_id if thing else 'unknown'}"
        image = book.name_and_add(stem, values[self.columns.image], place)
        fields = {
            "domain": "butterfly",
            "question_id": f"row-{place.file}-{place.row + 1}-type{kind}",
            "question_type": kind,
            "category": "name" if kind == 1 else "knowledge",
            "class_id": thing.class_id if thing else None,
            "question": text,
            "options": options,
            "answer": answer,
            "image": image,
            "split": "test",
            "refers": say.subject("butterfly"),
        }
        return parquet_source.as_row(Question, fields, row)

    def _label(self, values: dict[str, Any], named: str) -> str:
        return label_of(str(values[self.columns.label]) if self.columns.label else named)

    def _type(self, values: dict[str, Any], options: Sequence[str]) -> int:
        """As its column says; without one, a question whose options are all class names tests recognition."""
        if self.columns.type_ is None:
            return 1 if all(label_of(option) in self.known for option in options) else 2
        text = str(values[self.columns.type_]).strip().lower()
        if number := re.search(r"(?<!\d)[12]$", text):
            return int(number[0])
        for kind, words in ((1, NAMING_WORDS), (2, KNOWING_WORDS)):
            if any(word in text for word in words):
                return kind
        raise ValueError(f"{self.columns.type_} is {text!r}; it must end in 1 or 2, or say recognition or reasoning")


def label_of(name: str) -> str:
    """A name in the form in which labels are compared: case, underscores and extra spaces do not matter."""
    return " ".join(name.replace("_", " ").split()).upper()


def options_of(values: Mapping[str, Any], columns: Columns) -> tuple[str, list[str]]:
    """The question's text and its four options. Raises ``ValueError`` if there are not four."""
    question = str(values[columns.question] or "").strip()
    if not columns.options:
        words, options = split_letter(question)
        return words.strip(), options
    if len(columns.options) == 4:
        return question, [str(values[name] or "").strip() for name in columns.options]
    return question, _one_column(values[columns.options[0]])


def _one_column(value: Any) -> list[str]:
    if isinstance(value, list):
        return [_without_letter(str(option), letter) for option, letter in zip(value, OPTION_LETTERS, strict=False)]
    text = str(value or "").strip()
    if text.startswith("["):
        try:
            return _one_column(list(ast.literal_eval(text)))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError(f"options {text[:200]!r} look like a list but are not one") from None
    return split_letter(text)[1]


def _without_letter(option: str, letter: str) -> str:
    return re.sub(rf"^\(?{letter}[).:]\s+", "", option.strip())


def split_letter(text: str) -> tuple[str, list[str]]:
    """The text before "A)", and the four texts after "A)", "B)", "C)" and "D)", searched for in this order.

    "A.", "A:" and "(A)" work too. Raises ``ValueError`` if a letter is missing.
    """
    ends, begin = [], 0
    for letter in OPTION_LETTERS:
        mark = re.compile(rf"(?:^|(?<=[\s,;]))\(?{letter}[).:]\s*").search(text, begin)
        if mark is None:
            raise ValueError(f"no option {letter} in {text[:200]!r}; options are written A) ... B) ... C) ... D) ...")
        ends.append(mark.span())
        begin = mark.end()
    stops = [*(start for start, _ in ends[1:]), len(text)]
    parts = (text[end:stop] for (_, end), stop in zip(ends, stops, strict=True))
    return text[: ends[0][0]], [part.strip().rstrip(",;").strip() for part in parts]


def answer_of(value: Any, options: Sequence[str], first_number: int) -> int:
    """The index of the right option, from 0. Raises ``ValueError`` for what is neither option, letter nor number."""
    text = str(value if value is not None else "").strip()
    same = [place for place, option in enumerate(options) if option.casefold() == text.casefold()]
    if len(same) == 1:
        return same[0]
    if match := re.fullmatch(r"\(?([A-Da-d])\)?[.:]?", text):
        return OPTION_LETTERS.index(match[1].upper())
    if match := re.match(r"\(?([A-D])[).:]\s", text):
        return OPTION_LETTERS.index(match[1])
    if text.isdecimal() and 0 <= int(text) - first_number < 4:
        return int(text) - first_number
    raise ValueError(
        f"answer {text!r} is none of the options {list(options)}, and neither a letter A to D nor an index"
    )
