"""Checkpoints for others: an adapter merged into its base model, and a base model in 4 bit.

    python -m helpers.models.export merge ADAPTER OUT [--base MODEL] [--dtype bfloat16]
    python -m helpers.models.export quantise MODEL OUT [--dtype bfloat16]

**merge** is for programs that do not support adapters (`helpers.models.merging`). LoRA is added to the weights that it
was trained on. For qlora these are the unpacked NF4-rounded weights, so the merged model writes what the trained one
wrote. A trained projector replaces the original. Prompts cannot be merged. It runs on the CPU, in some GB of memory.

**quantise** lets later runs read a third of the bytes and skip quantisation: about 5.5 GB instead of 15 for a 7B model.
`load_model` takes the folder like any other and returns the same model, bit by bit. ``dtype`` is the precision that the
runs compute in: tower, projector, head and embedding are saved in it.
"""

import argparse
from pathlib import Path

from helpers.models.loading import DTYPES, load_model, load_processor
from helpers.models.merging import merge


def save_quantised(path: str | Path, out: str | Path, dtype: str = "bfloat16") -> Path:
    """Quantise a checkpoint and write it to ``out``, with its processor."""
    model, _ = load_model(path, dtype)
    model.save_pretrained(out)
    load_processor(path).save_pretrained(out)
    return Path(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Merge an adapter into its base model, or save a base model in 4 bit.")
    commands = parser.add_subparsers(dest="what", required=True)
    for name, source in {"merge": "folder of an adapter", "quantise": "folder or hub id of a model"}.items():
        command = commands.add_parser(name)
        command.add_argument("source", help=source)
        command.add_argument("out", type=Path)
        command.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
        if name == "merge":
            command.add_argument("--base", help="folder or hub id of the base; default: as named in the adapter")
    given = parser.parse_args()
    if given.what == "merge":
        print(merge(given.source, given.out, given.base, given.dtype))
    else:
        print(save_quantised(given.source, given.out, given.dtype))
