"""The process that forks: `python -m helpers.workflow.warm.server FOLDER`, started by `client.WarmServer`.

It has a single thread and never computes anything, since locks and threads do not survive a fork; it checks this before
each fork. It listens first and then imports one library after another. A request that arrives in between gets a fork
with the libraries imported so far, or waits for the library that it names. When a fork ends, its client is told; when a
client dies, its fork is killed.
"""

import argparse
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from helpers.workflow.warm.client import SOCKET, encoded

LIGHT = """ipykernel.kernelapp ipykernel.ipkernel papermill pandas pyarrow.parquet yaml pydantic psutil PIL.Image
matplotlib.figure matplotlib.backends.backend_agg scipy.stats""".split()
HEAVY = """codecarbon torch torch.utils.data transformers transformers.modeling_utils transformers.generation
transformers.trainer transformers.models.auto.modeling_auto transformers.models.auto.processing_auto
transformers.models.qwen2_vl.modeling_qwen2_vl transformers.models.qwen2_vl.processing_qwen2_vl
transformers.models.llava_next.modeling_llava_next transformers.models.llava_next.processing_llava_next
accelerate safetensors.torch bitsandbytes peft""".split()
# Variables read by the libraries above while they are imported, or by Python and the C library when they start
READ_AT_START = """PYTHON LD_ GLIBC_ MALLOC_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ NUMEXPR_ VECLIB_ ARROW_ JE_ MPL HF_
HUGGINGFACE_ TRANSFORMERS_ TORCH PYTORCH CUDA NVIDIA_ HIP_ ROCR_ BNB_ ACCELERATE_ USE_ IPYTHON JUPYTER_CONFIG""".split()
PR_SET_PDEATHSIG = 1
REQUEST_SECONDS = 10

ForkRequest = dict[str, Any]
Fork = tuple[ForkRequest, list[int]]


class ForkServer:
    """`serve` returns only in a fork, with what the fork has to do; the server itself exits at the end."""

    def __init__(self, folder: str) -> None:
        self.folder, self.started_with = folder, dict(os.environ)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(Path(folder) / SOCKET))
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._leave)
        self.living: dict[socket.socket, int] = {}  # process ids
        self.modules: list[str] = []  # not yet imported
        self.waiting: list[tuple[socket.socket, ForkRequest, list[int]]] = []  # for one of them

    def serve(self, modules: list[str]) -> Fork:
        """Import the modules one by one, and answer requests."""
        self.modules = modules
        while True:
            for key, _ in self.selector.select(0 if modules else None):
                act: Callable[[Any], Fork | None] = key.data
                if fork := act(key.fileobj):
                    return fork
            if modules:
                self._import(modules.pop(0))
            for asked in [asked for asked in self.waiting if asked[1].get("after") not in modules]:
                self.waiting.remove(asked)
                if fork := self._fork(*asked):
                    return fork

    def _import(self, name: str) -> None:
        try:
            importlib.import_module(name)
        except Exception as error:  # a run that needs it will report it better
            print(f"not imported: {name}: {error}", flush=True)

    def _leave(self, _: Any) -> None:
        """The process that started this one has ended. The forks end by themselves (`_die_with_parent`)."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(0)

    def _accept(self, listener: socket.socket) -> Fork | None:
        connection, _ = listener.accept()
        connection.settimeout(REQUEST_SECONDS)
        try:
            _, fds, _, _ = socket.recv_fds(connection, 1, 3)
            request = json.loads(connection.makefile("rb").readline())
        except (OSError, ValueError):  # the client has given up
            connection.close()
            return None
        if request.get("after") in self.modules:
            self.waiting.append((connection, request, fds))
            return None
        return self._fork(connection, request, fds)

    def _fork(self, connection: socket.socket, request: ForkRequest, fds: list[int]) -> Fork | None:
        if reason := self._objection(request):
            print(f"refused {request['function']}: {reason}", flush=True)
            self._say(connection, {"refused": reason})
            connection.close()
            _close(fds)
            return None
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # else the fork's garbage collector would touch, and so copy, every page
        pid = os.fork()
        if pid == 0:
            _die_with_parent()
            self._forget()
            connection.close()
            return request, fds
        _close(fds)
        pidfd = os.pidfd_open(pid)
        self.living[connection] = pid
        self.selector.register(pidfd, selectors.EVENT_READ, lambda _: self._ended(connection, pidfd))
        self.selector.register(connection, selectors.EVENT_READ, self._told)
        self._say(connection, {"pid": pid})
        return None

    def _objection(self, request: ForkRequest) -> str | None:
        def relevant(environment: dict[str, str]) -> dict[str, str]:
            return {name: value for name, value in environment.items() if name.startswith(tuple(READ_AT_START))}

        ours, theirs = relevant(self.started_with), relevant(request["environment"])
        different = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
        if different:
            return f"the environment differs in {', '.join(different)}"
        if (threads := len([*Path("/proc/self/task").iterdir()])) != 1:
            return f"a library has started {threads - 1} thread(s)"
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_initialized():
            return "a library has begun to use the GPU"
        return None

    def _told(self, connection: socket.socket) -> None:
        """A signal to pass on, or the end of the client."""
        if connection not in self.living:  # the end of its fork was handled in the same round
            return
        try:
            lines = connection.recv(4096).splitlines()
        except OSError:
            lines = []
        if not lines:
            self.selector.unregister(connection)
        for number in [json.loads(line)["signal"] for line in lines] or [signal.SIGKILL]:
            self._signal(self.living[connection], number)

    def _signal(self, pid: int, number: int) -> None:
        """Signal the whole group. The process has not been reaped, so its id is still its own."""
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # it has not reached its setsid yet
            os.kill(pid, number)

    def _ended(self, connection: socket.socket, pidfd: int) -> None:
        pid = self.living.pop(connection)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._say(connection, {"status": os.waitstatus_to_exitcode(status)})
        if connection in self.selector.get_map():
            self.selector.unregister(connection)
        connection.close()

    def _say(self, connection: socket.socket, content: dict[str, Any]) -> None:
        with suppress(OSError):  # the client is gone; `_told` will notice too
            connection.sendall(encoded(content))

    def _forget(self) -> None:
        """In a fork: release what belongs to the server."""
        for key in [*self.selector.get_map().values()]:
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            elif key.fd != sys.stdin.fileno():
                os.close(key.fd)
        for connection, _, fds in self.waiting:
            connection.close()
            _close(fds)
        self.selector.close()


def become(request: ForkRequest, fds: list[int]) -> None:
    """Turn a fork into what a new process with this request would be."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    if not sys.flags.safe_path:  # else there is no entry for the working folder, and the first is another's
        sys.path[0] = request["cwd"]
    sys.argv = [request["function"], *request["arguments"]]
    for name in [name for name in sys.modules if name == "helpers" or name.startswith("helpers.")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else all forks would draw the same numbers where no seed is set
    gc.enable()


def _die_with_parent() -> None:
    """Lead a new process group, and be killed when the server ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    if parent == 1 or os.getppid() != parent:
        os._exit(1)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def main() -> None:
    """Serve; in a fork, carry out the request."""
    parser = argparse.ArgumentParser(prog="python -m helpers.workflow.warm.server", description=main.__doc__)
    parser.add_argument("folder")
    parser.add_argument("--heavy", action="store_true", help="also import torch and what builds on it")
    given = parser.parse_args()
    server = ForkServer(given.folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as early as a kernel does
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # pyarrow's allocator would start a thread
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # see helpers.workflow.execute
    gc.disable()  # imports leave no garbage worth collecting
    request, fds = server.serve(LIGHT + (HEAVY if given.heavy else []))
    become(request, fds)
    module, _, function = request["function"].partition(":")
    if function:
        sys.exit(getattr(importlib.import_module(module), function)())
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
