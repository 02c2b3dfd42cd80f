"""What a job's inputs hold, for the workflow to compare: Snakemake alone compares their dates.

An older file put in the place of a newer one (a restored backup, an unpacked archive, ``cp -p``) looks to Snakemake as
if nothing had changed. So each job has a digest of the files that it reads among its parameters, which Snakemake
compares with those of the job's last run. Files that the workflow itself makes are not in it, as they change during a
run, unless they are no longer what their notebook has made (`helpers.workflow.verify`).
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from helpers.paths import ROOT, resolve
from helpers.workflow.verify import Finding, KnownHashes, verify


class Contents:
    """The contents of files, as of now; each is hashed once, and not again until it changes."""

    def __init__(self, run: str | Path) -> None:
        self._run, self._known = resolve(run), KnownHashes(run)
        self._replaced = {name for finding in self._found() for name in finding.replaced}
        self._of_files = lru_cache(maxsize=None)(self._digest)

    def digest(self, read: Iterable[str], made: Iterable[str] = ()) -> str:
        """Sixteen hex digits for a job's inputs: the files that it ``read``s, and those ``made`` by the workflow."""
        return self._of_files((*read, *(name for name in map(str, made) if name in self._replaced)))

    def remember(self) -> None:
        """Save the hashes in the run's folder, if there is one."""
        if self._run.is_dir():
            self._known.write()

    def _found(self) -> Iterable[Finding]:
        return verify([self._run], self._known).findings if self._run.is_dir() else ()

    def _digest(self, names: tuple[str, ...]) -> str:
        files = [(name, ROOT / Path(name).expanduser()) for name in sorted(set(names))]
        listed = "".join(f"{name} {self._known(file)}\n" for name, file in files if file.is_file())
        return hashlib.sha256(listed.encode()).hexdigest()[:16]
