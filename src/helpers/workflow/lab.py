"""JupyterLab on the notebooks: ``python -m helpers.workflow.lab``, followed by JupyterLab's own options.

Its kernels start as those of the workflow do (`helpers.workflow.execute.kernel_environment`), each with one thread:
notebooks that are open at once then do not fight for the cores, and a training gives the numbers of the workflow's.
"""

import os
import signal
import sys

from helpers import paths
from helpers.workflow.execute import kernel_environment

FIRST = "00_start_here.ipynb"  # the notebook that is opened


def main(options: list[str]) -> None:
    """Serve until ended by Ctrl-C, by SIGTERM, or with the terminal; the kernels end with the server."""
    os.environ.update(kernel_environment(1))
    # To Jupyter, SIGTERM is the order to end its kernels and itself; of a closed terminal's SIGHUP it knows nothing
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    from jupyterlab.labapp import main as serve  # a second to import, and it imports what reads the environment

    notebook = f"/lab/tree/{paths.NOTEBOOKS.name}/{FIRST}"
    serve([f"--ServerApp.root_dir={paths.ROOT}", f"--LabApp.default_url={notebook}", *options])


if __name__ == "__main__":
    main(sys.argv[1:])
