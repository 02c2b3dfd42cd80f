"""Trackers of the training loss: the Trainer's own, and only those that a profile names under `training.report_to`.

Keys and addresses come only from the environment (`WANDB_API_KEY`, `MLFLOW_TRACKING_URI`), never from a profile. The
packages are not among this project's requirements.
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.workflow.preflight import PreflightError

TRACKER_FOLDERS = "TENSORBOARD_LOGGING_DIR"


def check_trackers(names: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Raise `PreflightError` for a tracker that is not installed or has no key."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise PreflightError(
                f"training.report_to names {name}, which is not installed; `pip install {name}`, or remove it there"
            )
    offline = environment.get("WANDB_MODE") in ("offline", "disabled")
    if "wandb" in names and not offline and not environment.get("WANDB_API_KEY"):
        raise PreflightError(
            "training.report_to names wandb, which needs a key: set WANDB_API_KEY, or WANDB_MODE=offline"
        )


def chosen_trackers(names: Sequence[str], output_dir: Path) -> list[str] | str:
    """The Trainer's ``report_to``. TensorBoard's files go below ``output_dir``, unless its own variable is set."""
    check_trackers(names)
    if "tensorboard" in names:
        os.environ.setdefault(TRACKER_FOLDERS, str(output_dir / "tensorboard"))
    return list(names) or "none"
