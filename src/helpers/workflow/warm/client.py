"""Starting the server of warm starts, and having it start a process. Standard library only: this has to be quick.

Without a server everything goes on as ever, in a new Python: by hand, on a cluster's nodes, on macOS (where a process
with Apple's libraries in it must not fork), on machines with a GPU (where a library that looks for one while it is
imported would spoil it for the forks; runs are long there, and a start matters little).
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

VARIABLE = "WARM_START"  # the server's folder, for the runs of the workflow that started it; "off": start none
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's, AMD's, and any in WSL
SOCKET = "socket"


class Companion:
    """A process that lives as long as this one: it ends when its standard input is closed, however that happens.

    It runs a module of the package, which gets a folder for its socket, ``folder``, and writes what it says to ``log``.
    """

    def __init__(self, module: str, environment: Mapping[str, str], log: Path, *arguments: str) -> None:
        self.folder = tempfile.mkdtemp(prefix=f"{module.split('.')[1]}-")  # readable by its owner alone
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, self.folder, *arguments],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the runs, which are told by their own terminal's side
            )

    def stop(self) -> None:
        """End it and what it has started."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class WarmServer(Companion):
    """The server of warm starts."""

    def __init__(self, environment: Mapping[str, str], heavy: bool, log: Path) -> None:
        super().__init__("helpers.workflow.warm.server", environment, log, *(["--heavy"] if heavy else []))


def can_serve() -> bool:
    """Whether forks of a warm process are safe on this machine, and wanted."""
    wanted = os.environ.get(VARIABLE) != "off"
    return (
        wanted and sys.platform == "linux" and hasattr(os, "pidfd_open") and not any(Path(gpu).exists() for gpu in GPUS)
    )


class Process:
    """A forked process, with what `subprocess.Popen` offers for it. It is killed when this object's process dies."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection, self.pid = connection, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""
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
            # A server that dies takes its forks along
            self.returncode = answer["status"] if answer else -signal.SIGKILL
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To the process and what it has started itself. By way of the server, which knows whether it still lives."""
        if self.poll() is None:
            with suppress(OSError):  # the server has just ended
                self._connection.sendall(_message({"signal": number}))

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


def fork(
    function: str, arguments: Sequence[str], environment: Mapping[str, str], cwd: str, after: str | None = None
) -> Process | None:
    """Have ``module:function`` called, or ``module`` run as by ``python -m``, in a fork of the server.

    The fork has these arguments and this environment, as a command would have, and its output goes where this process's
    goes. None where there is no server, or it refuses: then start a new Python.

    The server refuses if the environment differs in what a library reads while it is imported, such as the number of
    threads. It answers when it has finished the import that it is at, or that of the module ``after`` if this is among
    those that it imports, so within seconds.
    """
    folder = os.environ.get(VARIABLE, "off")
    if folder == "off":
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    request: dict[str, Any] = {
        "function": function,
        "arguments": [*arguments],
        "environment": dict(environment),
        "cwd": cwd,
    }
    request["after"] = after
    try:
        connection.connect(str(Path(folder) / SOCKET))
        with Path(os.devnull).open() as nothing:
            fds = array.array("i", [nothing.fileno(), 1, 2])
            connection.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        connection.sendall(_message(request))
        answer = _receive(connection)
    except OSError:
        answer = None
    if not answer or "pid" not in answer:
        connection.close()
        return None
    return Process(connection, answer["pid"])


def call(function: str, arguments: Sequence[str]) -> int | None:
    """Like `fork`, and wait: the exit status as a shell would have it, or None. Signals to end are passed on."""
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


def _message(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    """One line; None at the end of the connection."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            piece = connection.recv(1)  # lines are short, and what follows is another message
        except ConnectionError:
            return None
        if not piece:
            return None
        line += piece
    found: dict[str, Any] = json.loads(line)
    return found


def wait_until_ready(folder: str, seconds: float, name: str = SOCKET) -> None:
    """Until the process of that folder listens on its socket, or raises `TimeoutError`."""
    end = time.monotonic() + seconds
    while not (Path(folder) / name).exists():
        if time.monotonic() > end:
            raise TimeoutError(f"nobody listens in {folder} after {seconds:g} s")
        time.sleep(0.02)
