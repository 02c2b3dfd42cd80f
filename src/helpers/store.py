"""The same run wanted at the same moment by clones that share a store (docs/scaling.md): one of them does it.

Snakemake's cache between workflows hands on what is finished; what is under way elsewhere it does not see. Here that is
a lock in the store. Whoever finds it taken waits for its end and then stops with the status `AGAIN`; Snakemake tries
that run again and finds the result in the store, or, where the other has failed, has it made.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from helpers import paths

STORE = "SNAKEMAKE_OUTPUT_CACHE"  # Snakemake's own name for the store's folder
NOTEBOOKS = "STORED_NOTEBOOKS"  # those whose results go there; set by the Snakefile
AGAIN = 75  # EX_TEMPFAIL of sysexits.h
SETTLING = 5  # seconds from the end of a run until its result is in the store
LOCKS = "running"


@contextmanager
def turn(notebook: Path, parameters: Mapping[str, Any]) -> Iterator[bool]:
    """Whether to do this run now; False after another clone has done it, or tried to. Without a store, True.

    The lock is the system's: it goes with the process that holds it, however that ends, also over NFS. Where the file
    system has none, two clones may do the same.
    """
    file = _lock_file(notebook, parameters)
    if file is None:
        yield True
        return
    with file:
        if _taken(file):
            print("another clone is at this run; waiting for its end", flush=True)
            fcntl.lockf(file, fcntl.LOCK_EX)
            fcntl.lockf(file, fcntl.LOCK_UN)  # nobody shall wait for a waiter
            time.sleep(SETTLING)
            yield False
        elif time.time() - _ended(file) < SETTLING:  # it has ended just now, and was not in the store yet
            time.sleep(SETTLING)
            yield False
        else:
            yield True
            file.truncate(0)
            file.write(str(time.time()))


def tries_again(notebook: Path) -> bool:
    """Whether Snakemake, because of a store, starts a run of this notebook again after any failure."""
    return bool(os.environ.get(STORE)) and str(notebook) in os.environ.get(NOTEBOOKS, "").split()


def _lock_file(notebook: Path, parameters: Mapping[str, Any]) -> IO[str] | None:
    if not tries_again(notebook):
        return None
    file = Path(os.environ[STORE]) / LOCKS / _address(notebook, parameters)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = file.open("a+")
    except OSError as error:
        print(f"no lock in the store ({error}); another clone may do this run too", flush=True)
        return None
    for path, mode in ((file.parent, 0o777), (file, 0o666)):  # as Snakemake leaves its files there: for everybody
        with suppress(OSError):  # another user's, who has done it
            path.chmod(mode)
    return opened


def _taken(file: IO[str]) -> bool:
    """Whether somebody has the lock; otherwise it is ours now."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # a file system without locks
        return False
    return False


def _ended(file: IO[str]) -> float:
    """When a run at this address last succeeded, by the clock; 0: never."""
    file.seek(0)
    try:
        return float(file.read())
    except ValueError:
        return 0.0


def _address(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Equal for equal runs in any clone: of the notebook, the package and the parameters, whose paths are relative."""
    digest = hashlib.sha256(notebook.read_bytes() + json.dumps(parameters, sort_keys=True).encode())
    for file in sorted((paths.ROOT / "src" / "helpers").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
