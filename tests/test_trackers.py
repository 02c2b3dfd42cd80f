"""Trackers of a training: none by default, refused before any work where they cannot work."""

import importlib.util

import pytest

from helpers.config.profiles import SettingsError, load_profile
from helpers.training import trackers
from helpers.workflow.preflight import PreflightError


def test_no_profile_reports_to_anyone_unless_told():
    assert load_profile("demo").training.report_to == []
    assert load_profile("demo", {"training.report_to": ["wandb"]}).training.report_to == ["wandb"]
    with pytest.raises(SettingsError, match="report_to"):
        load_profile("demo", {"training.report_to": ["a_spy"]})


def test_a_tracker_that_is_missing_or_has_no_key_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else object())
    with pytest.raises(PreflightError, match="names mlflow, which is not installed; `pip install mlflow`"):
        trackers.chosen_trackers(["mlflow"], tmp_path)
    with pytest.raises(PreflightError, match="names wandb, which needs a key: set WANDB_API_KEY"):
        trackers.check_trackers(["wandb"], {})
    trackers.check_trackers(["wandb"], {"WANDB_MODE": "offline"})
    trackers.check_trackers(["wandb"], {"WANDB_API_KEY": "k"})


def test_tensorboard_gets_the_losses_below_the_runs_folder(tmp_path, monkeypatch):
    """The Trainer's callback alone, as `helpers.training.trainer` asks for it."""
    pytest.importorskip("tensorboard", reason="no tensorboard: pip install tensorboard")
    monkeypatch.setenv(trackers.TRACKER_FOLDERS, "")
    monkeypatch.delenv(trackers.TRACKER_FOLDERS)
    from transformers import TrainerControl, TrainerState
    from transformers.integrations import get_reporting_integration_callbacks

    from helpers.training.trainer import trainer_arguments

    settings = load_profile("smoke", {"training.report_to": ["tensorboard"]}).training
    arguments = trainer_arguments(settings, tmp_path / "checkpoints" / "run", seed=0)
    assert arguments.report_to == ["tensorboard"]
    callback = get_reporting_integration_callbacks(arguments.report_to)[0]()
    state, control = TrainerState(is_world_process_zero=True), TrainerControl()
    callback.on_train_begin(arguments, state, control)
    callback.on_log(arguments, state, control, logs={"loss": 0.5})
    callback.on_train_end(arguments, state, control)
    assert [file.name.split(".")[0] for file in (tmp_path / "tensorboard").iterdir()] == ["events"]
