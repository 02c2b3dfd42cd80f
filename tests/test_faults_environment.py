"""What the machine does to a run: ended, interrupted, disk full, folder not writable, memory short, no network, a clock
that goes back. After each the same command finishes the work, and nothing half-written is taken for a result.

One small notebook, run by `helpers.workflow.execute` as the workflow runs it. SIGKILL and the workflow: test_faults.py.
What needs a mount of its own is skipped where the system does not let the test have one.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat import v4

from helpers import paths
from helpers.workflow import manifest, provenance

WORK = """import time
from pathlib import Path
from helpers.paths import atomic_write
ballast = bytearray(memory_mb * 2**20)
Path(begun).write_text('')
with atomic_write(Path(output_dir, 'result.csv')) as temporary, temporary.open('w') as file:
    for line in range(20):
        file.write('0' * 10_000 + '\\n')
        file.flush()
        time.sleep(seconds / 20)"""
NO_NETWORK = ["unshare", "--net"]  # as root, on Linux
if not shutil.which("unshare") or subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode:
    NO_NETWORK = []
WHOLE = 20 * 10_001  # bytes of the result


def hear_interrupts() -> None:
    """Whoever runs the tests in the background of a shell has Ctrl-C ignored, and all child processes with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Run:
    """A notebook, where it goes, and how it is started; the parameters are those of a run without faults."""

    def __init__(self, folder: Path, made: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.notebook, self.made, self.output = folder / "work.ipynb", made, folder / "out.ipynb"
        self.begun = folder / "begun"
        cells = [
            v4.new_code_cell("output_dir: str = ''\nbegun: str = ''\nmemory_mb: int = 0\nseconds: float = 0.0"),
            v4.new_code_cell(WORK),
        ]
        cells[0]["metadata"]["tags"] = ["parameters"]
        nbformat.write(v4.new_notebook(cells=cells), self.notebook)

    def start(self, *before: str, **changed: float) -> "subprocess.Popen[str]":
        """``before``: a command that starts it; ``changed``: parameters that make it long or large."""
        self.made.mkdir(exist_ok=True)
        self.begun.unlink(missing_ok=True)
        given = json.dumps({"output_dir": str(self.made), "begun": str(self.begun), **changed})
        command = [sys.executable, "-m", "helpers.workflow.execute", str(self.notebook), str(self.output), "-y", given]
        return subprocess.Popen(
            [*before, *command],
            cwd=paths.ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=hear_interrupts,
        )

    def wait_until_it_works(self, process: "subprocess.Popen[str]") -> None:
        """Until the notebook has begun to write."""
        while not self.begun.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)

    def assert_nothing_looks_finished(self) -> None:
        """Neither result nor executed copy nor a manifest that says so."""
        names = {file.name for folder in (self.made, self.output.parent) for file in folder.iterdir()}
        assert not names & {"result.csv", "out.ipynb", "out.manifest.json", "manifest.json"}, names

    def fail(self, *before: str, **changed: float) -> str:
        """What it says of its failure."""
        process = self.start(*before, **changed)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1, said
        assert "Traceback" not in said
        return said

    def finish(self) -> None:
        """The same command again, now without any network, where the system lets the test take it away; what the one
        before left neither disturbs it nor outlives it.
        """
        process = self.start(*NO_NETWORK)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert (self.made / "result.csv").stat().st_size == WHOLE
        assert json.loads((self.made / "manifest.json").read_text())["exit"] == 0
        assert not list(self.output.parent.glob("*.running.ipynb")) + list(self.output.parent.glob("*.failed.*"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run", tmp_path / "made")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of its own with these options; none where only root may."""
    mounted = []

    def mount(options: str, *more: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a disk of its own needs the right to mount one")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def below(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.slow
def test_ended_interrupted_or_short_of_memory_nothing_looks_finished_and_the_same_command_finishes(run):
    for number, status in ((signal.SIGTERM, {-signal.SIGTERM, 1, 143}), (signal.SIGINT, {130})):
        process = run.start(seconds=60)
        run.wait_until_it_works(process)
        kernels = below(process)
        assert kernels
        os.kill(process.pid, number) if number == signal.SIGTERM else os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
        assert process.returncode in status, said
        assert "Traceback" not in said
        assert not psutil.wait_procs(kernels, timeout=30)[1], "a kernel outlived its run"
        run.assert_nothing_looks_finished()
    said = run.fail("sh", "-c", 'ulimit -v 8000000 && exec "$@"', "sh", memory_mb=16_000)
    assert "FAILED" in said
    assert "MemoryError" in said
    run.assert_nothing_looks_finished()
    run.finish()


@pytest.mark.slow
def test_where_a_result_cannot_be_written_there_is_none_and_once_it_can_the_same_command_finishes(tmp_path, small_disk):
    disk = small_disk("size=128k")
    run = Run(tmp_path / "run", disk / "made")
    assert "No space left on device" in run.fail()
    assert not list(run.made.iterdir())
    run.assert_nothing_looks_finished()
    subprocess.run(["mount", "-o", "remount,ro,size=4m", str(disk)], check=True)
    assert "Read-only file system" in run.fail()
    run.assert_nothing_looks_finished()
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    run.finish()


@pytest.mark.slow
def test_a_full_disk_for_the_executed_copy_is_told_in_words_too(tmp_path, small_disk):
    disk = small_disk("size=8k")
    run = Run(disk / "run", tmp_path / "made")
    assert "No space left on device" in run.fail()
    assert {file.name for file in run.output.parent.iterdir()} <= {"work.ipynb", "begun", "out.log"}
    assert {file.name for file in run.made.iterdir()} == {"result.csv"}  # whole, as the notebook came to its end
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    run.finish()


def test_a_clock_that_goes_back_hides_no_result_from_the_manifest(tmp_path, monkeypatch):
    """Files get the time of the clock when they are written: an hour before the run began, if it was set back since."""
    run = Run(tmp_path / "run", tmp_path / "made")
    run.made.mkdir()
    (run.made / "older.csv").write_text("of an earlier run")
    record = manifest.RunRecord(run.notebook, run.output, {"output_dir": str(run.made)})
    (run.made / "result.csv").write_text("of this one")
    an_hour_ago = time.time() - 3600
    os.utime(run.made / "result.csv", (an_hour_ago, an_hour_ago))
    monkeypatch.setattr(provenance, "now", lambda: "2026-01-01T00:00:00+00:00")
    monkeypatch.setattr(time, "time", lambda: an_hour_ago)
    run.output.write_text("{}")
    found = json.loads(record.finish(0).read_text())
    assert [Path(name).name for name in found["outputs"]] == ["result.csv"]
    assert found["seconds"] >= 0


def test_files_may_not_grow_beyond_a_limit_and_a_result_of_before_stays(tmp_path):
    """As on a disk that fills up while a result is being replaced, and without any rights: the old one stays whole."""
    target = tmp_path / "result.csv"
    target.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"), paths.atomic_write(target) as temporary:
            temporary.write_bytes(b"0" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["result.csv"]
