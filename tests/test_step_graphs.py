"""A step in a bucket of fixed shapes, and its replay, is the packed step: same loss, same gradients."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.config.profiles import load_profile
from helpers.models.adapters import add_adapter
from helpers.models.batches import image_tensors, packed_batch
from helpers.models.family import plain_model
from helpers.models.loading import load_model, load_processor
from helpers.models.unpacking import unpacked_weights
from helpers.training import trainer
from helpers.training.packing import attend_sample_by_sample, attention_by_sample, packed_loss
from helpers.training.probe import _tuned, trial_of_type
from helpers.training.step_graphs import LONGEST, TOKENS, BucketedSteps, bucketed, cuda_capture
from helpers.training.trainer import Conversations, PackedCollator, finetune

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
    conversations = Conversations(butterflies.samples[mode], butterflies.folder)
    chosen = [[conversations[(start + i) % len(conversations)] for i in range(n)] for start, n in enumerate(sizes)]
    return [collator(some) for some in chosen]


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
    assert steps.why == ("" if capture else "there is nothing to capture them with")
    assert (steps.replays > 0) == bool(capture)
    assert len(steps.buckets) < len(made)


def test_a_bucket_by_hand():
    packed = {
        "input_ids": torch.arange(5).unsqueeze(0),
        "labels": torch.tensor([[-100, -100, 7, -100, 8]]),
        "position_ids": torch.tensor([[0, 1, 2, 0, 1]]),
        "supervised": torch.tensor([1, 3]),
        "lengths": (3, 2),
    }
    found = bucketed(packed, 3)
    assert found["rows"].shape == (3, LONGEST)
    assert found["rows"][:2, :3].tolist() == [[0, 1, 2], [3, 4, TOKENS - 1]]
    assert (found["rows"][2] == TOKENS - 1).all()  # no sample
    assert found["places"][:6].tolist() == [0, 1, 2, LONGEST, LONGEST + 1, 3 * LONGEST - 1]
    assert found["supervised"][:3].tolist() == [1, 3, TOKENS - 1]
    assert found["targets"][:3].tolist() == [7, 8, -100]
    assert {found[name].shape[-1] for name in ("positions", "places", "supervised", "targets")} == {TOKENS}
    found = bucketed(packed | {"lengths": (TOKENS,)}, 1)  # one place and one token are always free
    assert (found["rows"].shape[1], len(found["places"])) == (TOKENS + LONGEST, 2 * TOKENS)


@pytest.mark.parametrize("heads", [4, 2], ids=["as many keys", "grouped keys"])
def test_samples_attended_at_once_are_attended_one_by_one(heads):
    lengths = (3, 5)
    packed = {"position_ids": torch.zeros(1, 8), "labels": torch.zeros(1, 9), "supervised": torch.tensor([0])}
    given = bucketed(packed | {"lengths": lengths}, 2)
    torch.manual_seed(0)
    tensors = [torch.randn(1, n, 8, 16) for n in (4, heads, heads)]
    found = []
    for how in ({"lengths": lengths}, {"rows": given["rows"], "places": given["places"]}):
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        padded = inputs if "lengths" in how else [torch.nn.functional.pad(t, (0, 0, 0, TOKENS - 8)) for t in inputs]
        attended, _ = attend_sample_by_sample(None, *padded, None, 0.25, **how)
        (attended[:, :8] * torch.linspace(-1, 1, 16)).sum().backward()
        found.append([attended[:, :8], *(tensor.grad for tensor in inputs)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)


def test_a_step_that_needs_a_number_is_computed_without_a_graph(tuned, model_path, butterflies, monkeypatch):
    """On a card the capture fails there; the training goes on."""
    model, family = tuned
    made = batches(tuned, model_path, butterflies, "text_only")
    with attention_by_sample(model, family), unpacked_weights(model):
        steps = BucketedSteps(model, family, trained(model), capture=record)
        decoder = steps.decoder.norm
        forward = decoder.forward
        monkeypatch.setattr(decoder, "forward", lambda x: forward(x) * (1 + 0 * x.sum().item()))
        losses = [steps.step(made[0], 1.0).item() for _ in range(3)]
    assert losses == pytest.approx([packed_loss_of(tuned, made[0])] * 3, rel=1e-5)
    assert "operation not permitted" in steps.why
    assert steps.replays == 0


def packed_loss_of(tuned, batch):
    with attention_by_sample(*tuned), torch.no_grad():
        return packed_loss(tuned[0], batch).item()


def test_a_replay_with_other_numbers_is_not_used(tuned, model_path, butterflies):
    model, family = tuned
    batch = batches(tuned, model_path, butterflies, "text_only")[0]

    def wrong(run):
        replay = record(run)
        return lambda: (replay(), trained(model)[-1].grad.add_(1e-4))

    with attention_by_sample(model, family), unpacked_weights(model):
        steps = BucketedSteps(model, family, trained(model), capture=wrong)
        for _ in range(3):
            steps.step(batch, 1.0)
            right = gradients(model)
            forget(model)
        again = BucketedSteps(model, family, trained(model))
        again.step(batch, 1.0)
    assert steps.why == "a replayed step is not the step that was captured"
    assert all(torch.equal(right[name], gradient) for name, gradient in gradients(model).items())


def run(model_path, butterflies, output, mode="text_only", **changes):
    settings = SETTINGS.model_copy(update={"max_steps": 6, **changes})
    model, family = load_model(model_path)
    tuned = add_adapter(model, family, settings, seed=0)
    samples, processor = butterflies.samples[mode], load_processor(model_path)
    return finetune(tuned, family, processor, samples, butterflies.folder, output, settings, seed=0)


@MODES
def test_a_training_in_graphs_is_the_training_without(model_path, butterflies, tmp_path, monkeypatch, mode):
    plain = run(model_path, butterflies, tmp_path / "plain", mode)
    monkeypatch.setattr(trainer, "capture_here", lambda: record)
    graphs = run(model_path, butterflies, tmp_path / "graphs", mode, cuda_graphs=True)
    assert graphs.losses.loss.tolist() == pytest.approx(plain.losses.loss.tolist(), rel=2e-3)
    assert graphs.losses.grad_norm.tolist() == pytest.approx(plain.losses.grad_norm.tolist(), rel=2e-2)
    assert graphs.losses.loss[0] == pytest.approx(plain.losses.loss[0], rel=1e-5)
    assert graphs.resources["graph_replays"] > 0
    assert graphs.resources["no_graphs_because"] == ""
    assert "graph_replays" not in plain.resources
    counted = ("tokens", "image_tokens", "samples", "supervised_tokens", "vision_tower_calls")
    assert [graphs.resources[name] for name in counted] == [plain.resources[name] for name in counted]


def test_passes_before_a_step_add_up_in_graphs_too(model_path, butterflies, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "capture_here", lambda: record)
    halves = {"batch_size": 2, "gradient_accumulation": 2, "max_steps": 4}
    plain = run(model_path, butterflies, tmp_path / "plain", **halves)
    graphs = run(model_path, butterflies, tmp_path / "graphs", cuda_graphs=True, **halves)
    assert graphs.losses.loss.tolist() == pytest.approx(plain.losses.loss.tolist(), rel=2e-3)
    assert graphs.resources["graph_replays"] > 0


def test_dropout_in_a_graph_draws_as_without(model_path, butterflies, tmp_path, monkeypatch):
    plain = run(model_path, butterflies, tmp_path / "plain", cuda_graphs=True, lora_dropout=0.2)
    monkeypatch.setattr(trainer, "capture_here", lambda: record)
    graphs = run(model_path, butterflies, tmp_path / "graphs", cuda_graphs=True, lora_dropout=0.2)
    assert graphs.resources["graph_replays"] > 0
    assert graphs.losses.loss.tolist() == plain.losses.loss.tolist()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@MODES
def test_a_captured_graph_gives_the_same_bits_on_three_batches_of_each_bucket(model_path, butterflies, mode):
    model, family = load_model(model_path, "bfloat16")
    tuned = add_adapter(model, family, SETTINGS, seed=0)
    made = [moved(batch) for batch in batches((tuned, family), model_path, butterflies, mode, (4,) * 8)]
    with attention_by_sample(tuned, family), unpacked_weights(tuned):
        steps = {}
        for name, capture in {"plain": None, "graph": cuda_capture()}.items():
            bucketed_steps = BucketedSteps(tuned, family, trained(tuned), torch.bfloat16, capture)
            steps[name] = []
            for batch in made:
                loss = bucketed_steps.step(batch, 0.1)
                steps[name].append((loss, gradients(tuned)))
                forget(tuned)
    assert bucketed_steps.why == ""
    assert bucketed_steps.replays >= 3
    for (loss, right), (other, found) in zip(steps["plain"], steps["graph"], strict=True):
        assert torch.equal(loss, other)
        assert all(torch.equal(right[name], found[name]) for name in right)


def moved(batch):
    def move(value):
        if isinstance(value, dict):
            return {name: move(one) for name, one in value.items()}
        return value.cuda() if isinstance(value, torch.Tensor) else value

    return move(batch)


@pytest.mark.parametrize(("model_type", "images_too"), [("idefics3", True), ("internvl", True), ("qwen3_vl", False)])
def test_of_other_architectures_a_step_is_the_packed_one_or_left_to_it(model_type, images_too):
    """Qwen3-VL hands its layers features of the image, which a graph behind the embeddings would leave out."""
    trial = trial_of_type(model_type)
    trial = replace(trial, model=_tuned(trial))
    rows = []
    for sample in trial.encoded():
        positions = trial.family.positions(plain_model(trial.model), sample)
        tokens = {"input_ids": sample["input_ids"], "labels": sample["labels"], "positions": positions}
        rows.append({**tokens, **image_tensors(sample)})
    steps = BucketedSteps(trial.model, trial.family, trained(trial.model))
    for some, taken in ((rows, images_too), (rows[2:], True)):  # the last two have no image
        batch = packed_batch(some, trial.family.tiles_axis)
        forget(trial.model)
        with attention_by_sample(trial.model, trial.family):
            loss = packed_loss(trial.model, batch)
            loss.backward()
            expected = gradients(trial.model)
            forget(trial.model)
            found = steps.step(batch | {"bucket": bucketed(batch, len(some))}, 1.0)
        assert (found is not None) == taken
        if taken:
            assert found.item() == pytest.approx(loss.item(), rel=1e-5)
            for name, gradient in gradients(trial.model).items():
                torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


class Reads(TorchDispatchMode):
    """Counts the numbers that the host reads; each would wait for a GPU."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(keywords or {}))


def test_between_two_logs_no_step_reads_a_number(model_path, butterflies, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "capture_here", lambda: record)
    reads, seen = Reads(), []
    whole = trainer.CountingTrainer.training_step

    def counted(*given, **named):
        seen.append(reads.count)
        return whole(*given, **named)

    monkeypatch.setattr(trainer.CountingTrainer, "training_step", counted)
    with reads:
        result = run(model_path, butterflies, tmp_path, cuda_graphs=True, logging_steps=10, checkpoint_steps=100)
    assert result.resources["graph_replays"] > 2
    assert seen[-1] == seen[-2]  # from one step to the next: passes, clipping and the optimiser
    assert reads.count > seen[-1]  # the log at the end
