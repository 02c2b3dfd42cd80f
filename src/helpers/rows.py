"""Files of rows (JSON lines), each row of a schema: what test questions, training samples and texts have in common.

A row that does not fit is a fault of its file, so an error names the file, the line, the field, the rule and the value.
Rows are read and written one at a time; `iterate_rows` keeps memory flat however long a file is.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from helpers.paths import atomic_write


class Row(BaseModel):
    """A row that cannot be changed, has no unknown field, and whose "1" is not a 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @property
    def key(self) -> str | None:
        """What must be unique within a file; None = nothing."""
        return None

    @property
    def pictures(self) -> list[str]:
        """Paths of the pictures that the row names, from the folder of its file."""
        return []


AnyRow = TypeVar("AnyRow", bound=Row)


def _trimmed(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError("must be a text that is not empty and neither begins nor ends with a space")
    return text


def _inside(path: str) -> str:
    """Lexically inside the folder. Where a link leads is only seen when the file is looked for (`check_picture`)."""
    if not path or "\\" in path or ":" in path or path.startswith(("/", "~")) or ".." in path.split("/"):
        raise ValueError("must be a path, relative to the file's folder and with '/', that stays inside that folder")
    return path


Text = Annotated[str, AfterValidator(_trimmed)]
RelativePath = Annotated[str, AfterValidator(_inside)]
NotNegative = Annotated[int, Field(ge=0)]


def read_rows(path: str | Path, schema: type[AnyRow]) -> list[AnyRow]:
    """All rows of a file, in its order; see `iterate_rows`."""
    return list(iterate_rows(path, schema))


def iterate_rows(path: str | Path, schema: type[AnyRow]) -> Iterator[AnyRow]:
    """The rows of a file one after the other; empty lines are passed over.

    Raises ``FileNotFoundError`` without the file, and ``ValueError`` at the first row that does not fit the schema,
    whose key was there before, or whose picture is missing or outside the file's folder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run the notebook that writes it, or correct the name")
    with path.open("rb") as lines:
        numbered = ((f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip())
        yield from _checked(((where, _parsed(line, schema, where)) for where, line in numbered), path.parent)


def write_rows(path: str | Path, rows: Iterable[Row]) -> Path:
    """Write all rows or, if one fails, nothing, under the rules by which they will be read: pictures come first."""
    path = Path(path)
    named = ((f"{path}: {row.key or f'row {number}'}", row) for number, row in enumerate(rows, start=1))
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(row.model_dump_json() + "\n" for row in _checked(named, path.parent))
    return path


def _checked(rows: Iterable[tuple[str, AnyRow]], folder: Path) -> Iterator[AnyRow]:
    """Rows, each with the words by which an error names it, on to the next if key and pictures are in order."""
    seen: set[str] = set()
    for where, row in rows:
        if row.key is not None and row.key in seen:
            raise ValueError(f"{where}: {row.key!r} is there twice; each row needs a name of its own")
        seen.add(row.key or "")
        for picture in row.pictures:
            check_picture(folder, picture, where)
        yield row


def check_picture(folder: Path, picture: str, where: str) -> Path:
    """The picture's file. Raises ``ValueError`` if it is missing or a link leads out of the folder."""
    file = folder / picture
    if not file.is_file():
        raise ValueError(f"{where}: picture {picture!r} is not in {folder}; put it there before the row that names it")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{where}: picture {picture!r} leads out of {folder} by a link; put a copy there instead")
    return file


def _parsed(line: bytes, schema: type[AnyRow], where: str) -> AnyRow:
    try:
        return schema.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(f"{where}: {'; '.join(_explained(error))}") from None


def _explained(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        field = ".".join(map(str, fault["loc"])) or "the row"
        value = repr(fault["input"])
        value = value if len(value) <= 200 else value[:200] + "…"
        yield f"{field}: {fault['msg'].removeprefix('Value error, ')} (it is {value})"
