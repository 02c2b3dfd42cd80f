"""Rows as parquet beside their JSON lines: the same rows, for whoever loads the data set with other tools.

Written a group of rows at a time, so that memory stays flat. Columns are spelled out and not guessed from the first
rows, where a column may hold nothing but null. Pictures stay paths, relative to the folder of the file.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from helpers.paths import atomic_write
from helpers.questions import Question
from helpers.rows import Row, RowFile
from helpers.samples import ClassText, Sample

GROUP = 2_000  # rows; large enough for compression, small enough for any memory
PART = {"type": "string", "path": "string", "text": "string"}  # a part of a message: an image has a path, a text a text
COLUMNS: dict[type[Row], dict[str, Any]] = {
    ClassText: {
        **dict.fromkeys(("class_id", "name", "domain", "look", "background"), "string"),
        "wording": "int64",
        **dict.fromkeys(("writer", "picture", "prompt_hash"), "string"),
    },
    Sample: {
        **dict.fromkeys(("id", "domain", "class_id", "direction"), "string"),
        "messages": [{"role": "string", "content": [PART]}],
    },
    Question: {
        "question_id": "string",
        "question_type": "int64",
        **dict.fromkeys(("category", "class_id", "question"), "string"),
        "options": ["string"],
        "answer": "int64",
        **dict.fromkeys(("picture", "split", "answer_form", "refers"), "string"),
    },
}
AnyItem = TypeVar("AnyItem")


def write_parquet(path: str | Path, schema: type[Row]) -> Path:
    """Write the rows of a file of JSON lines into a parquet file of the same name beside it; raises as reading does."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    target = Path(path).with_suffix(".parquet")
    columns = pa.schema(list(_arrow(COLUMNS[schema])))
    with atomic_write(target) as temporary, ParquetWriter(temporary, columns, compression="zstd") as writer:
        for group in groups(RowFile(Path(path), schema), GROUP):
            writer.write_table(pa.Table.from_pylist([row.model_dump() for row in group], schema=columns))
    return target


def groups(items: Iterable[AnyItem], size: int) -> Iterator[list[AnyItem]]:
    """The items in lists of that size, the last one shorter."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


def _arrow(kind: Any) -> Any:
    """Arrow's type: a name of one, ``[item]`` for a list, a dict for a struct."""
    import pyarrow as pa

    if isinstance(kind, dict):
        return pa.struct([pa.field(name, _arrow(inner)) for name, inner in kind.items()])
    return pa.list_(_arrow(kind[0])) if isinstance(kind, list) else pa.type_for_alias(kind)
