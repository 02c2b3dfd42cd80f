"""Where a result comes from: parameters, code, versions, machine, seeds and the inputs' hashes, in one JSON file.

A manifest is meant to be published beside the result, so it names no host, no user and no folder outside the project.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from helpers.paths import ROOT, atomic_write, resolve

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "numpy", "pandas", "pillow", "codecarbon")


def write_manifest(
    folder: str | Path,
    parameters: Mapping[str, Any],
    inputs: Iterable[str | Path] = (),
    seeds: Mapping[str, int] | None = None,
) -> Path:
    """Write ``manifest.json`` into the folder of a result."""
    path = Path(folder) / "manifest.json"
    text = json.dumps(manifest(parameters, inputs, seeds), indent=2, ensure_ascii=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def manifest(
    parameters: Mapping[str, Any], inputs: Iterable[str | Path] = (), seeds: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Parameters must be plain values. Inputs are files or folders, relative to the root; a missing one is an error."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parameters": {name: portable(value) for name, value in parameters.items()},
        "seeds": dict(seeds or {}),
        "inputs": {portable(path): sha256(path) for path in map(resolve, inputs)},
        "git": git_state(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
        "hardware": hardware(),
    }


def sha256(path: str | Path) -> str:
    """Hash of a file's bytes, or of a folder's names and files (but not their dates), in hexadecimal digits."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = "".join(f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files)
        return hashlib.sha256(listed.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def portable(value: Any) -> Any:
    """The value with paths of this machine rewritten: relative to the root, or to a home folder without its name."""
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
    """Commit and whether tracked files differ from it; None where there is no git or no commit yet."""
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
    """Installed versions, read without importing anything; None = not installed."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def hardware() -> str:
    """Such as "AMD EPYC, 2 cores, 2 threads used, no GPU". Threads and GPU as torch has them, where it is imported."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else os.environ.get("OMP_NUM_THREADS", cores())
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch else []
    return f"{cpu_model()}, {cores()} cores, {threads} threads used, {' + '.join(gpus) or 'no GPU'}"


def cores() -> int:
    """Cores that this process may use, which in a container or on a cluster can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name: Linux has it in /proc, elsewhere Python's guess has to do."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
