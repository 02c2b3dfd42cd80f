"""A progress line every few seconds, the same in a notebook, a terminal and a log file: no carriage returns.

Each line begins with "progress: "; `helpers.workflow.execute` passes it on to the terminal while a notebook runs.
"""

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

SECONDS_BETWEEN = 5.0
Item = TypeVar("Item")


class Ticker:
    """Prints "progress: what 12/40, 31 s left" at most every ``SECONDS_BETWEEN`` seconds.

    ``before``: how much of the total an earlier, resumed run has done. It took no time here.
    """

    def __init__(self, what: str, total: int, before: int = 0) -> None:
        self.what, self.total, self.before, self.begin = what, total, before, time.monotonic()
        self.last = self.begin

    def tick(self, done: int, more: str = "") -> None:
        now = time.monotonic()
        if now - self.last < SECONDS_BETWEEN or done <= self.before:
            return
        self.last = now
        left = (now - self.begin) / (done - self.before) * (self.total - done)
        print(f"progress: {self.what} {done}/{self.total}{more}, {duration(left)} left", flush=True)


def duration(seconds: float) -> str:
    """For example "31 s", "4 min" or "2 h 05 min": no finer than an estimate deserves."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def watched(items: Iterable[Item], what: str) -> Iterator[Item]:
    """Iterate with a progress line every few seconds; ``items`` must have a length."""
    total = len(items) if isinstance(items, Sized) else 0
    ticker = Ticker(what, total)
    for done, item in enumerate(items, start=1):
        yield item
        ticker.tick(done)
