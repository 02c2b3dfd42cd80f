"""Model folders that must not or cannot be loaded: told from headers alone, before a weight is read.

The folder is a sham of a few hundred bytes, so no model is loaded here; tests/test_models_checkpoints.py does the same
with real ones.
"""

import json
import struct

import pytest

from helpers.models.checkpoints import check_checkpoint
from helpers.models.registry import family_of
from helpers.workflow import preflight

ARCHITECTURE = "Qwen2VLForConditionalGeneration"
CONFIG = {"model_type": "qwen2_vl", "architectures": [ARCHITECTURE], "text_config": {"vocab_size": 4}}
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 3}}, "added_tokens": [{"id": 2, "content": "<end>"}]}
EMBEDDING = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 1], "data_offsets": [0, 16]}}
INDEX = "model.safetensors.index.json"


def weights(header: dict | bytes, data: bytes = b"\0" * 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write(path, value) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder / "config.json", CONFIG)
    write(folder / "tokenizer.json", TOKENIZER)
    (folder / "model.safetensors").write_bytes(weights(EMBEDDING))
    return folder


def sharded(folder, files=("a.safetensors", "b.safetensors"), kept=1):
    (folder / "model.safetensors").unlink()
    write(folder / INDEX, {"weight_map": {f"{n}.{name}": name for n, name in enumerate(files)}})
    for number, name in enumerate(files[:kept]):
        (folder / name).write_bytes(weights({f"{number}.{name}": {"shape": [4], "data_offsets": [0, 16]}}))


def to_pickle(folder, name):
    (folder / "model.safetensors").rename(folder / name)


def test_the_sham_as_it_is_passes(model):
    check_checkpoint(model, ARCHITECTURE)


@pytest.mark.parametrize(
    ("spoil", "error", "rule"),
    [
        (lambda f: (f / "config.json").unlink(), FileNotFoundError, "no config.json; expected a model folder in the"),
        (lambda f: (f / "config.json").write_text("{"), ValueError, "config.json is not valid JSON .*; download it"),
        (lambda f: (f / "config.json").write_text(""), ValueError, "config.json is not valid JSON .*; download it"),
        (
            lambda f: write(f / "config.json", CONFIG | {"auto_map": {"AutoModel": "evil.Model"}}),
            ValueError,
            "has an auto_map, so the model would need code from the checkpoint, which is never run here; use a version",
        ),
        (
            lambda f: write(f / "config.json", CONFIG | {"architectures": ["LlamaForCausalLM"]}),
            ValueError,
            f"holds a LlamaForCausalLM; expected a {ARCHITECTURE}",
        ),
        (
            lambda f: write(f / "config.json", CONFIG | {"text_config": {"vocab_size": 9}}),
            ValueError,
            "config.json says 9 words, the embedding has 4; files of two models",
        ),
        (
            lambda f: write(f / "tokenizer.json", {"model": {"vocab": {"a": 4}}}),
            ValueError,
            "the tokenizer has a token 4, the embedding only 4 rows; use the tokenizer that belongs to the model",
        ),
        (
            lambda f: write(f / "tokenizer.json", TOKENIZER | {"added_tokens": [{"id": 99}]}),
            ValueError,
            "the tokenizer has a token 99, the embedding only 4 rows",
        ),
        (lambda f: (f / "model.safetensors").unlink(), FileNotFoundError, "neither model.safetensors nor .*; download"),
        (
            lambda f: to_pickle(f, "pytorch_model.bin"),
            ValueError,
            r"its weights are pickles .pytorch_model.bin., ",
        ),
        (lambda f: to_pickle(f, "model.pt"), ValueError, r"its weights are pickles .model.pt., which can run code"),
        (lambda f: to_pickle(f, "model.pkl"), ValueError, r"its weights are pickles .model.pkl., which can run code"),
        (lambda f: to_pickle(f, "model.ckpt"), ValueError, r"its weights are pickles .model.ckpt., which can run code"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b""),
            ValueError,
            "truncated, or not a safetensors file .0 b",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"abc"),
            ValueError,
            "truncated, or not a safetensors file .3 b",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 100),
            ValueError,
            "truncated, or not a safetensors file .100 bytes.; download it again",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(weights(EMBEDDING)[:-1]),
            ValueError,
            r"has \d+ bytes and should have \d+; download it again",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(weights(EMBEDDING) + b"\0"),
            ValueError,
            r"has \d+ bytes and should have \d+; download it again",
        ),
        (sharded, FileNotFoundError, "1 of 2 weight files are missing: b.safetensors; download them"),
        (
            lambda f: sharded(f, kept=0),
            FileNotFoundError,
            "2 of 2 weight files are missing: a.safetensors, b",
        ),
    ],
)
def test_a_folder_that_must_not_or_cannot_be_loaded_is_told_with_the_remedy(spoil, error, rule, model, refused):
    spoil(model)
    refused(error, rule, check_checkpoint, model, ARCHITECTURE)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (
            lambda f: write(f / "config.json", [1]),
            r"config\.json does not have the form of such a file .*download it again",
        ),
        (lambda f: write(f / "config.json", CONFIG | {"architectures": 7}), r"config\.json .*architectures: .*array"),
        (
            lambda f: write(f / "config.json", CONFIG | {"text_config": {"vocab_size": -1}}),
            r"config\.json .*vocab_size",
        ),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), r"config\.json is not valid JSON"),
        (lambda f: (f / "config.json").write_text("[" * 10**5), r"config\.json is not valid JSON .*recursion"),
        (lambda f: write(f / INDEX, {}), f"{INDEX} .*weight_map: Field required.*download it again"),
        (lambda f: (f / INDEX).write_text("{"), f"{INDEX} is not valid JSON"),
        (lambda f: write(f / INDEX, {"weight_map": {"a": 7}}), rf"{INDEX} .*weight_map\.a: "),
        *(
            (lambda f, name=name: sharded(f, files=(name,), kept=0), f"{INDEX} names the weight file .* same folder")
            for name in ("../../outside.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "pickle.bin", "")
        ),
        *(
            (lambda f, header=header: (f / "model.safetensors").write_bytes(weights(header, b"")), rule)
            for header, rule in [
                (b"not json", r"model\.safetensors is not valid JSON"),
                (b"[]", r"model\.safetensors does not have the form of such a file"),
                ({"a": {"shape": [1]}}, r"model\.safetensors .*a\.data_offsets: Field required"),
                ({"a": 7}, r"model\.safetensors .*a: "),
                ({"a": {"shape": [1], "data_offsets": [4]}}, r"model\.safetensors .*a\.data_offsets: "),
                ({"a": {"shape": ["x"], "data_offsets": [0, 0]}}, r"model\.safetensors .*a\.shape\.0: "),
            ]
        ),
        (lambda f: (f / "tokenizer.json").write_text("{"), r"tokenizer\.json is not valid JSON"),
        (lambda f: write(f / "tokenizer.json", []), r"tokenizer\.json does not have the form of such a file"),
        (lambda f: write(f / "tokenizer.json", {"model": {"vocab": {"a": "b"}}}), r"tokenizer\.json .*model\.vocab"),
        (lambda f: write(f / "tokenizer.json", {"added_tokens": [{}]}), r"tokenizer\.json .*added_tokens\.0\.id"),
        *(
            (lambda f, name=name: write(f / name, {"auto_map": {"AutoX": ["evil.T", None]}}), f"{name} has an auto_map")
            for name in ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
        ),
    ],
)
def test_a_folder_whose_small_files_are_spoiled_is_told_with_the_file(spoil, rule, model, refused):
    spoil(model)
    refused(ValueError, rule, check_checkpoint, model, ARCHITECTURE)


@pytest.mark.parametrize(
    ("spoil", "error", "rule"),
    [
        (
            lambda f: write(f / "config.json", {"model_type": "gpt2"}),
            ValueError,
            "model_type is 'gpt2', which is no image-text-to-text model of transformers",
        ),
        (
            lambda f: write(f / "config.json", {}),
            ValueError,
            "Unrecognized model in .*model_type.* key in its config.json",
        ),
        (lambda f: (f / "config.json").unlink(), FileNotFoundError, "no config.json; expected a model folder"),
    ],
)
@pytest.mark.slow  # imports torch
def test_an_unknown_architecture_is_named_with_those_there_are(spoil, error, rule, model, refused):
    spoil(model)
    refused(error, rule, family_of, model)


@pytest.mark.parametrize("path", ["none/at/all", "/none", "data", "../x", "data/models/tiny-qwen3-vl", "$(rm -rf ~)"])
def test_a_model_that_is_not_there_is_told_before_anything_runs(path, refused):
    refused(preflight.PreflightError, "no model in .*: a model folder holds config.json", preflight.model_files, path)


@pytest.mark.parametrize("path", ["none/at/all", "/none", "data/own/examples", "$(rm -rf ~)", ""])
def test_a_data_folder_that_is_not_there_is_told_before_anything_runs(path, refused, tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.paths.ROOT", tmp_path / "clone")
    refused(preflight.PreflightError, "no data folder .*; name yours with --set", preflight.source_files, path)


@pytest.mark.parametrize("gigabytes", [1e9, 1e300])
def test_a_disk_without_room_is_told_before_anything_runs(gigabytes, refused, tmp_path):
    rule = "GB free, this profile asks for .* Free some space"
    refused(preflight.PreflightError, rule, preflight.check_room, tmp_path / "not" / "yet", gigabytes)


@pytest.mark.parametrize("name", ["a {b}.csv", "{a}/b.csv", "a}.png"])
def test_a_brace_in_a_path_is_refused_before_the_workflow_reads_it_as_a_blank(name, refused, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    refused(preflight.PreflightError, "has a brace in its path, .*; rename it", preflight.source_files, str(tmp_path))
