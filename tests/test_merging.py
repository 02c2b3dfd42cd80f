"""Merging matrix by matrix gives what peft's own merging gives, in a fraction of the model's memory."""

import json
import shutil
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from helpers.models.adapters import add_adapter
from helpers.models.checkpoints import INDEX
from helpers.models.export import save_quantised
from helpers.models.loading import load_model, load_processor
from helpers.models.merging import merge
from helpers.models.unpacking import unpacked
from helpers.paths import DATA, ROOT

TINY = DATA / "models" / "tiny-llava-next"
LINEAR = r".*language_model\.layers\..*\.(q_proj|v_proj|down_proj)"
CONFIGS = {
    "lora": LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR),
    "patterns": LoraConfig(
        r=4, lora_alpha=8, target_modules=LINEAR, rank_pattern={"q_proj": 2}, alpha_pattern={r"layers\.1\.mlp.*": 32}
    ),
    "rslora": LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR, use_rslora=True),
    "ia3": IA3Config(target_modules=LINEAR, feedforward_modules=r".*down_proj"),
}


def saved(folder, model_path, config, four_bit=False, dtype="float32"):
    """An adapter with random numbers (projector included, where peft can merge it), and its ``training.json``."""
    model, family = load_model(model_path, dtype, four_bit)
    config = deepcopy(config)
    # peft's own merging of IA3 fails beside a module that was trained in full
    config.modules_to_save = None if config.peft_type == "IA3" else [family.projector_name]
    tuned = add_adapter(model, family, config, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (p for p in tuned.parameters() if p.requires_grad):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    tuned.save_pretrained(folder)
    about = {"method": "qlora" if four_bit else "lora", "dtype": "auto", "computed_in": dtype}  # as training leaves it
    (folder / "training.json").write_text(json.dumps(about))
    return folder


def by_peft(folder, model_path, dtype="float32"):
    """The weights that peft's own merging gives, in float32; the base as it was in training."""
    model, _ = load_model(model_path, dtype, four_bit=False)
    return PeftModel.from_pretrained(model.float(), str(folder)).merge_and_unload().state_dict()


def loaded(folder):
    return load_model(folder, four_bit=False)[0].state_dict()


def assert_equal(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_merged_weights_are_those_of_peft(kind, model_path, tmp_path):
    adapter = saved(tmp_path / "adapter", model_path, CONFIGS[kind])
    assert_equal(loaded(merge(adapter, tmp_path / "out", model_path)), by_peft(adapter, model_path), 1e-6)


def test_a_base_that_was_trained_in_bfloat16_is_merged_as_it_was_then(model_path, tmp_path):
    adapter = saved(tmp_path / "adapter", model_path, CONFIGS["lora"], dtype="bfloat16")
    merged = merge(adapter, tmp_path / "out", model_path, "bfloat16")
    with safe_open(merged / "model.safetensors", framework="pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118 - not a dict
    config = json.loads((merged / "config.json").read_text())
    assert config["dtype"] == config["text_config"]["dtype"] == "bfloat16"
    assert_equal(loaded(merged), by_peft(adapter, model_path, "bfloat16"), 2**-8)


def published(folder):
    """The tiny LLaVA as the 7B one is published: three files and an index."""
    shutil.copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = [{}, {}, {}]
    for i, name in enumerate(sorted(tensors)):
        parts[i % 3][name] = tensors[name]
    files = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
    for file, part in zip(files, parts, strict=True):
        save_file(part, folder / file, {"format": "pt"})
    places = {name: file for file, part in zip(files, parts, strict=True) for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return folder


def test_files_index_and_published_names_are_kept(tmp_path):
    base = published(tmp_path / "base")
    adapter = saved(tmp_path / "adapter", base, CONFIGS["lora"])
    merged = merge(adapter, tmp_path / "out", base)
    before, after = (json.loads((folder / INDEX).read_text()) for folder in (base, merged))
    assert after["weight_map"] == before["weight_map"]
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in after["weight_map"]
    for file in set(after["weight_map"].values()):
        assert {n: t.shape for n, t in load_file(merged / file).items()} == {
            n: t.shape for n, t in load_file(base / file).items()
        }
    assert after["metadata"]["total_size"] == sum(t.nbytes for f in merged.glob("m*s") for t in load_file(f).values())
    assert_equal(loaded(merged), by_peft(adapter, base), 1e-6)
    assert load_processor(merged).chat_template == load_processor(base).chat_template
    assert (merged / "generation_config.json").read_bytes() == (base / "generation_config.json").read_bytes()


def test_a_base_in_4_bit_and_one_that_is_rounded_now_give_the_same(model_path, tmp_path):
    adapter = saved(tmp_path / "adapter", model_path, CONFIGS["lora"], four_bit=True)
    stored = save_quantised(model_path, tmp_path / "base", "float32")
    now, earlier = (merge(adapter, tmp_path / name, base) for name, base in (("a", model_path), ("b", stored)))
    assert "quantization_config" not in json.loads((earlier / "config.json").read_text())
    assert_equal(loaded(earlier), loaded(now), 1e-6)
    name = "model.language_model.layers.0.mlp.up_proj"  # has no adapter
    as_loaded = unpacked(load_model(model_path)[0].get_submodule(name).weight)
    assert torch.equal(loaded(now)[f"{name}.weight"], as_loaded)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"layer_replication": [[0, 2]]}, r"layer_replication=\[\[0, 2\]\]"),
        ({"a_setting_of_a_later_version": 3}, "a_setting_of_a_later_version=3"),
    ],
)
def test_what_would_be_merged_wrongly_is_refused(changes, said, tmp_path):
    config = json.loads(json.dumps(CONFIGS["lora"].to_dict(), default=list)) | changes
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"cannot be merged here with {said}; use peft's own merge_and_unload"):
        merge(tmp_path, tmp_path / "out", TINY)


def test_an_unknown_tensor_another_base_and_damage_are_named(tmp_path):
    adapter = saved(tmp_path / "adapter", TINY, CONFIGS["lora"])
    with pytest.raises(ValueError, match=r"its tensor .*projector.* cannot be merged here"):
        merge(adapter, tmp_path / "out", DATA / "models" / "tiny-qwen2-vl")
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    named = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
    save_file({**tensors, f"{named}.lora_magnitude_vector": torch.ones(192)}, file)
    with pytest.raises(ValueError, match=r"its tensor .*lora_magnitude_vector cannot be merged here"):
        merge(adapter, tmp_path / "out", TINY)
    save_file({**tensors, f"{named}.lora_B.weight": torch.full((192, 4), torch.nan)}, file)
    with pytest.raises(ValueError, match=r"q_proj\.weight is not finite after merging; the adapter is damaged"):
        merge(adapter, tmp_path / "out", TINY)
    save_file({**tensors, f"{named}.lora_B.weight": torch.ones(96, 4)}, file)
    with pytest.raises(ValueError, match=r"q_proj\.weight has another shape in the adapter's base"):
        merge(adapter, tmp_path / "out", TINY)
    ghost = {name.replace("layers.5.", "layers.6."): tensor for name, tensor in tensors.items()}
    save_file(ghost, file)
    with pytest.raises(ValueError, match=r"3 of its tensors have no place in .*tiny-llava-next, e\.g\. .*layers\.6\."):
        merge(adapter, tmp_path / "out", TINY)


def test_a_base_that_cannot_be_read_or_would_be_overwritten_is_refused(tmp_path):
    adapter = saved(tmp_path / "adapter", TINY, CONFIGS["lora"])
    with pytest.raises(ValueError, match="its weights are random and in no file"):
        merge(adapter, tmp_path / "out", DATA / "models" / "rehearse" / "llava-1.6-vicuna-7b-shrunk")
    with pytest.raises(FileNotFoundError, match=r"nowhere/at/all: no such folder; name the base model's folder, or"):
        merge(adapter, tmp_path / "out", "nowhere/at/all")
    with pytest.raises(ValueError, match=r"tiny-llava-next is the base model's own folder"):
        merge(adapter, TINY, TINY)


LAYERS, WIDTH, INNER = 6, 1024, 4096  # 200 MB in bfloat16
MEASURED = """
import resource, sys
from helpers.models.merging import merge
from helpers.models.unpacking import unpacked
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
merge(*sys.argv[1:], dtype="bfloat16")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def many_files(folder):
    """A LLaVA with a small tower and wide layers, a file for each layer, and the shape of each matrix."""
    from helpers.models.random_weights import on_meta

    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((TINY / "config.json").read_text())
    config["text_config"] |= {
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "head_dim": 128,
    }
    config["text_config"] |= {"num_attention_heads": 8, "num_key_value_heads": 8}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {name: tensor.shape for name, tensor in on_meta(folder).state_dict().items()}
    places = {}
    for file in ["rest", *(f"layers.{layer}." for layer in range(LAYERS))]:
        chosen = [n for n in shapes if file in n or (file == "rest" and "language_model.layers" not in n)]
        places |= dict.fromkeys(chosen, f"{file.strip('.')}.safetensors")
        part = {name: torch.full(shapes[name], 0.01, dtype=torch.bfloat16) for name in chosen}
        save_file(part, folder / f"{file.strip('.')}.safetensors", {"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    return {name: shape for name, shape in shapes.items() if "language_model.layers" in name and len(shape) == 2}


def test_memory_does_not_grow_with_the_model(tmp_path):
    matrices = many_files(tmp_path / "base")
    config = json.loads(json.dumps(CONFIGS["lora"].to_dict(), default=list))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter" / "training.json").write_text(json.dumps({"method": "qlora", "dtype": "bfloat16"}))
    low_rank = {}
    for name, (out, width) in matrices.items():
        start = f"base_model.model.{name.removesuffix('.weight')}"
        low_rank[f"{start}.lora_A.weight"] = torch.full((4, width), 0.01)
        low_rank[f"{start}.lora_B.weight"] = torch.full((out, 4), 0.01)
    save_file(low_rank, tmp_path / "adapter" / "adapter_model.safetensors")
    places = [str(tmp_path / name) for name in ("adapter", "out", "base")]
    told = subprocess.run([sys.executable, "-c", MEASURED, *places], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    grown = int(told.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)
    size = sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    assert size > 200e6
    assert grown < size / 2
    merged = load_file(tmp_path / "out" / "layers.5.safetensors")
    changed = merged["model.language_model.layers.5.mlp.up_proj.weight"]
    assert changed.unique().tolist() == [pytest.approx(0.01 + 2 * 4 * 0.01 * 0.01, rel=5e-3)]  # alpha / rank = 2
