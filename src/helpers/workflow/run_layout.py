"""The layout of a run's folder: a number in the file `.layout`, written by the workflow before its first notebook.

A run with a different layout is refused as a whole. With today's paths only part of it would be found, and a table of
half a study looks like a table of all of it.
"""

import shlex
from pathlib import Path

from helpers.paths import RUNS, atomic_write, resolve
from helpers.workflow.provenance import portable

LAYOUT_VERSION = (
    3  # 1: no such file, answers without the image in a folder `ablation`; 2: rows have `picture` and `look`
)
MARKER = ".layout"
_TRACES = (".lock", "notebooks", "ablation")  # only the workflow leaves these; runs made by hand are not checked
_NO_RESULTS = {"logs", "report"}


class OldRunError(ValueError):
    """A run with a different layout. The message says which, and what to do."""


def check_layout(run: str | Path) -> None:
    """Raise `OldRunError` if the folder holds a run with a different layout; a new, empty or hand-made one passes."""
    folder = resolve(run)
    marker = folder / MARKER
    found = marker.read_text(encoding="utf-8", errors="replace").strip() if marker.is_file() else ""
    if found == str(LAYOUT_VERSION) or not _has_results(folder):
        return
    if not found and not any((folder / trace).exists() for trace in _TRACES):
        return
    shown = shlex.quote(portable(folder))
    newer = found.isdigit() and int(found) > LAYOUT_VERSION
    made_by = "a newer version" if newer else "an older version"
    keep = shlex.quote(portable(RUNS / f"{folder.name}_layout{found if found.isdigit() else 1}"))
    raise OldRunError(
        f"{shown} was made by {made_by} of this project (its {MARKER} is {found or 'missing'}; "
        f"needed: {LAYOUT_VERSION}) and cannot be continued. "
        f"Move it away (mv {shown} {keep}) or delete it (rm -r {shown}), then start again"
    )


def mark_layout(run: str | Path) -> Path:
    """Check the layout, then write the current number into a run's folder, created if needed; returns the file."""
    check_layout(run)
    marker = resolve(run) / MARKER
    if not marker.is_file() or marker.read_text(encoding="utf-8").strip() != str(LAYOUT_VERSION):
        with atomic_write(marker) as temporary:
            temporary.write_text(f"{LAYOUT_VERSION}\n", encoding="utf-8")
    return marker


def _has_results(folder: Path) -> bool:
    """Whether any folder of the run, except logs and report, has something in it."""
    parts = (part for part in folder.glob("*") if part.is_dir() and part.name not in _NO_RESULTS)
    return any(next(part.iterdir(), None) for part in parts)
