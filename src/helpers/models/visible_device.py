"""One graphics card per process, and another for each process at the same time.

With several cards in sight the Trainer would cut each batch into as many parts and average the loss over them, and two
jobs would both compute on the first card.
"""

import fcntl
import os
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO

import torch

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: list[IO[bytes]] = []  # locks; the system frees them when this process ends, however it ends


def take_card() -> str | None:
    """Leave one card visible to this process: the first that no other process took this way, or else the least taken.

    Returns its name in ``CUDA_VISIBLE_DEVICES``; None if at most one card is visible, which is then left as it is. Call
    it before torch starts CUDA, which looks for cards only once; raises ``RuntimeError`` if it has started already.
    """
    if (cards := torch.cuda.device_count()) <= 1:  # asks the driver's library and does not start CUDA
        return None
    named = os.environ.get(_VISIBLE)
    card = _lock([name.strip() for name in named.split(",")][:cards] if named else list(map(str, range(cards))))
    os.environ[_VISIBLE] = card
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order in which the meter counts cards
    if torch.cuda.is_initialized() or torch._C._cuda_getDeviceCount() != 1:
        raise RuntimeError(
            f"CUDA had started with {cards} cards in sight before one was chosen, and a run uses one: restart the "
            f"kernel, or start it with {_VISIBLE}={card}"
        )
    return card


def _lock(cards: list[str]) -> str:
    folder = Path(tempfile.gettempdir()) / f"cards-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for taken in count():  # times that each card is taken
        for card in cards:
            file = (folder / f"{card.replace('/', '_')}.{taken}").open("ab")
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _held.append(file)
                return card
            file.close()
    raise AssertionError("unreachable")
