"""A user's own folder of classes: everything in it is read and checked, and *all* problems are listed.

`read_folder` never stops at the first problem. docs/own_classes.md describes the folder for whoever makes one.
"""

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from helpers.config import Settings
from helpers.config.profiles import parse_yaml
from helpers.domains.spreadsheets import Cells, Findings, read_json_lines, read_table
from helpers.images import SUFFIXES, check_image_file, is_image
from helpers.rows import Text
from helpers.schemas import OPTION_LETTERS, Question
from helpers.synthetic.appearances import VOCABULARIES
from helpers.workflow.provenance import sha256

CLASSES, QUESTIONS, LANGUAGE = "classes.csv", "questions.csv", "domain.yaml"
TEXTS, TEXTS_JSONL = "texts.csv", "texts.jsonl"
_IMAGES = "pictures"
SPLITS = ("train", "test")
OPTION_COLUMNS = 4
LARGEST_IMAGE = 100_000_000  # bytes
MOST_CLASSES, SMALLEST_SIDE, LONGEST_PATH = 10_000, 8, 240  # rows, pixels, bytes
CLASS_ID = re.compile(r"\w[\w.-]{0,99}")  # becomes a folder name
PHRASE = re.compile(r"[^{}<>\n]{1,100}")  # becomes part of a sentence with {option}


class Language(Settings):
    """``domain.yaml``: how questions refer to the classes. Everything is optional."""

    noun: Text | None = None  # "butterfly": questions then say "this butterfly"
    name_form: Text | None = None  # the name as used in a sentence, such as "the {name}"
    naming_question: Text | None = None
    naming_answer: Text | None = None  # with {option}, such as "This is the {option}."
    fact_questions: dict[str, Text] = Field(default_factory=dict)
    fact_answers: dict[str, Text] = Field(default_factory=dict)  # with {option}


@dataclass
class OwnClass:
    """A row of classes.csv, with the class's images (paths relative to the folder)."""

    class_id: str
    name: str
    noun: str | None
    category: str | None
    appearance: dict[str, str]  # columns look:<part>
    facts: dict[str, str]  # columns fact:<name>
    row: int
    train: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OwnText:
    """A row of texts.csv."""

    class_id: str
    appearance: str
    background: str


@dataclass
class OwnFolder:
    """The folder as read. Usable only if `findings` lists no problem."""

    folder: Path
    domain: str = "own"
    findings: Findings = field(default_factory=Findings)
    language: Language = field(default_factory=Language)
    classes: list[OwnClass] = field(default_factory=list)
    texts: list[OwnText] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)  # of questions.csv

    def facts_to_ask(self) -> list[str]:
        """The fact columns with enough values for a question with four options."""
        values: dict[str, set[str]] = defaultdict(set)
        for thing in self.classes:
            for fact, value in thing.facts.items():
                values[fact].add(value.casefold())
        return [fact for fact, found in values.items() if len(found) >= OPTION_COLUMNS]

    def test_images(self) -> set[str]:
        asked = {question.image for question in self.questions if question.image}
        return asked | {name for thing in self.classes for name in thing.test}

    def language_of(self, noun: str | None) -> str:
        """The domain whose sentences are used for things with this noun: a drawn one, or this folder's own."""
        return drawn_language(noun) or self.domain

    def trains_on_images(self) -> bool:
        """Whether mode image_text is possible: it needs a training image of every class."""
        return bool(self.classes) and all(thing.train for thing in self.classes)


def drawn_language(noun: str | None) -> str | None:
    """The drawn domain with this noun: its sentences are the ones that the demo's models can read."""
    return next((domain for domain, vocabulary in VOCABULARIES.items() if vocabulary.noun == noun), None)


def read_folder(folder: str | Path, domain: str = "own") -> OwnFolder:
    """Read and check everything. Problems in the folder raise nothing: see `OwnFolder.findings`."""
    own = OwnFolder(Path(folder), domain)
    if not own.folder.is_dir():
        what = "is a file" if own.folder.exists() else "does not exist"
        own.findings.problem(
            str(folder), None, f"{what}; a folder is needed", "unpack an archive yourself, or copy data/own/template"
        )
        return own
    own.language = _read_language(own)
    own.classes = _read_classes(own)
    _read_images(own)
    own.texts = _read_texts(own)
    own.questions = _read_questions(own)
    _check_images(own)
    _check_measurable(own)
    return own


# ---- domain.yaml and classes.csv ---------------------------------------------------------------------------------


def _read_language(own: OwnFolder) -> Language:
    path = own.folder / LANGUAGE
    if not path.is_file():
        return Language()
    try:
        if path.stat().st_size > 100_000:
            raise ValueError(f"has {path.stat().st_size} bytes, more than 100000")
        language = Language.model_validate(parse_yaml(path.read_text(encoding="utf-8-sig")) or {})
    except ValidationError as error:
        for fault in error.errors():
            where = ".".join(map(str, fault["loc"])) or "it"
            rule = f"{where}: {fault['msg'].removeprefix('Value error, ')}"
            own.findings.problem(LANGUAGE, None, rule, "see data/own/template/domain.yaml")
        return Language()
    except (yaml.YAMLError, ValueError, OSError) as error:
        own.findings.problem(LANGUAGE, None, f"not readable as YAML ({error})", "see data/own/template/domain.yaml")
        return Language()
    _check_language(language, own.findings)
    return language


def _check_language(language: Language, findings: Findings) -> None:
    if language.noun and not PHRASE.fullmatch(language.noun):
        findings.problem(
            LANGUAGE, None, f"noun is {language.noun!r}", "a word or two, without braces, such as: butterfly"
        )
    forms = {"naming_answer": (language.naming_answer, "option"), "name_form": (language.name_form, "name")}
    forms |= {f"fact_answers.{fact}": (form, "option") for fact, form in language.fact_answers.items()}
    for where, (form, blank) in forms.items():
        if form is not None and not _has_blank(form, blank):
            findings.problem(
                LANGUAGE, None, f"{where} is {form!r}", f"it must hold {{{blank}}} once and no other braces"
            )


def _has_blank(form: str, blank: str) -> bool:
    return form.count("{") == form.count("}") == 1 and f"{{{blank}}}" in form


def _read_classes(own: OwnFolder) -> list[OwnClass]:
    path = own.folder / CLASSES
    if not path.is_file():
        own.findings.problem(CLASSES, None, "is missing", "copy data/own/template/classes.csv and fill it in")
        return []
    known = r"noun|category|fact:.+|look:.+"
    rows = read_table(path, ("class_id", "name"), known, own.findings)
    for column in rows[0][1] if rows else []:
        if column.startswith(("fact:", "look:")) and not PHRASE.fullmatch(column[5:]):
            rule = f"the column {column!r} becomes part of a sentence"
            own.findings.problem(CLASSES, 1, rule, "no braces or angle brackets, at most 100 letters")
    if len(rows) > MOST_CLASSES:
        own.findings.problem(
            CLASSES, None, f"has {len(rows)} classes; at most {MOST_CLASSES} are read", "split the study"
        )
        rows = rows[:MOST_CLASSES]
    if not rows and not own.findings.problems:
        own.findings.problem(CLASSES, None, "holds no class", f"write one class per row, at least {OPTION_COLUMNS}")
    classes = [_class(line, cells, own.language) for line, cells in rows]
    _check_classes(classes, own.findings)
    return [thing for thing in classes if CLASS_ID.fullmatch(thing.class_id) and thing.name]


def _class(line: int, cells: Cells, language: Language) -> OwnClass:
    appearance = {column[5:].strip(): cell for column, cell in cells.items() if column.startswith("look:") and cell}
    facts = {column[5:].strip(): cell for column, cell in cells.items() if column.startswith("fact:") and cell}
    noun = cells.get("noun") or language.noun
    class_id = unicodedata.normalize("NFC", cells["class_id"])
    return OwnClass(class_id, cells["name"], noun, cells.get("category") or None, appearance, facts, line)


def _check_classes(classes: list[OwnClass], findings: Findings) -> None:
    for thing in classes:
        if not CLASS_ID.fullmatch(thing.class_id) or thing.class_id.lower() in SPLITS:
            rule = f"class_id is {thing.class_id!r}; it becomes the name of a folder: letters, digits, '-', '_' and '.'"
            slug = re.sub(r"[^\w]+", "-", thing.name.lower()).strip("-")
            findings.problem(
                CLASSES, thing.row, f"{rule}, not {' or '.join(SPLITS)}", f"write e.g. {slug or 'class-1'!r}"
            )
        if not thing.name:
            findings.problem(CLASSES, thing.row, "name is empty", "write the name that the questions will ask for")
        if set("{}<>") & set(thing.name):
            findings.problem(CLASSES, thing.row, f"name is {thing.name!r}", "no braces or angle brackets")
        if thing.noun and not PHRASE.fullmatch(thing.noun):
            findings.problem(CLASSES, thing.row, f"noun is {thing.noun!r}", "a word or two, without braces")
    for what in ("class_id", "name"):
        _check_different([(getattr(thing, what), thing.row) for thing in classes], what, findings)


def _check_different(values: list[tuple[str, int]], what: str, findings: Findings) -> None:
    """Values that differ only in case count as equal: some file systems, and readers, cannot distinguish them."""
    first: dict[str, tuple[str, int]] = {}
    for value, row in values:
        folded = unicodedata.normalize("NFC", value).casefold()
        if folded and folded in first:
            other, at = first[folded]
            how = "is there already" if other == value else f"differs only in case from {other!r}"
            findings.problem(CLASSES, row, f"{what} {value!r} {how} (row {at})", "each class needs its own")
        first.setdefault(folded, (value, row))


# ---- images --------------------------------------------------------------------------------------------------------


def _read_images(own: OwnFolder) -> None:
    """Assign each class its images. With one folder per class, the first is for training, the others for testing."""
    top = own.folder / _IMAGES
    if not top.is_dir():
        return
    folders = {split: top / split for split in SPLITS if (top / split).is_dir()}
    single = [path for path in _visible(top) if path.is_dir() and path.name not in SPLITS]
    if folders and single:
        rule = f"has both {' and '.join(folders)} and folders of classes ({single[0].name}, ...)"
        remedy = "sort all images into train/<class_id>/ and test/<class_id>/, or none"
        own.findings.problem(f"{_IMAGES}/", None, rule, remedy)
        return
    for path in [file for folder in (top, *folders.values()) for file in _visible(folder) if file.is_file()]:
        name = path.relative_to(own.folder).as_posix()
        own.findings.note(name, None, "is outside the folders of the classes and is not used", "move it, or delete it")
    for split, folder in folders.items():
        for thing, names in _by_class(folder, own):
            getattr(thing, split).extend(names)
    for thing, names in _by_class(top, own) if not folders else ():
        thing.train, thing.test = names[:1], names[1:]


def _by_class(folder: Path, own: OwnFolder) -> Iterator[tuple[OwnClass, list[str]]]:
    """The classes with a subfolder here, and their images by name; other subfolders are problems."""
    classes = {thing.class_id: thing for thing in own.classes}
    for path in _visible(folder):
        if not path.is_dir():
            continue
        where = f"{path.relative_to(own.folder).as_posix()}/"
        thing = classes.get(unicodedata.normalize("NFC", path.name))
        if thing is None:
            near = difflib.get_close_matches(path.name, classes, 1)
            remedy = f"rename it to {near[0]!r}?" if near else f"add the class to {CLASSES}, or move the folder away"
            own.findings.problem(where, None, f"no class has the class_id {path.name!r}", remedy)
        else:
            yield thing, _images_in(path, own)


def _images_in(folder: Path, own: OwnFolder) -> list[str]:
    found = []
    for path in _visible(folder):
        name = path.relative_to(own.folder).as_posix()
        if path.is_dir():
            own.findings.problem(f"{name}/", None, "is a folder within a class's folder", "put its images one level up")
        elif path.suffix.lower() not in SUFFIXES and not is_image(path):
            remedy = f"images end in {', '.join(SUFFIXES)}; convert it"
            own.findings.note(name, None, "does not end like an image and is not used", remedy)
        elif "\\" in name or ":" in name:
            own.findings.problem(name, None, "has a backslash or a colon in its name", "rename it")
        else:
            found.append(name)
    return found


def _visible(folder: Path) -> list[Path]:
    """Sorted by name, without the hidden files that systems and editors leave behind."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "Thumbs.db")


def _check_images(own: OwnFolder) -> None:
    """Opens every image that would be used, one after the other; no two may have the same content."""
    train = {name for thing in own.classes for name in thing.train}
    seen: dict[str, str] = {}
    for name in sorted(train) + sorted(own.test_images() - train):
        if not _readable(name, own):
            continue
        other = seen.setdefault(sha256(own.folder / name), name)
        if other != name:
            use = "a training image is a test image" if (other in train) != (name in train) else "the same twice"
            own.findings.problem(name, None, f"is the same image as {other} ({use})", "delete one of the two")


def _readable(name: str, own: OwnFolder) -> bool:
    file = own.folder / name
    if not file.is_file():
        own.findings.problem(name, None, "is a broken link or not a file", "put an image there instead")
        return False
    if not file.resolve().is_relative_to(own.folder.resolve()):
        own.findings.problem(name, None, "leads out of the folder by a link", "put a copy there instead")
        return False
    if file.stat().st_size > LARGEST_IMAGE:
        rule = f"has {file.stat().st_size} bytes, more than {LARGEST_IMAGE}"
        own.findings.problem(name, None, rule, "scale it down")
        return False
    try:
        size = check_image_file(file)
    except (ValueError, OSError) as error:
        own.findings.problem(name, None, str(error).removeprefix(f"{file}: "), "it cannot be shown to a model")
        return False
    if min(size) < SMALLEST_SIDE:
        own.findings.problem(
            name, None, f"is {size[0]}x{size[1]} pixels; at least {SMALLEST_SIDE} a side", "replace it"
        )
        return False
    return True


# ---- texts and questions -------------------------------------------------------------------------------------------


def _read_texts(own: OwnFolder) -> list[OwnText]:
    table, lines = own.folder / TEXTS, own.folder / TEXTS_JSONL
    if table.is_file() and lines.is_file():
        own.findings.problem(TEXTS, None, f"and {TEXTS_JSONL} are both there", "keep one of the two")
        return []
    required = ("class_id", "look", "background")
    rows: list[tuple[int, Cells]] = []
    if table.is_file():
        rows = read_table(table, required, r"wording|source", own.findings)
    elif lines.is_file():
        rows = read_json_lines(lines, required, own.findings)
    file = TEXTS if table.is_file() else TEXTS_JSONL
    ids = [thing.class_id for thing in own.classes]
    return [text for line, cells in rows for text in _text(cells, line, file, ids, own.findings)]


def _text(cells: Cells, line: int, file: str, ids: list[str], findings: Findings) -> list[OwnText]:
    class_id = unicodedata.normalize("NFC", cells["class_id"])
    if class_id not in ids:
        near = difflib.get_close_matches(class_id, ids, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"add the class to {CLASSES}"
        findings.problem(file, line, f"no class has the class_id {class_id!r}", remedy)
        return []
    if empty := [part for part in ("look", "background") if not cells[part]]:
        remedy = "write it, or delete the row: it is then made from classes.csv or by the writer"
        findings.problem(file, line, f"{' and '.join(empty)} of {class_id!r} is empty", remedy)
        return []
    return [OwnText(class_id, cells["look"], cells["background"])]


def _read_questions(own: OwnFolder) -> list[Question]:
    path = own.folder / QUESTIONS
    if not path.is_file():
        return []
    required = ("question", "option_a", "option_b", "option_c", "option_d", "answer", "picture", "type")
    rows = read_table(path, required, r"class_id|category|answer_form", own.findings)
    of_image = {name: thing for thing in own.classes for name in (*thing.train, *thing.test)}
    return [question for line, cells in rows for question in _question(cells, line, of_image, own)]


def _question(cells: Cells, line: int, of_image: dict[str, OwnClass], own: OwnFolder) -> list[Question]:
    """The question; an empty list if it has problems, which are recorded."""
    options = [cells[f"option_{letter}"] for letter in "abcd"]
    before = len(own.findings.problems)
    for rule, remedy in _question_faults(cells, options, of_image, own):
        own.findings.problem(QUESTIONS, line, rule, remedy)
    if len(own.findings.problems) > before:
        return []
    thing = of_image.get(cells["picture"])
    kind = int(cells["type"])
    noun = thing.noun if thing else own.language.noun
    question = Question(
        domain=own.language_of(noun),
        question_id=f"{QUESTIONS}:{line}",
        question_type=kind,  # type: ignore[arg-type]
        category=cells.get("category") or (thing and thing.category) or ("name" if kind == 1 else "knowledge"),
        class_id=cells.get("class_id") or (thing.class_id if thing else None),
        question=cells["question"],
        options=options,
        answer=OPTION_LETTERS.index(cells["answer"].upper()),
        image=cells["picture"],
        split="test",
        answer_form=cells.get("answer_form") or "{option}",
        refers=f"this {noun}" if noun else None,
    )
    return [question]


def _question_faults(
    cells: Cells, options: list[str], of_image: dict[str, OwnClass], own: OwnFolder
) -> Iterator[tuple[str, str]]:
    image = cells["picture"]
    if not cells["question"]:
        yield "question is empty", "write it"
    if not all(options) or len({option.casefold() for option in options}) < OPTION_COLUMNS:
        yield f"the options are {options}; there must be four different ones", "fill them in"
    if cells["answer"].upper() not in set(OPTION_LETTERS):
        yield f"answer is {cells['answer']!r}", "the letter of the right option: A, B, C or D"
    if cells["type"] not in ("1", "2"):
        yield f"type is {cells['type']!r}", "1 asks what the image shows, 2 what is known about it"
    if (form := cells.get("answer_form")) and not _has_blank(form, "option"):
        yield f"answer_form is {form!r}", "it must hold {option} once"
    if (class_id := cells.get("class_id")) and class_id not in {thing.class_id for thing in own.classes}:
        yield f"no class has the class_id {class_id!r}", f"correct it, or add the class to {CLASSES}"
    if not image or image.startswith(("/", "~")) or ".." in image.split("/") or "\\" in image or ":" in image:
        yield f"picture is {image!r}", "a path from this folder, with '/', that stays inside it"
    elif len(image.encode()) > LONGEST_PATH or not (own.folder / image).is_file():
        yield f"picture {image!r} is not there", "put it there, or correct the path (capitals count)"
    elif image in of_image and image in of_image[image].train:
        yield f"picture {image!r} is a training image", "sort them into pictures/train/ and pictures/test/ yourself"


# ---- what can be measured -------------------------------------------------------------------------------------------


def half_width(n: int) -> float:
    """Half of Wilson's 95 % interval, in percentage points, if half of n answers are right: its largest width."""
    from scipy.stats import binomtest

    interval = binomtest(n // 2, n).proportion_ci(method="wilson")
    return 50 * (interval.high - interval.low)


def _check_measurable(own: OwnFolder) -> None:
    if not own.test_images():
        widths = ", ".join(f"{n} ±{half_width(n):.0f}" for n in (20, 50, 100, 200))
        rule = "there is no test image, so nothing can be measured"
        remedy = (
            "put some that are not trained on into pictures/test/<class_id>/ (a class's only image is for training "
            f"unless it is there). Even a few help: number of test images, and the interval in points: {widths}"
        )
        own.findings.problem(f"{_IMAGES}/", None, rule, remedy)
    elif not own.questions and len(own.classes) < OPTION_COLUMNS:
        rule = f"has {len(own.classes)} classes; a question with four options needs {OPTION_COLUMNS}"
        own.findings.problem(CLASSES, None, rule, f"add classes, even without test images, or write {QUESTIONS}")
