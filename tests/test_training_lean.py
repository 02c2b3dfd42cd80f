"""The quick step is the plain step: same loss, same gradients; each method saves, loads and comes off again."""

import pytest
import torch
from peft.utils import get_peft_model_state_dict

from helpers.config.profiles import load_profile
from helpers.models.adapters import (
    add_adapter,
    load_adapter,
    quantisation_of,
    remove_adapter,
    trainable_groups,
)
from helpers.models.loading import counted_tower, load_model, load_processor
from helpers.models.registry import family_of
from helpers.models.unpacking import unpacked_weights
from helpers.models.vision_cache import TowerFeatures
from helpers.training.packing import attention_by_sample, packed_loss, summed_cross_entropy
from helpers.training.trainer import Collator, Conversations, PackedCollator, finetune

pytestmark = pytest.mark.usefixtures("no_meter")
SETTINGS = load_profile("smoke").training
METHODS = ["qlora", "lora", "prompt_tuning", "ia3", "projector"]


def settings(**changes):
    return SETTINGS.model_copy(update={"max_steps": 2, **changes})


def batches(tuned, processor, butterflies, mode, count=4):
    model, family = tuned
    conversations = Conversations(butterflies.samples[mode], butterflies.folder)
    chosen = [conversations[i] for i in range(count)]
    return Collator(processor, None)(chosen), PackedCollator(processor, None, model, family)(chosen)


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("mode", ["text_only", "image_text"])
def test_packed_equals_padded_in_loss_and_gradients(tuned, model_path, butterflies, mode):
    plain, packed = batches(tuned, load_processor(model_path), butterflies, mode)
    model, family = tuned
    expected = model(**plain).loss
    expected.backward()
    wanted = gradients(model)
    with attention_by_sample(model, family), unpacked_weights(model) as once:
        loss = packed_loss(model, packed) / len(packed["supervised"])
        loss.backward()
    found = gradients(model)
    assert once.layers == 7 * model.config.text_config.num_hidden_layers
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (found[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max() + 1e-8, name


def test_a_packed_row_holds_no_padding(tuned, model_path, butterflies):
    plain, packed = batches(tuned, load_processor(model_path), butterflies, "text_only")
    assert packed["input_ids"].shape == (1, int(plain["attention_mask"].sum()))
    assert sum(packed["lengths"]) == packed["input_ids"].shape[1]


def test_behind_the_block_the_model_is_as_it_was(tuned, model_path, butterflies):
    model, family = tuned
    plain, _ = batches(tuned, load_processor(model_path), butterflies, "text_only")
    before = model(**plain).loss.item()
    with attention_by_sample(model, family), unpacked_weights(model):
        pass
    assert model(**plain).loss.item() == before


def test_where_samples_share_a_row_a_padded_batch_is_refused(tuned, model_path, butterflies):
    plain, _ = batches(tuned, load_processor(model_path), butterflies, "text_only")
    said = "samples in one row need their `lengths` and no mask; make the batch with `packed_batch`"
    with attention_by_sample(*tuned), pytest.raises(ValueError, match=said):
        tuned[0](**plain)


@pytest.mark.parametrize(("room", "kept"), [(10**9, True), (1, False)])
def test_a_sample_is_encoded_once_while_there_is_room(tuned, model_path, butterflies, monkeypatch, room, kept):
    monkeypatch.setattr("helpers.training.trainer.KEPT_BYTES", room)
    collator = PackedCollator(load_processor(model_path), None, *tuned)
    conversation = Conversations(butterflies.samples["text_only"], butterflies.folder)[0]
    assert (collator.encoded(conversation) is collator.encoded(conversation)) == kept


def test_logits_in_parts_give_the_same_loss_and_gradient(monkeypatch):
    import helpers.training.packing as packed

    head, targets = torch.nn.Linear(8, 5, bias=False), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    hidden = torch.randn(7, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    whole = summed_cross_entropy(hidden, head, targets)
    (expected,) = torch.autograd.grad(whole, hidden)
    monkeypatch.setattr(packed, "LOGIT_ROWS", 3)
    parts = summed_cross_entropy(hidden, head, targets)
    (found,) = torch.autograd.grad(parts, hidden)
    assert parts.item() == pytest.approx(whole.item(), abs=1e-6)
    assert torch.allclose(found, expected, atol=1e-7)


def run(model, family, model_path, butterflies, output, chosen, mode="image_text", features=None):
    tuned = add_adapter(model, family, chosen, seed=0)
    processor, samples = load_processor(model_path), butterflies.samples[mode]
    return tuned, finetune(
        tuned, family, processor, samples, butterflies.folder, output, chosen, seed=0, features_dir=features
    )


def test_remembered_tower_features_change_no_loss_and_save_the_tower_s_calls(model_path, butterflies, tmp_path):
    model, family = load_model(model_path)
    tuned, plain = run(model, family, model_path, butterflies, tmp_path / "a", settings(max_steps=3))
    calls = {}
    for name in ("first", "second"):  # the second finds all on disk
        model = remove_adapter(tuned, family)
        chosen = settings(max_steps=3, tower_cache=True)
        tuned, result = run(model, family, model_path, butterflies, tmp_path / name, chosen, features=tmp_path / "f")
        calls[name] = result.resources["vision_tower_calls"]
        assert result.losses["loss"].tolist() == pytest.approx(plain.losses["loss"].tolist(), abs=1e-5)
    assert plain.resources["vision_tower_calls"] == 3
    assert 0 < calls["first"] <= 3
    assert calls["second"] == 0
    adapters = [(tmp_path / name / "adapter/adapter_model.safetensors").read_bytes() for name in calls]
    assert adapters[0] == adapters[1]
    kept = [file for file in (tmp_path / "f").rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if file.name.startswith(".")]  # of the temporary ones none is left


def test_features_are_looked_up_by_picture(model_path, butterflies):
    model, family = load_model(model_path, four_bit=False)
    conversations = Conversations(butterflies.samples["image_text"], butterflies.folder)
    batch = Collator(load_processor(model_path), None)([conversations[i] for i in (0, 2, 0)])  # of two classes
    expected = model(**batch).logits
    with TowerFeatures(model, family) as features, counted_tower(model, family) as tower:
        first, second = model(**batch).logits, model(**batch).logits
    assert torch.allclose(first, expected, atol=1e-4)
    assert torch.equal(first, second)
    assert tower.calls == 1
    assert features.computed < features.remembered
    assert torch.equal(model(**batch).logits, expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_saves_and_loads(model_path, butterflies, tmp_path, method):
    chosen = settings(method=method)
    model, family = load_model(model_path, four_bit=chosen.four_bit)
    tuned, result = run(model, family, model_path, butterflies, tmp_path, chosen)
    groups = trainable_groups(tuned, family)
    assert (groups["projector"] > 0) == (method != "prompt_tuning")
    assert (groups["language_model"] > 0) == (method != "projector")
    assert groups["vision_tower"] == groups["other"] == 0
    assert result.resources["samples"] == 2 * chosen.batch_size
    assert bool(quantisation_of(tmp_path / "adapter")) == (method == "qlora")
    conversations = Conversations(butterflies.samples["image_text"], butterflies.folder)
    batch = Collator(load_processor(model_path), None)([conversations[i] for i in range(2)])
    batch.pop("labels")
    fresh, _ = load_model(model_path, four_bit=chosen.four_bit)
    loaded = load_adapter(fresh, tmp_path / "adapter")
    with torch.inference_mode():
        assert torch.equal(tuned.eval()(**batch).logits, loaded(**batch).logits)
        for _ in range(2):  # the second time nothing is left of the first
            one = {name: tensor[:1] for name, tensor in batch.items() if name != "pixel_values"}
            pixels = batch["pixel_values"][: len(batch["pixel_values"]) // 2]
            assert loaded.generate(**one, pixel_values=pixels, do_sample=False, max_new_tokens=3).shape[0] == 1


def test_a_method_refuses_a_base_in_the_wrong_precision(base):
    model, family = base
    with pytest.raises(ValueError, match="method lora needs the base in full precision"):
        add_adapter(model, family, settings(method="lora"), seed=0)


def test_a_prompt_before_a_picture_leaves_it_its_positions(butterflies):
    """Qwen2-VL: height and width of the picture's tokens, moved by the length of the prompt."""
    from helpers.paths import DATA

    path = DATA / "models" / "tiny-qwen2-vl"
    model, family = load_model(path, four_bit=False)
    conversations = Conversations(butterflies.samples["image_text"], butterflies.folder)
    batch = Collator(load_processor(path), None)([conversations[0]])
    expected = family.positions(model, batch)[1:]
    seen = {}

    def spy(_, __, keywords):
        seen["positions"] = keywords["position_ids"]

    tuned = add_adapter(model, family, settings(method="prompt_tuning", prompt_tokens=5), seed=0)
    handle = model.model.language_model.register_forward_pre_hook(spy, with_kwargs=True)
    tuned(**batch)
    handle.remove()
    assert torch.equal(seen["positions"][:, 0, 5:], expected + 5)


@pytest.mark.parametrize("method", ["qlora", "ia3", "prompt_tuning"])
def test_a_second_run_on_one_load_equals_one_on_a_fresh_load(model_path, butterflies, tmp_path, method):
    chosen = settings(method=method)
    model, family = load_model(model_path, four_bit=chosen.four_bit)
    first, _ = run(model, family, model_path, butterflies, tmp_path / "one", chosen)
    again, _ = run(remove_adapter(first, family), family, model_path, butterflies, tmp_path / "two", chosen)
    one, two = _tensors(tmp_path / "one"), _tensors(tmp_path / "two")
    assert one.keys() == two.keys() == get_peft_model_state_dict(again).keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def _tensors(folder):
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def test_gradient_checkpointing_changes_no_loss(model_path, butterflies, tmp_path):
    losses = []
    for checkpointing in (False, True):
        model, family = load_model(model_path)
        chosen = settings(gradient_checkpointing=checkpointing)
        _, result = run(model, family, model_path, butterflies, tmp_path / str(checkpointing), chosen)
        losses.append(result.losses["loss"].tolist())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_the_card_says_what_was_trained_and_how(model_path, butterflies, tmp_path):
    model, family = load_model(model_path)
    run(model, family, model_path, butterflies, tmp_path, settings(), mode="text_only")
    card = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "Trained with method `qlora` on 8 samples" in card
    assert "| vision_tower_calls | 0 |" in card
    assert str(model_path.parent) not in card or "data/models" in card


def test_the_revision_of_a_base_from_the_hub_is_recorded(model_path, butterflies, tmp_path):
    model, family = load_model(model_path)
    model.config._commit_hash = "0123abc"  # as `from_pretrained` notes it for a hub id
    _, result = run(model, family, model_path, butterflies, tmp_path, settings(max_steps=1), mode="text_only")
    assert result.resources["base_revision"] == "0123abc"
    assert "| base_revision | 0123abc |" in (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")


def test_a_loss_that_is_no_number_ends_the_training_and_leaves_no_adapter(model_path, butterflies, tmp_path):
    model, family = load_model(model_path)
    chosen = settings(max_steps=4, learning_rate=1e30)
    said = r"became (nan|inf) in step [2-4] of 4; lower `training\.learning_rate` \(1e\+30\) and run again"
    with pytest.raises(RuntimeError, match=said):
        run(model, family, model_path, butterflies, tmp_path, chosen, mode="text_only")
    assert not (tmp_path / "adapter").exists()
    again, _ = load_model(model_path)  # the same command goes on from what was left, and ends no better
    with pytest.raises(RuntimeError, match=said):
        run(again, family, model_path, butterflies, tmp_path, chosen, mode="text_only")
    assert not (tmp_path / "adapter").exists()


def test_memory_that_runs_out_is_reported_with_what_to_lower(model_path, butterflies, tmp_path, monkeypatch):
    import helpers.training.trainer as training

    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "packed_loss", exhausted)
    model, family = load_model(model_path)
    with pytest.raises(RuntimeError, match=r"training\.batch_size=4.*gradient_checkpointing to true"):
        run(model, family, model_path, butterflies, tmp_path, settings())


def test_families_name_modules_that_exist(model_path):
    model, family = load_model(model_path, four_bit=False)
    assert family_of(model_path) is family
    for name in (family.language_model, family.vision_tower, family.projector, family.tower_entry):
        assert model.get_submodule(name) is not None
