"""One interface for the three writers: `open_writer` returns an object with ``plan`` (the expected cost) and ``write``.

Both take the domain, the folder with its images and the number of wordings. ``write`` returns texts, questions (if
requested, of the types that the domain lacks) and failures.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from helpers.config.prompts import PROMPT_FOLDER
from helpers.config.writer import Writer
from helpers.domains.interface import Domain
from helpers.paths import atomic_write
from helpers.rows import Row, write_rows
from helpers.writer.outcome import Plan, Written
from helpers.writer.prompts import WriterPrompt


class AnyWriter(Protocol):
    """What all three writers provide."""

    def plan(self, domain: Domain, folder: Path, wordings: int) -> Plan: ...
    def write(self, domain: Domain, folder: Path, wordings: int, seed: int = 0) -> Written: ...


def open_writer(settings: Writer, name: str, source_path: str | Path | None = None) -> AnyWriter:
    """The writer that the settings name; ``name`` is the domain's.

    ``source_path``: the domain's folder or hub id, which has an account of its own. Raises ``ValueError`` for an
    unknown price.
    """
    if settings.backend == "offline":
        return OfflineWriter()
    from helpers.writer.run import ModelWriter  # takes a second to import, which an offline run saves

    return ModelWriter(settings, name, source_path)


class OfflineWriter:
    """Writes what a domain knows about its classes without a network or a model."""

    def plan(self, domain: Domain, folder: Path, wordings: int) -> Plan:
        return Plan("offline", "", len(self.write(domain, folder, wordings).texts), 0, 0)

    def write(self, domain: Domain, folder: Path, wordings: int, seed: int = 0) -> Written:
        texts = domain.offline_texts(wordings)
        return Written(texts, passed=len(texts))


def write_or_remove(path: Path, rows: Iterable[Row]) -> int:
    """Write the rows and return their number; without rows, remove the file, even an earlier run's."""
    rows = list(rows)
    if rows:
        write_rows(path, rows)
    else:
        path.unlink(missing_ok=True)
    return len(rows)


def save_prompts(folder: Path, prompts: dict[str, WriterPrompt]) -> list[str]:
    """Save copies of the prompts beside the texts; returns their names, versions and hashes."""
    for name in prompts:
        with atomic_write(folder / "prompts" / f"{name}.yaml") as temporary:
            temporary.write_bytes((PROMPT_FOLDER / f"{name}.yaml").read_bytes())
    return [f"{name} version {prompt.version}, hash {prompt.hash}" for name, prompt in prompts.items()]
