"""The process that owns the kernels: `python -m helpers.kept.keeper FOLDER`, started by `helpers.kept.client.Keeper`.

One connection is one run's loan. A kernel is started by the keeper, so that it outlives the run, and is killed with it.
Only one thread: the system sends a child the signal of its parent's death when the *thread* that made it ends.
"""

import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.kept.client import SOCKET

PR_SET_PDEATHSIG = 1
MOST_RUNS = 20  # of one kernel: what a library never frees (bitsandbytes' paged optimiser states) goes with it
SECONDS = 10  # for the rest of a message that has begun


@dataclass
class Kernel:
    """A process, and what a run has to know to use it."""

    key: str
    process: "subprocess.Popen[bytes]"
    facts: dict[str, Any]
    folder: str  # of its sockets
    runs: int = 1

    def end(self) -> int:
        """Kill it and what it has started; its memory is free when this returns."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        return status


class Keeper:
    """Answers requests until its standard input is closed."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.idle: list[Kernel] = []
        self.lent: dict[socket.socket, Kernel] = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(Path(folder) / SOCKET))
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._leave)

    def serve(self) -> None:
        """Until the end."""
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def _leave(self, _: Any) -> None:
        """Whoever started this has ended; kernels that are lent are ended too."""
        for kernel in [*self.idle, *self.lent.values()]:
            kernel.end()
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(0)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(SECONDS)
        self.selector.register(connection, selectors.EVENT_READ, self._told)

    def _told(self, connection: socket.socket) -> None:
        fds: list[int] = []
        try:
            message, fds, _, _ = socket.recv_fds(connection, 65536, 3)
            while message and not message.endswith(b"\n"):
                if not (piece := connection.recv(65536)):
                    raise OSError("it ended in the middle of a message")
                message += piece
            request = json.loads(message) if message else None
            answer = self._answer(connection, request, fds) if request else None
            if answer is not None:
                connection.sendall(json.dumps(answer).encode() + b"\n")
                return
        except (OSError, ValueError) as error:
            print(f"a run is let go: {error!r}", flush=True)
        finally:
            for fd in fds:
                os.close(fd)
        self._closed(connection)

    def _closed(self, connection: socket.socket) -> None:
        """A run that has ended without giving its kernel back."""
        self.selector.unregister(connection)
        connection.close()
        if kernel := self.lent.pop(connection, None):
            kernel.end()

    def _answer(self, connection: socket.socket, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        kernel = self.lent.get(connection)
        match request["do"]:
            case "take":
                return self._take(connection, request["key"])
            case "start" if kernel is None:
                return self._start(connection, request, fds)
            case "poll" if kernel:
                return {"status": kernel.process.poll()}
            case "signal" if kernel and kernel.process.poll() is None:  # not reaped, so the number is still its own
                os.killpg(kernel.process.pid, request["signal"])
            case "keep" if kernel:
                del self.lent[connection]
                kernel.facts = request["facts"]
                if kernel.process.poll() is None and kernel.runs < MOST_RUNS:
                    self.idle.append(kernel)
                else:
                    kernel.end()
        return {}

    def _take(self, connection: socket.socket, key: str | None) -> dict[str, Any]:
        """An idle kernel of that key. Without one all idle kernels end: their memory is needed for the next."""
        for kernel in self.idle:
            if kernel.key == key and kernel.process.poll() is None:
                self.idle.remove(kernel)
                self.lent[connection] = kernel
                kernel.runs += 1
                return {"pid": kernel.process.pid, "facts": kernel.facts}
        while self.idle:
            self.idle.pop().end()
        return {"pid": None}

    def _start(self, connection: socket.socket, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        process = subprocess.Popen(
            request["command"],
            env=request["environment"],
            cwd=request["cwd"],
            stdin=fds[0],
            stdout=fds[1],
            stderr=fds[2],
            start_new_session=True,
            preexec_fn=_die_with_parent,  # safe: there is one thread
        )
        self.lent[connection] = Kernel(request["key"], process, request["facts"], request["folder"])
        return {"pid": process.pid}


LIBC = ctypes.CDLL(None)
PARENT = os.getpid()


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != PARENT:
        os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runs
    Keeper(sys.argv[1]).serve()
