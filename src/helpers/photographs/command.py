"""What is a text worth in your photographs? Checks the folder, then runs notebook 13 on it.

    ./run_all.sh photographs FOLDER -- --texts texts.csv --noun flower
    python -m helpers.photographs.command FOLDER --dry-run     checks only

Results go to ``runs/photographs/<set>``. docs/photographs.md is the guide.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from helpers.paths import NOTEBOOKS, RUNS, file_name
from helpers.photographs.encoders import EFFICIENTNET, MINILM
from helpers.photographs.photo_sets import read_and_check
from helpers.workflow import execute

NOTEBOOK = NOTEBOOKS / "13_photographs.ipynb"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = _options(arguments)
    store = RUNS / "photographs" / "features"
    texts = None if given.texts in (None, "none") else given.texts
    try:
        found, _ = read_and_check(given.photographs, texts, given.licence, given.per_class, store / "hashes.json")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    output = RUNS / "photographs" / file_name(given.name or found.name)
    print(f"{len(found.classes)} classes, {len(found.all_files())} photographs; results go to {output}")
    if given.dry_run:
        return 0
    parameters = {
        "photographs": given.photographs,
        "texts": texts,
        "noun": given.noun,
        "licence": given.licence,
        "image_encoder": given.image_encoder,
        "sentence_encoder": given.sentence_encoder,
        "per_class": given.per_class,
        "splits": given.splits,
        "output_dir": str(output),
        "feature_dir": str(store),
    }
    if given.towers == "none":
        parameters["tower_rates"] = []
    if given.towers == "text":
        parameters["inversion_steps"] = 0
    copy = str(output / NOTEBOOK.name)
    return execute.main([str(NOTEBOOK), copy, "--parameters", json.dumps(parameters)])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run_all.sh photographs FOLDER --", description="What is a text worth?")
    parser.add_argument("photographs", help="a folder per class, or a hub id (docs/photographs.md)")
    parser.add_argument("--texts", help=".csv, .json, .jsonl, or butterflies; without: what the data set says itself")
    parser.add_argument("--noun", default="thing", help="what the classes are, such as butterfly")
    parser.add_argument("--licence", help="of all photographs; without a licence none is shown in the notebook's copy")
    parser.add_argument("--image-encoder", default=EFFICIENTNET, help=f"{EFFICIENTNET}, or a CLIP or SigLIP checkpoint")
    parser.add_argument("--sentence-encoder", default=MINILM, help=f"{MINILM}, or the same checkpoint")
    parser.add_argument("--per-class", type=int, help="photographs per class at most")
    parser.add_argument("--splits", type=int, default=5, help="random splits of the classes")
    towers = "with a CLIP or SigLIP checkpoint, train its text tower, or both towers, on text; hours with a large one"
    parser.add_argument("--towers", choices=("none", "text", "both"), default="none", help=towers)
    parser.add_argument("--name", help="of the folder below runs/photographs; default: the set's")
    parser.add_argument("--dry-run", action="store_true", help="check everything, compute nothing")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
