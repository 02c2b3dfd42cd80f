"""Run inside a kept kernel before it serves another run: what the run before has left is taken away.

The project's own modules are imported anew, but for the loaded model (`helpers.models.kept`). What a library keeps for
the process, beyond what is named here, stays; the tests compare what a renewed kernel makes with what a new one does.
"""

import ctypes
import gc
import logging
import os
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

STAYS = ("helpers.models.kept",)
TORCH_SEED = 67280421310721  # with which torch starts in every process


def renew(environment: Mapping[str, str], before: Sequence[str], cwd: str, log: str) -> None:
    """Make this kernel one for another run. ``before``: the variables that the run before was given."""
    for name in set(before) - set(environment):
        os.environ.pop(name, None)
    os.environ.update(environment)
    os.chdir(cwd)
    _log_to(log)
    sys.modules["IPython"].get_ipython().reset(new_session=True)
    _forget_figures_and_options()
    _forget_libraries_state()
    _forget_warnings()
    _forget_own_modules()
    _seed()
    _free()


def _log_to(log: str) -> None:
    """What native code and a crash say goes to the log of this run. ipykernel keeps a copy of the original streams."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        os.dup2(fd, getattr(stream, "_original_stdstream_copy", None) or number)
    os.close(fd)


def _forget_figures_and_options() -> None:
    if plots := sys.modules.get("matplotlib.pyplot"):
        plots.close("all")
    if pandas := sys.modules.get("pandas"):
        pandas.reset_option("^display\\.")


def _forget_libraries_state() -> None:
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()
    if functional := sys.modules.get("bitsandbytes.functional"):  # it holds every paged optimiser's states for good
        functional.GlobalPageManager.get_instance().paged_tensors.clear()


def _forget_warnings() -> None:
    """What is said once a process is said once a run. The filters stay: the libraries set theirs at their import."""
    for module in [*sys.modules.values()]:
        registry = getattr(module, "__dict__", {}).get("__warningregistry__")
        if registry:
            registry.clear()
    once: Any = getattr(logging.Logger, "warning_once", None)  # of transformers
    with suppress(AttributeError):
        once.cache_clear()


def _forget_own_modules() -> None:
    for name in [name for name in sys.modules if name == "helpers" or name.startswith("helpers.")]:
        if name not in STAYS:
            del sys.modules[name]
    if kept := sys.modules.get(STAYS[0]):
        kept.begin_run()


def _seed() -> None:
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.manual_seed(TORCH_SEED)


def _free() -> None:
    """Memory goes back, so that the peak of this run is its own."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    with suppress(AttributeError):  # not of every C library
        ctypes.CDLL(None).malloc_trim(0)
