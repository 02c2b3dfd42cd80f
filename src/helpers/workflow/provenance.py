"""Where a result comes from: parameters, code, versions, machine, seeds, and hashes of inputs and outputs.

A *manifest* (JSON) belongs to one run of one notebook; `helpers.workflow.execute` writes it. A *sidecar* (JSON, such as
`figure2.json`) belongs to one figure and is written when the figure is saved. `helpers.workflow.verify` compares both
with the current files. They are meant to be published beside the results, so they name no host, no user, no key and no
folder outside the project: see `helpers.workflow.redact`.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from helpers.paths import ROOT, atomic_write, resolve
from helpers.workflow.redact import scrub

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "numpy", "pandas", "pillow", "matplotlib", "codecarbon")
LOCK = ROOT / "requirements.txt"
MANIFEST = "HELPERS_MANIFEST"  # environment: where the manifest of the current run will lie
MANIFEST_SUFFIX = ".manifest.json"  # beside an executed notebook
BOOKKEEPING = {"manifest.json", ".DS_Store"}  # not part of a folder's contents
STARTERS = "helpers.workflow.warm"


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write a manifest or sidecar, all or nothing, without anything private."""
    text = json.dumps(scrub(content), indent=2, ensure_ascii=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def manifest(
    parameters: Mapping[str, Any], inputs: Iterable[str | Path] = (), seeds: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Parameters must be plain values. Inputs are files or folders relative to the root; a missing one is an error."""
    return {
        "created": now(),
        "parameters": {name: portable(value) for name, value in parameters.items()},
        "seeds": dict(seeds or {}),
        "inputs": hashes(inputs),
        "git": git_state(),
        "lock": sha256(LOCK) if LOCK.is_file() else None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
        "hardware": hardware(),
    }


def now() -> str:
    """The current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def is_bookkeeping(file: Path) -> bool:
    """Whether a file belongs to the records or the system, not to the contents of its folder."""
    return file.name in BOOKKEEPING or file.name.startswith(".")


def hashes(files: Iterable[str | Path]) -> dict[str, str]:
    """The hash of each file or folder, by its path within the project, sorted."""
    return {portable(path): sha256(path) for path in sorted(set(map(resolve, files)))}


def sidecar_of(figure: str | Path) -> Path:
    """Where a figure's sidecar lies."""
    return Path(figure).with_suffix(".json")


def licence_in(card: Path) -> str:
    """The licence that the header of a model's or a data set's card names; "unknown" without one."""
    import yaml

    head = card.read_text(encoding="utf-8").split("---\n") if card.is_file() else []
    found = yaml.safe_load(head[1]) if len(head) > 2 and not head[0] else {}
    return str(found.get("license", "unknown")) if isinstance(found, dict) else "unknown"


def write_sidecar(folder: str | Path, name: str, inputs: Iterable[str | Path]) -> Path:
    """Write ``name.json`` beside the files of a figure, with the hashes of these files, of its inputs and of its code.

    The code is every module of this package that this process has loaded, since any of them could have shaped the
    figure. The sidecar holds no date and nothing about the machine: a figure redrawn from the same data gets the same
    sidecar.
    """
    folder, inputs = Path(folder), list(inputs)
    files = [folder / f"{name}.{kind}" for kind in ("csv", "pdf", "png", "svg", "tex")]
    return write_json(
        folder / f"{name}.json",
        {
            "figure": name,
            "manifest": manifest_in_progress(),
            "manifests_of_inputs": manifests_beside(inputs),
            "inputs": hashes(inputs),
            "code": hashes(loaded_code()),
            "files": {file.name: sha256(file) for file in files if file.is_file()},
        },
    )


def manifest_in_progress() -> str | None:
    """Where the manifest of the notebook running here will lie, relative to the root; None outside the workflow."""
    return os.environ.get(MANIFEST)


def opened_beside(manifest: str | Path) -> Path:
    """Where `helpers.workflow.splits` notes each time that a run opens the test, until the manifest is written."""
    return resolve(manifest).with_suffix(".opened")


def manifests_beside(files: Iterable[str | Path]) -> list[str]:
    """The manifests in the folders of these files, sorted: those of the runs that made them."""
    found = {resolve(file).parent / "manifest.json" for file in files}
    return sorted(portable(path) for path in found if path.is_file())


def loaded_code() -> list[Path]:
    """Files of this package's modules that this process has imported.

    `helpers.workflow.warm` is left out: it only starts processes, and is loaded or not depending on how the kernel was
    started.
    """
    package = ROOT / "src" / "helpers"
    found = {name: module for name, module in list(sys.modules.items()) if name.startswith("helpers")}
    files = (getattr(module, "__file__", None) for name, module in found.items() if not name.startswith(STARTERS))
    return sorted(path for path in {Path(file) for file in files if file} if path.is_relative_to(package))


def sha256(path: str | Path, of_file: Callable[[Path], str] | None = None) -> str:
    """Hash, in hexadecimal digits, of a file's bytes, or of a folder's file names and contents (but not their dates).

    A manifest in a folder is not part of its contents, since it has a date. ``of_file``: hashes a file of a folder,
    for callers that know some hashes already.
    """
    path, of_file = Path(path), of_file or sha256
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in BOOKKEEPING)
        listed = "".join(f"{file.relative_to(path).as_posix()} {of_file(file)}\n" for file in files)
        return hashlib.sha256(listed.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def portable(value: Any) -> Any:
    """The value with absolute paths rewritten: relative to the root, or to ``~`` below the home folder."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if isinstance(value, str | Path) and Path(value).is_absolute():
        return _portable_path(Path(value))
    return str(value) if isinstance(value, Path) else value


def _portable_path(path: Path) -> str:
    home = Path.home()
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    if path.is_relative_to(home) and home != Path(home.anchor):
        return f"~/{path.relative_to(home).as_posix()}"
    return Path(os.path.relpath(path, ROOT)).as_posix()


def git_state() -> dict[str, Any] | None:
    """The commit, and whether tracked files differ from it; None without git or without a commit."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Installed versions, read without importing anything; None: not installed."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def hardware() -> str:
    """For example "AMD EPYC, 2 cores, 2 threads used, no GPU". Threads and GPU are torch's, if it is imported."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else os.environ.get("OMP_NUM_THREADS", cores())
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch else []
    return f"{cpu_model()}, {cores()} cores, {threads} threads used, {' + '.join(gpus) or 'no GPU'}"


def cores() -> int:
    """Cores that this process may use: in a container or on a cluster, possibly fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name: from /proc on Linux, elsewhere Python's guess."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
