"""Is a checkpoint folder complete, safe and consistent? Checked before gigabytes are read, from headers alone.

Only safetensors are loaded, and no code from a checkpoint is run. The header of each file gives names, shapes and the
length that the file must have.
"""

import struct
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_FURTHER_ROWS = 8  # of an embedding that may have tokens for images behind its vocabulary (Mllama)
LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows
MAY_NAME_CODE = (  # files in which `auto_map` may name a class in the checkpoint
    *("config.json", "tokenizer_config.json", "processor_config.json"),
    *("preprocessor_config.json", "video_preprocessor_config.json"),
)


class Tensor(BaseModel):
    """What a header says about one tensor; ``data_offsets`` in bytes from the end of the header."""

    shape: list[NonNegativeInt]
    data_offsets: Annotated[list[NonNegativeInt], Field(min_length=2, max_length=2)]


class _Header(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Tensor]
    metadata: Any = Field(default=None, alias="__metadata__")


class _Words(BaseModel):
    vocab_size: NonNegativeInt | None = None


class _Config(_Words):
    """The fields of config.json and similar files that are checked."""

    auto_map: Any = None
    architectures: list[str] | None = None
    text_config: _Words | None = None


class _Index(BaseModel):
    weight_map: dict[str, str]


class _Vocabulary(BaseModel):
    vocab: dict[str, NonNegativeInt] | list[Any] = Field(default_factory=list)  # ids by token, or tokens in order


class _Token(BaseModel):
    id: NonNegativeInt


class _Tokenizer(BaseModel):
    model: _Vocabulary = Field(default_factory=_Vocabulary)
    added_tokens: list[_Token] = Field(default_factory=list)


Header = dict[str, Tensor]
CheckpointPart = TypeVar("CheckpointPart")


def check_checkpoint(folder: str | Path, model_class: str | None = None) -> None:
    """Raise ``FileNotFoundError`` for a missing file and ``ValueError`` for one that must not or cannot be loaded."""
    folder = Path(folder)
    config = _config(folder)
    named = config.architectures or []
    if model_class and named and model_class not in named:
        raise ValueError(f"{folder}: holds a {', '.join(named)}; expected a {model_class}")
    tensors = _tensors(folder)
    _check_vocabulary(folder, config, tensors)


def checkpoint_bytes(folder: str | Path) -> int:
    """Size of the weights on disk; 0 for a hub id."""
    return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) if Path(folder).is_dir() else 0


def _read(path: Path, form: type[CheckpointPart], content: bytes | None = None) -> CheckpointPart:
    """A small JSON file, or ``content`` from it, validated as the form."""
    try:
        return TypeAdapter(form).validate_json(path.read_bytes() if content is None else content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"]))[:200]
        what = f"{where}: {fault['msg']}" if where else fault["msg"]
        kind = "is not valid JSON" if fault["type"] == "json_invalid" else "does not have the form of such a file"
        raise ValueError(f"{path} {kind} ({what}); download it again") from None


def _config(folder: Path) -> _Config:
    path = folder / MAY_NAME_CODE[0]
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no config.json; expected a model folder in the Hugging Face layout")
    for other in (folder / name for name in MAY_NAME_CODE):
        if other.is_file() and _read(other, _Config).auto_map:
            raise ValueError(
                f"{folder}: {other.name} has an auto_map, so the model would need code from the checkpoint, which is "
                "never run here; use a version that `transformers` knows by itself"
            )
    return _read(path, _Config)


def _tensors(folder: Path) -> Header:
    """All tensors in the folder by name, from the headers of its files."""
    found: Header = {}
    for file in weight_files(folder):
        found |= read_header(file)
    if (folder / INDEX).is_file() and (absent := sorted(set(_weight_map(folder)) - set(found))):
        raise ValueError(
            f"{folder}: {len(absent)} tensors listed in {INDEX} are in none of its files, e.g. {absent[0]}; "
            "download the checkpoint again"
        )
    return found


def _weight_map(folder: Path) -> dict[str, str]:
    """The file of each tensor. A name that leads elsewhere is refused, a link is not: the hub's cache uses links."""
    listed = _read(folder / INDEX, _Index).weight_map
    for name in listed.values():
        if not name.endswith(".safetensors") or set(name) & set("/\\\0") or len(name.encode()) > 255:
            raise ValueError(
                f"{folder / INDEX} names the weight file {name!r}; it must be a .safetensors file in the same folder, "
                "as files elsewhere may be outside the folder and others may run code; download the checkpoint again"
            )
    return listed


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder's weights, those of an index sorted by name; raises errors as `check_checkpoint`."""
    if (folder / INDEX).is_file():
        files = [folder / name for name in sorted(set(_weight_map(folder).values()))]
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
    """A safetensors file's tensors by name. Raises ``ValueError`` if the file does not have the length it states."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if length > min(size - 8, LONGEST_HEADER):
            raise ValueError(f"{file}: truncated, or not a safetensors file ({size} bytes); download it again")
        content = stream.read(length)
    header = _read(file, _Header, content).__pydantic_extra__
    end = 8 + length + max((tensor.data_offsets[1] for tensor in header.values()), default=0)
    if end != size:
        raise ValueError(f"{file}: has {size} bytes and should have {end}; download it again")
    return header


def _check_vocabulary(folder: Path, config: _Config, tensors: Header) -> None:
    """Every token of the tokenizer needs a row in the embedding, and the embedding needs the size in the config."""
    rows = next((tensor.shape[0] for name, tensor in tensors.items() if _is_embedding(name, tensor)), None)
    stated = (config.text_config or config).vocab_size
    if rows is not None and stated is not None and not 0 <= rows - stated <= _FURTHER_ROWS:
        raise ValueError(f"{folder}: config.json says {stated} words, the embedding has {rows}; files of two models?")
    size = rows or stated
    path = folder / "tokenizer.json"
    if size is None or not path.is_file():
        return
    tokenizer = _read(path, _Tokenizer)
    vocabulary = tokenizer.model.vocab
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    largest = max([*ids, *(token.id for token in tokenizer.added_tokens)], default=-1)
    if largest >= size:
        raise ValueError(
            f"{folder}: the tokenizer has a token {largest}, the embedding only {size} rows; "
            "use the tokenizer that belongs to the model"
        )


def _is_embedding(name: str, tensor: Tensor) -> bool:
    return name.endswith("embed_tokens.weight") and bool(tensor.shape)
