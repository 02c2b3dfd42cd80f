"""Questions that were left out because their images are missing: counted once, told with every accuracy.

Notebook 01 writes `left_out.json` beside the questions that remain, 02 carries it on, and the rows of the answers give
the number. A table of such rows has a column `left_out`: it is not comparable with one of the whole data set.
"""

from pathlib import Path

from helpers.domains.interface import LeftOut
from helpers.paths import atomic_write
from helpers.rows import parse_row

_FILE = "left_out.json"


def write_left_out(folder: str | Path, found: LeftOut | None) -> str:
    """Write the file, or remove an earlier one if nothing was left out; returns what to tell the reader."""
    path = Path(folder) / _FILE
    if found is None or not found.questions:
        path.unlink(missing_ok=True)
        return "no question was left out"
    with atomic_write(path) as temporary:
        temporary.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    some = ", ".join(found.image_files[:5]) + (", ..." if len(found.image_files) > 5 else "")
    images = f"their {len(found.image_files)} images are missing or unreadable ({some})"
    return f"{found.questions} questions left out: {images}"


def read_left_out(folder: str | Path) -> LeftOut | None:
    """What was left out of the data in this folder; None: nothing."""
    path = Path(folder) / _FILE
    return parse_row(path.read_bytes(), LeftOut, str(path)) if path.is_file() else None


def count_left_out(folder: str | Path) -> int | None:
    """The number of questions left out, for the rows of the answers; None: none."""
    found = read_left_out(folder)
    return found.questions if found else None
