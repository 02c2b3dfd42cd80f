"""Did a run come out the same again? `python -m helpers.workflow.compare_runs runs/demo elsewhere/demo [--tolerance 2]`

With the same commit, machine and seeds, every table, answer, sample, adapter and figure has the same bytes.
Measurements of the machine (seconds, memory, energy: `MEASURED`) are ignored, and so are records with dates and paths
(manifests, sidecars, executed notebooks, logs). Exit status: 0 the same, 1 not the same, 2 nothing to compare.

A different machine adds numbers in a different order. Its models then differ like those of another seed, and no file is
the same. ``--tolerance POINTS`` compares accuracies instead: every cell of Tables 1 and 2 must agree within this many
percentage points. Whatever does not come from a model (samples, questions, descriptions) must still agree to the byte.

A different version of this code may write different files from the same science. ``--answers`` compares answer by
answer, whichever file a row is in: the chosen option, the text written, and the scores within `LIKELIHOOD`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

_KINDS = (".csv", ".jsonl", ".parquet", ".safetensors", ".png", ".pdf")
RECORDS = {"notebooks", "logs", "report", "checkpoints", "features"}  # folders of scratch files and of files with dates
MEASURED = (  # parts of the names of columns and causes
    *("seconds", "memory", "_mb", "_wh", "_w", "carbon", "hardware", "energy", "idle", "machine", "compute_of"),
)
MEASURED_FILES = {"phases", "resources_time", "break_even"}  # they hold nothing else
OF_COSTS = {  # figures of measurements
    *("figure2", "figure2_column", "resources_tradeoff", "resources_saving", "resources_time", "answering"),
}
BEFORE_A_MODEL = {"data", "datasets"}  # folders of files that come from no model
_TABLES = ("table1", "table2")
ACCURACIES = ("type1", "type2", "overall")
LIKELIHOOD = 1e-4  # largest difference of a score between two versions of the code
ANSWER_KEY = ("model", "domain", "mode", "variant", "seed", "image", "answering", "protocol", "question_id")
SAID = ("options", "parsed", "reply", "description", "named")


def files_of(run: Path) -> dict[str, Path]:
    """The files that can be compared, by their path within the run."""
    found = {path.relative_to(run): path for path in sorted(run.rglob("*")) if path.suffix in _KINDS and path.is_file()}
    return {
        inside.as_posix(): path
        for inside, path in found.items()
        if not RECORDS & set(inside.parts) and not _is_measured(inside)
    }


def _is_measured(inside: Path) -> bool:
    drawn = inside.suffix in {".png", ".pdf"} and inside.stem in OF_COSTS
    return drawn or inside.stem in MEASURED_FILES or inside.name == "resources.parquet"


def differing_files(first: Path, second: Path) -> list[str]:
    """The differences between two runs, one line each; empty if there are none."""
    here, there = files_of(first), files_of(second)
    return [line for name in sorted(here.keys() | there.keys()) for line in _compared(name, here, there)]


def _compared(name: str, here: dict[str, Path], there: dict[str, Path]) -> Iterator[str]:
    if name not in here or name not in there:
        yield f"only in the {'second' if name in there else 'first'}: {name}"
    elif content(here[name]) != content(there[name]):
        yield f"differs: {name}"


def content(path: Path) -> bytes:
    """A file's bytes; of a table, without the measurements of the machine."""
    if path.suffix != ".csv":
        return path.read_bytes()
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return path.read_bytes()
    measured = [column for column in table.columns if _names_a_measure(column)]
    if not measured and "cause" not in table.columns:
        return path.read_bytes()
    if "cause" in table.columns:  # one row per cause or cost
        table = table[~table["cause"].map(_names_a_measure)]
    return table.drop(columns=measured).to_csv(index=False).encode()


def _names_a_measure(name: str) -> bool:
    return any(part in name for part in MEASURED)


def beyond(first: Path, second: Path, points: float) -> list[str]:
    """Where two machines' runs differ by more than ``points`` percentage points, one line each."""
    here, there = files_of(first), files_of(second)
    before = sorted(name for name in here.keys() | there.keys() if Path(name).parts[0] in BEFORE_A_MODEL)
    lines = [line for name in before for line in _compared(name, here, there)]
    for table in _TABLES:
        files = [run / "results" / f"{table}.csv" for run in (first, second)]
        if all(file.is_file() for file in files):
            lines += _apart(table, pd.read_csv(files[0]), pd.read_csv(files[1]), points)
    return lines


def _apart(name: str, here: pd.DataFrame, there: pd.DataFrame, points: float) -> Iterator[str]:
    keys = [c for c in ("model", "domain", "mode", "answering", "image") if c in here.columns]
    both = here.merge(there, on=keys, suffixes=("", "_second"), how="outer", indicator=True)
    for _, row in both.iterrows():
        cell = ", ".join(str(row[key]) for key in keys)
        if row["_merge"] != "both":
            yield f"{name}: only in one of the two: {cell}"
            continue
        for measure in ACCURACIES:
            first, second = row[measure], row[f"{measure}_second"]
            if pd.isna(first) != pd.isna(second) or abs(first - second) > points + 1e-9:
                yield f"{name}: {cell}: {measure} {first} and {second}"


def differing_answers(first: Path, second: Path) -> tuple[int, list[str]]:
    """How many answers both runs have, and the differences, one line each, including answers that only one run has."""
    here, there = _answers(first), _answers(second)
    lines = [f"only in the {'second' if key in there else 'first'}: {'/'.join(key)}" for key in here.keys() ^ there]
    for key in here.keys() & there.keys():
        one, other = here[key], there[key]
        lines += [f"{'/'.join(key)}: {name} differs" for name in SAID if one.get(name) != other.get(name)]
        scores = zip(one["scores"] or [], other["scores"] or [], strict=True)
        if (apart := max((abs(a - b) for a, b in scores), default=0.0)) > LIKELIHOOD:
            lines.append(f"{'/'.join(key)}: scores differ by {apart:.2g}")
    return len(here.keys() & there.keys()), sorted(lines)


def _answers(run: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    files = [path for folder in ("evaluation", "ablation") for path in (run / folder).rglob("*answers.jsonl")]
    rows = (json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines())
    return {tuple(str(row[name]) for name in ANSWER_KEY): row for row in rows}


def main(arguments: list[str] | None = None) -> int:
    """Print the differences. For the exit status see the top of this file."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workflow.compare_runs", description="Is a run the same again?"
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--tolerance", type=float, metavar="POINTS", help="different machines: compare accuracies")
    parser.add_argument("--answers", action="store_true", help="different versions: compare answer by answer")
    given = parser.parse_args(arguments)
    if given.answers:
        count, lines = differing_answers(given.first, given.second)
        print(*lines[:50], f"{count} answers in both, {len(lines)} differences", sep="\n")
        return 2 if not count else int(bool(lines))
    compared = files_of(given.first).keys() | files_of(given.second).keys()
    if not compared:
        print(f"nothing to compare in {given.first} and {given.second}", file=sys.stderr)
        return 2
    if given.tolerance is None:
        lines = differing_files(given.first, given.second)
        said = f"{len(compared) - len(lines)} of {len(compared)} files are the same, byte by byte, measurements ignored"
    else:
        lines = beyond(given.first, given.second, given.tolerance)
        said = f"{len(lines)} differences beyond {given.tolerance:g} points"
    print(*lines, said, sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
