"""What kind of failure it was, and what a failed workflow says at its end."""

import json
import os
import signal
import time

import pytest

from helpers.workflow import failures


@pytest.mark.parametrize(
    ("name", "message", "kind"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB", failures.MEMORY),
        (
            "RuntimeError",
            "DefaultCPUAllocator: can't allocate memory",
            failures.MEMORY,
        ),
        ("_ArrayMemoryError", "Unable to allocate 8.00 EiB for an array", failures.MEMORY),
        ("MemoryError", "", failures.MEMORY),
        ("KeyError", "'memory'", failures.CELL),
    ],
)
def test_a_cell_that_wants_too_much_memory_is_no_ordinary_error(name, message, kind):
    assert failures.of_cell(name, message) == kind


def test_a_killed_kernel_is_out_of_memory_only_if_the_system_counted_one():
    assert failures.of_kernel(-signal.SIGKILL, True)[0] == failures.MEMORY
    assert failures.of_kernel(-signal.SIGKILL, False)[0] == failures.DEAD
    assert failures.of_kernel(-signal.SIGSEGV, True) == (
        failures.DEAD,
        "the kernel died of SIGSEGV: a native library crashed, or was stopped",
    )
    assert "exit status 3" in failures.of_kernel(3, False)[1]
    assert "unknown" in failures.of_kernel(None, False)[1]
    assert failures.memory_kills() >= 0


def test_the_end_of_a_jobs_time_is_told_from_ctrl_c_and_from_being_cancelled(monkeypatch):
    assert failures.of_interrupt(KeyboardInterrupt())[0] == failures.INTERRUPTED
    monkeypatch.setenv(failures.END, str(int(time.time()) + 20))
    assert failures.of_interrupt(failures.Terminated())[0] == failures.TIME
    monkeypatch.setenv(failures.END, str(int(time.time()) + 3600))
    assert failures.of_interrupt(failures.Terminated())[0] == failures.STOPPED


def test_the_summary_has_a_line_for_each_failure_of_this_workflow_and_none_for_older_ones(tmp_path):
    executed = tmp_path / "notebooks"
    for name, kind in (("old", failures.CELL), ("a/b", failures.MEMORY), ("c", failures.CELL)):
        file = executed / f"{name}.failed.manifest.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"error": f"FAILED {name}; log: logs/{name}.log", "failure": kind}))
    os.utime(executed / "old.failed.manifest.json", (1, 1))
    (executed / "a/d.running.ipynb").write_text("")
    assert failures.failure_summary(executed, 100).splitlines() == [
        "3 runs failed:",
        "  failed cell    FAILED c; log: logs/c.log",
        "  killed         a/d: the process of the run was killed before it could say why; log: "
        f"{tmp_path}/logs/a/d.log",
        "  out of memory  FAILED a/b; log: logs/a/b.log",
    ]
    assert failures.failure_summary(executed, time.time() + 100) == ""
