"""Two clocks at once: the wall's, and the processor's own, which repeats where the wall's does not.

    watch = Stopwatch()
    work()
    spent = watch.read()

Whatever else runs on the machine lengthens the wall's seconds. It hardly changes the processor time of this process.
"""

import sys
import time
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Spent:
    """``seconds`` by the wall; ``compute_seconds`` by the processor or the GPU; not a number (NaN) if unknown."""

    seconds: float = 0.0
    compute_seconds: float = 0.0

    def __add__(self, other: Self) -> "Spent":
        return Spent(self.seconds + other.seconds, self.compute_seconds + other.compute_seconds)

    def __sub__(self, other: Self) -> "Spent":
        return Spent(self.seconds - other.seconds, self.compute_seconds - other.compute_seconds)

    def __truediv__(self, shares: int) -> "Spent":
        return Spent(self.seconds / shares, self.compute_seconds / shares)


class Stopwatch:
    """Runs from the moment it is made.

    Compute seconds are processor time of this process, over all threads. If torch uses a GPU, they are the time between
    two CUDA events on the current device, which contains its waits for this process but nothing that is still queued.
    """

    def __init__(self) -> None:
        self._cuda = cuda_in_use()
        self._event = _recorded(self._cuda) if self._cuda else None
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Spent:
        """What was spent so far; waits for the GPU, if there is one."""
        if self._cuda and self._event is not None:
            now = _recorded(self._cuda)
            now.synchronize()
            compute = self._event.elapsed_time(now) / 1000  # milliseconds
            return Spent(time.perf_counter() - self._wall, compute)
        cpu = time.process_time() - self._cpu
        return Spent(time.perf_counter() - self._wall, cpu)


def _recorded(cuda: Any) -> Any:
    event = cuda.Event(enable_timing=True)
    event.record()
    return event


def cuda_in_use() -> Any | None:
    """``torch.cuda`` if this process has used it. Looked up, not imported: an import would take seconds."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_initialized() else None


def clock() -> str:
    """Whose time a `Stopwatch` takes as compute seconds: "GPU" or "CPU"."""
    return "GPU" if cuda_in_use() else "CPU"
