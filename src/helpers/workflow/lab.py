"""JupyterLab on the notebooks: ``python -m helpers.workflow.lab``, followed by JupyterLab's own options.

Its kernels start like the workflow's (`helpers.workflow.execute.kernel_environment`), each with one thread. Several
open notebooks then do not compete for the cores, and a training gives the same numbers as in the workflow.
"""

import os
import signal
import sys

from helpers import paths
from helpers.workflow.execute import kernel_environment

FIRST = "00_start_here.ipynb"  # the notebook opened at the start


def main(options: list[str]) -> None:
    """Serve until Ctrl-C, SIGTERM or the end of the terminal; the kernels end with the server."""
    os.environ.update(kernel_environment(1))
    # On SIGTERM Jupyter ends its kernels and itself; it does not handle the SIGHUP of a closed terminal
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    from jupyterlab.labapp import main as serve  # slow, and some of its modules read the environment when imported

    notebook = f"/lab/tree/{paths.NOTEBOOKS.name}/{FIRST}"
    serve([f"--ServerApp.root_dir={paths.ROOT}", f"--LabApp.default_url={notebook}", *options])


if __name__ == "__main__":
    main(sys.argv[1:])
