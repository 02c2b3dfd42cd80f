"""The costs of training and answering: resource records and timings in, tables out."""

import json
import math
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
_TIMES = ("seconds", "compute_seconds", "compute_of", "questions", "new_tokens")
TIMING_COLUMNS = (*_RUN, "answering", "protocol", "image", *_TIMES)
_MEASURES = ("compute_seconds", "seconds", "memory_above_model_mb", "peak_memory_mb", "energy_wh")
_TEXT, _BOTH = COMPARED_MODES = ("text_only", "image_text")
BREAK_EVEN_COLUMNS = (
    *("model", "domain", "train_seconds_text_only", "train_seconds_image_text"),
    *("question_seconds_text_only", "question_seconds_image_text", "break_even", "questions", "seconds_share"),
)


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


def not_recorded(resources: pd.DataFrame) -> str:
    """What the records of an earlier version lack, and how to get it; empty if they lack nothing."""
    lacks = {
        "the clock that repeats (compute_seconds)": resources["compute_seconds"].isna(),
        "memory above the loaded model (memory_above_model_mb)": resources["memory_above_model_mb"].isna(),
    }
    said = [
        f"{missing.sum()} of {len(resources)} records lack {what}" for what, missing in lacks.items() if missing.any()
    ]
    return f"{'; '.join(said)}: train these runs again (notebook 03, or --forcerun training)" if said else ""


def resources_table(resources: pd.DataFrame) -> pd.DataFrame:
    """The cost of each training run: the fixed columns of `resources.csv`, one row per run."""
    digits = {"compute_seconds": 2, "seconds": 2, "memory_above_model_mb": 1, "peak_memory_mb": 1, "energy_wh": 5}
    return resources[list(RESOURCE_COLUMNS)].astype(dict.fromkeys(_MEASURES, float)).round(digits)


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


def cost_ratios(resources: pd.DataFrame, middle: str = "mean") -> pd.DataFrame:
    """Each cost of text-only relative to image-text training, over the seeds that have both; empty without any.

    Columns: model, domain, seeds, and for each of `_MEASURES` the ratio of the means (or of another ``middle`` that
    pandas knows), and as `_low` and `_high` the lowest and highest ratio of one seed. A cost without values is empty.
    """
    rows = []
    for (model, domain), runs in resources.groupby(["model", "domain"], sort=False):
        both = runs[runs["mode"].isin(COMPARED_MODES)].groupby("seed")["mode"].nunique() == len(COMPARED_MODES)
        paired = runs[runs["seed"].isin(both.index[both])]
        if len(paired):
            ratios = [_ratio(paired, cost, middle) for cost in _MEASURES if cost in paired]
            rows.append(
                {"model": model, "domain": domain, "seeds": int(both.sum())} | dict(kv for r in ratios for kv in r)
            )
    ends = [f"{cost}{end}" for cost in _MEASURES for end in ("", "_low", "_high")]
    return in_order(pd.DataFrame(rows, columns=["model", "domain", "seeds", *ends]).round(3))


def _ratio(runs: pd.DataFrame, cost: str, middle: str) -> list[tuple[str, float]]:
    """A cost's ratio with its range, by column; empty if a seed lacks it or image-text training has none of it."""
    by_seed = runs.astype({cost: float}).pivot_table(index="seed", columns="mode", values=cost, dropna=False)
    if not set(COMPARED_MODES) <= set(by_seed) or not (by_seed[_BOTH] > 0).all() or by_seed[_TEXT].isna().any():
        return []
    each, middles = by_seed[_TEXT] / by_seed[_BOTH], by_seed[[_TEXT, _BOTH]].agg(middle)
    return [(cost, middles[_TEXT] / middles[_BOTH]), (f"{cost}_low", each.min()), (f"{cost}_high", each.max())]


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
    """Table 1 with the cost of an answer: generated `tokens`, and per question `compute_seconds` (`compute_of` CPU or
    GPU) and `seconds` by the wall; means over questions and seeds.

    `rows` are the rows that the table was made from. Seconds are empty without a timing, compute seconds also if a
    timing is of an earlier version. They hold for one machine and batch size, and only serve to compare on it.
    """
    by = [*GROUP, "protocol"]
    tokens = rows[rows["image"] == "with"].groupby(by)["new_tokens"].mean().rename("tokens").round(1)
    shown = timings[timings["image"] == "with"].astype(
        dict.fromkeys(("seconds", "compute_seconds", "questions"), float)
    )
    grouped = shown.groupby(by)
    # a sum that lacks a run's seconds would be too low
    spent = grouped[["seconds", "compute_seconds"]].agg(lambda seconds: seconds.sum(skipna=False))
    per_question = spent.div(grouped["questions"].sum(), axis="index").round(6)
    costs = per_question.assign(compute_of=grouped["compute_of"].first()).reset_index()
    return table.merge(tokens.reset_index(), on=by, how="left").merge(costs, on=by, how="left")


def break_even(resources: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """After how many questions describing first has used up what training on text alone saved; a row per model, domain.

    Text-only training that describes first, against image-text training asked directly, in compute seconds: of a
    training (means over the seeds), and per question (``asked``, from `answering_costs`). ``break_even``: the number of
    questions, 0 if training saved nothing and infinite if a question costs no more. ``seconds_share``: what training
    and this run's ``questions`` cost together, relative to image-text. Without these numbers, no row.
    """
    rows = []
    for (model, domain), runs in resources.groupby(["model", "domain"], sort=False):
        training = runs.astype({"compute_seconds": float}).groupby("mode")["compute_seconds"].mean()
        answers = asked[(asked["model"] == model) & (asked["domain"] == domain)] if len(asked) else asked
        pair = [_answer(answers, _TEXT, "describe_then_answer"), _answer(answers, _BOTH, "direct")]
        spent = [float(training.get(mode, math.nan)) for mode in COMPARED_MODES]
        each = [float(answer.get("compute_seconds", math.nan)) for answer in pair]
        if any(map(math.isnan, (*spent, *each))):
            continue
        questions = int(pair[0]["n_type1"] + pair[0]["n_type2"])
        text, both = (cost + questions * answer for cost, answer in zip(spent, each, strict=True))
        rows.append([model, domain, *spent, *each, _equal_after(*spent, *each), questions, text / both])
    return in_order(pd.DataFrame(rows, columns=list(BREAK_EVEN_COLUMNS)).round(4))


def _answer(answers: pd.DataFrame, mode: str, answering: str) -> dict[str, Any]:
    found = answers[(answers["mode"] == mode) & (answers["answering"] == answering)] if len(answers) else answers
    return dict(found.iloc[0]) if len(found) else {}


def _equal_after(training: float, rival_training: float, question: float, rival_question: float) -> float:
    saved, more = rival_training - training, question - rival_question
    if saved <= 0:
        return 0.0
    return round(saved / more, 1) if more > 0 else math.inf
