"""Run one notebook: `python -m helpers.workflow.execute NOTEBOOK OUTPUT --log LOG --parameters '{"seed": 0}'`.

papermill does the work. This module adds the rest. Parameters and kernel are checked first. The executed copy gets its
name only when it is complete. The notebook's output goes to a log, and its progress to the terminal. A failure is
reported in one line: notebook, cell, reason, log. A manifest records what was run on what
(`helpers.workflow.manifest`). Executed copies are meant to be published, so keys and this machine's folders and names
are removed before they are written (`helpers.workflow.redact`). Log and terminal stay private and lose only keys.
"""

import argparse
import functools
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from helpers import paths
from helpers.workflow import failures, notebooks, preflight, progress, provenance
from helpers.workflow.manifest import RunRecord
from helpers.workflow.redact import Redactor, name_key, scrub
from helpers.workflow.warm import client

PROGRESS = "progress:"  # what a notebook's progress lines start with
PROGRESS_SECONDS = 10  # the terminal shows at most one progress line per interval
_BAR = 20  # characters
DONE = ".done"  # beside the counter of runs that have started
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
# By default glibc returns freed memory at once and requests it again a moment later, page by page, which takes a tenth
# of an evaluation's time. With a threshold of half a GB it keeps the memory; peaks do not change. Other C libraries
# ignore these variables.
KEPT_MEMORY = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


class NotebookFailed(RuntimeError):
    """A notebook that stopped before its end. The message is the line shown to the user."""


class Log:
    """The file that papermill writes a notebook's output to, without keys. Progress lines also go to the terminal.

    Only whole lines are written, since a key may arrive in two pieces. `close` writes the remainder.
    """

    def __init__(self, file: IO[str], terminal: IO[str], label: str) -> None:
        self.file, self.terminal, self.label = file, terminal, label
        self.unfinished, self.redact = "", Redactor()
        self.reported = time.monotonic()  # a run shorter than the interval reports nothing

    def write(self, text: str) -> None:
        *lines, self.unfinished = re.split(r"(?<=[\n\r])", self.unfinished + text)
        clean = self.redact("".join(lines))
        self.file.write(clean)
        if reports := [line for line in clean.splitlines() if line.startswith(PROGRESS)]:
            self._report(reports[-1].removeprefix(PROGRESS).strip())

    def close(self) -> None:
        self.file.write(self.redact(self.unfinished))
        self.unfinished = ""
        self.file.flush()

    def flush(self) -> None:
        self.file.flush()

    def _report(self, message: str) -> None:
        if time.monotonic() - self.reported >= PROGRESS_SECONDS:
            self.reported = time.monotonic()
            print(f"{self.label} {with_bar(message)}", file=self.terminal, flush=True)


def with_bar(message: str) -> str:
    """The message with a bar for its first `done/total`, e.g. ``[#####---------------] step 10/40``."""
    counts = re.search(r"(\d+)\s*/\s*(\d+)", message)
    if not counts or not int(counts[2]):
        return message
    filled = min(_BAR, _BAR * int(counts[1]) // int(counts[2]))
    return f"[{'#' * filled}{'-' * (_BAR - filled)}] {message}"


def execute(notebook: Path, output: Path, log: Path, parameters: dict[str, Any], label: str, threads: int) -> None:
    """Run `notebook` from the repository root and keep the executed copy as `output`.

    Raises `NotebookError` or `PreflightError` before anything runs. Raises `NotebookFailed` when a cell fails or the
    kernel dies; the cells that did run are then kept beside `output`, with the suffix `.failed.ipynb`. Either way a
    manifest is written beside the copy.
    """
    notebooks.check_parameters(notebook, parameters)
    preflight.check_kernel()
    record = RunRecord(notebook, output, parameters)
    for variable in key_variables(record.parameters):
        name_key(variable)
    os.environ.update(kernel_environment(threads))
    os.environ[provenance.MANIFEST] = str(provenance.portable(record.path.resolve()))
    running, failed = output.with_suffix(".running.ipynb"), output.with_suffix(".failed.ipynb")
    for folder in (output.parent, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with _output_to(log) as (file, terminal):
        started, kills = time.monotonic(), failures.memory_kills()
        print(f"{label} started", file=terminal, flush=True)
        try:
            with closing(Log(file, terminal, label)) as output_log:
                _run_papermill(notebook, running, parameters, output_log)
        except (Exception, KeyboardInterrupt) as error:
            _keep(running, failed)
            kind, reason = _reason(error, kills)
            line = Redactor()(_line(reason, notebook, failed, log))
            record.finish(_status(error), line, kind)
            if isinstance(error, KeyboardInterrupt):
                raise
            raise NotebookFailed(line) from error
        try:
            _keep(running, output)
            record.finish(0)
        except (OSError, KeyboardInterrupt):
            output.unlink(missing_ok=True)  # a copy without its manifest would look like a finished run
            raise
        failed.unlink(missing_ok=True)
        print(f"{label} {time.monotonic() - started:.0f} s{_whole()}", file=terminal, flush=True)


def key_variables(parameters: Any) -> Iterator[str]:
    """The environment variables that hold keys, as named in a notebook's parameters (`helpers.config.writer`)."""
    for name, value in parameters.items() if isinstance(parameters, Mapping) else ():
        if str(name).endswith("key_variable") and isinstance(value, str):
            yield value
        yield from key_variables(value)


def kernel_environment(threads: int) -> dict[str, str]:
    """What the kernel inherits: its share of the cores, the path to the package, no warnings that nobody can act on."""
    source = str(paths.ROOT / "src")
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", source)]
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        **dict.fromkeys(KEPT_MEMORY, str(2**29)),
        "TOKENIZERS_PARALLELISM": "false",  # its threads would exceed the share
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONSTARTUP": "",  # IPython would run that file in every kernel
        "PYTHONPATH": os.pathsep.join([source, *others]),
    }


@contextmanager
def _output_to(log: Path) -> Iterator[tuple[IO[str], IO[str]]]:
    """Send everything that this process and the kernel print to `log`; yield the log and a handle on the terminal.

    This works on file descriptors, so output of native libraries and of a crashing kernel is caught as well.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    originals = os.dup(1), os.dup(2)
    with log.open("w", encoding="utf-8") as file, os.fdopen(os.dup(1), "w") as terminal:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield file, terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for original, standard in zip(originals, (1, 2), strict=True):
                os.dup2(original, standard)
                os.close(original)
            _redact_file(log)


def _redact_file(log: Path) -> None:
    """Redact the whole log once more: native code bypasses `Log`, and a key may span several lines."""
    text = log.read_bytes().decode(errors="surrogateescape")
    if (clean := Redactor()(text)) != text:
        log.write_bytes(clean.encode(errors="surrogateescape"))


class _CleanCopy:
    """Papermill's writer, with redaction. It saves after each cell, so even a killed run leaves a clean copy."""

    def __init__(self) -> None:
        self._cell = functools.lru_cache(128)(lambda text: scrub(json.loads(text)))  # most cells have not changed

    def write(self, text: str, path: str) -> None:
        notebook = json.loads(text)
        cells = [self._cell(json.dumps(cell)) for cell in notebook.pop("cells")]
        content = json.dumps({"cells": cells, **scrub(notebook)}, indent=1, ensure_ascii=False)
        Path(path).write_text(content + "\n", encoding="utf-8", errors="surrogatepass")

    def pretty_path(self, path: str) -> str:
        return path


def _run_papermill(notebook: Path, output: Path, parameters: dict[str, Any], log: Log) -> None:
    # With this package jsonschema compiles a grammar of web addresses, which takes 0.9 s and which no notebook needs
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from papermill.iorw import papermill_io
    from papermill.log import logger
    from traitlets.config import Config

    from helpers.workflow.warm import kernel

    kernel.use(notebook)
    papermill_io.register(str(output), _CleanCopy())
    logger.setLevel("ERROR")  # it warns about parameters, which have been checked more strictly already
    # Sockets in a private temporary folder instead of TCP ports: two kernels that start at once cannot collide, and
    # nobody else on the machine can listen. `ip` must be set: the library's default is a name in the working folder,
    # which all kernels would share.
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=client.socket_place()) as folder:
        os.environ["JUPYTER_RUNTIME_DIR"] = folder
        sockets = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/socket"}})
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=parameters,
            kernel_name=preflight.KERNEL,
            language="python",
            progress_bar=False,
            stdout_file=log,
            stderr_file=log,
            cwd=str(paths.ROOT),
            config=sockets,
            extra_arguments=[
                "--IPKernelApp.log_level=50",  # else each normal exit is logged as an interruption
                f"--IPKernelApp.ipython_dir={folder}",  # else start-up files and settings in ~/.ipython change a run
            ],
        )


def _keep(running: Path, kept: Path) -> None:
    """Rename the running copy, if papermill has saved one."""
    if running.is_file():
        running.replace(kept)


def _reason(error: BaseException, kills: int) -> tuple[str, str]:
    """The kind of a failure and what happened; a traceback goes to the log. ``kills``: as counted before the run."""
    if isinstance(error, KeyboardInterrupt):
        return failures.of_interrupt(error)
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError, strip_color

    from helpers.workflow.warm.kernel import WarmProvisioner

    if isinstance(error, PapermillExecutionError):
        print(Redactor()(strip_color("\n".join(error.traceback))), flush=True)
        return failures.of_cell(error.ename, error.evalue), f"{error.ename}: {error.evalue}"
    if isinstance(error, DeadKernelError):
        return failures.of_kernel(WarmProvisioner.status, failures.memory_kills() > kills)
    print(Redactor()("".join(traceback.format_exception(error))), file=sys.stderr, flush=True)
    return failures.CELL, f"{type(error).__name__}: {error}"


def _line(reason: str, notebook: Path, failed: Path, log: Path) -> str:
    """A failure in one line: notebook, cell, reason, log, partial copy."""
    return f"FAILED {notebook}, {_last_cell(failed)}: {reason}; log: {log}; partial copy: {failed}"


def _last_cell(executed: Path) -> str:
    """The last cell that was started, numbered as in the source notebook, i.e. without papermill's own cells."""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"] if executed.is_file() else []
    own = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [cell for cell in cells if not own & set(cell["metadata"].get("tags", []))]
    begun = [number for number, cell in enumerate(cells, 1) if cell["metadata"].get("papermill", {}).get("start_time")]
    if not begun:
        return "before its first cell"
    source = "".join(cells[begun[-1] - 1]["source"]).strip()
    return f"cell {begun[-1]} ({source.splitlines()[0] if source else 'empty'})"


def _position() -> str:
    """``[ 3/20] `` where the workflow counts its runs (a shared file grows by one byte per run); otherwise nothing."""
    counter, total = os.environ.get("RUN_COUNTER"), os.environ.get("RUN_TOTAL")
    if not counter or not total:
        return ""
    with Path(counter).open("ab", buffering=0) as file:
        file.write(b".")
        return f"[{file.tell():{len(total)}}/{total}] "


def _whole() -> str:
    """Progress of the whole workflow, with the time left if the other runs take as long; nothing outside a workflow."""
    counter, total, began = (os.environ.get(name) for name in ("RUN_COUNTER", "RUN_TOTAL", "RUN_BEGAN"))
    if not counter or not total or not began:
        return ""
    with Path(counter + DONE).open("ab", buffering=0) as file:
        file.write(b".")
        done = file.tell()
    left = (time.time() - float(began)) / done * (int(total) - done)
    return f" | {with_bar(f'{done}/{total}')} done" + (f", {progress.duration(left)} left" if left > 0 else "")


def _read_parameters(text: str) -> dict[str, Any]:
    """Parameters from JSON or YAML, given directly or as a file. JSON comes first: YAML reads 1e-05 as a string."""
    content = Path(text).read_text(encoding="utf-8") if text.endswith((".json", ".yaml", ".yml")) else text
    try:
        parameters = json.loads(content)
    except json.JSONDecodeError:
        parameters = yaml.safe_load(content)
    if not isinstance(parameters, dict):
        raise notebooks.NotebookError(f"--parameters must be a mapping of names to values, not {text!r}")
    return parameters


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workflow.execute", description="Run one notebook with parameters."
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path, help="where the executed copy goes")
    parser.add_argument("-y", "--parameters", default="{}", help="JSON or YAML, or a file ending in .json or .yaml")
    parser.add_argument("--log", type=Path, help="default: OUTPUT with the suffix .log")
    parser.add_argument("--label", help="name of this run on the terminal; default: the notebook's name")
    parser.add_argument("--threads", type=int, default=1, help="for the kernel's numerical libraries (default 1)")
    return parser.parse_args(arguments)


def _status(error: BaseException) -> int:
    if not isinstance(error, KeyboardInterrupt):
        return 1
    return 128 + (signal.SIGTERM if isinstance(error, failures.Terminated) else signal.SIGINT)


def _terminate(*_: object) -> None:
    raise failures.Terminated


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed or refused, 130 interrupted, 143 terminated (as in a shell)."""
    given = _options(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    label = given.label or given.notebook.stem
    log = given.log or given.output.with_suffix(".log")
    try:
        parameters = _read_parameters(given.parameters)
        label = _position() + label
        execute(given.notebook, given.output, log, parameters, label, given.threads)
    except (NotebookFailed, notebooks.NotebookError, preflight.PreflightError) as error:
        return _failed(str(error))
    except OSError as error:  # raised by this process's own writing of copy, manifest or log
        return _failed(f"FAILED {given.notebook}: {error}; check that disk or folder, then run again")
    except KeyboardInterrupt as error:
        print(f"{label} interrupted", file=sys.stderr)
        return _status(error)
    except Exception:  # a bug in this program; its traceback may quote the notebook or a parameter
        return _failed(traceback.format_exc())
    return 0


def _failed(message: str) -> int:
    print(Redactor()(message), file=sys.stderr)
    return 1


def command() -> int:
    """`main`, in a fork of a process that has done the imports, if there is one (`helpers.workflow.warm`)."""
    os.environ.update(kernel_environment(_options(None).threads))
    status = client.call("helpers.workflow.execute:main", sys.argv[1:])
    return main() if status is None else status


if __name__ == "__main__":
    sys.exit(command())
