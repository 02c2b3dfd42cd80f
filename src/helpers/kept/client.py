"""Starting the keeper of kernels, and borrowing one from it. Standard library only.

Without a keeper, or where it does not answer, every run starts its own kernel, as ever.
"""

import array
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from helpers.warm.client import Companion, wait_until_ready

VARIABLE = "KEPT_KERNELS"  # the keeper's folder, for the runs of the workflow that started it
SOCKET = "keeper"
START_SECONDS = 20
FIRST_LOOK, LONGEST_LOOK = 0.005, 0.2  # seconds between two looks at a process whose end is waited for


class Keeper(Companion):
    """The keeper of kernels."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        super().__init__("helpers.kept.keeper", environment, log)
        with suppress(TimeoutError):  # without it runs start their own kernels
            wait_until_ready(self.folder, START_SECONDS, SOCKET)


def can_keep() -> bool:
    """Whether kernels can be made to die with their keeper: Linux alone has a way that never fails."""
    return sys.platform == "linux"


class Loan:
    """A kernel that is this run's, or the right to start one; with what `subprocess.Popen` offers for it."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, key: str, pid: int | None, facts: dict[str, Any]) -> None:
        self._connection, self._key = connection, key
        self.pid, self.facts = pid or 0, facts  # facts: what the run before has left to know
        self.reused = pid is not None
        self.returncode: int | None = None

    def start(self, command: list[str], environment: Mapping[str, str], cwd: str, folder: str) -> None:
        """Have the keeper start the kernel; its output goes where this process's goes. ``folder``: of its sockets."""
        request = {
            "do": "start",
            "key": self._key,
            "command": command,
            "environment": dict(environment),
            "cwd": cwd,
            "folder": folder,
            "facts": self.facts,
        }
        with Path(os.devnull).open() as nothing:
            pid = _ask(self._connection, request, [nothing.fileno(), 1, 2]).get("pid")
        if pid is None:
            raise OSError(f"the keeper of kernels did not start one; see {Path(os.environ.get(VARIABLE, ''))}")
        self.pid = pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            try:
                self.returncode = _ask(self._connection, {"do": "poll"})["status"]
            except (OSError, KeyError):  # the keeper has died, and its kernels with it
                self.returncode = -signal.SIGKILL
                self._connection.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""
        end, pause = time.monotonic() + (timeout or 0), FIRST_LOOK
        while (status := self.poll()) is None:
            if timeout is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK)
        return status

    def send_signal(self, number: int) -> None:
        """To the kernel and what it has started itself."""
        if self.poll() is None:
            with suppress(OSError):
                _ask(self._connection, {"do": "signal", "signal": number})

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def keep(self) -> None:
        """Give the kernel back for another run."""
        with suppress(OSError):
            _ask(self._connection, {"do": "keep", "facts": self.facts})
        self._connection.close()

    def end(self) -> None:
        """Have the kernel ended."""
        self.kill()
        self._connection.close()


def take(key: str | None) -> Loan | None:
    """An idle kernel of that key, or the right to start one, after all others that are idle have been ended.

    None where there is no keeper. With the key None the idle ones are ended, and nothing is lent.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(Path(folder) / SOCKET))
        answer = _ask(connection, {"do": "take", "key": key})
    except OSError:
        connection.close()
        return None
    if key is None:
        connection.close()
        return None
    return Loan(connection, key, answer.get("pid"), answer.get("facts", {}))


def _ask(connection: socket.socket, request: dict[str, Any], fds: list[int] | None = None) -> dict[str, Any]:
    """One line there, one line back."""
    line = json.dumps(request).encode() + b"\n"
    if fds:
        sent = connection.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        line = line[sent:]
    connection.sendall(line)
    answer = b""
    while not answer.endswith(b"\n"):
        piece = connection.recv(65536)
        if not piece:
            raise OSError("the keeper of kernels has ended")
        answer += piece
    found: dict[str, Any] = json.loads(answer)
    return found
