"""The paper's claims beside our tables: what was reproduced, by a rule, with the numbers and the file that says so.

    python -m helpers.results.claims figures/demo > REPRODUCTION.md

Every number comes from the tables in the folder; none is written here. The rules are in the docstrings below: a claim
on accuracy rests on Wilson's 95 % intervals (apart or not), one on costs on the means over the seeds. A verdict is one
on *this* run: a miniature can show that a mechanism is real, not how large it is at 7B. A table that is stale, or was
made from something stale or unrecorded (`helpers.workflow.verify`), is not judged, and none of its numbers is quoted.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from helpers.paths import resolve
from helpers.results.figures.style import label, use_displays
from helpers.results.findings import Claim, Withheld, findings, reasons_shown, share, verdict_on, withheld
from helpers.results.stats.accuracy import CHANCE
from helpers.workflow.provenance import portable
from helpers.workflow.verify import Doubt, Verified, remedy, verify

_verdict = partial(verdict_on, words=("reproduced", "partly reproduced", "not reproduced"))
_TABLES = {"table1": ("table1",), "table2": ("table2",), "costs": ("resources", "figure2")}
_COSTS = {"seconds": "time", "peak_memory_mb": "peak memory", "energy_wh": "energy"}
NOT_TRIED = (
    ("the paper's own accuracies", "its 7B models need a GPU and its data; the profile called paper names them"),
    ("descriptions by GPT-4o", "the demo's texts are written from tables of facts, without a key or a network"),
    ("photographs of butterflies", "the demo draws its butterflies; real pictures pass through the same notebooks"),
)


@dataclass(frozen=True)
class Tables:
    """The tables of one run; a missing one is empty. ``files``: where each is from; ``doubts``: what is not judged."""

    table1: pd.DataFrame
    table2: pd.DataFrame
    costs: pd.DataFrame
    files: dict[str, str]
    doubts: dict[str, Doubt]


def read_tables(folder: Path, checked: Verified) -> Tables:
    """The tables below a run's folder (in ``results``) or in a folder of published figures, as they were ``checked``.

    Raises ``FileNotFoundError`` without a Table 1: then there is nothing to judge.
    """
    read, files = {}, {}
    for table, names in _TABLES.items():
        places = [place / f"{name}.csv" for place in (folder / "results", folder) for name in names]
        found = next((place for place in places if place.is_file()), None)
        read[table] = pd.read_csv(found) if found else pd.DataFrame()
        files[table] = str(portable(found)) if found else ""
    if read["table1"].empty:
        raise FileNotFoundError(f"no table1.csv in {portable(folder)} or its results/; run the notebooks first")
    doubts = {table: doubt for table, file in files.items() if file and (doubt := checked.doubt(file))}
    return Tables(**read, files=files, doubts=doubts)


def claims(tables: Tables) -> list[Claim]:
    """Every claim that a run of this project can speak to, in the paper's order."""
    return [
        _lift(tables, "type1", "direct", "Training on text alone teaches recognition in pictures (asked directly)"),
        _lift(tables, "type1", "describe", "The same, where the model describes the picture first (ours)"),
        _level(tables),
        _lift(tables, "type2", "direct", "Training on text alone improves reasoning about pictures (asked directly)"),
        _needs_the_picture(tables),
        *(_cheaper(tables, measure) for measure in _COSTS),
        _no_tower(tables),
    ]


def _lift(tables: Tables, measure: str, answering: str, claim: str) -> Claim:
    """Reproduced where the interval of text-only lies above the untuned model's, on every model and domain."""
    outcomes, evidence = [], []
    for name, of in _groups(tables.table1):
        tuned, base = (_cell(of, mode, answering) for mode in ("text_only", "base"))
        if tuned is not None and base is not None:
            outcomes.append(tuned[f"{measure}_low"] > base[f"{measure}_high"])
            evidence.append(f"{name}: {share(tuned, measure)} against {share(base, measure)} untuned")
    return _claim(tables, "table1", claim, outcomes, evidence)


def _level(tables: Tables) -> Claim:
    """Level: the intervals overlap or text-only is higher, each mode asked in the way that serves it best."""
    outcomes, evidence = [], []
    for name, of in _groups(tables.table1):
        text, both = (_best(of, mode) for mode in ("text_only", "image_text"))
        if text is not None and both is not None:
            outcomes.append(text["type1_high"] >= both["type1_low"])
            ways = [f"{share(row, 'type1')} ({label(row['answering'])})" for row in (text, both)]
            evidence.append(f"{name}: {ways[0]} against {ways[1]} with image + text")
    claim = "Text-only training comes level with image-text training in recognition, each asked in its best way"
    return _claim(tables, "table1", claim, outcomes, evidence)


def _needs_the_picture(tables: Tables) -> Claim:
    """Reproduced where chance lies in the interval of text-only without the picture, in each way of asking."""
    outcomes, evidence = [], []
    table = tables.table2[tables.table2["image"] == "without"] if len(tables.table2) else tables.table2
    for name, of in _groups(table):
        for _, row in of[of["mode"] == "text_only"].iterrows():
            outcomes.append(row["type1_low"] <= CHANCE <= row["type1_high"])
            evidence.append(f"{name}, {label(row['answering'])}: {share(row, 'type1')} without the picture")
    claim = f"Recognition rests on the picture: withheld, it falls to chance ({CHANCE:.0f} %)"
    return _claim(tables, "table2", claim, outcomes, evidence)


def _cheaper(tables: Tables, measure: str) -> Claim:
    """Reproduced where the mean over the seeds is lower in text-only training, on every model and domain."""
    outcomes, evidence = [], []
    for name, of in _groups(tables.costs):
        means = of.groupby("mode")[measure].mean()
        if {"text_only", "image_text"} <= set(means.dropna().index):
            ratio = means["text_only"] / means["image_text"]
            outcomes.append(ratio < 1)
            evidence.append(f"{name}: {ratio:.2f} of image-text training")
    estimated = " (an estimate, near to time, where a machine has no meter)" if measure == "energy_wh" else ""
    claim = f"Text-only training takes less {_COSTS[measure]}{estimated}"
    return _claim(tables, "costs", claim, outcomes, evidence)


def _no_tower(tables: Tables) -> Claim:
    """Counted, not inferred: the calls of the vision tower during text-only training."""
    runs = tables.costs[tables.costs["mode"] == "text_only"] if len(tables.costs) else tables.costs
    calls = runs["vision_tower_calls"] if len(runs) else pd.Series(dtype=int)
    evidence = [f"{int(calls.sum())} calls in {len(calls)} text-only trainings"] if len(calls) else []
    return _claim(tables, "costs", "Text-only training never runs the vision tower", list(calls == 0), evidence)


def _claim(tables: Tables, table: str, claim: str, outcomes: Sequence[bool], evidence: Sequence[str]) -> Claim:
    """The claim as its rule came out on one of the tables; not judged where the table is in doubt."""
    if doubt := tables.doubts.get(table):
        return Claim(claim, withheld(doubt), reasons_shown(doubt.reasons), tables.files[table])
    return Claim(claim, _verdict(outcomes), tuple(evidence), tables.files[table])


def _groups(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Name and rows of each model and domain; the domain is named only where there are several."""
    if table.empty:
        return []
    several = table["domain"].nunique() > 1
    grouped = table.groupby(["model", "domain"], sort=False)
    return [(label(str(m)) + (f", {label(str(d))}" if several else ""), rows) for (m, d), rows in grouped]


def _cell(of: pd.DataFrame, mode: str, answering: str) -> Any | None:
    rows = of[(of["mode"] == mode) & (of["answering"] == answering)]
    return None if rows.empty else rows.iloc[0]


def _best(of: pd.DataFrame, mode: str) -> Any | None:
    rows = of[of["mode"] == mode].dropna(subset=["type1"])
    return None if rows.empty else rows.loc[rows["type1"].idxmax()]


def abstract(tables: Tables) -> list[str]:
    """What came out, in a sentence or two per model and domain, from the tables alone; nothing of those in doubt."""
    said = [] if "table1" in tables.doubts else [_recognised(name, of) for name, of in _groups(tables.table1)]
    said += [] if "costs" in tables.doubts else [_saved(tables)]
    kept = {"table1": "Accuracies", "costs": "Costs"}
    said += [
        f"{what} are {tables.doubts[table].status}, so none is quoted."
        for table, what in kept.items()
        if table in tables.doubts
    ]
    return [sentence for sentence in said if sentence]


def _recognised(name: str, of: pd.DataFrame) -> str:
    def ways(mode: str) -> str:
        rows = of[of["mode"] == mode].dropna(subset=["type1"])
        return " and ".join(f"{share(row, 'type1')} {_asked(row['answering'])}" for _, row in rows.iterrows())

    text, base, both = ways("text_only"), ways("base"), ways("image_text")
    if not text or not base:
        return ""
    n = int(of["n_type1"].max())
    compared = f" Trained on image and text it gets {both}." if both else ""
    return (
        f"Of {n} questions of recognition, {name} trained on text alone gets {text} right; untuned, {base}.{compared}"
    )


def describing(tables: Tables) -> list[str]:
    """What describing first changes in recognition, a sentence per mode: who gains, and how much."""
    said: list[str] = []
    for mode in () if "table1" in tables.doubts else ("text_only", "image_text", "base"):
        changes = []
        for name, of in _groups(tables.table1):
            direct, described = (_cell(of, mode, answering) for answering in ("direct", "describe"))
            if direct is not None and described is not None:
                changes.append(f"{name} {described['type1'] - direct['type1']:+.1f}")
        said += [f"{label(mode).capitalize()}: {'; '.join(changes)}."] if changes else []
    return said


def _asked(answering: str) -> str:
    return {"direct": "asked directly", "describe": "describing first"}.get(answering, label(answering))


def _saved(tables: Tables) -> str:
    parts = []
    for measure, word in _COSTS.items():
        shares = [line.split(": ")[1].split(" ")[0] for line in _cheaper(tables, measure).evidence]
        parts += [f"{' to '.join(sorted({min(shares), max(shares)}))} of its {word}"] if shares else []
    return f"Training on text alone takes, relative to training on image and text, {', '.join(parts)}." if parts else ""


def as_markdown(folder: Path, checked: Verified) -> str:
    """REPRODUCTION.md: the claims of a folder's tables as one table."""
    use_displays({}, folder)
    tables = read_tables(folder, checked)
    lines = [
        "# What was reproduced, and what was not",
        "",
        *_warning(folder, tables, found := findings(folder, checked), checked),
        f"Made by `python -m helpers.results.claims {portable(folder)} > REPRODUCTION.md`; no number is typed by hand.",
        "The figures behind it are refreshed by `./run_all.sh publish` and `./run_all.sh ablations`; run the command",
        "above after them.",
        "",
        "A claim on accuracy counts as reproduced where Wilson's 95 % intervals say so on every model, one on costs",
        "where the means over the seeds do; `src/helpers/results/claims.py` has each rule. All of this is the demo: a",
        "drawn world and models of 4 million parameters. It can show that the mechanism is real, not how large it",
        "is at 7B.",
        "",
        "| claim | verdict | evidence | file |",
        "|---|---|---|---|",
        *(
            f"| {c.claim} | **{c.verdict}** | {'<br>'.join(c.evidence) or 'none yet'} | {_link(c.file)} |"
            for c in claims(tables)
        ),
        "",
        "## What the ablations say",
        "",
        "Rules of `src/helpers/results/findings.py`, judged on the tables of `./run_all.sh ablations`: Qwen2-VL,",
        "butterflies, one seed, Type 1 unless said otherwise. At chance: 25 % lies in the interval. Better, harder,",
        "less: the intervals are apart. As well, enough, no better: they are not.",
        "",
        "| finding | verdict | evidence | file |",
        "|---|---|---|---|",
        *(
            f"| {f.claim} | **{f.verdict}** | {'<br>'.join(f.evidence) or 'none yet'} | {_link(f.file)} |"
            for f in found
        ),
        "",
        "## Not tried",
        "",
        "| what | why |",
        "|---|---|",
        *(f"| {what} | {why} |" for what, why in NOT_TRIED),
    ]
    return "\n".join(lines) + "\n"


def _warning(folder: Path, tables: Tables, found: Sequence[Claim], checked: Verified) -> list[str]:
    """What heads the page where something on it is not judged; empty where all is."""
    if not tables.doubts and not any(finding.verdict in get_args(Withheld) for finding in found):
        return []
    told = " ".join(remedy(checked, folder))
    return [f"> **Some of this is not judged, as the tables behind it are stale or unrecorded.** {told}", ""]


def _link(file: str) -> str:
    return f"[{Path(file).name}]({file})" if file else ""


def main(arguments: list[str] | None = None) -> int:
    """Print the claims of a folder's tables; exit status 1 where there are none, or some are not judged."""
    parser = argparse.ArgumentParser(prog="python -m helpers.results.claims", description="Claims beside our tables.")
    parser.add_argument("folder", nargs="?", default="figures/demo", help="default: %(default)s")
    folder = resolve(parser.parse_args(arguments).folder)
    try:
        said = as_markdown(folder, verify([folder]))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(said, end="")
    if refused := said.count("**not judged: "):
        print(f"{refused} verdicts are withheld: what is behind them is stale or unrecorded", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
