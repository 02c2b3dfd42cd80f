"""JupyterLab as `./run_all.sh lab` starts it: its kernels have one thread each, and end when it ends."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from helpers.paths import ROOT
from helpers.workflow.execute import THREAD_VARIABLES

sys.path.insert(0, str(Path(__file__).parent))
from waiting import eventually


class Lab:
    """A server with one kernel; ``runtime`` is where Jupyter notes its address."""

    def __init__(self, folder: Path) -> None:
        runtime = folder / "runtime"
        variables = {"JUPYTER_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "7"}
        options = ["--no-browser", "--allow-root", "--port=0", "--IdentityProvider.token=t"]
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "helpers.workflow.lab", *options],
                **{"env": os.environ | variables, "stdout": log, "stderr": log},
            )
        assert eventually(lambda: [*runtime.glob("jpserver-*.json")]), self.log.read_text()
        self.url = json.loads(next(runtime.glob("jpserver-*.json")).read_text())["url"]
        assert eventually(self.ready), self.log.read_text()
        self.call("POST", "api/kernels")

    def call(self, method: str, path: str) -> object:
        request = urllib.request.Request(self.url + path, headers={"Authorization": "token t"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def ready(self) -> bool:
        try:
            return bool(self.call("GET", "api/status"))
        except OSError:
            return False


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_kernels_have_one_thread_and_end_with_the_server(tmp_path, ended_by):
    lab = Lab(tmp_path)
    try:
        children = psutil.Process(lab.server.pid).children()
        (kernel,) = [child for child in children if "ipykernel_launcher" in child.cmdline()]
        assert {kernel.environ()[name] for name in THREAD_VARIABLES} == {"1"}
        assert "/lab/tree/notebooks/00_start_here.ipynb" in lab.log.read_text()
    finally:
        lab.server.send_signal(ended_by)
        lab.server.wait(60)
    assert eventually(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE)
