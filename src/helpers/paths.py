"""Where things lie. No other file of the project spells out a folder.

Every path that a profile, a notebook or a command line names is relative to the repository root, whatever folder the
program was started in: a notebook opened in JupyterLab (working folder `notebooks/`) and the same notebook run by the
workflow (working folder the root) then read and write the same files.
"""

import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
FIGURES = ROOT / "figures"
PROFILES = ROOT / "config" / "profiles"
GRIDS = ROOT / "config" / "grids"
RUNS = ROOT / "runs"
MAIN = "main"  # the variant that is the profile as it stands
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w.-]+)?")


def resolve(path: str | Path) -> Path:
    """Absolute path; a relative one counts from the repository root, `~` is the home folder."""
    return (ROOT / Path(path).expanduser()).resolve()


def is_hub_id(source: str | Path) -> bool:
    """Whether this is owner/name or owner/name@revision and cannot be a folder here, even one that is missing."""
    text = str(source)
    return bool(HUB_ID.fullmatch(text)) and not resolve(text).exists() and not resolve(text).parent.is_dir()


def file_name(name: str) -> str:
    """The name as the name of a file on any system: what some system forbids becomes ``_``, Hangul stays."""
    safe = re.sub(r'[\x00-\x1f\x7f\\/:*?"<>|]|^\.+|[. ]+$', "_", unicodedata.normalize("NFC", name))
    if len(safe.encode()) <= 120:
        return safe or "_"
    kept = safe.encode()[:100].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds, delete it if not.

    A reader, or a workflow that decides by a file's existence, then never meets a half-written file. The temporary
    name keeps the suffix, because matplotlib, PIL and others choose the format by it. Folders are made as needed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; a result is meant to be read by others
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
