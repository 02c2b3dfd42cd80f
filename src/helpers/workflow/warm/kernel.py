"""Jupyter kernels from the server of warm starts, by the library's own extension point, a kernel provisioner."""

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
LAST = "peft"  # of what the server imports


class WarmProvisioner(LocalProvisioner):
    """Forks the kernel where there is a server, and starts it as ever where there is none."""

    after: str | None = None  # the last of the modules that the notebook waits for
    status: int | None = None  # with which a kernel of this process has ended; negative: by that signal

    async def poll(self) -> int | None:
        """Its exit status, which is kept."""
        status = await super().poll()
        if self.has_process and status is not None:
            WarmProvisioner.status = status
        return status

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the process."""
        process = self._forked(cmd, kwargs.get("env") or os.environ, str(kwargs.get("cwd") or Path.cwd()))
        if process is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid = process, process.pid  # type: ignore[assignment]
        self.pgid = None  # signals go through the process, to its whole group
        self.cwd = kwargs.get("cwd") or Path.cwd()
        return self.connection_info

    def _forked(self, cmd: list[str], environment: Any, cwd: str) -> client.Process | None:
        if LAUNCHER not in cmd or Path(cmd[0]).parent != Path(sys.executable).parent:
            return None
        arguments = cmd[cmd.index(LAUNCHER) + 1 :]
        return client.fork(LAUNCHER, arguments, environment, cwd, self.after)


def use(notebook: Path) -> None:
    """Let all kernels of this process be started so; they are for this notebook.

    One that needs torch waits until the server has it: imported a second time beside it, it would come later still.
    """
    WarmProvisioner.after = LAST if LARGE.search(notebook.read_text(encoding="utf-8")) else None
    use_provisioner(WarmProvisioner)


def use_provisioner(kind: type[WarmProvisioner]) -> None:
    """Let all kernels of this process be started by that one."""
    factory = KernelProvisionerFactory.instance()
    value = f"{kind.__module__}:{kind.__name__}"
    factory.provisioners[NAME] = EntryPoint(NAME, value, factory.GROUP_NAME)
    factory.default_provisioner_name = NAME
