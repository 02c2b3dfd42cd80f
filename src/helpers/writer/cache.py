"""Every reply that was paid for, by its request: a JSON Lines file that only grows.

Each line is appended by a single system call as soon as its reply arrives, so a killed process loses at most the
pending replies (a power cut may also lose those of the last seconds). A rerun finds the lines and requests only the
rest. A lock keeps a second process out: two writers for one domain would pay for everything twice.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.rows import NotNegative, Row, iterate_rows


class CachedReply(Row):
    """A reply, or one that was lost in transit and may still have to be paid for (``text`` is None)."""

    request: str  # hash of the whole request: messages, model, settings, schema, image
    model: str
    text: str | None
    finish: str  # the server's stop, length or content_filter; or "refusal", "lost"
    tokens_in: NotNegative
    tokens_out: NotNegative
    cost: float

    @property
    def key(self) -> str | None:
        """A request is answered only once, but can be lost several times."""
        return None if self.text is None else self.request


class Cache:
    """The replies so far; ``add`` writes before it returns. Opened by `open_cache`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _cut_torn_line(path)
        rows = list(iterate_rows(path, CachedReply)) if path.is_file() else []
        self.replies = {row.request: row for row in rows if row.text is not None}
        self.spent = sum(row.cost for row in rows)  # in the currency of the prices, over all runs
        self.tokens = sum(row.tokens_in + row.tokens_out for row in rows)

    def get(self, request: str) -> CachedReply | None:
        return self.replies.get(request)

    def add(self, reply: CachedReply) -> None:
        """Append the reply, unless its request already has one."""
        if reply.text is not None and reply.request in self.replies:
            return
        _append(self.path, reply.model_dump_json().encode() + b"\n")
        self.spent += reply.cost
        self.tokens += reply.tokens_in + reply.tokens_out
        if reply.text is not None:
            self.replies[reply.request] = reply


@contextmanager
def open_cache(path: Path) -> Iterator[Cache]:
    """The cache in a file, created if needed. Raises ``RuntimeError`` while another process uses it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=0):
            yield Cache(path)
    except Timeout:
        raise RuntimeError(f"{path} is in use by another run of the writer; wait until it ends") from None


def _append(path: Path, line: bytes) -> None:
    """In append mode and, unless the disk is full, in one piece."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        while line:
            line = line[os.write(file, line) :]
    finally:
        os.close(file)


def _cut_torn_line(path: Path) -> None:
    """Remove an incomplete last line, left by a process that died; its request is made again."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        file.seek(max(0, path.stat().st_size - 1))
        if file.read(1) not in (b"", b"\n"):
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
