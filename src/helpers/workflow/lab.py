"""JupyterLab on the notebooks: ``python -m helpers.workflow.lab``, followed by JupyterLab's own options.

Its kernels start like the workflow's (`helpers.workflow.execute.kernel_environment`), each with one thread. Several
open notebooks then do not compete for the cores, and a training gives the same numbers as in the workflow. A notebook
that is saved with outputs is no change for git.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from helpers import paths
from helpers.workflow.execute import kernel_environment

FIRST = "00_start_here.ipynb"  # the notebook opened at the start

# git takes a file whose size has changed for modified until it is added again. That stages nothing here, as it is done
# only if there is no difference behind the clean filter (helpers.workflow.stripped).
_LOOK_AGAIN = 'git diff --quiet -- "$0" && git add --update -- "$0"'


def after_save(os_path: str, **_: Any) -> subprocess.Popen[bytes] | None:
    """Jupyter's hook after each save: let git see that only outputs have changed. It does not wait for git."""
    with suppress(OSError):
        quiet = subprocess.DEVNULL
        command = ["sh", "-c", _LOOK_AGAIN, os_path]
        return subprocess.Popen(command, cwd=Path(os_path).parent, stdin=quiet, stdout=quiet, stderr=quiet)
    return None


def main(options: list[str]) -> None:
    """Serve until Ctrl-C, SIGTERM or the end of the terminal; the kernels end with the server."""
    os.environ.update(kernel_environment(1))
    # On SIGTERM Jupyter ends its kernels and itself; it does not handle the SIGHUP of a closed terminal
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    from jupyterlab.labapp import main as serve  # slow, and some of its modules read the environment when imported

    notebook = f"/lab/tree/{paths.NOTEBOOKS.name}/{FIRST}"
    saved = f"--FileContentsManager.post_save_hook=helpers.workflow.lab.{after_save.__name__}"
    serve([f"--ServerApp.root_dir={paths.ROOT}", f"--LabApp.default_url={notebook}", saved, *options])


if __name__ == "__main__":
    main(sys.argv[1:])
