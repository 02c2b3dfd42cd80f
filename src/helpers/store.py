"""The same run wanted at the same moment by clones that share a store (docs/scaling.md): one of them does it.

Snakemake's cache between workflows hands on what is finished; what is under way elsewhere it does not see. Here that is
a lock in the store. Whoever finds it taken waits for its end and then stops with the status `AGAIN`; Snakemake tries
that run again and finds the result in the store, or, where the other has failed, lets it be made.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers import paths

VARIABLE = "SNAKEMAKE_OUTPUT_CACHE"  # Snakemake's own name for the store's folder
AGAIN = 75  # EX_TEMPFAIL of sysexits.h
SETTLING = 5  # seconds: a result goes into the store only after the run that has made it
LOCKS = "running"


@contextmanager
def turn(notebook: Path, parameters: Mapping[str, Any]) -> Iterator[bool]:
    """Whether to do this run now; False after another has done it, or tried to. Without a store, always True.

    The lock is the system's: it goes with the process that holds it, however that ends, also over NFS.
    """
    store = os.environ.get(VARIABLE)
    if not store:
        yield True
        return
    folder = Path(store) / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _address(notebook, parameters)).open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # of which kind depends on the file system
            fcntl.lockf(file, fcntl.LOCK_EX)
            time.sleep(SETTLING)
            yield False
            return
        yield True


def _address(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Equal for equal runs in any clone: of the notebook, the package and the parameters, whose paths are relative."""
    digest = hashlib.sha256(notebook.read_bytes() + json.dumps(parameters, sort_keys=True).encode())
    for file in sorted((paths.ROOT / "src" / "helpers").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
