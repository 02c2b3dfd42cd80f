"""Find the files of a run; round and write a table."""

from pathlib import Path

import pandas as pd

from helpers.paths import atomic_write


def find(folder: Path, name: str) -> list[Path]:
    """Every file of that name below a folder, sorted; none if the folder does not exist."""
    return sorted(folder.rglob(name))


def write_csv(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table atomically, without its index; the same table gives the same bytes on every system."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return Path(path)


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Percentages and points to one decimal, p-values (`p_holm`, `type1_p` ...) to three digits; `x` unchanged."""
    table = table.copy()
    for column in table.select_dtypes("float").columns:
        if "p" in column.split("_"):
            table[column] = [float(f"{value:.3g}") for value in table[column]]
        elif column != "x":
            table[column] = table[column].round(1)
    return table
