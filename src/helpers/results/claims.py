"""The paper's claims beside our answers: whether each was reproduced, by a rule, with the numbers and their file.

    python -m helpers.results.claims figures/demo > REPRODUCTION.md

Every number comes from the tables in the folder; none is written here. A claim about accuracy is a rule on paired
differences (`helpers.results.rules`), a claim about costs rests on the means over the seeds. A verdict concerns *this*
run: a small model can show that an effect is real, but not how large it is at 7B. A table that is stale, or made from
stale or unrecorded inputs (`helpers.workflow.verify`), is not judged, and no number is quoted.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import FIGURES, resolve
from helpers.results.families import family_claims
from helpers.results.figures.style import BASELINES, label, use_displays
from helpers.results.findings import findings, withheld
from helpers.results.rules import Claim, Rule, contrast_table, decided, evidence, verdict_on
from helpers.results.stats import MARGIN
from helpers.results.tables import break_even, cost_ratios, trainings_in_turns
from helpers.workflow.provenance import portable
from helpers.workflow.verify import Doubt, Verified, remedy, verify

_WORDS = ("reproduced", "partly reproduced", "not reproduced", "open")
_TABLES = {
    "table1": ("table1",),
    "contrasts": ("claims",),
    "costs": ("resources", "figure2"),
    "answering": ("answering",),
}
_COSTS = {
    "compute_seconds": "{of} time",
    "memory_above_model_mb": "memory above the loaded model",
    "energy_wh": "energy",
}
NOT_TRIED = (
    (
        "the paper's own accuracies",
        "they need 7B models, the paper's data and a GPU; the profile “paper” names them",
    ),
    ("descriptions by GPT-4o", "the demo writes its texts from tables of facts, without an API key or a network"),
    ("photographs of butterflies", "the demo draws its butterflies; photographs go through the same notebooks"),
)


_SHOWN = {"image": "with"}
_TEXT, _BOTH, _JOINT, _BASE = ({"mode": mode, **_SHOWN} for mode in ("text_only", "image_text", "joint", "base"))
_PRIOR = {"model": "baseline", "mode": "prior", "image": "without", "answering": "direct"}
_DIRECT, _DESCRIBE = {"answering": "direct"}, {"answering": "describe_then_answer"}
_ASKED, _SPEAKS = ("direct",), ("describe_then_answer",)
CLAIMS = (
    Rule(
        "Text alone teaches recognition as well as image + text does, both asked directly (the paper's claim)",
        "", {**_TEXT, **_DIRECT}, "not below", _BOTH, ways=_ASKED,
    ),
    Rule(
        "Training on text alone teaches recognition in images, asked directly",
        "", {**_TEXT, **_DIRECT}, "above", _BASE, ways=_ASKED,
    ),
    Rule(
        "The same, if the model describes the image first (ours)",
        "", {**_TEXT, **_DESCRIBE}, "above", _BASE, ways=_SPEAKS,
    ),
    Rule(
        "Describing first, text alone does as well as image + text asked directly (ours)",
        "", {**_TEXT, **_DESCRIBE}, "not below", {**_BOTH, **_DIRECT}, ways=_SPEAKS,
    ),
    Rule(
        "Describing first, text alone beats a dictionary: the text most like the untuned model's own words",
        "", {**_TEXT, **_DESCRIBE}, "above", {"mode": "dictionary", **_DIRECT}, ways=_SPEAKS,
    ),
    Rule(
        "It beats the same dictionary over the texts as the untuned model rewords them",
        "", {**_TEXT, **_DESCRIBE}, "above", {"mode": "dictionary_translated", **_DIRECT}, ways=_SPEAKS,
    ),
    Rule(
        "It beats the nearest text by the untuned model's hidden states",
        "", {**_TEXT, **_DESCRIBE}, "above", {"mode": "embeddings", **_DIRECT}, ways=_SPEAKS,
    ),
    Rule(
        "Asked directly, text alone beats the untuned model that is told each option's description in the prompt",
        "", {**_TEXT, **_DIRECT}, "above", {"mode": "options_described", **_DIRECT}, ways=_ASKED,
    ),
    Rule(
        "Training on text alone improves reasoning about images, asked directly",
        "", {**_TEXT, **_DIRECT}, "above", _BASE, question_type=2, ways=_ASKED,
    ),
    Rule(
        "In reasoning it beats the prior: the answer that the texts mention most often, whatever the image",
        "", {**_TEXT, **_DIRECT}, "above", _PRIOR, question_type=2, ways=_ASKED,
    ),
    Rule(
        "Two hops, from image to name and from name to fact: describing first, it beats the prior (ours)",
        "", {**_TEXT, **_DESCRIBE}, "above", _PRIOR, question_type=2, ways=_SPEAKS,
    ),
    Rule(
        "The second hop, the ceiling of the two: told the true name in words, it beats the prior (ours)",
        "", {"mode": "text_only", "image": "named", **_DIRECT}, "above", _PRIOR, question_type=2, ways=_ASKED,
    ),
    Rule(
        "Recognition depends on the image: without it, accuracy is at chance",
        "", {"mode": "text_only", "image": "without"}, "at chance",
    ),
    *(
        Rule(
            f"{training} training preserves what the model knew before: {what}",
            "", {"mode": mode}, "not below", {"mode": "base"}, category=category,
        )
        for training, mode in (("Text-only", "text_only"), ("Image-text", "image_text"))
        for category, what in (("visual", "what an image shows"), ("old_class", "the names of the classes it had met"))
    ),
)  # fmt: skip
HEADLINES = (*CLAIMS[:7], *(rule for rule in CLAIMS if rule.claim.startswith("Two hops")))  # those that README quotes
# The same against the fair rival, which also reads the texts. The demo does not train it: grid `rival` does.
IF_TRAINED = (
    Rule(
        "Text alone does as well as joint training on the images and the texts, both asked directly",
        "", {**_TEXT, **_DIRECT}, "not below", _JOINT, ways=_ASKED,
    ),
    Rule(
        "Describing first, text alone does as well as joint training asked directly (ours)",
        "", {**_TEXT, **_DESCRIBE}, "not below", {**_JOINT, **_DIRECT}, ways=_SPEAKS,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """One run's tables; a missing one is empty. ``files``: each table's source; ``doubts``: tables not to be judged."""

    table1: pd.DataFrame
    contrasts: pd.DataFrame
    costs: pd.DataFrame
    files: dict[str, str]
    doubts: dict[str, Doubt]
    answering: pd.DataFrame = field(default_factory=pd.DataFrame)


def read_tables(folder: Path, checked: Verified) -> Tables:
    """The tables of a run's folder (in ``results``) or of a folder of published figures; ``checked`` by `verify`.

    Raises ``FileNotFoundError`` without Table 1, because then there is nothing to judge.
    """
    read, files = {}, {}
    for table, names in _TABLES.items():
        places = [place / f"{name}.csv" for place in (folder / "results", folder, folder / "figures") for name in names]
        found = next((place for place in places if place.is_file()), None)
        read[table] = pd.read_csv(found) if found else pd.DataFrame()
        files[table] = str(portable(found)) if found else ""
    if read["table1"].empty:
        raise FileNotFoundError(f"no table1.csv in {portable(folder)} or its results/; run the notebooks first")
    doubts = {table: doubt for table, file in files.items() if file and (doubt := checked.doubt(file))}
    return Tables(**read, files=files, doubts=doubts)


def claims_table(answers: pd.DataFrame, baselines: pd.DataFrame, retention: pd.DataFrame | None = None) -> pd.DataFrame:
    """The contrasts of every claim about accuracy, decided together: ``results/claims.csv``.

    ``answers``: rows of one variant and protocol, with every state of the image; ``baselines``: those of notebook 12;
    ``retention``: answers of the same variant and protocol to questions on what the untuned models knew.
    """
    rows = pd.concat([answers, baselines], ignore_index=True)
    return decided(contrast_table((*CLAIMS, *IF_TRAINED), rows, retention))


def claims(tables: Tables) -> list[Claim]:
    """Every claim that a run of this project can test, in the paper's order; on joint training only after any."""
    return [
        *_on_accuracy(tables),
        *(_cheaper(tables, measure) for measure in _COSTS),
        _still_cheaper(tables),
        _no_tower(tables),
    ]


def _on_accuracy(tables: Tables) -> list[Claim]:
    measured = set(tables.contrasts.get("claim", pd.Series(dtype=str)))
    rules = [*CLAIMS, *(rule for rule in IF_TRAINED if rule.claim in measured)]
    return [_of_answers(tables, rule) for rule in rules]


def _of_answers(tables: Tables, rule: Rule) -> Claim:
    rows = tables.contrasts
    rows = rows[rows["claim"] == rule.claim] if len(rows) else rows
    return _claim(tables, "contrasts", rule.claim, list(rows["outcome"]) if len(rows) else [], evidence(rows))


def _cheaper(tables: Tables, measure: str) -> Claim:
    """Reproduced if the cost is lower in text-only training for every model, domain and seed; open where seeds differ.

    The runs in turns (`benchmarks/bench_costs.py`) stand beside it and do not enter the verdict.
    """
    costs = tables.costs
    clock = costs["compute_of"].iloc[0] if len(costs) and "compute_of" in costs else "CPU"
    claim = f"Text-only training takes less {_COSTS[measure].format(of=clock)}"
    ratios = _known_ratios(costs, measure)
    said = [f"{_place(row, costs)}: {_range(row, measure)} of image-text training" for row in ratios]
    said += _in_turns(measure) if ratios else _why_unknown(costs, measure)
    return _claim(tables, "costs", claim, [_lower(row, measure) for row in ratios], said)


def _why_unknown(costs: pd.DataFrame, measure: str) -> list[str]:
    """Why no training has this cost; nothing if one has it, or if there is no training."""
    if costs.empty or (measure in costs and costs[measure].notna().any()):
        return []
    if measure == "energy_wh" and "energy_source" in costs:
        return list(costs["energy_source"].unique())
    return ["not recorded: these trainings are of an earlier version, make them again (notebook 03)"]


def _known_ratios(costs: pd.DataFrame, measure: str, middle: str = "mean") -> list[dict[Any, Any]]:
    found = cost_ratios(costs, middle) if len(costs) else pd.DataFrame(columns=[measure])
    return found[found[measure].notna()].to_dict("records")


def _place(row: dict[Any, Any], table: pd.DataFrame) -> str:
    """A model, with its domain if there are several."""
    several = table["domain"].nunique() > 1
    return label(str(row["model"])) + (f", {label(str(row['domain']))}" if several else "")


def _range(row: dict[Any, Any], measure: str) -> str:
    ends = f" ({row[f'{measure}_low']:.2f} to {row[f'{measure}_high']:.2f}, {row['seeds']} pairs of runs)"
    return f"{row[measure]:.2f}{ends if row['seeds'] > 1 else ''}"


def _lower(row: dict[Any, Any], measure: str) -> str:
    return "yes" if row[f"{measure}_high"] < 1 else "no" if row[f"{measure}_low"] >= 1 else "open"


def _in_turns(measure: str) -> list[str]:
    """The same ratio in trainings made in turns, on a named machine; nothing if they were not made."""
    turns = trainings_in_turns()
    rows = _known_ratios(turns, measure, "median") if measure in turns else []
    said = "; ".join(f"{_place(row, turns)} {_range(row, measure)}" for row in rows)
    where = f"{turns['hardware'].iloc[0]}, commit {str(turns['commit'].iloc[0])[:7]}" if rows else ""
    return [f"in turns (benchmarks/costs.csv, {where}): {said}"] if rows else []


def _still_cheaper(tables: Tables) -> Claim:
    """Reproduced if text-only training and its answers cost less than image-text's, for every model and domain.

    An evaluation asks each training as many questions as there are; the break-even says how long the saving lasts.
    """
    claim = "Training and answers together, text only describing first costs less than image + text asked directly"
    known = {"compute_seconds"} <= set(tables.costs) and {"compute_seconds"} <= set(tables.answering)
    rows = break_even(tables.costs, tables.answering).to_dict("records") if known else []
    said = [
        f"{_place(row, tables.costs)}: {row['seconds_share']:.2f} with {row['questions']} questions; "
        f"{_gone(row['break_even'])}"
        for row in rows
    ]
    outcomes = ["yes" if row["seconds_share"] < 1 else "no" for row in rows]
    return _claim(tables, "costs" if "costs" in tables.doubts else "answering", claim, outcomes, said)


def _gone(questions: float) -> str:
    """When the saving is used up, in words."""
    if questions == 0:
        return "training saved nothing"
    return "never gone" if math.isinf(questions) else f"gone after {questions:,.0f}"


def _no_tower(tables: Tables) -> Claim:
    """Reproduced if no text-only training called the vision tower. The calls are counted, not inferred."""
    runs = tables.costs[tables.costs["mode"] == "text_only"] if len(tables.costs) else tables.costs
    calls = runs["vision_tower_calls"] if len(runs) else pd.Series(dtype=int)
    said = [f"{int(calls.sum())} calls in {len(calls)} text-only training runs"] if len(calls) else []
    outcomes = ["yes" if none else "no" for none in calls == 0]
    return _claim(tables, "costs", "Text-only training never runs the vision tower", outcomes, said)


def _claim(tables: Tables, table: str, claim: str, outcomes: Sequence[str], said: Sequence[str]) -> Claim:
    """The claim and the outcome of its rule on one of the tables; not judged if the table is stale or unrecorded."""
    if doubt := tables.doubts.get(table):
        return withheld(claim, doubt, tables.files[table])
    return Claim(claim, verdict_on(outcomes, _WORDS), tuple(said), tables.files[table])


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


def abstract(tables: Tables) -> list[str]:
    """What was asked and what came out, in at most 80 words and four numbers; none from a table not to be judged."""
    asked = (
        "Choi et al. fine-tune vision-language models on text alone. "
        "Do the models then recognise in images what they have read about?"
    )
    verdict = _of_answers(tables, CLAIMS[0]).verdict
    claim = f"The paper's claim, that they do so as well as after training on images and text: {verdict}."
    doubts = [tables.doubts[name] for name in ("table1", "contrasts") if name in tables.doubts]
    if doubts:
        return [asked, claim, f"Accuracies are {doubts[0].status}, so none are quoted."]
    return [sentence for sentence in (asked, claim, *_best(tables), one_seed_said(tables)) if sentence]


def _best(tables: Tables) -> list[str]:
    """The largest gain in recognition that a claim shows over the untuned model, and the best baseline beside it."""
    rows = tables.contrasts
    if rows.empty:
        return []
    names = [rule.claim for rule in CLAIMS if rule.rival is _BASE and rule.question_type == 1]
    gains = rows[rows["claim"].isin(names)]
    if gains.empty:
        return []
    shown = gains[gains["outcome"] == "yes"]
    if shown.empty:
        return ["No gain over the untuned model is beyond chance."]
    best = shown.loc[shown["difference"].idxmax()]
    where = f"{label(best['model'])}, {label(best['domain'])}, {label(best['answering'])}"
    gain = (
        f"The largest gain over the untuned model is from {best['against_accuracy']:.1f} to {best['accuracy']:.1f}\xa0%"
    )
    return [f"{gain} ({where}).", _beside(tables.table1, best)]


def _beside(table: pd.DataFrame, best: pd.Series) -> str:
    """The best of notebook 12's baselines on the questions of a row, and whether it scores more."""
    same = table["model"].isin([best["model"], "baseline"]) & (table["domain"] == best["domain"])
    rows = table[same & table["mode"].isin(BASELINES)].dropna(subset=["type1"])
    if rows.empty:
        return ""
    top = rows.loc[rows["type1"].idxmax()]
    compared = "higher" if top["type1"] > best["accuracy"] else "no higher"
    return f"The best baseline ({label(top['mode'])}) scores {compared}: {top['type1']:.1f}\xa0%."


def one_seed_said(tables: Tables) -> str:
    """That all claims about accuracy rest on one seed, if they do."""
    seeds = tables.contrasts.get("seeds", pd.Series(dtype=int))
    return "Each training ran with one seed only." if len(seeds) and seeds.max() == 1 else ""


def describing(tables: Tables) -> list[str]:
    """What describing first changes in recognition, in points of Table 1: one sentence per training mode."""
    said: list[str] = []
    for mode in () if "table1" in tables.doubts else ("text_only", "image_text", "base"):
        changes = []
        for name, of in _groups(tables.table1):
            direct, described = (_cell(of, mode, answering) for answering in ("direct", "describe_then_answer"))
            if direct is not None and described is not None:
                changes.append(f"{name} {described['type1'] - direct['type1']:+.1f}")
        said += [f"{label(mode).capitalize()}: {'; '.join(changes)}."] if changes else []
    return said


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
        "Every accuracy is compared with another one on the same questions; brackets hold the 95 % interval of the",
        f"difference, in points, over classes and seeds. One margin was stated beforehand: {MARGIN:g} points. *Better*",
        "means that the interval lies above 0 and McNemar's p, corrected for the whole table (Holm), is below 5 %;",
        "*as well*, that the interval rules out being worse by the margin; *at chance*, that it lies within the",
        "margin around 25 %. *No* means that the interval rules the claim out; *open*, that the questions are too",
        "few to tell. The rules are in `src/helpers/results/rules.py`. What would change a verdict: other classes,",
        "more seeds, or base models taught with another seed, for here is one per architecture. All of this is the",
        "demo: a drawn world and models of 4 million parameters. It can show that an effect is real, but not how",
        "large it is at 7B.",
        "",
        "A cost counts as lower if it is lower for every seed. Time is that of the processor (or GPU), which repeats",
        "where a wall clock does not; memory is what comes on top of the loaded model; energy needs a meter. Brackets",
        "hold the lowest and the highest ratio of one pair of runs.",
        "",
        *_rows("claim", claims(tables)),
        "",
        "## What the ablations show",
        "",
        "The rules of `src/helpers/results/findings.py`, judged in the same way on the answers of `./run_all.sh",
        "ablations` (one seed) and `./run_all.sh findings` (three): Qwen2-VL, butterflies, Type 1 unless stated",
        "otherwise. Joint training has every class in words and with its image: the fair rival of text alone.",
        "",
        *_rows("finding", found),
        *_families(family_claims(FIGURES / "families", checked) if folder == FIGURES / "demo" else []),
        "",
        "## Not tried",
        "",
        "| what | why |",
        "|---|---|",
        *(f"| {what} | {why} |" for what, why in NOT_TRIED),
    ]
    return "\n".join(lines) + "\n"


def _families(found: Sequence[Claim]) -> list[str]:
    """The section on the families of models; empty if nothing of them is published."""
    if not found:
        return []
    return [
        "",
        "## What every family of models shows",
        "",
        "The rules of `src/helpers/results/families.py`, judged in the same way on the answers of `./run_all.sh",
        "families`: Type 1, texts in the captions' words unless stated otherwise. See `docs/families.md`.",
        "",
        *_rows("finding", found),
    ]


def _warning(folder: Path, tables: Tables, found: Sequence[Claim], checked: Verified) -> list[str]:
    """The heading of a page on which something is not judged; empty if everything is."""
    if not tables.doubts and not any(finding.verdict.startswith("not judged") for finding in found):
        return []
    told = " ".join(remedy(checked, folder))
    return [f"> **Some of this is not judged, because the tables behind it are stale or unrecorded.** {told}", ""]


def verdicts_in_short(folder: Path, checked: Verified) -> list[str]:
    """The headlines with their verdicts as lines of a Markdown table, for the README."""
    tables = read_tables(folder, checked)
    return [f"| {claim.claim} | **{claim.verdict}** |" for claim in (_of_answers(tables, rule) for rule in HEADLINES)]


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
    parser.add_argument("--short", action="store_true", help="the verdicts alone, as README has them")
    given = parser.parse_args(arguments)
    folder = resolve(given.folder)
    try:
        checked = verify([folder, *([FIGURES / "families"] if folder == FIGURES / "demo" else [])])
        said = "\n".join(verdicts_in_short(folder, checked)) + "\n" if given.short else as_markdown(folder, checked)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(said, end="")
    if refused := said.count("**not judged: "):
        print(f"{refused} verdicts are withheld: the tables behind them are stale or unrecorded", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
