"""The paper's tables as data: answer rows and resource records in, tidy CSV out. `helpers.figures` draws them.

Every number derives from the saved rows, never from another table, so that a table can be made again from the answers
alone. Percentages carry one decimal. Rows come in one order everywhere: models, domains, modes from untuned to most
informed, asked directly before describe-then-answer, with the picture before without.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from helpers.paths import atomic_write
from helpers.statistics import ACCURACY_COLUMNS, accuracy_table

GROUP = ("model", "domain", "mode", "answering")

ORDER: dict[str, tuple[str, ...]] = {
    "model": ("qwen2_vl", "llava_next", "qwen2_vl_7b", "llava_next_7b"),
    "domain": ("butterfly", "culture", "kviscuit"),
    "mode": ("base", "text_only", "image_text"),
    "answering": ("direct", "describe"),
    "image": ("with", "without"),
}

ANSWER_COLUMNS = (
    *("model", "domain", "mode", "seed", "image", "answering", "protocol"),
    *("question_id", "question_type", "category", "picture", "class_id", "prompt_hash"),
    *("options", "answer", "scores", "description", "named", "reply", "parsed", "correct"),
)
RESOURCE_COLUMNS = (
    *("model", "domain", "mode", "seed"),
    *("seconds", "peak_memory_mb", "energy_wh", "vision_tower_calls", "tokens", "samples"),
)
REPORTED_COLUMNS = ("model", "domain", "mode", "image", "type1", "type2", "overall", "source")

# What data/reported.csv calls our models and domains. The paper's Korean domain stands beside both of ours.
PAPER_NAMES = {
    "qwen2_vl": "Qwen2-VL-7B",
    "llava_next": "LLaVA-1.6-7B",
    "qwen2_vl_7b": "Qwen2-VL-7B",
    "llava_next_7b": "LLaVA-1.6-7B",
    "butterfly": "BUTTERFLY",
    "culture": "K-VISCUIT",
    "kviscuit": "K-VISCUIT",
}


def find(folder: Path, name: str) -> list[Path]:
    """Every file of that name below a folder, sorted; none where the folder does not exist."""
    return sorted(folder.rglob(name))


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The table in the one order; a value that `ORDER` does not know comes after those it knows, alphabetically."""
    keys = [column for column in (*ORDER, "seed") if column in table.columns]
    return table.sort_values(keys, key=_rank, kind="stable", ignore_index=True) if keys else table


def _rank(column: pd.Series) -> pd.Series:
    """`column` as sort keys; its name says which order applies."""
    known = ORDER.get(str(column.name))
    if known is None:
        return column
    return column.map(lambda value: f"{known.index(value):03}" if value in known else f"999{value}")


def read_answers(paths: Iterable[str | Path]) -> pd.DataFrame:
    """All rows of some `answers.jsonl` files, checked and in order; no files give an empty table with the columns."""
    frames = [_read_answers_file(Path(path)) for path in paths]
    return in_order(pd.concat(frames)) if frames else pd.DataFrame(columns=list(ANSWER_COLUMNS))


def _read_answers_file(path: Path) -> pd.DataFrame:
    rows = pd.DataFrame([_row(path, number, line) for number, line in enumerate(_lines(path), start=1)])
    if rows.empty:
        raise ValueError(f"{path} holds no answers; delete it and run its evaluation again")
    rows = rows.astype({"parsed": "Int64"})  # the integers that can be missing: a reply may be unreadable
    _refuse(path, ~rows["question_type"].isin((1, 2)), rows["question_type"], "1 (recognition) or 2 (reasoning)")
    _refuse(path, ~rows["image"].isin(ORDER["image"]), rows["image"], "'with' or 'without'")
    right = (rows["parsed"] == rows["answer"]).fillna(False)  # an unreadable reply is wrong
    _refuse(path, rows["correct"] != right, rows["correct"], "true exactly when parsed equals answer")
    return rows


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run the evaluation that writes it, or correct the name")
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _row(path: Path, number: int, line: str) -> dict:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, row {number} is not JSON ({error}); delete the file and run it again") from error
    if missing := [column for column in ANSWER_COLUMNS if column not in row]:
        raise ValueError(f"{path}, row {number} lacks {', '.join(missing)}; a row of answers has all of them")
    return row


def _refuse(path: Path, bad: pd.Series, values: pd.Series, rule: str) -> None:
    """Raise for the first row that is marked bad, naming the file, the row, the value and the rule."""
    if bad.any():
        at = int(bad.idxmax())
        raise ValueError(f"{path}, row {at + 1}: {values.name} is {values[at]!r}; it must be {rule}")


def table1(rows: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1: accuracy with the picture shown, a row for each model, domain, mode and way of answering."""
    return _accuracies(rows[rows["image"] == "with"], GROUP)


def table2(rows_with: pd.DataFrame, rows_without: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 2: the picture withheld, beside the same runs with it.

    Runs that were never asked without the picture are left to Table 1; no ablation at all gives an empty table.
    """
    by = (*GROUP, "image")
    without = rows_without[rows_without["image"] == "without"]
    if without.empty:
        return pd.DataFrame(columns=[*by, *ACCURACY_COLUMNS])
    asked = set(without[list(GROUP)].itertuples(index=False, name=None))
    shown = rows_with[rows_with["image"] == "with"]
    partners = [key in asked for key in shown[list(GROUP)].itertuples(index=False, name=None)]
    return _accuracies(pd.concat([shown[partners], without], ignore_index=True), by)


def _accuracies(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    return in_order(accuracy_table(rows, by)).round(1)


def gains(table: pd.DataFrame, measure: str = "type1", over: str = "base", of: str = "text_only") -> pd.DataFrame:
    """How many points mode `of` lies above mode `over`, and whether the two intervals are apart; empty without both."""
    keys = ["model", "domain", "answering"]
    short = {measure: "value", f"{measure}_low": "low", f"{measure}_high": "high"}
    one, other = (table[table["mode"] == mode][[*keys, *short]].rename(columns=short) for mode in (over, of))
    both = one.merge(other, on=keys, suffixes=("_over", "_of"))
    apart = (both["low_of"] > both["high_over"]) | (both["high_of"] < both["low_over"])
    gain = (both["value_of"] - both["value_over"]).round(1)
    named = both[[*keys, "value_over", "value_of"]].rename(columns={"value_over": over, "value_of": of})
    return named.assign(gain=gain, intervals_apart=apart)


def read_resources(paths: Iterable[str | Path]) -> pd.DataFrame:
    """All `resources.json` records, in order, with everything they say; a run may be named only once."""
    records = [_resource_record(Path(path)) for path in paths]
    frame = pd.DataFrame(records, columns=None if records else list(RESOURCE_COLUMNS))
    runs = frame[["model", "domain", "mode", "seed"]]
    if runs.duplicated().any():
        twice = "/".join(map(str, runs[runs.duplicated()].iloc[0]))
        raise ValueError(f"the run {twice} is named twice among the resource files; name each run once")
    return in_order(frame)


def _resource_record(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run the fine-tuning that writes it, or correct the name")
    record = json.loads(path.read_text(encoding="utf-8"))
    if missing := [column for column in RESOURCE_COLUMNS if column not in record]:
        raise ValueError(f"{path} lacks {', '.join(missing)}; run its fine-tuning again")
    return record


def resources_table(resources: pd.DataFrame) -> pd.DataFrame:
    """What each training run cost: the fixed columns of `resources.csv`, one row a run."""
    return resources[list(RESOURCE_COLUMNS)].round({"seconds": 2, "peak_memory_mb": 1, "energy_wh": 5})


def cost_ratios(resources: pd.DataFrame, of: str = "text_only", to: str = "image_text") -> pd.DataFrame:
    """Time, memory and energy of training mode `of` relative to mode `to`, means over the seeds; empty without both."""
    costs = ["seconds", "peak_memory_mb", "energy_wh"]
    means = resources.groupby(["mode", "model", "domain"], sort=False)[costs].mean()
    modes = means.index.get_level_values("mode")
    if not {of, to} <= set(modes):
        return pd.DataFrame(columns=["model", "domain", *costs])
    return in_order((means.loc[of] / means.loc[to]).dropna(how="all").reset_index()).round(3)


def read_reported(path: Path) -> pd.DataFrame:
    """The numbers that the paper reports (`data/reported.csv`); an unknown cell is empty, and stays so."""
    reported = pd.read_csv(path)
    if missing := [column for column in REPORTED_COLUMNS if column not in reported.columns]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; its header is {','.join(REPORTED_COLUMNS)}")
    numbers = reported[["type1", "type2", "overall"]].astype(float)
    if ((numbers < 0) | (numbers > 100)).any(axis=None):
        raise ValueError(f"{path} holds a number outside 0..100; accuracies are in percent, unknown cells are empty")
    return reported


def comparison(table: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Table 1 or 2 beside the reported numbers of the same model family, domain and mode; unknown cells are empty.

    The paper asks directly, so a describe-then-answer row has no counterpart in it. In the demo the two sides are
    different models in different worlds: what can be compared is the order of the modes, not the numbers.
    """
    ours = table if "image" in table.columns else table.assign(image="with")
    ours = ours[[*GROUP, "image", "type1", "type2", "overall"]]
    names = {"model": ours["model"].map(PAPER_NAMES), "domain": ours["domain"].map(PAPER_NAMES)}
    keys = ours.assign(**names).where(ours["answering"] == "direct")[["model", "domain", "mode", "image"]]
    theirs = reported[list(REPORTED_COLUMNS)].drop_duplicates(["model", "domain", "mode", "image"])
    matched = keys.merge(theirs, how="left", on=["model", "domain", "mode", "image"])
    matched = matched[["model", "domain", "type1", "type2", "overall", "source"]].add_prefix("reported_")
    return pd.concat([ours.reset_index(drop=True), matched], axis=1)


def write_csv(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table whole or not at all, without an index; the same table gives the same bytes on every system."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return Path(path)
