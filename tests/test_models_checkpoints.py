"""What cannot be loaded is refused before it is read; what is saved for others can be read by others."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from helpers.models.adapters import add_lora, check_adapter, load_adapter
from helpers.models.checkpoints import check_checkpoint
from helpers.models.export import save_quantised
from helpers.models.loading import check_machine, check_quantisation, load_model, load_processor, quantised_layers
from helpers.models.merging import check_merged, merge
from helpers.paths import DATA

TINY = DATA / "models" / "tiny-qwen2-vl"


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(TINY, tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_the_shipped_models_pass(model_path):
    check_checkpoint(model_path)


def test_a_checkpoint_without_a_tokenizer_file_is_not_measured_by_it(copy):
    (copy / "tokenizer.json").unlink()
    check_checkpoint(copy)


def test_an_unknown_precision_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="dtype is 'int8'; known: auto, float32, bfloat16"):
        load_model(TINY, "int8")


def test_layers_that_should_be_in_4_bit_and_are_not_are_named():
    model, family = load_model(TINY, four_bit=False)
    count = 7 * model.config.text_config.num_hidden_layers
    with pytest.raises(RuntimeError, match=f"{count} layers are not quantised as they should be, the first is .*: exp"):
        check_quantisation(model, family)


def test_code_in_a_checkpoint_is_refused(copy):
    edit(copy / "config.json", auto_map={"AutoModel": "modeling.Model"})
    with pytest.raises(ValueError, match="auto_map"):
        load_model(copy)


def test_pickles_are_refused(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"its weights are pickles \(pytorch_model\.bin\)"):
        load_model(copy)


def test_no_weights_at_all_are_missed(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor"):
        load_model(copy)


def test_a_file_cut_short_is_told_from_a_whole_one(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"has \d+ bytes and should have \d+; download it again"):
        load_model(copy)
    file.write_bytes(b"abc")
    with pytest.raises(ValueError, match="truncated, or not a safetensors file"):
        load_model(copy)


def test_a_missing_shard_is_named(copy):
    names = list(load_file(copy / "model.safetensors"))
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    shards = dict.fromkeys(names[1:], "model-00001-of-00002.safetensors") | {
        names[0]: "model-00002-of-00002.safetensors"
    }
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(FileNotFoundError, match=r"1 of 2 weight files are missing: model-00002-of-00002\.safetensors"):
        load_model(copy)


def test_a_missing_tensor_is_named(copy):
    tensors = load_file(copy / "model.safetensors")
    gone = next(name for name in tensors if name.endswith("layers.0.mlp.up_proj.weight"))
    del tensors[gone]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 tensors of the model are missing .*up_proj"):
        load_model(copy)


def test_another_architecture_is_refused(copy):
    edit(copy / "config.json", architectures=["Qwen2VLForSequenceClassification"])
    with pytest.raises(ValueError, match="expected a Qwen2VLForConditionalGeneration"):
        load_model(copy)


def test_a_tokenizer_that_does_not_fit_is_refused(copy):
    tokenizer = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": 5000, "content": "<more>"})
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(ValueError, match="the tokenizer has a token 5000, the embedding only 1251 rows"):
        load_model(copy)


def test_a_large_model_in_4_bit_needs_a_gpu(monkeypatch):
    monkeypatch.setattr("helpers.models.loading.model_bytes", lambda _: 15_000_000_000)
    monkeypatch.setattr("helpers.models.loading.device", lambda: torch.device("cpu"))
    with pytest.raises(ValueError, match="15 GB of weights and no CUDA device"):
        check_machine(TINY, "bfloat16", four_bit=True)


@pytest.mark.parametrize(("bf16", "library", "message"), [(False, True, "bfloat16"), (True, False, "CUDA library")])
def test_a_gpu_that_cannot_do_it_is_named(monkeypatch, bf16, library, message):
    monkeypatch.setattr("helpers.models.loading.device", lambda: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: bf16)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda *_: "Tesla T4")
    monkeypatch.setattr("helpers.models.loading._bitsandbytes_has_cuda", lambda: library)
    with pytest.raises(ValueError, match=message):
        check_machine(TINY, "bfloat16", four_bit=True)


def logits(model, processor, butterflies):
    from helpers.training.trainer import Collator, Conversations

    conversations = Conversations(butterflies.samples["image_text"], butterflies.folder)
    batch = Collator(processor, None)([conversations[i] for i in range(2)])
    batch.pop("labels")
    with torch.inference_mode():
        return model.eval()(**batch).logits


def test_a_base_saved_in_4_bit_loads_as_the_same_model(model_path, butterflies, tmp_path):
    save_quantised(model_path, tmp_path, dtype="float32")
    model, _ = load_model(model_path)
    stored, _ = load_model(tmp_path)
    assert quantised_layers(stored) == quantised_layers(model)
    processor = load_processor(tmp_path)
    assert torch.equal(logits(stored, processor, butterflies), logits(model, processor, butterflies))
    with pytest.raises(ValueError, match="its weights are in 4 bit"):
        load_model(tmp_path, four_bit=False)


@pytest.fixture
def adapter(model_path, tmp_path):
    """An adapter that changes something, projector included."""
    model, family = load_model(model_path)
    tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (p for p in tuned.parameters() if p.requires_grad):
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_that_did_not_reach_the_model_is_found(model_path, adapter):
    tuned = load_adapter(load_model(model_path)[0], adapter)
    with torch.no_grad():
        next(weight for name, weight in tuned.named_parameters() if "lora_B" in name).add_(1)
    with pytest.raises(RuntimeError, match=r"tensor .*lora_B.* was not loaded into the model; install the versions"):
        check_adapter(tuned, adapter)


def test_a_tensor_too_many_in_a_merged_model_is_named(copy):
    tensors = load_file(copy / "model.safetensors") | {"extra.weight": torch.zeros(1)}
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 tensors do not fit the model, e\.g\. extra\.weight"):
        check_merged(copy)


def test_a_merged_model_writes_what_the_trained_one_does(model_path, adapter, butterflies, tmp_path):
    merge(adapter, tmp_path / "merged", model_path)
    base, _ = load_model(model_path)
    processor = load_processor(tmp_path / "merged")
    expected = logits(load_adapter(base, adapter), processor, butterflies)
    merged, _ = load_model(tmp_path / "merged", four_bit=False)
    assert torch.allclose(logits(merged, processor, butterflies), expected, atol=1e-3)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())


def test_a_merged_model_works_in_a_pipeline(model_path, adapter, butterflies, tmp_path):
    from transformers import pipeline

    from helpers.images import open_image

    merge(adapter, tmp_path / "merged", model_path)
    model, _ = load_model(tmp_path / "merged", four_bit=False)
    pipe = pipeline("image-text-to-text", model=model, processor=load_processor(tmp_path / "merged"))
    image = open_image(next(butterflies.folder.rglob("*.png")))
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What is this?"}]
    reply = pipe(text=[{"role": "user", "content": content}], max_new_tokens=4, return_full_text=False)
    assert isinstance(reply[0]["generated_text"], str)


def test_a_merged_model_s_processor_is_found_by_the_library_s_names(model_path, tmp_path):
    processor = load_processor(model_path)
    processor.save_pretrained(tmp_path)
    shutil.copy(model_path / "config.json", tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert hasattr(transformers, saved["processor_class"])
    again = load_processor(tmp_path)
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()
    if "Qwen2" in saved["processor_class"]:  # without it the library's class finds no settings for videos
        assert json.loads((tmp_path / "preprocessor_config.json").read_text()).items() >= {"merge_size": 2}.items()


def test_a_prompt_cannot_be_merged(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    with pytest.raises(ValueError, match="cannot be merged"):
        merge(tmp_path, tmp_path / "out", TINY)
