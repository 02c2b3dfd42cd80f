"""The manifest of an executed notebook: its parameters, inputs, code and outputs, when and where it ran, how it ended.

It also lists each time that the run opened the test (`helpers.workflow.splits`): what for, by which notebook, which
file of questions with its hash, how many.

`helpers.workflow.execute` makes one for every run. Inputs and code are hashed while the kernel starts, which costs no
time. At the end it would be too late: either may be edited during a long run.
"""

import ast
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from helpers.paths import STEPS, Layout, resolve
from helpers.workflow import notebooks, provenance

OUTPUT_FOLDERS = {"output_dir": ("",), "run_dir": ("results", "figures", "report")}  # the parameters that name them
NO_RESULTS = {"checkpoints", "notebooks", "logs"}  # folders of scratch files and records


class RunRecord:
    """Created before the kernel starts; `finish` writes the manifest after it has ended."""

    def __init__(self, notebook: Path, output: Path, parameters: Mapping[str, Any]) -> None:
        self.notebook, self.output, self.given = notebook, output, dict(parameters)
        self.parameters = {**default_parameters(notebook), **parameters}
        self.started, self._began = provenance.now(), time.monotonic()
        provenance.opened_beside(self.path).unlink(missing_ok=True)  # of a run that was killed
        self._before = {file: _state(file) for file in self._results()}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hashes")
        self._start = self._pool.submit(self._at_start)

    def finish(self, status: int, error: str | None = None, failure: str | None = None) -> Path:
        """Write the manifest beside the executed copy and, after a success, into the folder of the results as well.

        After a failure it gets a different name, since results and manifest of an earlier run may still be there.
        ``failure``: the kind of failure (`helpers.workflow.failures`).
        """
        executed = self.output if status == 0 else self.output.with_suffix(".failed.ipynb")
        content = self._start.result() | {
            "command": self.command(),
            "executed": {provenance.portable(executed): provenance.sha256(executed)} if executed.is_file() else {},
            "outputs": provenance.hashes(self._made()) if status == 0 else {},
            "started": self.started,
            "ended": provenance.now(),
            "seconds": round(time.monotonic() - self._began, 1),
            "exit": status,
            "error": error,
            **({"failure": failure} if failure else {}),
        }
        content["test_opened"] = self._opened(content["code"])
        self._pool.shutdown()
        content = {"notebook": provenance.portable(self.notebook.resolve()), **content}
        failed = self.output.with_suffix(f".failed{provenance.MANIFEST_SUFFIX}")
        if status != 0:
            return provenance.write_json(failed, content)
        failed.unlink(missing_ok=True)
        written = provenance.write_json(self.path, content)
        if self.parameters.get("output_dir") and (folder := resolve(self.parameters["output_dir"])).is_dir():
            provenance.write_json(folder / "manifest.json", content)
        return written

    @property
    def path(self) -> Path:
        """Where the manifest of a successful run lies."""
        return self.output.with_suffix(provenance.MANIFEST_SUFFIX)

    def command(self) -> str:
        """The command that repeats the run."""
        given = json.dumps(provenance.portable(self.given), sort_keys=True)
        words = [provenance.portable(path.resolve()) for path in (self.notebook, self.output)]
        return shlex.join(["python", "-m", "helpers.workflow.execute", *words, "--parameters", given])

    def _at_start(self) -> dict[str, Any]:
        seeds = {name: value for name, value in self.parameters.items() if name == "seed" or name.endswith("_seed")}
        code = notebooks.helper_files([self.notebook])[str(self.notebook)]
        return {
            **provenance.manifest(self.parameters, inputs_of(self.parameters), seeds),
            "code": provenance.hashes([self.notebook.resolve(), *code]),
        }

    def _opened(self, code: Mapping[str, str]) -> list[dict[str, Any]]:
        """What was noted when the test was opened, each use once; an empty list says that it never was."""
        noted = provenance.opened_beside(self.path)
        lines = noted.read_text(encoding="utf-8").splitlines() if noted.is_file() else []
        noted.unlink(missing_ok=True)
        notebook = provenance.portable(self.notebook.resolve())
        by = {"by": notebook, "by_sha256": code[notebook]}
        return [by | json.loads(line) for line in dict.fromkeys(lines)]

    def _made(self) -> Iterator[Path]:
        """Files in the folders of results that are new or have changed since the start. Times alone are not enough: a
        clock can be set back.
        """
        return (file for file in self._results() if self._before.get(file) != _state(file))

    def _results(self) -> Iterator[Path]:
        for name, parts in OUTPUT_FOLDERS.items():
            for part in parts if self.parameters.get(name) else ():
                folder = resolve(self.parameters[name]) / part
                files = (file for file in folder.rglob("*") if not NO_RESULTS & set(file.relative_to(folder).parts))
                ours = (file for file in files if file not in self._of_others)
                yield from (file for file in ours if file.is_file() and not provenance.is_bookkeeping(file))

    @cached_property
    def _of_others(self) -> set[Path]:
        """What other notebooks, which may run at the same time, write to the folders that a run's notebooks share."""
        run = Layout(resolve(self.parameters["run_dir"])) if self.parameters.get("run_dir") else None
        others = [name for name, step in STEPS.items() if step.notebook != self.notebook.stem]
        return {path for name in others for path in run.made(name)} if run else set()


def _state(file: Path) -> tuple[int, int, int]:
    """Differs whenever a file has been replaced, and nearly always when it has been overwritten."""
    found = file.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def default_parameters(notebook: Path) -> dict[str, Any]:
    """The plain values that the notebook's parameters cell assigns. Anything else in it is ignored."""
    found: dict[str, Any] = {}
    for statement in notebooks.parse(notebook, "\n".join(notebooks.parameter_cells(notebook))).body:
        value = getattr(statement, "value", None)
        for name in notebooks.assigned(statement):
            with suppress(ValueError, TypeError):  # TypeError: a list as a key of a dict
                found[name] = ast.literal_eval(value) if value else None
    return {name: value for name, value in found.items() if value is not ...}  # `...`: derived in the notebook


def inputs_of(parameters: Mapping[str, Any]) -> list[Path]:
    """Existing files and folders that the parameters name, except the outputs.

    A value counts as a path if it has a slash or a file suffix. Otherwise a model's name, such as "qwen2_vl", could be
    mistaken for a folder of that name.
    """
    named = (text for name, value in parameters.items() if name not in OUTPUT_FOLDERS for text in _texts(value))
    found = (_found(text) for text in named if ("/" in text or Path(text).suffix) and len(text) < 1000)
    return [path for path in found if path]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _found(text: str) -> Path | None:
    try:
        path = resolve(text)
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # not every text with a slash is a path, nor every ~name a home folder
        return None
