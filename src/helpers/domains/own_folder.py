"""A user's own folder of classes: everything in it is read and checked, and *all* problems are listed.

`read_folder` never stops at the first problem. docs/own_classes.md describes the folder for whoever makes one.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers.domains.encodings import check_encodings, decoded
from helpers.domains.findings import Findings
from helpers.domains.names import same_name
from helpers.domains.own_checks import check_content, is_placeholder
from helpers.domains.own_language import PHRASE, check_fact_keys, has_blank, read_language
from helpers.domains.own_rows import (
    CLASSES,
    OPTION_COLUMNS,
    QUESTIONS,
    TEXTS,
    TEXTS_JSONL,
    OwnClass,
    OwnFolder,
    OwnText,
)
from helpers.domains.spreadsheets import Cells, read_json_lines, read_table, table_bytes
from helpers.images import SUFFIXES, check_image_file, is_image
from helpers.paths import visible
from helpers.schemas import OPTION_LETTERS, Question, chat_mark
from helpers.workflow.provenance import sha256

_IMAGES = "pictures"
SPLITS = ("train", "test")
LARGEST_IMAGE = 100_000_000  # bytes
MOST_CLASSES, SMALLEST_SIDE, LONGEST_PATH = 10_000, 8, 240  # rows, pixels, bytes
_TEXT_COLUMNS = ("class_id", "look", "background")
_QUESTION_COLUMNS = ("question", "option_a", "option_b", "option_c", "option_d", "answer", "picture", "type")
_VALUES = ("fact:", "look:")  # what columns of values begin with
_READ = (CLASSES, TEXTS, TEXTS_JSONL, QUESTIONS, "domain.yaml", _IMAGES)
_Rows = list[tuple[int, Cells]]  # (line, cells by column)
CLASS_ID = re.compile(r"\w([\w.-]{0,98}[\w-])?")  # becomes a folder name; Windows drops a dot at its end
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows keeps for itself
_MONTH = "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DATE = re.compile(rf"\d{{1,2}}-{_MONTH}|{_MONTH}-\d{{1,2}}")  # as Excel shows what it took for a day of the year


def read_folder(folder: str | Path, domain: str = "own", tokens: Sequence[str] = ()) -> OwnFolder:
    """Read and check everything. Problems in the folder raise nothing: see `OwnFolder.findings`.

    ``tokens``: special tokens of the models at hand, which no text may hold.
    """
    own = OwnFolder(Path(folder), domain, Findings(tokens))
    if not own.folder.is_dir():
        what = "is a file" if own.folder.exists() else "does not exist"
        own.findings.problem(
            str(folder), None, f"{what}; a folder is needed", "unpack an archive yourself, or copy data/own/template"
        )
        return own
    _check_there(own)
    own.language = read_language(own.folder, own.findings)
    tables = _read_tables(own)
    if CLASSES not in tables:
        return own  # what refers to classes cannot be judged, and all of it would look wrong
    own.classes = _classes(tables[CLASSES], own)
    check_fact_keys(own.language, (fact for thing in own.classes for fact in thing.facts), own.findings)
    _read_images(own)
    own.texts = _texts(tables, own)
    own.questions = _questions(tables.get(QUESTIONS, []), own)
    _check_images(own)
    _check_measurable(own)
    check_content(own)
    return own


def _check_there(own: OwnFolder) -> None:
    """Files that were left in the cloud, and those whose names are nearly those that are read."""
    for path in sorted(own.folder.rglob(".*.icloud")):
        name = path.with_name(path.name[1:].removesuffix(".icloud")).relative_to(own.folder).as_posix()
        own.findings.problem(name, None, "is in iCloud and not on this disk", "choose 'Download Now' in Finder")
    for path in visible(own.folder.iterdir(), own.folder):
        known = next(
            (name for name in _READ if path.suffix in ("", Path(name).suffix) and _resembles(path, name)), None
        )
        if known and path.name != known:
            rule = f"is not {known}, the name that is read (capitals count)"
            twin = (own.folder / known).exists() and not path.samefile(own.folder / known)
            remedy = f"put it in the place of {known}, or take it away" if twin else "rename it"
            own.findings.note(path.name, None, rule, remedy)


def _resembles(path: Path, name: str) -> bool:
    """Whether it may have been meant: Classes.csv, class.csv, classes.csv.csv, classes (1).csv, classes - Copy.csv."""
    given, meant = path.name.split(".")[0].casefold(), Path(name).stem
    copied = re.sub(r"[ _-]*(\(.*\)|copy|[0-9]+)$", "", given)
    return meant in (given, copied) or bool(difflib.get_close_matches(given, [meant], 1, 0.85))


def _read_tables(own: OwnFolder) -> dict[str, _Rows]:
    """The rows of the tables whose encoding and header are in order; anything else is a problem."""
    columns = {
        CLASSES: (("class_id", "name"), r"noun|category|fact:.+|look:.+"),
        TEXTS: (_TEXT_COLUMNS, r"wording|source"),
        QUESTIONS: (_QUESTION_COLUMNS, r"class_id|category|answer_form"),
    }
    if not (own.folder / CLASSES).is_file():
        own.findings.problem(CLASSES, None, "is missing", "copy data/own/template/classes.csv and fill it in")
    contents = table_bytes(own.folder, (*columns, TEXTS_JSONL), own.findings)
    if TEXTS in contents and TEXTS_JSONL in contents:
        own.findings.problem(TEXTS, None, f"and {TEXTS_JSONL} are both there", "keep one of the two")
        del contents[TEXTS], contents[TEXTS_JSONL]
    unclear = check_encodings(contents, own.language.encoding, own.findings)
    found: dict[str, _Rows] = {}
    for file in (name for name in contents if name not in unclear):
        text = decoded(contents[file], own.language.encoding)
        if file == TEXTS_JSONL:
            found[file] = read_json_lines(file, text, _TEXT_COLUMNS, own.findings)
        elif (rows := read_table(file, text, *columns[file], own.findings)) is not None:
            found[file] = rows
    return found


# ---- classes.csv ---------------------------------------------------------------------------------------------------


def _classes(rows: _Rows, own: OwnFolder) -> list[OwnClass]:
    for column in rows[0][1] if rows else []:
        if column.startswith(_VALUES) and not PHRASE.fullmatch(column[5:]):
            rule = f"the column {column!r} becomes part of a sentence"
            own.findings.problem(CLASSES, 1, rule, "no braces or angle brackets, at most 100 letters")
    if len(rows) > MOST_CLASSES:
        own.findings.problem(
            CLASSES, None, f"has {len(rows)} classes; at most {MOST_CLASSES} are read", "split the study"
        )
        rows = rows[:MOST_CLASSES]
    if not rows and not own.findings.problems:
        own.findings.problem(CLASSES, None, "holds no class", f"write one class per row, at least {OPTION_COLUMNS}")
    classes = [_class(line, cells, own) for line, cells in rows]
    _check_classes(classes, own.findings)
    known = [thing for thing in classes if CLASS_ID.fullmatch(thing.class_id)]
    # A class without a name is known by its id, so that what refers to it is not wrong as well
    return [thing if thing.name else replace(thing, name=thing.class_id) for thing in known]


def _class(line: int, cells: Cells, own: OwnFolder) -> OwnClass:
    for column in [name for name, cell in cells.items() if name.startswith(_VALUES) and is_placeholder(cell)]:
        rule = f"{column} is {cells[column]!r}, which was read as an empty cell"
        own.findings.note(CLASSES, line, rule, "leave it empty, or write the value")
        cells = {**cells, column: ""}
    appearance = {column[5:].strip(): cell for column, cell in cells.items() if column.startswith("look:") and cell}
    for column, cell in cells.items():
        if (column in ("class_id", "name") or column.startswith("fact:")) and _DATE.fullmatch(cell):
            rule = f"{column} reads {cell!r}, which spreadsheets make of entries like 1-3 or MAR1"
            own.findings.note(CLASSES, line, rule, "if no date is meant, format the column as text and write it again")
    facts = {column[5:].strip(): cell for column, cell in cells.items() if column.startswith("fact:") and cell}
    noun = cells.get("noun") or own.language.noun
    class_id = unicodedata.normalize("NFC", cells["class_id"])
    return OwnClass(class_id, cells["name"], noun, cells.get("category") or None, appearance, facts, line)


def _check_classes(classes: list[OwnClass], findings: Findings) -> None:
    nameless = [thing for thing in classes if not thing.name]
    if nameless and len(nameless) == len(classes):
        rule = "the column 'name' is empty in every row"
        findings.problem(CLASSES, None, rule, "write the names that the questions will ask for")
    for thing in classes:
        if _DEVICE.fullmatch(thing.class_id):
            rule = f"class_id is {thing.class_id!r}, and Windows has no folder of that name"
            findings.problem(CLASSES, thing.row, rule, f"write e.g. {thing.class_id + '-1'!r}")
        if not CLASS_ID.fullmatch(thing.class_id) or thing.class_id.lower() in SPLITS:
            rule = f"class_id is {thing.class_id!r}; it becomes the name of a folder: letters, digits, '-', '_' and '.'"
            slug = re.sub(r"[^\w]+", "-", thing.name.lower()).strip("-")
            findings.problem(
                CLASSES, thing.row, f"{rule}, not {' or '.join(SPLITS)}", f"write e.g. {slug or 'class-1'!r}"
            )
        if not thing.name and len(nameless) < len(classes):
            findings.problem(CLASSES, thing.row, "name is empty", "write the name that the questions will ask for")
        if set("{}<>") & set(thing.name):
            findings.problem(CLASSES, thing.row, f"name is {thing.name!r}", "no braces or angle brackets")
        if thing.noun and not PHRASE.fullmatch(thing.noun):
            findings.problem(CLASSES, thing.row, f"noun is {thing.noun!r}", "a word or two, without braces")
    for what in ("class_id", "name"):
        _check_different([(getattr(thing, what), thing.row) for thing in classes], what, findings)


def _check_different(values: list[tuple[str, int]], what: str, findings: Findings) -> None:
    """Values that look alike count as equal (`same_name`): some file systems, and readers, cannot distinguish them."""
    first: dict[str, tuple[str, int]] = {}
    for value, row in values:
        folded = same_name(value)
        if folded and folded in first:
            other, at = first[folded]
            visible = "case" if other.casefold() == value.casefold() else "what cannot be seen"
            how = "is there already" if other == value else f"differs only in {visible} from {other!r}"
            findings.problem(CLASSES, row, f"{what} {value!r} {how} (row {at})", "each class needs its own")
        first.setdefault(folded, (value, row))


# ---- images --------------------------------------------------------------------------------------------------------


def _read_images(own: OwnFolder) -> None:
    """Assign each class its images. With one folder per class, the first is for training, the others for testing."""
    top = own.folder / _IMAGES
    if not top.is_dir():
        return
    folders = {split: top / split for split in SPLITS if (top / split).is_dir()}
    single = [path for path in visible(top.iterdir(), top) if path.is_dir() and path.name not in SPLITS]
    if folders and single:
        rule = f"has both {' and '.join(folders)} and folders of classes ({single[0].name}, ...)"
        remedy = "sort all images into train/<class_id>/ and test/<class_id>/, or none"
        own.findings.problem(f"{_IMAGES}/", None, rule, remedy)
        return
    for path in [
        file for folder in (top, *folders.values()) for file in visible(folder.iterdir(), folder) if file.is_file()
    ]:
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
    for path in visible(folder.iterdir(), folder):
        if not path.is_dir():
            continue
        where = f"{path.relative_to(own.folder).as_posix()}/"
        thing = classes.get(unicodedata.normalize("NFC", path.name))
        if thing is None:
            near = difflib.get_close_matches(path.name, classes, 1)
            remedy = f"rename it to {near[0]!r}?" if near else f"add the class to {CLASSES}, or move the folder away"
            if path.name.lstrip("0") in classes:
                remedy = (
                    f"a spreadsheet has taken the leading zeros: format the column as text, write {path.name!r} again"
                )
            own.findings.problem(where, None, f"no class has the class_id {path.name!r}", remedy)
        else:
            yield thing, _images_in(path, own)


def _images_in(folder: Path, own: OwnFolder) -> list[str]:
    found = []
    for path in visible(folder.iterdir(), folder):
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


def _texts(tables: dict[str, _Rows], own: OwnFolder) -> list[OwnText]:
    file = TEXTS if TEXTS in tables else TEXTS_JSONL
    ids = dict.fromkeys(thing.class_id for thing in own.classes)
    return [text for line, cells in tables.get(file, []) for text in _text(cells, line, file, ids, own.findings)]


def _text(cells: Cells, line: int, file: str, ids: Mapping[str, None], findings: Findings) -> list[OwnText]:
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
    return [OwnText(class_id, cells["look"], cells["background"], file, line)]


def _questions(rows: _Rows, own: OwnFolder) -> list[Question]:
    of_image = own.class_of()
    for _, cells in rows:
        cells["picture"] = _on_disk(cells["picture"], own.folder)
        cells["class_id"] = unicodedata.normalize("NFC", cells.get("class_id", ""))
        cells["answer"] = unicodedata.normalize("NFKC", cells["answer"])  # East Asian keyboards give a wide A
    return [question for line, cells in rows for question in _question(cells, line, of_image, own)]


def _on_disk(image: str, folder: Path) -> str:
    """The path as the disk has it: for some file systems "é" is one character, for others two; tables differ too."""
    parts = image.split("/")
    if image.isascii() or len(image.encode()) > LONGEST_PATH or {"", ".."} & set(parts):
        return image
    path = folder
    for part in parts:
        there = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        same = [name for name in there if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", part)]
        path /= part if part in there or not same else same[0]
    return path.relative_to(folder).as_posix()


def _question(cells: Cells, line: int, of_image: dict[str, OwnClass], own: OwnFolder) -> list[Question]:
    """The question; an empty list if it has problems, which are recorded."""
    options = [cells[f"option_{letter}"] for letter in "abcd"]
    for rule, remedy in _question_faults(cells, options, of_image, own):
        own.findings.problem(QUESTIONS, line, rule, remedy)
    if own.findings.has_problem(QUESTIONS, line):
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
    if not all(options) or len(set(map(same_name, options))) < OPTION_COLUMNS:
        yield f"the options are {options}; there must be four different ones", "fill them in"
    if (answer := cells["answer"]).upper() not in set(OPTION_LETTERS):
        looks_right = len(answer) == 1 and not answer.isascii()  # Cyrillic and Greek have an A that looks the same
        named = f" ({unicodedata.name(answer, 'no character').lower()})" if looks_right else ""
        yield f"answer is {answer!r}{named}", "the letter of the right option: A, B, C or D"
    if cells["type"] not in ("1", "2"):
        yield f"type is {cells['type']!r}", "1 asks what the image shows, 2 what is known about it"
    if (form := cells.get("answer_form")) and not has_blank(form, "option"):
        yield f"answer_form is {form!r}", "it must hold {option} once"
    elif form and (mark := next(filter(None, (chat_mark(form.format(option=o)) for o in options)), None)):
        yield f"answer_form is {form!r}, and with an option {mark!r}, a mark of a model's chat", "take < and > out"
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
