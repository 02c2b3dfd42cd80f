"""Is a checkpoint folder whole, safe and of one piece? Asked before gigabytes are read, answered from headers alone.

Only safetensors are loaded, and no code from a checkpoint is run. Of each file the header is read: names, shapes, and
how long the file has to be.
"""

import json
import struct
from pathlib import Path
from typing import Any

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
Header = dict[str, Any]


def check_checkpoint(folder: str | Path, model_class: str | None = None) -> None:
    """Raise ``FileNotFoundError`` for what is missing and ``ValueError`` for what must not or cannot be loaded."""
    folder = Path(folder)
    config = _config(folder)
    if config.get("auto_map"):
        raise ValueError(
            f"{folder}: config.json has an auto_map, so the model would need code from the checkpoint, which is never "
            "run here; use a version that `transformers` knows by itself"
        )
    named = config.get("architectures") or []
    if model_class and named and model_class not in named:
        raise ValueError(f"{folder}: holds a {', '.join(named)}; expected a {model_class}")
    tensors = _tensors(folder)
    _check_vocabulary(folder, config, tensors)


def checkpoint_bytes(folder: str | Path) -> int:
    """Size of the weights on disk; 0 for a hub id."""
    return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) if Path(folder).is_dir() else 0


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no config.json; expected a model folder in the Hugging Face layout")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no valid JSON ({error}); download it again") from None


def _tensors(folder: Path) -> Header:
    """All tensors of the folder by name, from the headers of its files."""
    files = _weight_files(folder)
    found: Header = {}
    for file in files:
        found |= read_header(file)
    index = folder / INDEX
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if absent := sorted(set(listed) - set(found)):
            raise ValueError(
                f"{folder}: {len(absent)} tensors of {INDEX} are in none of its files, e.g. {absent[0]}; "
                "download the checkpoint again"
            )
    return found


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        listed = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        files = [folder / name for name in sorted(set(listed.values()))]
        if absent := [file.name for file in files if not file.is_file()]:
            raise FileNotFoundError(
                f"{folder}: {len(absent)} of {len(files)} weight files are missing: {', '.join(absent)}; download them"
            )
        return files
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if pickles := sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES):
        raise ValueError(
            f"{folder}: its weights are pickles ({pickles[0]}), which can run code when loaded; only safetensors are "
            "read. Convert them on a machine that may run them: from_pretrained(...).save_pretrained(folder)"
        )
    raise FileNotFoundError(f"{folder}: neither {SINGLE} nor {INDEX}; download the weights")


def read_header(file: Path) -> Header:
    """A safetensors file's tensors: dtype, shape, place. Raises ``ValueError`` if the file is shorter than it says."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if 8 + length > size:
            raise ValueError(f"{file}: cut short or no safetensors file ({size} bytes); download it again")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if end != size:
        raise ValueError(f"{file}: has {size} bytes and should have {end}; download it again")
    return header


def _check_vocabulary(folder: Path, config: dict[str, Any], tensors: Header) -> None:
    """Every token of the tokenizer needs a row in the embedding, and the embedding the size of the config."""
    rows = next((entry["shape"][0] for name, entry in tensors.items() if name.endswith("embed_tokens.weight")), None)
    stated = config.get("text_config", config).get("vocab_size")
    if rows is not None and stated is not None and rows != stated:
        raise ValueError(f"{folder}: config.json says {stated} words, the embedding has {rows}; files of two models?")
    size = rows or stated
    path = folder / "tokenizer.json"
    if size is None or not path.is_file():
        return
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    largest = max([*ids, *(token["id"] for token in tokenizer.get("added_tokens", []))], default=-1)
    if largest >= size:
        raise ValueError(
            f"{folder}: the tokenizer has a token {largest}, the embedding only {size} rows; "
            "use the tokenizer that belongs to the model"
        )
