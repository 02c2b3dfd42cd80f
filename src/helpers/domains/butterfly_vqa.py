"""Questions about butterflies from parquet files whose columns are found by type and name.

An image, a question, four options and the answer are required; a type and a class are used if there are columns for
them. The options are a list, four columns, or "A) ... B) ... C) ... D) ..." in one text, possibly the question's. The
answer is a letter, a number or the option itself. `helpers.domains.butterflies` describes the authors' set.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
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

    def of_answer(self) -> list[str]:
        """Without the images, which are large."""
        return [self.question, *self.options, self.answer]


def find_columns(kinds: Mapping[str, str], place: str) -> Columns:
    """Assign the columns of `parquet_source.columns`. Raises ``ValueError`` if one is missing."""
    called = ("image", "picture", "photo")
    images = [name for name, kind in kinds.items() if kind == "image"]
    if not images and (encoded := _named(called, kinds, "text")):  # in base64
        images = [encoded]
    question = _named(QUESTION, kinds, "text")
    answer = _named(ANSWER, kinds, "text", "number")
    parts = {"an image": images, "a question": question, "an answer": answer}
    if missing := [part for part, found in parts.items() if not found]:
        there = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise ValueError(
            f"{place}: no column for {' and '.join(missing)}; there are {there}. Rename the columns: a question is "
            f"called one of {', '.join(QUESTION)}; an answer is called one of {', '.join(ANSWER)}"
        )
    image = _named(called, kinds, "image") or images[0]
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
    reader = _Reader(columns, _numbering(files, columns), classes, known)
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


@dataclass(frozen=True)
class Numbering:
    """How a column of answers numbers the options, which a single row cannot tell."""

    first: int = 0  # the number of the first option
    every: bool = False  # every answer is a place, even one that looks like an option, such as 2 among 1, 2, 3 and 4


def _numbering(files: Sequence[Path], columns: Columns) -> Numbering:
    """Whether numbered answers count from 0 or from 1, and whether all answers are places.

    A column of integers from 0 to 4 holds places; so does one of such texts, unless each is one of its row's options.
    """
    values: set[Any] = set()
    are_options = True
    for _, row in parquet_source.iterate_parquet(files, columns.of_answer()):
        values.add(row[columns.answer])
        are_options = are_options and _is_option(row, columns)
    are_options = are_options and any(isinstance(value, str) for value in values)
    texts = {str(value).strip() for value in values}
    numbers = {int(text) for text in texts if text.isdecimal()}
    whole = len(numbers) == len(texts) and not are_options
    if not numbers or (numbers <= {0, 1, 2, 3} and 0 in numbers):
        return Numbering(0, whole)
    if numbers <= {1, 2, 3, 4} and 4 in numbers:
        return Numbering(1, whole)
    if numbers <= {1, 2, 3} and not are_options:
        raise ValueError(
            f"{files[0]}: answers are {sorted(numbers)}: is the first option 0 or 1? Write the letters A to D instead"
        )
    return Numbering()  # not indices but options, such as years


def _is_option(row: Mapping[str, Any], columns: Columns) -> bool:
    try:
        return str(row[columns.answer]).strip() in options_of(row, columns)[1]
    except ValueError:  # reported when the question is read
        return False


@dataclass(frozen=True)
class _Reader:
    columns: Columns
    numbering: Numbering
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
        answer = answer_of(values[self.columns.answer], options, self.numbering)
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
        return _listed(value)
    text = str(value or "").strip()
    if text.startswith("["):
        try:
            found = list(ast.literal_eval(text))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError(f"options {text[:200]!r} look like a list but are not one") from None
        return _listed(found)
    return split_letter(text)[1]


def _listed(values: Sequence[Any]) -> list[str]:
    """The four options of a list, without their letters if all four have one: "A. Lincoln" alone may be a name."""
    if len(values) != len(OPTION_LETTERS) or None in values:
        raise ValueError(f"the options are {str(list(values))[:200]}; there must be four")
    options = [str(value).strip() for value in values]
    marks = [re.match(rf"\(?{letter}[).:]\s+", option) for letter, option in zip(OPTION_LETTERS, options, strict=True)]
    return [
        option[mark.end() :] if all(marks) and mark else option for mark, option in zip(marks, options, strict=True)
    ]


_MOST_FOURS = 64  # a text with more is unclear anyway
_MARK = re.compile(r"(?:^|(?<=[\s,;]))(\(?)([A-D])([).:])\s*", re.MULTILINE)


def split_letter(text: str) -> tuple[str, list[str]]:
    """The text before "A)", and the four texts after "A)", "B)", "C)" and "D)".

    "A.", "A:" and "(A)" work too. The marks are four of one form, so that "Vitamin A: good? A) yes B) no ..." begins at
    "A)"; of several such fours, those with most marks at the beginning of a line; of those, the last "A" before "B".
    Raises ``ValueError`` if a letter is missing, or if it remains unclear which marks are meant.
    """
    found = list(_MARK.finditer(text))
    fours = [four for form in dict.fromkeys((m[1], m[3]) for m in found) for four in _fours(found, form)]
    fours = fours or list(_fours(found, None))
    if not fours:
        lacking = next((letter for letter in OPTION_LETTERS if letter not in {m[2] for m in found}), "after another")
        raise ValueError(f"no option {lacking} in {text[:200]!r}; options are written A) ... B) ... C) ... D) ...")
    most = max(_begin_lines(four, text) for four in fours)
    best = [four for four in fours if _begin_lines(four, text) == most]
    if len({tuple(mark.start() for mark in four[1:]) for four in best}) > 1:
        raise ValueError(f"several marks could begin an option in {text[:200]!r}; give the options as a list")
    marks = max(best, key=lambda four: four[0].start())
    stops = [*(mark.start() for mark in marks[1:]), len(text)]
    parts = (text[mark.end() : stop] for mark, stop in zip(marks, stops, strict=True))
    return text[: marks[0].start()], [part.strip().rstrip(",;").strip() for part in parts]


_Four = tuple[re.Match[str], ...]


def _fours(found: Sequence[re.Match[str]], form: tuple[str, str] | None) -> Iterator[_Four]:
    """Marks of A, B, C and D in this order, all of one form (None: of any, each the first after the one before)."""
    if form is None:
        chain: list[re.Match[str]] = []
        for mark in found:
            if len(chain) < len(OPTION_LETTERS) and mark[2] == OPTION_LETTERS[len(chain)]:
                chain.append(mark)
        if len(chain) == len(OPTION_LETTERS):
            yield tuple(chain)
        return
    chains: list[_Four] = [()]
    for letter in OPTION_LETTERS:
        marks = [mark for mark in found if mark[2] == letter and (mark[1], mark[3]) == form]
        longer = ((*c, mark) for c in chains for mark in marks if not c or mark.start() > c[-1].start())
        chains = list(islice(longer, _MOST_FOURS))
    yield from chains


def _begin_lines(four: _Four, text: str) -> int:
    return sum(mark.start() == 0 or text[mark.start() - 1] == "\n" for mark in four)


def answer_of(value: Any, options: Sequence[str], numbering: Numbering) -> int:
    """The index of the right option, from 0. Raises ``ValueError`` for what is neither option, letter nor number."""
    text = str(value if value is not None else "").strip()
    place = int(text) - numbering.first if text.isdecimal() else None
    if numbering.every and place in range(len(options)):
        return int(place or 0)
    same = [place for place, option in enumerate(options) if option.casefold() == text.casefold()]
    if len(same) == 1:
        return same[0]
    if match := re.fullmatch(r"\(?([A-Da-d])\)?[.:]?", text):
        return OPTION_LETTERS.index(match[1].upper())
    if match := re.match(r"\(?([A-D])[).:]\s", text):
        return OPTION_LETTERS.index(match[1])
    if place in range(len(options)):
        return int(place or 0)
    raise ValueError(
        f"answer {text!r} is none of the options {list(options)}, and neither a letter A to D nor an index"
    )
