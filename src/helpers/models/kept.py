"""The last base model that was loaded, for the runs to come in the same kernel (`helpers.kept`).

It is never handed out itself: each run gets modules, flags, hooks and configuration of its own that share the weights'
memory, so that an adapter, a trainer or a removed layer changes nothing of it. Only writing into a frozen weight would.
This module imports none of the project's: it stays where the others are imported anew.
"""

import copy
import gc
import os
from collections.abc import Callable
from typing import Any

VARIABLE = "KEEP_MODEL"  # set in kernels that serve several runs

_key: Any = None
_model: Any = None
_loaded_before = False  # this run
_used = False


def model(identity: Callable[[], Any], load: Callable[[], Any]) -> Any:
    """What ``load`` makes, or has made of the same identity for an earlier run. Outside a kept kernel, just that."""
    global _key, _model, _used
    if VARIABLE not in os.environ:
        return load()
    key = identity()  # before it is loaded: what changes meanwhile is another one
    if _model is None or _key != key:
        drop()
        _model, _key = load(), key
    else:
        _used |= _loaded_before
    return sharing_copy(_model)


def served() -> bool:
    """Whether this run was given a base that an earlier run had loaded."""
    return _used


def begin_run() -> None:
    """From here on it is another run."""
    global _loaded_before, _used
    _loaded_before, _used = _model is not None, False


def drop() -> None:
    """Free it before another is loaded: there may be no room for two."""
    global _key, _model, _loaded_before
    _key = _model = None
    _loaded_before = False
    gc.collect()
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def sharing_copy(original: Any) -> Any:
    """A model of its own in everything but the numbers: its parameters are new objects over the same memory."""
    shared: dict[int, Any] = {}
    for module in original.modules():
        for parameter in filter(lambda found: found is not None, module._parameters.values()):
            shared.setdefault(id(parameter), _alias(parameter))
        if (state := vars(module).get("quant_state")) is not None:
            shared[id(state)] = state
    made = copy.deepcopy(original, shared)
    for module in made.modules():
        weight = module._parameters.get("weight")
        if getattr(weight, "module", None) is not None:  # bitsandbytes' weights know their layer
            weight.module = module
    return made


def _alias(parameter: Any) -> Any:
    import torch

    if type(parameter) is not torch.nn.Parameter:
        return copy.copy(parameter)  # bitsandbytes' own: the same bytes and the same scales
    made = torch.nn.Parameter(parameter.data, requires_grad=parameter.requires_grad)
    made.__dict__.update(parameter.__dict__)
    return made
