"""The paper's claims beside our tables: whether each was reproduced, by a rule, with the numbers and their file.

    python -m helpers.results.claims figures/demo > REPRODUCTION.md

Every number comes from the tables in the folder; none is written here. The docstrings below state the rules. A claim
about accuracy rests on whether Wilson's 95 % intervals overlap, a claim about costs on the means over the seeds. A
verdict concerns *this* run: a small model can show that an effect is real, but not how large it is at 7B. A table that
is stale, or made from stale or unrecorded inputs (`helpers.workflow.verify`), is not judged, and no number is quoted.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import resolve
from helpers.results.figures.style import label, use_displays
from helpers.results.findings import Claim, findings, share, verdict_on, withheld
from helpers.results.stats.accuracy import CHANCE
from helpers.workflow.provenance import portable
from helpers.workflow.verify import Doubt, Verified, remedy, verify

_verdict = partial(verdict_on, words=("reproduced", "partly reproduced", "not reproduced"))
_TABLES = {"table1": ("table1",), "table2": ("table2",), "costs": ("resources", "figure2")}
_COSTS = {"seconds": "time", "peak_memory_mb": "peak memory", "energy_wh": "energy"}
NOT_TRIED = (
    (
        "the paper's own accuracies",
        "they need 7B models, the paper's data and a GPU; the profile “paper” names them",
    ),
    ("descriptions by GPT-4o", "the demo writes its texts from tables of facts, without an API key or a network"),
    ("photographs of butterflies", "the demo draws its butterflies; photographs go through the same notebooks"),
)


@dataclass(frozen=True)
class Tables:
    """One run's tables; a missing one is empty. ``files``: each table's source; ``doubts``: tables not to be judged."""

    table1: pd.DataFrame
    table2: pd.DataFrame
    costs: pd.DataFrame
    files: dict[str, str]
    doubts: dict[str, Doubt]


def read_tables(folder: Path, checked: Verified) -> Tables:
    """The tables of a run's folder (in ``results``) or of a folder of published figures; ``checked`` by `verify`.

    Raises ``FileNotFoundError`` without Table 1, because then there is nothing to judge.
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
    """Every claim that a run of this project can test, in the paper's order."""
    return [
        _lift(tables, "type1", "direct", "Training on text alone teaches recognition in images (asked directly)"),
        _lift(tables, "type1", "describe_then_answer", "The same, if the model describes the image first (ours)"),
        _level(tables),
        _lift(tables, "type2", "direct", "Training on text alone improves reasoning about images (asked directly)"),
        _needs_the_image(tables),
        *(_cheaper(tables, measure) for measure in _COSTS),
        _no_tower(tables),
    ]


def _lift(tables: Tables, measure: str, answering: str, claim: str) -> Claim:
    """Reproduced if the text-only interval lies above the untuned one for every model and domain."""
    outcomes, evidence = [], []
    for name, of in _groups(tables.table1):
        tuned, base = (_cell(of, mode, answering) for mode in ("text_only", "base"))
        if tuned is not None and base is not None:
            outcomes.append(tuned[f"{measure}_low"] > base[f"{measure}_high"])
            evidence.append(f"{name}: {share(tuned, measure)}, untuned {share(base, measure)}")
    return _claim(tables, "table1", claim, outcomes, evidence)


def _level(tables: Tables) -> Claim:
    """Reproduced if the intervals overlap or text-only is higher, each mode with its better prompting strategy."""
    outcomes, evidence = [], []
    for name, of in _groups(tables.table1):
        text, both = (_best(of, mode) for mode in ("text_only", "image_text"))
        if text is not None and both is not None:
            outcomes.append(text["type1_high"] >= both["type1_low"])
            ways = [f"{share(row, 'type1')} ({label(row['answering'])})" for row in (text, both)]
            evidence.append(f"{name}: {ways[0]}, image + text {ways[1]}")
    claim = "Text-only training matches image-text training in recognition, each with its better prompting strategy"
    return _claim(tables, "table1", claim, outcomes, evidence)


def _needs_the_image(tables: Tables) -> Claim:
    """Reproduced if the text-only interval without the image contains chance, for each prompting strategy."""
    outcomes, evidence = [], []
    table = tables.table2[tables.table2["image"] == "without"] if len(tables.table2) else tables.table2
    for name, of in _groups(table):
        for _, row in of[of["mode"] == "text_only"].iterrows():
            outcomes.append(row["type1_low"] <= CHANCE <= row["type1_high"])
            evidence.append(f"{name}, {label(row['answering'])}: {share(row, 'type1')} without the image")
    claim = f"Recognition depends on the image: without it, accuracy falls to chance ({CHANCE:.0f} %)"
    return _claim(tables, "table2", claim, outcomes, evidence)


def _cheaper(tables: Tables, measure: str) -> Claim:
    """Reproduced if the mean over the seeds is lower in text-only training for every model and domain."""
    ratios = _ratios(tables, measure)
    evidence = [f"{name}: {ratio:.2f} of image-text training" for name, ratio in ratios.items()]
    estimated = " (without a meter, an estimate that follows time)" if measure == "energy_wh" else ""
    claim = f"Text-only training takes less {_COSTS[measure]}{estimated}"
    return _claim(tables, "costs", claim, [ratio < 1 for ratio in ratios.values()], evidence)


def _ratios(tables: Tables, measure: str) -> dict[str, float]:
    """By model and domain, a cost of text-only training relative to image-text training (means over the seeds)."""
    means = {name: of.groupby("mode")[measure].mean().dropna() for name, of in _groups(tables.costs)}
    both = {"text_only", "image_text"}
    return {name: of["text_only"] / of["image_text"] for name, of in means.items() if both <= set(of.index)}


def _no_tower(tables: Tables) -> Claim:
    """Reproduced if no text-only training called the vision tower. The calls are counted, not inferred."""
    runs = tables.costs[tables.costs["mode"] == "text_only"] if len(tables.costs) else tables.costs
    calls = runs["vision_tower_calls"] if len(runs) else pd.Series(dtype=int)
    evidence = [f"{int(calls.sum())} calls in {len(calls)} text-only training runs"] if len(calls) else []
    return _claim(tables, "costs", "Text-only training never runs the vision tower", list(calls == 0), evidence)


def _claim(tables: Tables, table: str, claim: str, outcomes: Sequence[bool], evidence: Sequence[str]) -> Claim:
    """The claim and the outcome of its rule on one of the tables; not judged if the table is stale or unrecorded."""
    if doubt := tables.doubts.get(table):
        return withheld(claim, doubt, tables.files[table])
    return Claim(claim, _verdict(outcomes), tuple(evidence), tables.files[table])


def _groups(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Name and rows of each model and domain; the domain is named only if there are several."""
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
    """The outcome in a sentence or two per model and domain, from the tables alone, except those not to be judged."""
    said = [] if "table1" in tables.doubts else [_recognised(name, of) for name, of in _groups(tables.table1)]
    said += [] if "costs" in tables.doubts else [_saved(tables)]
    kept = {"table1": "Accuracies", "costs": "Costs"}
    said += [
        f"{what} are {tables.doubts[table].status}, so none are quoted."
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
    compared = f" Trained on images and text, it scores {both}." if both else ""
    return f"On {n} recognition questions, {name} trained on text alone scores {text}; untuned, {base}.{compared}"


def describing(tables: Tables) -> list[str]:
    """What describing first changes in recognition, in points: one sentence per training mode."""
    said: list[str] = []
    for mode in () if "table1" in tables.doubts else ("text_only", "image_text", "base"):
        changes = []
        for name, of in _groups(tables.table1):
            direct, described = (_cell(of, mode, answering) for answering in ("direct", "describe_then_answer"))
            if direct is not None and described is not None:
                changes.append(f"{name} {described['type1'] - direct['type1']:+.1f}")
        said += [f"{label(mode).capitalize()}: {'; '.join(changes)}."] if changes else []
    return said


def _asked(answering: str) -> str:
    return {"direct": "when asked directly", "describe_then_answer": "when describing first"}.get(
        answering, label(answering)
    )


def _saved(tables: Tables) -> str:
    parts = []
    for measure, word in _COSTS.items():
        shares = sorted(f"{ratio:.2f}" for ratio in _ratios(tables, measure).values())
        parts += [f"{' to '.join(dict.fromkeys((shares[0], shares[-1])))} of the {word}"] if shares else []
    return f"Relative to training on images and text, training on text alone takes {', '.join(parts)}." if parts else ""


def as_markdown(folder: Path, checked: Verified) -> str:
    """REPRODUCTION.md: every claim and finding of a folder's tables."""
    use_displays({}, folder)
    tables = read_tables(folder, checked)
    lines = [
        "# What was reproduced, and what was not",
        "",
        *_warning(folder, tables, found := findings(folder, checked), checked),
        f"Made by `python -m helpers.results.claims {portable(folder)} > REPRODUCTION.md`; no number is typed by hand.",
        "`./run_all.sh publish` and `./run_all.sh ablations` refresh the figures behind it; then run the command above",
        "again.",
        "",
        "A claim about accuracy counts as reproduced if Wilson's 95 % intervals show it for every model; a claim about",
        "costs, if the means over the seeds do. Each rule is in `src/helpers/results/claims.py`. All of this is the",
        "demo: a drawn world and models of 4 million parameters. It can show that an effect is real, but not how large",
        "it is at 7B.",
        "",
        *_rows("claim", claims(tables)),
        "",
        "## What the ablations show",
        "",
        "The rules of `src/helpers/results/findings.py`, judged on the tables of `./run_all.sh ablations`: Qwen2-VL,",
        "butterflies, one seed, Type 1 unless stated otherwise. “At chance” means that the interval contains 25 %.",
        "“Better”, “harder” and “less” mean that the intervals do not overlap; “as well”, “enough” and “no better”",
        "mean that they do.",
        "",
        *_rows("finding", found),
        "",
        "## Not tried",
        "",
        "| what | why |",
        "|---|---|",
        *(f"| {what} | {why} |" for what, why in NOT_TRIED),
    ]
    return "\n".join(lines) + "\n"


def _warning(folder: Path, tables: Tables, found: Sequence[Claim], checked: Verified) -> list[str]:
    """The heading of a page on which something is not judged; empty if everything is."""
    if not tables.doubts and not any(finding.verdict.startswith("not judged") for finding in found):
        return []
    told = " ".join(remedy(checked, folder))
    return [f"> **Some of this is not judged, because the tables behind it are stale or unrecorded.** {told}", ""]


def _rows(heading: str, found: Sequence[Claim]) -> Iterator[str]:
    """The lines of a Markdown table of claims."""
    yield f"| {heading} | verdict | evidence | file |"
    yield "|---|---|---|---|"
    for one in found:
        link = f"[{Path(one.file).name}]({one.file})" if one.file else ""
        yield f"| {one.claim} | **{one.verdict}** | {'<br>'.join(one.evidence) or 'none yet'} | {link} |"


def main(arguments: list[str] | None = None) -> int:
    """Print the claims of a folder's tables; exit status 1 if there are no tables or some are not judged."""
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
        print(f"{refused} verdicts are withheld: the tables behind them are stale or unrecorded", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
