"""A data set as stored on the Hugging Face hub: parquet files that contain the images, in a folder or by hub id.

Read with pyarrow, a few rows at a time, so that memory stays flat however many images there are. The library `datasets`
is not used: it is built on pyarrow too, but first writes everything into its own cache and decodes every image of every
row. Here, each image is checked once and copied unchanged.
Source: https://huggingface.co/docs/hub/datasets-image (an image is a struct of ``bytes`` and ``path``).
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from helpers.images import check_image_bytes
from helpers.paths import atomic_write, is_hub_id, resolve, visible
from helpers.rows import AnyRow

ROWS_AT_ONCE = 4  # each may hold an image of several megabytes
MAX_IMAGE_BYTES = 64 * 2**20  # sixteen times the largest in K-VISCUIT
MAX_GROUP_BYTES = 8 * 2**30  # per row group, unpacked; a small file can unpack to far more than fits into memory
NO_BYTES = "the image has no bytes; fetch a copy of the data set that contains its images"
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg"}  # other formats: the format's name


class Place(NamedTuple):
    """The position of a row: the index of its file and its index in the file, both from 0."""

    file: int
    row: int


def parquet_files(source: str | Path, split: str) -> list[Path]:
    """The parquet files of a split, in order; all files, if no file or folder is named after the split.

    A hub id is fetched once, into the library's cache. Raises ``ValueError`` for a file instead of a folder, and for a
    link out of the folder.
    """
    if is_hub_id(source):
        return _of_split(sorted(_fetched(str(source)).rglob("*.parquet")), split)
    folder = resolve(source)
    if folder.is_file():
        raise ValueError(f"{folder} is a file; name the folder it lies in, and unpack an archive first")
    found = visible(folder.rglob("*.parquet"), folder)
    for path in found:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path} leads out of {folder} by a link; put a copy there instead")
    return _of_split(found, split)


def _fetched(source: str) -> Path:
    from huggingface_hub import snapshot_download  # a second to import, needed only here

    name, _, revision = source.partition("@")
    try:
        folder = snapshot_download(name, repo_type="dataset", revision=revision or None, allow_patterns="*.parquet")
    except Exception as error:  # from the network, the hub or the disk: dozens of types
        raise ValueError(
            f"{source}: there is no such folder here, and it could not be fetched from the hub "
            f"({type(error).__name__}: {error}). Correct the folder, or fetch the data set where there is a network"
        ) from error
    return Path(folder)


def _of_split(files: list[Path], split: str) -> list[Path]:
    return [file for file in files if file.name.startswith(split) or file.parent.name == split] or files


def columns(files: Sequence[Path]) -> dict[str, str]:
    """What each column holds: "image", "text", "texts" (a list), "number", or else arrow's name for the type.

    Raises ``ValueError`` unless all files have the same columns.
    """
    kinds = [_kinds(path) for path in files]
    for path, kind in zip(files, kinds, strict=True):
        if kind != kinds[0]:
            raise ValueError(
                f"{path}: columns {kind} differ from {kinds[0]} in {files[0].name}; leave one data set here"
            )
    return kinds[0]


def _kinds(path: Path) -> dict[str, str]:
    with _parquet(path) as parquet:
        return {column.name: _kind(column.type) for column in parquet.schema_arrow}


def _kind(type_: Any) -> str:
    from pyarrow import types

    if types.is_struct(type_) and type_.get_field_index("bytes") >= 0:
        return "image"
    if types.is_binary(type_) or types.is_large_binary(type_):
        return "image"
    if types.is_dictionary(type_):
        return _kind(type_.value_type)
    if types.is_string(type_) or types.is_large_string(type_):
        return "text"
    if types.is_integer(type_):
        return "number"
    if types.is_list(type_) or types.is_large_list(type_):
        return {"text": "texts", "image": "image"}.get(_kind(type_.value_type), str(type_))
    return str(type_)


def iterate_parquet(files: Sequence[Path], names: Iterable[str]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The named columns of the rows. Raises ``ValueError`` for a file that is unreadable or unpacks to too much."""
    wanted = list(names)
    for number, path in enumerate(files):
        for place, row in enumerate(_rows(path, wanted)):
            yield Place(number, place), row


def _rows(path: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    try:
        for batch in _batches(path, names):
            yield from batch.to_pylist()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: holds a text that is not UTF-8 ({error.reason}); fetch it again") from None


def _batches(path: Path, names: list[str]) -> Iterator[Any]:
    from pyarrow import ArrowException

    with _parquet(path) as parquet:
        try:
            yield from parquet.iter_batches(batch_size=ROWS_AT_ONCE, columns=names, use_threads=False)
        except (ArrowException, OSError) as error:
            raise ValueError(f"{path}: cannot be read to its end ({str(error).strip()}); fetch it again") from error


def _parquet(path: Path) -> Any:
    """Buffered: otherwise pyarrow would hold a whole column of a row group, a hundred images or more."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        parquet = ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable parquet file ({str(error).strip()}); fetch it again") from error
    groups = range(parquet.metadata.num_row_groups)
    largest = max((parquet.metadata.row_group(group).total_byte_size for group in groups), default=0)
    if largest > MAX_GROUP_BYTES:
        parquet.close()
        raise ValueError(f"{path}: a row group unpacks to {largest} bytes; at most {MAX_GROUP_BYTES} are allowed")
    return parquet


def where(files: Sequence[Path], place: Place) -> str:
    """How an error names a row, counted from 1."""
    return f"{files[place.file]}, row {place.row + 1}"


def as_row(schema: type[AnyRow], values: dict[str, Any], where: str) -> AnyRow:
    """The values as a row. The ``ValueError`` for bad values names the row, the field, the rule and the value."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{where}: {'; '.join(_explained(error))}") from None


def _explained(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        name = ".".join(map(str, fault["loc"])) or "the row"
        yield f"{name}: {fault['msg'].removeprefix('Value error, ')} (it is {repr(fault['input'])[:200]})"


@dataclass
class ImageBook:
    """Which row holds which image. Only hashes are kept; `bring` reads the bytes again and writes them."""

    files: Sequence[Path]
    column: str
    places: dict[str, Place] = field(default_factory=dict)  # the first row with the image, by name
    hashes: dict[str, str] = field(default_factory=dict)  # SHA-256 of the bytes, by name
    faults: dict[str, str] = field(default_factory=dict)  # why an image cannot be used, by name
    _names: dict[str, str] = field(default_factory=dict)  # names given by `name_and_add`, by SHA-256

    def add(self, name: str, value: Any, place: Place) -> None:
        """Check the image of a row, unless this name has occurred before.

        Problems with the image go to ``faults``. Raises ``ValueError`` for two different images with the same name.
        """
        try:
            content = image_bytes(value, where(self.files, place))
        except ValueError as error:
            if name not in self.places:
                self.faults.setdefault(name, str(error))
            return
        if self.hashes.setdefault(name, digest(content)) != digest(content):
            raise ValueError(f"{where(self.files, place)}: {name!r} is not the same image as in an earlier row")
        if name not in self.places:
            self.places[name] = place
            self.faults.pop(name, None)
            self._check(name, content, place)

    def _check(self, name: str, content: bytes, place: Place) -> None:
        try:
            image_format(content, where(self.files, place))
        except ValueError as error:
            self.faults[name] = str(error)

    def name_and_add(self, stem: str, value: Any, place: Place) -> str:
        """The name of a row's image: ``stem`` and part of the hash, so that no name is taken from the file.

        An image that occurred before keeps its name. Raises ``ValueError`` for an unusable image.
        """
        content = image_bytes(value, where(self.files, place))
        known = digest(content)
        if known not in self._names:
            ending = suffix(image_format(content, where(self.files, place)))
            name = self._names[known] = f"{stem}-{known[:12]}{ending}"
            self.places[name], self.hashes[name] = place, known
        return self._names[known]

    def bring(self, names: Iterable[str], folder: Path) -> None:
        """Write the named images into ``folder``, byte for byte as in the data set."""
        wanted = {self.places[name]: name for name in names}
        for place, row in iterate_parquet(self.files, [self.column]):
            if place in wanted:
                with atomic_write(folder / wanted[place]) as temporary:
                    temporary.write_bytes(image_bytes(row[self.column], where(self.files, place)))


def image_bytes(value: Any, where: str) -> bytes:
    """An image's bytes: from a struct, directly, in base64 (also as a ``data:`` address), or from a list of one image.

    A path is useless: it belongs to the machine that made the data set. Raises ``ValueError``, which begins with
    ``where``, if there are no bytes, or more than one image.
    """
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError(f"{where}: the row has {len(value)} images, and a question is about one; keep one per row")
        value = value[0] if value else None
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, str) and content:
        return _from_base64(content, where)
    if not content:
        raise ValueError(f"{where}: {NO_BYTES}")
    if isinstance(content, bytes):
        return content
    raise ValueError(f"{where}: the image is a value of type {type(content).__name__}; {NO_BYTES.partition('; ')[2]}")


def _from_base64(text: str, where: str) -> bytes:
    head, comma, rest = text.partition(",")
    given = rest if comma and head.startswith("data:image/") and head.endswith(";base64") else text
    try:
        return base64.b64decode("".join(given.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            f"{where}: the image is the text {text[:60]!r}, which is not base64. A path or an address does not do: "
            f"{NO_BYTES.partition('; ')[2]}"
        ) from None


def digest(content: bytes) -> str:
    """SHA-256, which identifies an image."""
    return hashlib.sha256(content).hexdigest()


def image_format(content: bytes, where: str) -> str:
    """The format of a checked image, such as "JPEG". Raises ``ValueError``, which says what is wrong with it."""
    if len(content) > MAX_IMAGE_BYTES:
        raise ValueError(f"{where}: an image of {len(content)} bytes; at most {MAX_IMAGE_BYTES} are allowed")
    return check_image_bytes(content, where)


def suffix(format_: str) -> str:
    """The file name suffix for an image of this format."""
    return _SUFFIXES.get(format_, f".{format_.lower()}")
