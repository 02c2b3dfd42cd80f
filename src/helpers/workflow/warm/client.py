"""Starting the warm-start server, and asking it for a process. Standard library only: this has to be quick.

Without a server, everything runs in a new Python as usual: by hand, on the nodes of a cluster, on macOS (where a
process that has loaded Apple's libraries must not fork), and on machines with a GPU (a library that looks for the GPU
while it is imported would make it unusable in the forks; runs are long there, so the start matters little).
"""

import array
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "WARM_START"  # the server's folder, for the runs of its workflow; "off": start no server
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, and any GPU in WSL
SOCKET = "socket"
LONGEST_PLACE = 70  # bytes: systems take 103 for the path of a socket, "/kernel-abcdefgh/socket-5" included


class WarmServer:
    """The warm-start server. It lives as long as this process: it ends when its standard input is closed.

    ``heavy``: import torch and what builds on it as well. The socket is in ``folder``; output goes to ``log``.
    """

    def __init__(self, environment: Mapping[str, str], heavy: bool, log: Path) -> None:
        self.folder = tempfile.mkdtemp(prefix="warm-", dir=socket_place())  # readable only by its owner
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "helpers.workflow.warm.server", self.folder, *(["--heavy"] if heavy else [])],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is meant for the runs, which receive it from the terminal
            )

    def stop(self) -> None:
        """End the server and everything it has started."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def socket_place() -> str:
    """The folder for folders with sockets: the temporary one, or /tmp where a socket's path there would be too long."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST_PLACE else "/tmp"


def can_serve() -> bool:
    """Whether forks of a warm process are safe on this machine, and wanted."""
    safe = sys.platform == "linux" and hasattr(os, "pidfd_open") and not any(Path(gpu).exists() for gpu in GPUS)
    return safe and os.environ.get(VARIABLE) != "off"


class Process:
    """A forked process with the interface of `subprocess.Popen`. It is killed when this object's process dies."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection, self.pid = connection, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for it to end; raises `subprocess.TimeoutExpired`."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return status

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                answer = _receive(self._connection)
            except (BlockingIOError, TimeoutError):
                return None
            # a server that dies takes its forks with it
            self.returncode = answer["status"] if answer else -signal.SIGKILL
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal the process and whatever it has started, through the server, which knows whether it is still alive."""
        if self.poll() is None:
            with suppress(OSError):  # the server has just ended
                self._connection.sendall(encoded({"signal": number}))

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


def fork(
    function: str, arguments: Sequence[str], environment: Mapping[str, str], cwd: str, after: str | None = None
) -> Process | None:
    """Call ``module:function``, or run ``module`` as ``python -m`` does, in a fork of the server.

    The fork gets these arguments and this environment, and its output goes where this process's output goes. Returns
    None if there is no server or if it refuses: then start a new Python.

    The server refuses if the environment differs in something that a library reads while it is imported, such as the
    number of threads. It answers within seconds: after the import in progress, or after importing ``after`` if that is
    among the modules it imports.
    """
    folder = os.environ.get(VARIABLE, "off")
    if folder == "off":
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    request: dict[str, Any] = {"function": function, "arguments": [*arguments], "cwd": cwd, "after": after}
    request["environment"] = dict(environment)
    try:
        connection.connect(str(Path(folder) / SOCKET))
        with Path(os.devnull).open() as nothing:
            fds = array.array("i", [nothing.fileno(), 1, 2])
            connection.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        connection.sendall(encoded(request))
        answer = _receive(connection)
    except OSError:
        answer = None
    if not answer or "pid" not in answer:
        connection.close()
        return None
    return Process(connection, answer["pid"])


def call(function: str, arguments: Sequence[str]) -> int | None:
    """Like `fork`, then wait: the exit status as in a shell, or None. SIGINT and SIGTERM are passed on."""
    caught: list[int] = []
    before = {number: signal.signal(number, lambda given, _: caught.append(given)) for number in _TO_END}
    try:
        process = fork(function, arguments, os.environ, str(Path.cwd()))
        if process is None:
            if caught:
                raise KeyboardInterrupt
            return None
        while True:
            while caught:
                process.send_signal(caught.pop())
            try:
                status = process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
            return status if status >= 0 else 128 - status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_TO_END = (signal.SIGINT, signal.SIGTERM)


def encoded(content: dict[str, Any]) -> bytes:
    """A message between client and server: one line of JSON."""
    return json.dumps(content).encode() + b"\n"


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next message; None at the end of the connection."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            piece = connection.recv(1)  # lines are short, and the next message must stay unread
        except ConnectionError:
            return None
        if not piece:
            return None
        line += piece
    found: dict[str, Any] = json.loads(line)
    return found


def wait_until_ready(folder: str, seconds: float) -> None:
    """Wait until the server of that folder listens on its socket; raises `TimeoutError` after ``seconds``."""
    end = time.monotonic() + seconds
    while not (Path(folder) / SOCKET).exists():
        if time.monotonic() > end:
            raise TimeoutError(f"nobody listens in {folder} after {seconds:g} s")
        time.sleep(0.02)
