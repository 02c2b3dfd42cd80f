"""Jupyter kernels from the warm-start server, through Jupyter's own extension point, a kernel provisioner."""

import os
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from helpers.workflow.warm import client

NAME = "warm-provisioner"
LAUNCHER = "ipykernel_launcher"
LARGE = re.compile(r"\btorch\b|\bhelpers\.playground\b")  # most notebooks that use torch print its version
LAST = "peft"  # module that the server imports


class WarmProvisioner(LocalProvisioner):
    """Forks the kernel if there is a server; otherwise starts it as usual."""

    after: str | None = None  # the module whose import the notebook waits for
    status: int | None = None  # exit status of this process's kernel; negative: a signal

    async def poll(self) -> int | None:
        """The kernel's exit status, which is kept."""
        status = await super().poll()
        if self.has_process and status is not None:
            WarmProvisioner.status = status
        return status

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel's process."""
        process = self._forked(cmd, kwargs.get("env") or os.environ, str(kwargs.get("cwd") or Path.cwd()))
        if process is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid = process, process.pid  # type: ignore[assignment]
        self.pgid = None  # signals go through `process` to its whole group
        self.cwd = kwargs.get("cwd") or Path.cwd()
        return self.connection_info

    def _forked(self, cmd: list[str], environment: Any, cwd: str) -> client.Process | None:
        if LAUNCHER not in cmd or Path(cmd[0]).parent != Path(sys.executable).parent:
            return None
        arguments = cmd[cmd.index(LAUNCHER) + 1 :]
        return client.fork(LAUNCHER, arguments, environment, cwd, self.after)


def use(notebook: Path) -> None:
    """Start all kernels of this process this way; they are for this notebook.

    A notebook that needs torch waits until the server has imported it: importing it a second time would take longer.
    """
    WarmProvisioner.after = LAST if LARGE.search(notebook.read_text(encoding="utf-8")) else None
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:{WarmProvisioner.__name__}", factory.GROUP_NAME)
    factory.default_provisioner_name = NAME
