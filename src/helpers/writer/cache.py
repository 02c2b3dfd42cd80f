"""Every reply that was paid for, by its request: a JSON Lines file that only grows.

Each line is appended by a single system call as soon as its reply arrives, so a killed process loses at most the
pending replies (a power cut may also lose those of the last seconds). A rerun finds the lines and requests only the
rest. A lock keeps a second process out: two writers for one domain would pay for everything twice.

One file per domain, and in it one account per folder of images: replies are found by their request, so that a folder
that was moved or copied pays for nothing again, but what each folder cost is counted, and limited, apart.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.rows import NotNegative, Row, iterate_rows

FORGOTTEN = "unusable"


class CachedReply(Row):
    """A reply; or, with ``text`` None, one that was lost, or a note that the one above it is not to be used again."""

    request: str  # hash of the whole request: messages, model, settings, schema, image
    model: str
    text: str | None
    finish: str  # the server's stop, length or content_filter; or "refusal", "reasoning", "lost", "error", "unusable"
    tokens_in: NotNegative
    tokens_out: NotNegative
    cost: float
    account: str = ""  # the folder that it was paid for; empty for a domain without one, and in rows of before accounts
    estimated: bool = False  # the server did not count the tokens


class Cache:
    """The replies so far; ``add`` writes before it returns. Opened by `open_cache`.

    ``spent`` and ``tokens`` are of this account, over all runs, in the currency of the prices; ``elsewhere`` is the
    money of the file's other accounts.
    """

    def __init__(self, path: Path, account: str = "") -> None:
        self.path, self.account = path, account
        self.replies: dict[str, CachedReply] = {}
        self.spent = self.elsewhere = 0.0
        self.tokens = self.estimated = 0
        _cut_torn_line(path)
        for row in iterate_rows(path, CachedReply) if path.is_file() else ():
            self._take(row)

    def get(self, request: str) -> CachedReply | None:
        return self.replies.get(request)

    def add(self, reply: CachedReply) -> None:
        """Append the reply to this account, unless its request already has one."""
        if reply.text is None or reply.request not in self.replies:
            self._append(reply.model_copy(update={"account": self.account}))

    def forget(self, requests: Iterable[str]) -> None:
        """Make these requests again in the next run, as what was replied cannot be used. What they cost stays spent."""
        for request in requests:
            if request in self.replies:
                none = {"text": None, "finish": FORGOTTEN, "tokens_in": 0, "tokens_out": 0, "cost": 0.0}
                self._append(self.replies[request].model_copy(update={**none, "estimated": False}))

    def _append(self, row: CachedReply) -> None:
        _append(self.path, row.model_dump_json().encode() + b"\n")
        self._take(row)

    def _take(self, row: CachedReply) -> None:
        if row.text is not None:
            self.replies[row.request] = row
        elif row.finish == FORGOTTEN:
            self.replies.pop(row.request, None)
        if row.account != self.account:
            self.elsewhere += row.cost
            return
        self.spent += row.cost
        self.tokens += row.tokens_in + row.tokens_out
        self.estimated += row.estimated


@contextmanager
def open_cache(path: Path, account: str = "") -> Iterator[Cache]:
    """The cache in a file, created if needed; ``account`` is where its replies are paid from.

    Raises ``RuntimeError`` while another process uses it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=0):
            yield Cache(path, account)
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
