"""A progress line every few seconds, the same in a notebook, a terminal and a log file: no carriage returns.

Each line begins with "progress: "; `helpers.workflow.execute` passes it on to the terminal while a notebook runs. Where
somebody watches, in JupyterLab, a training shows a bar and its losses instead (`LiveCurve`).
"""

import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from helpers.workflow import provenance

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


def is_watched() -> bool:
    """Whether a reader sits before this notebook: it has a kernel, which the workflow has not started."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel") and provenance.MANIFEST not in os.environ


class LiveCurve:
    """tqdm's bar and a curve of the losses below the running cell; both disappear when the training ends.

    Drawing takes at most a twentieth of the time. ``before``: the steps of an earlier, resumed run.
    """

    SHARE = 0.05

    def __init__(self, total: int, before: int = 0) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(total=total, initial=before, unit="step", leave=False, file=sys.stdout)
        self.total = total
        self.points: list[tuple[int, float]] = []  # step and loss
        self.shown: Any = None
        self.due = 0.0  # on the monotonic clock

    def add(self, step: int, loss: float) -> None:
        self.points.append((step, loss))
        self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self.bar.update(step - self.bar.n)
        began = time.monotonic()
        if began >= self.due and len(self.points) > 1:
            self._show(self._drawn())
            self.due = time.monotonic() + max(1.0, (time.monotonic() - began) / self.SHARE)

    def close(self) -> None:
        """Remove both: the notebook shows the whole curve itself."""
        from IPython.display import HTML

        self.bar.close()
        if self.shown is not None:
            self.shown.update(HTML(""))

    def _show(self, drawn: Any) -> None:
        from IPython.display import display

        if self.shown is None:
            self.shown = display(drawn, display_id=True)
        else:
            self.shown.update(drawn)

    def _drawn(self) -> Any:
        from IPython.display import Image
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 2.5), layout="tight")
        axes = figure.subplots()
        axes.plot(*zip(*self.points, strict=True))
        axes.set(xlim=(0, self.total), xlabel="step", ylabel="loss on the answers")
        memory = io.BytesIO()
        figure.savefig(memory, format="png", dpi=72)
        return Image(data=memory.getvalue(), format="png", alt="The loss so far, by step")


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
