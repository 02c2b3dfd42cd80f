"""The warm start: a fork does what a new Python would, dies with its asker, and is not used where it would differ."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat import v4

from helpers import paths
from helpers.workflow import execute
from helpers.workflow.warm import client
from helpers.workflow.warm.server import ForkServer

sys.path.insert(0, str(Path(__file__).parent))
from waiting import WAIT, eventually

pytestmark = pytest.mark.skipif(not client.can_serve(), reason="no warm start here: needs Linux, and no GPU")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[client.WarmServer]:
    """One without torch, told to this process's environment."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)  # errands are found by the working folder
    for name, value in execute.kernel_environment(1).items():
        monkeypatch.setenv(name, value)
    found = client.WarmServer(os.environ, heavy=False, log=tmp_path / "warm.log")
    client.wait_until_ready(found.folder, WAIT)
    monkeypatch.setenv(client.VARIABLE, found.folder)
    yield found
    found.stop()


def fork(tmp_path: Path, code: str, **environment: str) -> client.Process | None:
    """A fork, once the server is warm, that runs a module written for it and found by its working folder."""
    (tmp_path / "errand.py").write_text(f"import os, sys, time\n\n\ndef main():\n    {code}\n")
    return client.fork("errand:main", ["first"], os.environ | environment, str(tmp_path), after="scipy.stats")


def test_a_fork_has_the_arguments_environment_folder_and_output_of_its_asker(server, tmp_path, capfd):
    process = fork(tmp_path, "os.system('echo $WORD'); print(sys.argv[1:], os.getcwd()); return 3", WORD="wings")
    assert process.wait(WAIT) == process.poll() == 3
    assert capfd.readouterr().out == f"wings\n['first'] {tmp_path}\n"


def test_a_fork_imports_the_projects_modules_anew_and_draws_its_own_numbers(server, tmp_path, capfd):
    code = "import numpy; print('helpers' in sys.modules, 'pandas' in sys.modules, numpy.random.rand())"
    for _ in range(2):
        assert fork(tmp_path, code).wait(WAIT) == 0
    first, second = (line.split() for line in capfd.readouterr().out.splitlines())
    assert first[:2] == second[:2] == ["False", "True"]
    assert first[2] != second[2]


@pytest.mark.parametrize("safe", ["", "1"])
def test_a_fork_finds_the_projects_modules_with_python_s_safe_path_and_without(tmp_path, monkeypatch, safe):
    """With it, `sys.path` begins with `PYTHONPATH` and not with the working folder."""
    (tmp_path / "errand.py").write_text("def main():\n    import helpers.paths\n\n    return 7\n")
    environment = os.environ | execute.kernel_environment(1) | {"PYTHONSAFEPATH": safe}
    environment["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    server = client.WarmServer(environment, heavy=False, log=tmp_path / "warm.log")
    try:
        client.wait_until_ready(server.folder, WAIT)
        monkeypatch.setenv(client.VARIABLE, server.folder)
        process = client.fork("errand:main", [], environment, "/", after="scipy.stats")
        assert process.wait(WAIT) == 7
    finally:
        server.stop()


def test_a_fork_that_needs_a_library_waits_for_it(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for name, value in execute.kernel_environment(1).items():
        monkeypatch.setenv(name, value)
    found = client.WarmServer(os.environ, heavy=False, log=tmp_path / "warm.log")
    monkeypatch.setenv(client.VARIABLE, found.folder)
    client.wait_until_ready(found.folder, WAIT)
    (tmp_path / "errand.py").write_text("import sys\n\n\ndef main():\n    return 'scipy.stats' in sys.modules\n")
    last = client.fork("errand:main", [], os.environ, str(tmp_path), after="scipy.stats")
    assert last.wait(WAIT) == 1
    found.stop()


def test_how_a_fork_died_is_known_and_signals_reach_it(server, tmp_path):
    assert fork(tmp_path, "os.abort()").wait(WAIT) == -signal.SIGABRT
    process = fork(tmp_path, "time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    assert process.poll() is None
    process.terminate()
    assert process.wait(WAIT) == -signal.SIGTERM
    process.kill()  # no error: it has ended, and its number may be another's


def test_a_fork_dies_with_its_asker_and_with_the_server(server, tmp_path):
    process = fork(tmp_path, "os.system('sleep 600')")
    process._connection.close()
    assert eventually(lambda: not psutil.pid_exists(process.pid))
    process = fork(tmp_path, "time.sleep(600)")
    server._process.kill()
    assert process.wait(WAIT) == -signal.SIGKILL
    assert eventually(lambda: not psutil.pid_exists(process.pid))
    assert fork(tmp_path, "return 0") is None


def test_the_server_ends_with_the_process_that_started_it(tmp_path):
    code = (
        "import os, pathlib, time; from helpers.workflow.warm import client\n"
        f"s = client.WarmServer(os.environ, False, pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "print(s._process.pid, s.folder, flush=True); time.sleep(600)"
    )
    environment = execute.kernel_environment(1)
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    pid, folder = starter.stdout.readline().split()
    client.wait_until_ready(folder, WAIT)
    starter.kill()
    starter.communicate()
    assert eventually(lambda: not psutil.pid_exists(int(pid)))
    assert not Path(folder).exists()


@pytest.mark.parametrize("difference", [{"OMP_NUM_THREADS": "7"}, {"PYTHONHASHSEED": "5"}, {"HF_HUB_OFFLINE": "maybe"}])
def test_what_is_read_at_the_start_must_be_the_same(server, tmp_path, difference):
    assert fork(tmp_path, "return 0", **difference) is None
    assert f"the environment differs in {next(iter(difference))}" in (tmp_path / "warm.log").read_text()


def write_notebook(path: Path, *cells: str) -> Path:
    parameters = v4.new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[parameters, *map(v4.new_code_cell, cells)]), path)
    return path


def run(notebook: Path, output: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "helpers.workflow.execute", str(notebook), str(output)]
    return subprocess.run(
        command, env=os.environ | environment, cwd=paths.ROOT, capture_output=True, text=True, check=False, timeout=120
    )


SHOW = [
    "import os, sys\nos.system('echo native')\nprint(os.environ['OMP_NUM_THREADS'], sys.path)\nsys.argv[1:2]",
    "1/3",
]


@pytest.mark.slow
def test_a_notebook_has_the_same_outputs_warm_and_cold(server, tmp_path):
    notebook, outputs = write_notebook(tmp_path / "n.ipynb", *SHOW), {}
    for name, variable in (("warm", server.folder), ("cold", "off")):
        done = run(notebook, tmp_path / name / "out.ipynb", WARM_START=variable)
        assert (done.returncode, done.stderr) == (0, "")
        assert "native\n" in (tmp_path / name / "out.log").read_text()
        cells = json.loads((tmp_path / name / "out.ipynb").read_text())["cells"]
        outputs[name] = [cell.get("outputs") for cell in cells]
    assert outputs["warm"] == outputs["cold"]
    assert (tmp_path / "warm.log").read_text() == ""  # nothing was refused


@pytest.mark.slow
def test_a_warm_kernel_that_dies_and_one_that_fails_are_told_apart(server, tmp_path):
    done = run(write_notebook(tmp_path / "d.ipynb", "import os\nos.kill(os.getpid(), 9)"), tmp_path / "d/out.ipynb")
    assert done.returncode == 1
    assert "cell 2 (import os): the kernel was killed (SIGKILL)" in done.stderr
    done = run(write_notebook(tmp_path / "f.ipynb", "1 / 0"), tmp_path / "f/out.ipynb")
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_leaves_no_kernel_behind(server, tmp_path, number):
    notebook = write_notebook(tmp_path / "n.ipynb", "import os\nprint('pid', os.getpid(), flush=True)", "while 1: pass")
    command = [sys.executable, "-m", "helpers.workflow.execute", str(notebook), str(tmp_path / "out.ipynb")]
    process = subprocess.Popen(command, cwd=paths.ROOT, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "out.log"
    assert eventually(lambda: log.exists() and "pid" in log.read_text())
    kernel = int(log.read_text().split()[1])
    assert psutil.pid_exists(kernel)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=WAIT)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert ("interrupted" in stderr) == (number == signal.SIGINT)
    assert eventually(lambda: not psutil.pid_exists(kernel))


def test_a_machine_with_a_gpu_or_a_wish_to_the_contrary_has_no_warm_start(monkeypatch, tmp_path):
    monkeypatch.setattr(client, "GPUS", (str(tmp_path),))
    assert not client.can_serve()
    monkeypatch.setattr(client, "GPUS", ())
    assert client.can_serve()
    monkeypatch.setenv(client.VARIABLE, "off")
    assert not client.can_serve()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ForkServer]:
    """A server's object in this process, which never forks."""
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading))
    made = ForkServer(str(tmp_path))
    yield made
    for file in (made.listener, made.selector, sys.stdin):
        file.close()
    os.close(writing)


def test_an_end_that_fork_and_asker_tell_at_once_does_not_end_the_server(here):
    asker, other = socket.socketpair()
    asker.close()  # as after `_ended`
    here._told(asker)
    other.close()


def test_a_library_that_cannot_be_imported_does_not_end_the_server(here, capsys):
    here._import("no_such_library")
    assert capsys.readouterr().out == "not imported: no_such_library: No module named 'no_such_library'\n"


def test_an_asker_that_gives_up_is_let_go(here):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.connect(str(Path(here.folder) / client.SOCKET))
    assert here._accept(here.listener) is None
    assert here.living == {}


def test_a_server_with_a_second_thread_does_not_fork(here):
    before = len(list(Path("/proc/self/task").iterdir()))  # pytest's own workers have a second one from the start
    done = threading.Event()
    second = threading.Thread(target=done.wait)
    second.start()
    said = here._objection({"environment": here.started_with})
    done.set()
    second.join()
    assert said is not None and said.startswith(f"a library has started {before} thread")


def test_a_server_that_never_listens_is_not_waited_for_for_ever(tmp_path):
    with pytest.raises(TimeoutError, match=r"nobody listens in .* after 0\.05 s"):
        client.wait_until_ready(str(tmp_path), 0.05)


def test_an_answer_cut_off_by_the_end_of_the_server_is_none():
    ours, its = socket.socketpair()
    ours.sendall(b"asked")
    its.close()  # with something unread: the connection is reset
    assert client._receive(ours) is None
    ours.close()
