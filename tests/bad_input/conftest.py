"""The promise that all bad input is met with: the error said, and nothing written."""

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import pytest


def listing(folder: Path) -> dict[str, str]:
    """What each thing below a folder is and holds; links are not followed, pipes not opened."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        held = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(mode) else oct(mode)
        found[path.relative_to(folder).as_posix()] = held
    return found


@pytest.fixture
def refused(request) -> Callable[..., str]:
    """``refused(error, message, call, *arguments)``: the call raises that, and the test's folder, if it has one, stays
    as it was.

    Gives the whole message.
    """

    def check(error: type[Exception], message: str, call: Callable[..., object], *arguments: object) -> str:
        folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
        before = listing(folder) if folder else {}
        with pytest.raises(error, match=message) as caught:
            call(*arguments)
        assert (listing(folder) if folder else {}) == before
        return str(caught.value)

    return check
