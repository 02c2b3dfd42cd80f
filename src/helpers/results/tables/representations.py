"""How similar the representations of images and descriptions are, layer by layer: the files that notebook 05 wrote."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

REPRESENTATION_COLUMNS = ["model", "domain", "mode", "variant", "seed", "layer", "cka", "cka_shuffled", "classes"]


def read_representations(answers: Iterable[str | Path]) -> pd.DataFrame:
    """The ``representations.csv`` next to each answer file; ``stage`` is "before" for the untuned model, else "after".

    Empty if no run compared representations. Raises ``ValueError`` if a file lacks a column.
    """
    found = []
    for file in (Path(answer).with_name("representations.csv") for answer in answers):
        if not file.is_file():
            continue
        rows = pd.read_csv(file)
        if missing := [column for column in REPRESENTATION_COLUMNS if column not in rows.columns]:
            raise ValueError(f"{file} lacks {', '.join(missing)}; run its notebook 05 again")
        if len(rows):
            found.append(rows[REPRESENTATION_COLUMNS])
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=REPRESENTATION_COLUMNS)
    return table.assign(stage=["before" if mode == "base" else "after" for mode in table["mode"]])
