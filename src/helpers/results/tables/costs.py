"""The costs of training and answering: resource records and timings in, tables out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import MAIN
from helpers.results.tables.order import in_order
from helpers.results.tables.paper import GROUP
from helpers.rows import parse_row
from helpers.schemas import ResourceRecord

RESOURCE_COLUMNS = tuple(ResourceRecord.model_fields)
_RUN = ["model", "domain", "mode", "variant", "seed"]
TIMING_COLUMNS = (*_RUN, "answering", "protocol", "image", "seconds", "questions", "new_tokens")


def read_resources(paths: Iterable[str | Path], variant: str | None = MAIN) -> pd.DataFrame:
    """The `resources.json` records of one variant (None: of all), in order, with all their fields.

    Raises ``ValueError`` for a file that is not a `helpers.schemas.ResourceRecord`, for a run named twice, and if runs
    of one domain and variant were trained on different texts, because their costs could not be compared.
    """
    files = list(map(Path, paths))
    records = [_resource_record(path) for path in files]
    _check_same_texts(files, records)
    frame = pd.DataFrame(records, columns=None if records else list(RESOURCE_COLUMNS))
    twice = frame[frame.duplicated(_RUN)]
    if not twice.empty:
        run = "/".join(map(str, twice[_RUN].iloc[0]))
        raise ValueError(f"the training run {run} is named twice; name each resources.json only once")
    return in_order(frame if variant is None else frame[frame["variant"] == variant].reset_index(drop=True))


def _check_same_texts(files: Sequence[Path], records: Sequence[Mapping[str, Any]]) -> None:
    """Older records do not name their texts."""
    first: dict[tuple[str, str], tuple[str, Path]] = {}
    for path, record in zip(files, records, strict=True):
        if texts := record.get("texts_hash"):
            other, where = first.setdefault((record["domain"], record["variant"]), (texts, path))
            if texts != other:
                raise ValueError(
                    f"{path}: {record['model']} was trained on the texts {texts} of domain {record['domain']!r}, "
                    f"variant {record['variant']!r}, but {where} on {other}: these are two data sets. Run both "
                    "trainings again on one, or name the files of one"
                )


def _resource_record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run the fine-tuning that writes it, or correct the name")
    return parse_row(path.read_bytes(), ResourceRecord, str(path)).model_dump()


def resources_table(resources: pd.DataFrame) -> pd.DataFrame:
    """The cost of each training run: the fixed columns of `resources.csv`, one row per run."""
    return resources[list(RESOURCE_COLUMNS)].round({"seconds": 2, "peak_memory_mb": 1, "energy_wh": 5})


def phases_table(resources: pd.DataFrame) -> pd.DataFrame:
    """The cost of each phase of each training run, one row per run and phase; empty if no phases were recorded."""
    names = ["model", "domain", "mode", "seed"]
    found = [
        {**{name: run[name] for name in names}, "phase": phase, **costs}
        for run in resources.to_dict("records")
        if isinstance(run.get("phases"), dict)
        for phase, costs in run["phases"].items()
    ]
    return pd.DataFrame(found, columns=None if found else [*names, "phase", "seconds"])


def cost_ratios(resources: pd.DataFrame) -> pd.DataFrame:
    """Time, memory and energy of text-only relative to image-text training, means over seeds; empty without both."""
    costs = ["seconds", "peak_memory_mb", "energy_wh"]
    means = resources.groupby(["mode", "model", "domain"], sort=False)[costs].mean()
    if not {"text_only", "image_text"} <= set(means.index.get_level_values("mode")):
        return pd.DataFrame(columns=["model", "domain", *costs])
    return in_order((means.loc["text_only"] / means.loc["image_text"]).dropna(how="all").reset_index()).round(3)


def read_timings(paths: Iterable[str | Path]) -> pd.DataFrame:
    """The `timings.json` of some evaluations: seconds, questions and generated tokens per prompting strategy.

    The first row of the `answers.jsonl` next to each file says whose timings they are. Without files, an empty table.
    """
    found = [record for path in paths for record in _timing_records(Path(path))]
    return in_order(pd.DataFrame(found, columns=list(TIMING_COLUMNS)))


def _timing_records(path: Path) -> list[dict[str, Any]]:
    """One record per entry of a `timings.json`, whose keys are ``answering/protocol/image``."""
    answers = path.with_name("answers.jsonl")
    for file in (path, answers):
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; run the evaluation that writes both, or correct the name")
    with answers.open(encoding="utf-8") as lines:
        run = json.loads(lines.readline())
    timings = json.loads(path.read_text(encoding="utf-8"))
    names = {column: run[column] for column in _RUN}
    keyed = {tuple(key.split("/")): cost for key, cost in timings.items()}
    return [
        names | dict(zip(("answering", "protocol", "image"), key, strict=True)) | cost for key, cost in keyed.items()
    ]


def answering_costs(table: pd.DataFrame, rows: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """Table 1 with the cost of an answer: generated `tokens` and `seconds` per question (means over questions, seeds).

    `rows` are the rows that the table was made from. Seconds are empty without a timing. They hold for one machine and
    batch size, and only serve to compare prompting strategies on it.
    """
    by = [*GROUP, "protocol"]
    tokens = rows[rows["image"] == "with"].groupby(by)["new_tokens"].mean().rename("tokens").round(1)
    shown = timings[timings["image"] == "with"].groupby(by)[["seconds", "questions"]].sum()
    seconds = (shown["seconds"].astype(float) / shown["questions"].astype(float)).rename("seconds").round(4)
    return table.merge(tokens.reset_index(), on=by, how="left").merge(seconds.reset_index(), on=by, how="left")
