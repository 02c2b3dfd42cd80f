"""QLoRA as promised: what is quantised, what learns, what the loss is taken on, what a text-only step leaves alone."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from helpers.config.build import Build
from helpers.config.profiles import load_profile
from helpers.datasets.build import build_samples
from helpers.models.adapters import add_lora, group_of, load_adapter, trainable_groups
from helpers.models.batches import IGNORED
from helpers.models.loading import counted_tower, load_model, load_processor, quantised_layers
from helpers.models.registry import family_of
from helpers.paths import DATA
from helpers.training.trainer import Collator, Conversations, finetune, steps_of, trainer_arguments

SETTINGS = load_profile("smoke").training


@pytest.fixture
def tuned(model_path):
    model, family = load_model(model_path)
    return add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0), family


@pytest.fixture
def processor(model_path):
    return load_processor(model_path)


def batch_of(butterflies, processor, mode, count=3):
    conversations = Conversations(butterflies.samples[mode], butterflies.folder)
    return Collator(processor, None)([conversations[i] for i in range(count)])


def test_the_language_models_linear_layers_are_in_4_bit_and_no_other(model_path):
    model, family = load_model(model_path)
    layers = quantised_layers(model)
    assert len(layers) == 7 * model.config.text_config.num_hidden_layers
    assert all(name.startswith(f"{family.language_model}.") for name in layers)


def test_only_lora_and_projector_learn(tuned):
    groups = trainable_groups(*tuned)
    assert groups["language_model"] > 0
    assert groups["projector"] > 0
    assert groups["vision_tower"] == groups["other"] == 0


@pytest.mark.parametrize(("mode", "calls"), [("text_only", 0), ("image_text", 1)])
def test_a_text_only_step_never_calls_the_tower(tuned, processor, butterflies, mode, calls):
    model, family = tuned
    with counted_tower(model, family) as tower:
        model(**batch_of(butterflies, processor, mode)).loss.backward()
    assert tower.calls == calls


def test_a_text_only_batch_has_no_picture_key(processor, butterflies):
    batch = batch_of(butterflies, processor, "text_only")
    assert not {"pixel_values", "image_grid_thw", "image_sizes"} & set(batch)


@pytest.mark.parametrize("mode", ["text_only", "image_text"])
def test_gradients_reach_the_projector_only_with_pictures_and_the_tower_never(tuned, processor, butterflies, mode):
    model, family = tuned
    model(**batch_of(butterflies, processor, mode)).loss.backward()
    norms = dict.fromkeys(("language_model", "projector", "vision_tower", "other"), 0.0)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            norms[group_of(name, family)] += parameter.grad.norm().item()
    assert norms["language_model"] > 0
    assert (norms["projector"] > 0) == (mode == "image_text")
    assert norms["vision_tower"] == norms["other"] == 0


@pytest.mark.parametrize("mode", ["text_only", "image_text"])
def test_the_loss_is_taken_on_the_answer_alone(processor, butterflies, mode):
    labels = batch_of(butterflies, processor, mode)["labels"]
    for sample, row in zip(butterflies.samples[mode], labels, strict=False):
        learnt = processor.tokenizer.decode(row[row != IGNORED], skip_special_tokens=True).strip()
        assert learnt == sample.texts[1]


def test_there_are_as_many_picture_tokens_as_features(model_path, processor, butterflies):
    model, _ = load_model(model_path, four_bit=False)
    batch = batch_of(butterflies, processor, "image_text", count=2)
    tokens = int((batch["input_ids"] == processor.image_token_id).sum())
    images = {key: batch[key] for key in ("pixel_values", "image_grid_thw", "image_sizes") if key in batch}
    features = model.get_image_features(**images).pooler_output
    assert sum(len(feature) for feature in features) == tokens


def test_qwen2_vl_is_told_which_tokens_are_picture(butterflies):
    from helpers.paths import DATA

    processor = load_processor(DATA / "models" / "tiny-qwen2-vl")
    batch = batch_of(butterflies, processor, "image_text")
    assert torch.equal(batch["mm_token_type_ids"].bool(), batch["input_ids"] == processor.image_token_id)


def test_too_long_a_sample_is_refused_not_cut(processor):
    from helpers.models.batches import assistant, training_batch, user

    with pytest.raises(ValueError, match="never truncated"):
        training_batch(processor, [[user("butterfly " * 200), assistant("yes")]], [None], max_length=100)


def logits(model, batch):
    with torch.inference_mode():
        return model.eval()(**{key: value for key, value in batch.items() if key != "labels"}).logits


@pytest.mark.parametrize("mode", ["text_only", "image_text", "joint", "hybrid"])
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"epochs": 3, "batch_size": 8}, 6),  # eight classes in two directions: two batches of 8 per epoch
        ({"epochs": 3, "batch_size": 3}, 18),  # 16 / 3: six batches, the last with one sample
        ({"epochs": 3, "batch_size": 3, "gradient_accumulation": 4}, 6),  # six batches: a step of 4 and one of 2
        ({"epochs": 3, "max_steps": 5}, 5),
    ],
)
def test_every_mode_takes_the_same_number_of_steps(butterflies, build, tmp_path, mode, settings, steps):
    samples = list(build_samples(butterflies.texts, mode, build))
    assert len(samples) == {"joint": 32, "hybrid": 24}.get(mode, 16)
    chosen = SETTINGS.model_copy(update={"max_steps": None, **settings})
    assert steps_of(samples, chosen) == trainer_arguments(chosen, tmp_path, 0, samples).max_steps == steps


def test_two_wordings_and_two_classes_with_the_same_words_are_as_many_passes(butterflies):
    first, other = butterflies.texts[:2]
    texts = [first, first.model_copy(update={"wording": 1}), other.model_copy(update={"name": first.name})]
    one = SETTINGS.model_copy(update={"max_steps": None, "epochs": 1, "batch_size": 1})
    for mode in ("text_only", "joint"):
        assert steps_of(list(build_samples(texts, mode, Build())), one) == 3 * 2


def run(model_path, butterflies, output, max_steps):
    """Train a fresh model for ``max_steps``; returns its result and its adapter's tensors."""
    model, family = load_model(model_path)
    tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0)
    settings = SETTINGS.model_copy(update={"max_steps": max_steps})
    processor = load_processor(model_path)
    result = finetune(
        tuned, family, processor, butterflies.samples["image_text"], butterflies.folder, output, settings, seed=0
    )
    return tuned, result


def test_a_sample_that_is_too_long_ends_a_training_before_its_first_step(tuned, processor, butterflies, tmp_path):
    model, family = tuned
    samples, settings = butterflies.samples["text_only"], SETTINGS.model_copy(update={"max_length": 20})
    with pytest.raises(ValueError, match=rf"sample '{samples[0].id}' of class .* at most 20 \(training\.max_length\)"):
        finetune(model, family, processor, samples, butterflies.folder, tmp_path / "out", settings, 0)
    assert not (tmp_path / "out").exists()


def test_an_adapter_changes_the_logits_and_survives_saving(model_path, processor, butterflies, tmp_path):
    tuned, _ = run(model_path, butterflies, tmp_path, max_steps=2)
    batch = batch_of(butterflies, processor, "image_text")
    base, _ = load_model(model_path)
    before = logits(base, batch)
    loaded = load_adapter(base, tmp_path / "adapter")
    assert not torch.allclose(before, logits(loaded, batch))
    assert torch.equal(logits(tuned, batch), logits(loaded, batch))


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(model_path, butterflies, tmp_path, monkeypatch):
    whole, _ = run(model_path, butterflies, tmp_path / "whole", max_steps=4)
    run_until_killed(model_path, butterflies, tmp_path / "resumed", monkeypatch)
    resumed, result = run(model_path, butterflies, tmp_path / "resumed", max_steps=4)
    assert result.resources["resumed"]
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def run_until_killed(model_path, butterflies, output, monkeypatch):
    """A run that dies in its third step, after the checkpoint of the second."""
    from transformers import Trainer

    step = Trainer.training_step

    def dying(self, *arguments, **keywords):
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return step(self, *arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "training_step", dying)
        with pytest.raises(KeyboardInterrupt):
            run(model_path, butterflies, output, max_steps=4)


def test_costs_are_recorded(model_path, butterflies, tmp_path):
    _, result = run(model_path, butterflies, tmp_path, max_steps=2)
    resources = result.resources
    assert resources["steps"] == 2
    assert resources["samples"] == 2 * SETTINGS.batch_size
    assert (resources["different_samples"], resources["image_percent"]) == (16, 100)
    assert resources["vision_tower_calls"] == 2
    assert 0 < resources["supervised_tokens"] < resources["tokens"]
    assert len(result.losses) == 2


def test_an_adapter_without_its_tensors_is_refused(model_path, tmp_path):
    model, _ = load_model(model_path, four_bit=False)
    with pytest.raises(FileNotFoundError, match=r"adapter_model\.safetensors"):
        load_adapter(model, tmp_path)


def test_an_adapter_with_a_missing_tensor_is_refused(model_path, butterflies, tmp_path):
    from safetensors.torch import load_file, save_file

    run(model_path, butterflies, tmp_path, max_steps=1)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(min(tensors))
    save_file(tensors, file, metadata={"format": "pt"})
    base, _ = load_model(model_path)
    with pytest.raises(RuntimeError, match="in the file or in the model only"):
        load_adapter(base, tmp_path / "adapter")


def test_unknown_architectures_and_empty_folders_are_refused(model_path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        family_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model_type is 'bert', which is no image-text-to-text model of"):
        family_of(tmp_path)


def test_a_model_on_the_hub_is_known_by_its_configuration(monkeypatch):
    asked = []

    def from_pretrained(name, **options):
        asked.append((name, options))
        return SimpleNamespace(model_type="llava_next")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", from_pretrained)
    assert family_of("llava-hf/llama3-llava-next-8b-hf") is family_of(DATA / "models" / "tiny-llava-next")
    assert asked == [("llava-hf/llama3-llava-next-8b-hf", {"trust_remote_code": False})]


def test_checkpoints_are_small_and_hold_no_pickle(model_path):
    assert sum(file.stat().st_size for file in model_path.iterdir()) < 12e6
    assert not [file for file in model_path.iterdir() if file.suffix in {".bin", ".pt", ".pkl"}]


def test_training_leaves_no_checkpoint_folder_in_the_way(model_path, butterflies, tmp_path):
    run(model_path, butterflies, tmp_path, max_steps=2)
    shutil.rmtree(tmp_path / "checkpoints")  # what the workflow may delete once the adapter is there
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
