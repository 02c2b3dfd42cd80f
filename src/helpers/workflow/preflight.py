"""Checks before the first run starts: something found missing an hour later would cost that hour."""

import os
import shutil
import sys
from pathlib import Path

from helpers import paths

KERNEL = "python3"


class PreflightError(RuntimeError):
    """Something that a run needs is missing. The message says what it is and how to get it."""


def model_files(path: str) -> list[str]:
    """The files of a local model folder; none for a model on the hub.

    A path of the form `owner/name` that cannot be a local folder is taken to be a hub name.
    """
    folder = paths.resolve(path)
    if (folder / "config.json").is_file():
        return _files_in(path)
    if paths.is_hub_id(path):
        return []
    raise PreflightError(
        f"no model in {path}: a model folder holds config.json and *.safetensors. The demo's models come with the "
        "repository (`git checkout -- data/models` brings them back) or are made by `./run_all.sh base-models`"
    )


def source_files(path: str) -> list[str]:
    """All files in a data source's folder; none for a data set on the hub."""
    if paths.is_hub_id(path):
        return []
    if not path or not paths.resolve(path).is_dir():
        raise PreflightError(
            f"no data folder {path}; name yours with --set domains.NAME.path=FOLDER, or correct the profile"
        )
    return _files_in(path)


def check_room(folder: str | Path, needed_gb: float) -> None:
    """Raise if the disk that holds `folder` (which need not exist yet) has less than `needed_gb` free."""
    path = paths.resolve(folder)
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free / 1e9
    if free < needed_gb:
        raise PreflightError(
            f"the disk of {folder} has {free:.1f} GB free, this profile asks for {needed_gb:g} GB (its disk_gb). "
            "Free some space, or make runs/ a link to a larger disk"
        )


def check_kernel(name: str = KERNEL) -> None:
    """Raise if Jupyter has no such kernel, or if the kernel starts a different Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # a kernel in the home folder may belong to any Python
    remedy = f"Make it: {sys.executable} -m ipykernel install --sys-prefix --name {name}"
    try:
        command = KernelSpecManager().get_kernel_spec(name).argv
    except NoSuchKernel:
        raise PreflightError(f"Jupyter has no kernel {name!r} for this Python. {remedy}") from None
    # a bare `python` is replaced by the running interpreter; a full path may belong to another environment
    if command and Path(command[0]).is_absolute() and Path(command[0]).parent != Path(sys.executable).parent:
        raise PreflightError(f"the kernel {name!r} starts {command[0]}, a different Python than this one. {remedy}")


def _files_in(path: str) -> list[str]:
    """The `visible` ones; relative to the root if `path` is, so that a moved clone sees the same names."""
    folder = paths.resolve(path)
    files = [file.relative_to(folder) for file in paths.visible(folder.rglob("*"), folder) if file.is_file()]
    found = sorted(str(Path(path) / file) for file in files)
    if named := next((name for name in found if set("{}") & set(name)), None):
        raise PreflightError(f"{named} has a brace in its path, which the workflow reads as a blank to fill; rename it")
    return found
