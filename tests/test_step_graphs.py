"""A step in a bucket of fixed shapes, and its replay, is the packed step: same loss, same gradients."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.config.profiles import load_profile
from helpers.models.loading import load_processor
from helpers.models.unpacking import unpacked_weights
from helpers.training.packing import attention_by_sample, packed_loss
from helpers.training.step_graphs import BucketedSteps
from helpers.training.trainer import Conversations, PackedCollator

pytestmark = pytest.mark.usefixtures("no_meter")
SETTINGS = load_profile("smoke").training
MODES = pytest.mark.parametrize("mode", ["text_only", "image_text"])


class Recorder(TorchDispatchMode):
    """Stands in for a graph's capture: keeps each operation with its tensors, and computes it again into these.

    Like a graph it knows only tensors: an operation that gives the host a number is an error.
    """

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise RuntimeError(f"{function} in a graph: operation not permitted")
        found = function(*arguments, **(keywords or {}))
        if not function.is_view:
            self.operations.append((function, arguments, keywords or {}, found))
        return found

    @torch.no_grad()
    def replay(self):
        for function, arguments, keywords, kept in self.operations:
            found = function(*arguments, **keywords)
            for one, other in zip(_tensors(kept), _tensors(found), strict=True):
                if one is not other:
                    one.copy_(other)


def _tensors(found):
    several = found if isinstance(found, list | tuple) else [found]
    return [one for one in several if isinstance(one, torch.Tensor)]


def record(run):
    with Recorder() as recorder:
        run()
    return recorder.replay


def batches(tuned, model_path, butterflies, mode, sizes=(4, 4, 3, 4)):
    model, family = tuned
    collator = PackedCollator(load_processor(model_path), None, model, family, bucket_samples=4)
    conversations, made, start = Conversations(butterflies.samples[mode], butterflies.folder), [], 0
    for size in sizes:
        made.append(collator([conversations[(start + i) % len(conversations)] for i in range(size)]))
        start += 1
    return made


def trained(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def forget(model):
    for parameter in trained(model):
        if parameter.grad is not None:
            parameter.grad.zero_()


@MODES
@pytest.mark.parametrize("capture", [None, record], ids=["no graph", "replayed"])
def test_a_step_in_a_bucket_is_the_packed_step(tuned, model_path, butterflies, mode, capture):
    model, family = tuned
    with attention_by_sample(model, family), unpacked_weights(model):
        made = batches(tuned, model_path, butterflies, mode)
        wanted = []
        for batch in made:
            loss = packed_loss(model, batch) / 7
            loss.backward()
            wanted.append((loss.item(), gradients(model)))
            forget(model)
        steps = BucketedSteps(model, family, trained(model), capture=capture)
        for batch, (expected, right) in zip(made, wanted, strict=True):
            loss = steps.step(batch, 1 / 7)
            found = gradients(model)
            assert loss.item() == pytest.approx(expected, rel=1e-5)
            assert found.keys() == right.keys()
            for name, gradient in right.items():
                assert (found[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max() + 1e-8, name
            forget(model)
    assert steps.why == ("" if capture else "training.cuda_graphs is off")
    assert (steps.replays > 0) == bool(capture)
    assert len(steps.buckets) < len(made)
