"""Waiting for what another process does."""

import time
from collections.abc import Callable

WAIT = 60


def eventually(claim: Callable[[], object]) -> bool:
    end = time.monotonic() + WAIT
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
