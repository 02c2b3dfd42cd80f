"""JSON Lines files whose rows follow a schema: what test questions, training samples and texts have in common.

For a row that does not fit its schema, the error names the file, the line, the field, the rule and the value. Rows are
read and written one at a time: however long a file is, memory holds only a hash of each row's key.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from helpers.paths import atomic_write

_LONGEST = 2**20  # bytes per line; this project's longest rows have a few thousand
LONGEST_PATH, LONGEST_NAME = 1_000, 255  # bytes; no file system in use allows a longer name
FAULTS = 3  # reported per row; a row of a different schema would have a fault in every field
HALVES = re.compile("[\ud800-\udfff]")
HALF = r"must hold whole characters; it has half of one (a lone surrogate, such as \ud800)"


class Row(BaseModel):
    """An immutable row: no unknown fields, no coercion ("1" is not 1), finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @property
    def key(self) -> str | None:
        """The value that must be unique within a file; None: nothing has to be."""
        return None

    @property
    def images(self) -> list[str]:
        """Paths of the images that the row names, relative to the folder of its file."""
        return []


AnyRow = TypeVar("AnyRow", bound=Row)


def _trimmed(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError("must be a non-empty text that neither begins nor ends with a space")
    return _whole(text)


def _whole(text: str) -> str:
    """Python strings can hold half a character; a UTF-8 file cannot."""
    if HALVES.search(text):
        raise ValueError(HALF)
    return text


def _inside(path: str) -> str:
    """Lexically inside the folder. Links are followed only when the file is opened (`check_image`)."""
    if not path or "\\" in path or ":" in path or path.startswith(("/", "~")) or ".." in path.split("/"):
        raise ValueError("must be a path with '/', relative to the file's folder, that stays inside that folder")
    if len(_whole(path).encode()) > LONGEST_PATH or max(len(part.encode()) for part in path.split("/")) > LONGEST_NAME:
        raise ValueError(f"must have at most {LONGEST_PATH} bytes, and {LONGEST_NAME} between one '/' and the next")
    return path


Text = Annotated[str, AfterValidator(_trimmed)]
RelativePath = Annotated[str, AfterValidator(_inside)]
NotNegative = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class RowFile(Generic[AnyRow]):
    """The rows of a file as an iterable that can be read repeatedly without being held in memory."""

    path: Path
    schema: type[AnyRow]

    def __iter__(self) -> Iterator[AnyRow]:
        return iterate_rows(self.path, self.schema)


def read_rows(path: str | Path, schema: type[AnyRow]) -> list[AnyRow]:
    """All rows of a file, in file order; see `iterate_rows`."""
    return list(iterate_rows(path, schema))


def iterate_rows(path: str | Path, schema: type[AnyRow]) -> Iterator[AnyRow]:
    """The rows of a file, one by one; empty lines are skipped.

    Raises ``FileNotFoundError`` if there is no such file. Raises ``ValueError`` at the first row that does not fit the
    schema, is too long, is not UTF-8, repeats a key, or names an image that is missing or outside the folder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run the notebook that writes it, or correct the name")
    with path.open("rb") as file:
        lines = iter(partial(file.readline, _LONGEST + 1), b"")  # a file without line ends could be of any size
        numbered = ((f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip())
        yield from _checked(((where, parse_row(line, schema, where)) for where, line in numbered), path.parent)


def write_rows(path: str | Path, rows: Iterable[Row]) -> Path:
    """Write all rows or, if one fails, none. The rules of reading apply, so the images must already be there."""
    path = Path(path)
    named = ((f"{path}: {row.key or f'row {number}'}", row) for number, row in enumerate(rows, start=1))
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(row.model_dump_json() + "\n" for row in _checked(named, path.parent))
    return path


def read_csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file in UTF-8, by column."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_csv_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write at least one row as CSV, all or none; the first row's keys are the columns."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _checked(rows: Iterable[tuple[str, AnyRow]], folder: Path) -> Iterator[AnyRow]:
    """Pass each row on once its key and images are checked; the text beside it is how an error names it.

    Only 64-bit hashes of the keys are kept, which halves the memory. In a million rows, the chance that two different
    keys collide is about one in forty million.
    """
    seen: set[int] = set()
    for where, row in rows:
        if row.key is not None and hash(row.key) in seen:
            raise ValueError(f"{where}: {row.key!r} is there twice; each row needs its own name")
        seen.add(hash(row.key))
        for image in row.images:
            check_image(folder, image, where)
        yield row


def check_image(folder: Path, image: str, where: str) -> Path:
    """The image's file. Raises ``ValueError`` if it is missing or a link leads out of the folder."""
    file = folder / image
    if not file.is_file():
        raise ValueError(f"{where}: picture {image!r} is not in {folder}; put it there before the row that names it")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{where}: picture {image!r} leads out of {folder} by a link; put a copy there instead")
    return file


def parse_row(line: bytes, schema: type[AnyRow], where: str) -> AnyRow:
    """One row. If it does not fit, the ``ValueError`` begins with ``where`` and names field, rule and value."""
    if fault := _unreadable(line):
        raise ValueError(f"{where}: {fault}")
    try:
        return schema.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(f"{where}: {'; '.join(_explained(error, line))}") from None


def _unreadable(line: bytes) -> str | None:
    """What is wrong with a line before its content is parsed."""
    if len(line) > _LONGEST:
        return f"the row: must have at most {_LONGEST} bytes; is there one row per line? (it begins {line[:60]!r})"
    if line.startswith(codecs.BOM_UTF8):
        return f"the row: begins with a byte-order mark; save the file as UTF-8 without one (it is {line[:40]!r}…)"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} of the line is {line[error.start]:#04x}"
        return f"{_damaged_field(line)}: must be UTF-8; save the file as UTF-8, or fetch it again ({byte})"
    return None


def _explained(error: ValidationError, line: bytes) -> Iterator[str]:
    faults = error.errors(include_url=False, include_context=False)
    for fault in faults[:FAULTS]:
        field = ".".join(map(str, fault["loc"])) or "the row"
        rule = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "json_invalid":
            field = _damaged_field(line)
            rule = _broken(rule, field, line)
        if fault["type"] == "missing":
            rule += "; if an earlier version wrote the file, run its notebook again"
        yield f"{field[:200]}: {rule} (it is {_short(fault['input'])})"
    if len(faults) > FAULTS:
        yield f"and {len(faults) - FAULTS} more"


def _broken(rule: str, field: str, line: bytes) -> str:
    """What is wrong with a line that is not JSON; naming a damaged field helps more than the parser's own message."""
    if field != "the row":
        return HALF
    return rule if line.endswith(b"\n") else f"{rule}; the file ends within the row, so make or fetch it again"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"


def _damaged_field(line: bytes) -> str:
    """The field that holds invalid UTF-8, or half a character as in "\\ud800"; else the whole row.

    Python's own parser reads both as lone surrogates, whereas pydantic's reports only the column at which it stopped.
    """
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return "the row"
    return next(_damaged(value, ""), "the row")


def _damaged(value: Any, field: str) -> Iterator[str]:
    if isinstance(value, str) and HALVES.search(value):
        yield field.encode("ascii", "backslashreplace").decode()
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _damaged(item, f"{field}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _damaged(item, f"{field}.{number}".lstrip("."))
