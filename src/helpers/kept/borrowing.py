"""Which runs share a kernel, and how Jupyter is made to use the one that was lent."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from helpers import notebooks, paths
from helpers.kept import client
from helpers.models.kept import VARIABLE as KEEP_MODEL
from helpers.warm.kernel import LARGE, WarmProvisioner, use_provisioner
from helpers.warm.server import READ_AT_START

LOADER = "src/helpers/models/loading.py"
RENEW_SECONDS = 60


class Borrowed:
    """A run's kernel, where it is one that is kept: given back after a success, ended after anything else."""

    def __init__(self, notebook: Path, parameters: Mapping[str, Any], log: Path) -> None:
        self.notebook, self.parameters, self.log = notebook, parameters, log
        self.loan: client.Loan | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.loan:
            self.loan.keep() if kind is None else self.loan.end()

    @property
    def reused(self) -> bool:
        """Whether it had served another run before."""
        return self.loan is not None and self.loan.reused

    def acquire(self) -> client.Loan | None:
        """Borrow a kernel, and make it new; None where this run starts one of its own."""
        os.environ.pop(KEEP_MODEL, None)
        if not os.environ.get(client.VARIABLE):
            return None
        if (key := self._key()) is None:
            if LARGE.search(self.notebook.read_text(encoding="utf-8")) or self._loads_models():
                client.take(None)  # an idle kernel's memory may be needed
            return None
        os.environ[KEEP_MODEL] = "1"
        self.loan = client.take(key)
        while self.loan and self.loan.reused and not renewed(self.loan, self.log):
            print("the kept kernel could not be renewed; another one is taken", flush=True)
            self.loan.end()
            self.loan = client.take(key)
        if self.loan is None:
            os.environ.pop(KEEP_MODEL)
        else:
            self.loan.facts["variables"] = [*os.environ]
        return self.loan

    def _loads_models(self) -> bool:
        return LOADER in notebooks.helper_files([self.notebook])[str(self.notebook)]

    def _key(self) -> str | None:
        """Equal for runs that may share a kernel; None for one that shares none.

        A tracker takes a process for one run, so a run that reports to one has its own.
        """
        path, training = self.parameters.get("model_path"), self.parameters.get("training") or {}
        if path is None or training.get("report_to") or not self._loads_models():
            return None
        read = {name: value for name, value in os.environ.items() if name.startswith(tuple(READ_AT_START))}
        return json.dumps([sys.executable, str(path), code_hash(), sorted(read.items())])


def code_hash() -> str:
    """Changes with any of the project's modules."""
    found = hashlib.sha256()
    for file in sorted((paths.ROOT / "src/helpers").rglob("*.py")):
        found.update(f"{file}\n".encode() + file.read_bytes())
    return found.hexdigest()


def renewed(loan: client.Loan, log: Path) -> bool:
    """Whether the lent kernel was made as good as new (`helpers.kept.renew`)."""
    given = json.dumps([dict(os.environ), loan.facts["variables"], str(paths.ROOT), str(log.resolve())])
    kernel = BlockingKernelClient()
    kernel.load_connection_info(_with_key(loan.facts["connection"]))
    kernel.start_channels()
    try:
        kernel.wait_for_ready(timeout=RENEW_SECONDS)
        code = f"import json\nfrom helpers.kept.renew import renew\nrenew(*json.loads({given!r}))"
        reply = kernel.execute_interactive(
            code, silent=True, store_history=False, allow_stdin=False, timeout=RENEW_SECONDS
        )
    except (RuntimeError, TimeoutError) as error:
        print(error, flush=True)
        return False
    finally:
        kernel.stop_channels()
    if reply["content"]["status"] != "ok":
        print("\n".join(reply["content"].get("traceback", [])), flush=True)
    return bool(reply["content"]["status"] == "ok")


def _with_key(connection: Mapping[str, Any]) -> Any:
    """As Jupyter has it: the key in bytes."""
    return {**connection, "key": str(connection["key"]).encode()}


class KeptManager(AsyncKernelManager):
    """Leaves the kernel, its sockets and its connection file alone: whoever borrowed it decides about its end."""

    async def _async_shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        return None

    shutdown_kernel = _async_shutdown_kernel

    def cleanup_connection_file(self) -> None:
        """Goes with the folder."""

    def cleanup_ipc_files(self) -> None:
        """Go with the folder."""


class KeptProvisioner(WarmProvisioner):
    """Uses the lent kernel, or has the keeper start one."""

    loan: client.Loan | None = None  # the process's only one
    folder = ""  # of the sockets of a kernel that is started

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Nothing to prepare where there is a kernel."""
        if not (self.loan and self.loan.reused):
            return await super().pre_launch(**kwargs)
        kwargs.pop("extra_arguments", None)
        self.connection_info = _with_key(self.loan.facts["connection"])
        return await KernelProvisionerBase.pre_launch(self, cmd=[], **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the process, if it is not there already."""
        assert self.loan
        if not self.loan.reused:
            connection: dict[str, Any] = {**self.connection_info}
            self.loan.facts["connection"] = connection | {"key": connection["key"].decode()}
            environment = {name: value for name, value in kwargs["env"].items() if name != "JPY_PARENT_PID"}
            self.loan.start(cmd, environment, str(kwargs.get("cwd") or Path.cwd()), self.folder)
        self.process, self.pid = self.loan, self.loan.pid  # type: ignore[assignment]
        self.pgid = None  # signals go through the keeper
        self.cwd = kwargs.get("cwd") or Path.cwd()
        return self.connection_info


@contextmanager
def used(loan: client.Loan) -> Iterator[str]:
    """Let this process's kernel be the lent one; yields a folder for its sockets, which lasts as long as it does."""
    with tempfile.TemporaryDirectory(prefix="kernel-") as passing:
        lasting = passing if loan.reused else tempfile.mkdtemp(prefix="kernel-", dir=os.environ[client.VARIABLE])
        KeptProvisioner.loan, KeptProvisioner.folder = loan, lasting
        use_provisioner(KeptProvisioner)
        yield lasting
