"""Where a notebook that reads a finished run puts its tables and figures."""

from pathlib import Path

from helpers.paths import resolve_output
from helpers.workflow.provenance import manifest_in_progress
from helpers.workflow.run_layout import MARKER

BY_HAND = "runs/lab"


def output_of(run: Path) -> Path:
    """The run's own folder, unless the workflow made that run and this is a notebook run by hand.

    To look at a run must not touch it: its figures would no longer be those that its records name. They go to
    `BY_HAND` then, and a line says so.
    """
    if manifest_in_progress() or not (run / MARKER).exists():
        return run
    out = resolve_output(BY_HAND)
    print(f"{run} is the workflow's and stays as it is; tables and figures go to {out}")
    return out
