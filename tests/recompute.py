"""Every published number again, from a run's raw rows: `python tests/recompute.py runs/demo figures/demo`.

A second implementation for readers who do not trust the first: pandas, scipy and statsmodels, and not a line of the
package that made the figures. It reads the published CSV files and, of the run, only what was written when a question
was answered or a model trained: `answers.jsonl`, `retention_answers.jsonl`, `timings.json`, `representations.csv`,
`resources.json` and `.parquet`. The sidecar of a figure says which of these files it rests on, the manifest of a grid
what its variants are called. Whether an answer is right is decided anew, from its scores.

A number agrees if it gives the printed digits. The end of a bootstrap interval is a quantile of `PUBLISHED` random
resamples, so another random stream gives another one. Here it must lie between two quantiles of `RESAMPLES` resamples
of a stream of our own: those at 2.5 % (or 97.5 %) plus and minus `SIGMA` standard errors, where the variance of the
share of resamples below a quantile q is q (1 - q) (1 / PUBLISHED + 1 / RESAMPLES). With 5 standard errors, a correct
interval fails once in a million.

One line per file; exit status 1 where anything differs, a column is unknown, or a group of answers has no row. Beside
the published files, those of `UNPUBLISHED` in the run's `results` are checked, which the text of a report quotes. Not
covered: `figure1.csv` (words), the names of rows and columns, what the PDF, PNG and TeX files show of their CSV file,
and other folders than the given one. `cka` is read from `representations.csv`: the vectors behind it are not kept.
"""

import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

PUBLISHED, RESAMPLES, SIGMA, STREAM = 10_000, 20_000, 5, 20_241_217
CHANCE, MARGIN, ALPHA, POWER = 25.0, 10.0, 0.05, 0.8
GRID_NAMES = {
    **{"difference": "difference", "low": "difference_low", "high": "difference_high"},
    **{"detectable": "detectable", "p_value": "p"},
}
TRAINED = {  # columns of a grid's table, and the fields of `resources.json` that they are means of
    **{"train_seconds": "seconds", "train_steps": "steps", "train_samples": "different_samples"},
    "train_image_percent": "image_percent",
}
OPTIONAL = {f"type{kind}_{name}" for kind in (1, 2) for name in (*GRID_NAMES.values(), "p_holm")} | {
    *(
        "low",
        "high",
        "p_value",
        "p_holm",
        "compute_seconds",
        "compute_of",
        "energy_wh",
        "energy_estimate_wh",
        "memory_above_model_mb",
        *TRAINED,
    ),
}  # that may be empty in all rows
TYPES = {"type1": (1,), "type2": (2,), "overall": (1, 2)}
RUN = ["model", "domain", "mode"]
SIDE = [*RUN, "image", "answering"]
NAMES = {
    *("variant", *SIDE, "protocol", "seed", "category", "claim", "relation", "question_type", "against", "cause"),
    *("layer", "stage", "phase"),
}
WORDLESS = {"figure1.csv": "two texts, no number"}
UNPUBLISHED = {"break_even.csv": "resources", "retention.csv": "paper"}  # of a run's results: which notebook made it
RAW = {"answers.jsonl", "retention_answers.jsonl", "timings.json", "resources.json"}
CAUSES = (  # of which text-only training is shown as a share of image-text training, where both have them
    *("vision_tower_calls", "image_tokens", "tokens", "flops", "compute_seconds", "seconds"),
    *("memory_above_model_mb", "peak_memory_mb", "energy_wh"),
)

# What the published words for the other side of a claim mean, as values of the raw rows
WORDS: dict[str, dict[str, str]] = {
    **{"untuned": {"mode": "base"}, "text only": {"mode": "text_only"}, "image + text": {"mode": "image_text"}},
    **{"hybrid": {"mode": "hybrid"}, "printed text": {"mode": "printed"}, "joint": {"mode": "joint"}},
    **{"told the descriptions": {"mode": "options_described"}, "dictionary of its words": {"mode": "dictionary"}},
    **{"dictionary, texts reworded": {"mode": "dictionary_translated"}},
    **{"embeddings of its words": {"mode": "embeddings"}},
    **{"CLIP by description": {"mode": "contrastive"}, "nearest image, CLIP": {"mode": "nearest_features"}},
    **{"nearest image, pixels": {"mode": "nearest_pixels"}, "prior of the texts": {"mode": "prior"}},
    **{"commonest option": {"mode": "most_frequent_option"}, "longest option": {"mode": "longest_option"}},
    **{"asked directly": {"answering": "direct"}, "describe, then answer": {"answering": "describe_then_answer"}},
    **{"describe, then answer (image kept)": {"answering": "describe_then_answer_image_kept"}},
    **{"one-pass chain": {"answering": "one_pass_chain"}, "true name instead": {"image": "named"}},
    **{"with image": {"image": "with"}, "image withheld": {"image": "without"}, "blank image": {"image": "blank"}},
    **{"another image": {"image": "other"}, "description instead": {"image": "described"}},
    **{"image, guided": {"image": "guided"}},
}
# Whose answers a finding is about, where its grid has several variants, and on which old ability they are
OWN = {"variant": "own descriptions"}
CHAIN = {"variant": "chain in the answer"}
EQUAL = {"variant": "equal steps"}
REWORDED = {"variant": "in its own words"}
OTHER_HALF = {"variant": "the other half", "trained": "the described half"}  # whose right options training mentioned
SUBJECTS: dict[str, dict[str, str]] = {
    "The descriptions matter: with those of other classes, recognition stays at chance": {"variant": "shuffled"},
    "Appearance matters: background facts alone leave recognition at chance": {"variant": "background only"},
    "Appearance alone does as well as appearance and background": {"variant": "appearance only"},
    "The reversal curse: texts that only go from name to description leave recognition at chance": {
        "variant": "name to description"
    },
    "Description to name alone does as well as both directions": {"variant": "description to name"},
    "After text-only training, the model recognises better if it describes the image first": OWN,
    "The same holds after image-text training (does only text-only training gain?)": OWN,
    "Describing first is no shortcut: with shuffled descriptions, it stays at chance too": {
        "variant": "shuffled descriptions"
    },
    **{
        f"{kind} training preserves what the model knew before: {what}": {"category": category}
        for kind in ("Text-only", "Image-text")
        for category, what in (("visual", "what an image shows"), ("old_class", "the names of the classes it had met"))
    },
    "Less visual detail in the text means less recognition": {"variant": "detail_share 0.33"},
    "Several wordings per description help, at the same number of steps": {"variant": "4 wordings"},
    "Half the epochs are enough": {"variant": "epochs 6"},
    "Besides all texts, images for half of the classes help when the model is asked directly": {
        "variant": "hybrid_share 0.5"
    },
    "Images for half of the classes cost nothing when it describes first, though each text is read less often": {
        "variant": "hybrid_share 0.5"
    },
    "Text alone does as well as joint training, which has the images and the texts in as many steps, both asked "
    "directly": EQUAL,
    "Text alone does as well as joint training, both describing first": EQUAL,
    "The same beside joint training in twice the steps, which reads and sees everything as often": EQUAL,
    "Joint training does as well as image + text, both asked directly: in as many steps, the texts cost nothing": EQUAL,
    "Joint training is better than image + text if both describe first": EQUAL,
    "Image + text gains from describing first if its second prompt keeps the image": EQUAL,
    "Text alone needs its second prompt without the image: kept, it is worse": EQUAL,
    "Reworded by the untuned model itself, texts teach more than as they are": REWORDED,
    "Reworded, they beat the dictionary over reworded texts, if the model describes first": REWORDED,
    "Rewording is no shortcut: reworded descriptions of other classes leave recognition at chance": {
        "variant": "in its own words, shuffled"
    },
    "Texts in other words than the model's own teach as well as texts in its words": {"variant": "synonyms"},
    "Noise on the words of a description, in training, helps when the model is asked directly": {"variant": "noise"},
    "Words moved towards images, in training, help when the model is asked directly": {"variant": "shift"},
    "With shift and noise, asked directly does as well as describing first without them": {
        "variant": "shift and noise"
    },
    "Description and name in one reply recognise better than asking directly": CHAIN,
    "Description and name in one reply do as well as describing first and asking again": CHAIN,
    "Texts of comparisons teach as well as texts in the model's words": {"variant": "similes"},
    "Where the words differ, describing first beats a dictionary": {"variant": "synonyms"},
    "Where the words differ, it beats the dictionary over reworded texts": {"variant": "synonyms"},
    "4-bit base weights cost no accuracy": {"variant": "QLoRA"},
    "Prompt tuning learns the classes as well as LoRA does, at LoRA's own settings": {"variant": "prompt tuning"},
    "The projector alone cannot learn the classes, even from images": {"variant": "projector alone"},
    "A rank of 4 is enough": {"variant": "rank 4"},
    "Look-alike distractors are harder than random ones": {"variant": "look-alikes"},
    "Nothing carries over to classes that training never mentioned: among the names that it never mentioned, "
    "recognition is no better than chance": {**OTHER_HALF, "names": "among untrained"},
    "Asked about a class that training never mentioned, the model has no bias to the names that it did mention": {
        **OTHER_HALF,
        "names": "trained chosen",
    },
}


@dataclass(frozen=True)
class Span:
    """A number that chance has a part in: our own, and between which two another random stream's may lie."""

    value: float
    least: float
    most: float

    def __mul__(self, factor: float) -> "Span":
        return Span(self.value * factor, self.least * factor, self.most * factor)


Row = dict[str, Any]  # column: a number, a Span, a text, or a set of texts that are all right


@dataclass
class Result:
    """What came out for a file: how many numbers agree how well, and what differs."""

    numbers: int = 0
    digits: float = 0.0  # the largest deviation, in units of the last printed digit
    intervals: int = 0
    points: float = 0.0  # the largest deviation of an interval's end
    problems: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)  # columns that say what a row is about, and are not compared

    def line(self, file: str) -> str:
        said = f"{file}: {self.numbers} numbers, largest deviation {self.digits:.2f} of the last digit"
        if self.intervals:
            said += f"; {self.intervals} bootstrap bounds, largest deviation {self.points:.2f}"
        return f"{said}: {'differs' if self.problems else 'ok'}"


# ---- raw rows --------------------------------------------------------------------------------------------------------

SHOWN = ["options", "answer", "parsed", "scores"]
KEPT = [*SIDE, "variant", "seed", "protocol", "question_id", "question_type", "category", "class_id", "image_path"]


@cache
def answers_in(path: Path) -> pd.DataFrame:
    """A file of answers, with what is right decided anew: the option with the highest score, or that of the reply."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        row = json.loads(line)
        chosen, scores = row["parsed"], row["scores"]
        scored = scores is not None and not row.get("rotation_scores")
        if scored and (chosen is None or scores[chosen] != max(scores)):
            raise ValueError(f"{path}, line {number}: option {chosen} was read, and another has the highest score")
        if row["correct"] != (chosen == row["answer"]):
            raise ValueError(f"{path}, line {number}: correct is {row['correct']}, read {chosen} of {row['answer']}")
        rows.append(
            {name: row[name] for name in KEPT} | {name: row.get(name) for name in (*SHOWN, "new_tokens", "left_out")}
        )
        rows[-1]["correct"] = chosen == row["answer"]
    table = pd.DataFrame(rows)
    again = table.duplicated([*SIDE, "seed", "protocol", "question_id"])
    if again.any():
        raise ValueError(f"{path}: {table.loc[again, 'question_id'].iloc[0]} was answered twice under one seed")
    return table


def first_protocol(rows: pd.DataFrame, wanted: str | None = None) -> pd.DataFrame:
    """The rows of one protocol; without a wish, the first of each variant."""
    first = rows.groupby("variant")["protocol"].transform("first")
    return rows[rows["protocol"] == (first if wanted is None else wanted)]


@dataclass(frozen=True)
class Sources:
    """The raw files that a published table rests on, as its sidecar names them, and its grid's parameters."""

    run: Path
    files: tuple[Path, ...]
    grid: Mapping[str, Any]

    def named(self, name: str) -> list[Path]:
        return [file for file in self.files if file.name == name]

    @property
    def variants(self) -> dict[str, str]:
        """The published name of each variant's key; in a grid, keys of equal settings are one."""
        return dict(self.grid.get("labels", {}))

    def answers(self) -> pd.DataFrame:
        """All answers, each variant read by one protocol, and those of the baselines as they are (column `beside`).

        Outside a grid, those of the unchanged profile alone.
        """
        files = self.named("answers.jsonl")
        asked = [answers_in(file) for file in files if "baselines" not in file.parts]
        beside = [answers_in(file).assign(beside=True) for file in files if "baselines" in file.parts]
        of_models = [first_protocol(pd.concat(asked), self.grid.get("protocol")).assign(beside=False)] if asked else []
        rows = pd.concat([*of_models, *beside], ignore_index=True)
        if not self.grid:
            return rows[rows["variant"] == "main"]
        shown = rows["image"].isin(self.grid.get("images") or rows["image"])
        same = rows["model"].isin(["baseline", *rows.loc[~rows["beside"], "model"]])
        named = rows["mode"].isin(self.grid.get("baselines", [])) & same
        return self.renamed(rows[shown & (named | ~rows["beside"])])

    def retention(self) -> pd.DataFrame:
        """The answers about old abilities, beside the others."""
        files = [file.with_name("retention_answers.jsonl") for file in self.named("answers.jsonl")]
        found = [rows for file in files if file.is_file() and len(rows := answers_in(file))]
        empty = pd.DataFrame(columns=[*KEPT, "correct"])
        return self.renamed(first_protocol(pd.concat(found), self.grid.get("protocol"))) if found else empty

    def renamed(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(variant=rows["variant"].map(lambda key: self.variants.get(key, key)))

    def resources(self) -> pd.DataFrame:
        files = self.named("resources.json")
        records = [{**json.loads(file.read_text(encoding="utf-8")), "file": file} for file in files]
        return pd.DataFrame([record for record in records if record.get("variant", "main") == "main"])


def below(run: Path, name: str) -> Path | None:
    """A file that a record names, in this run's folder, wherever that lies now."""
    parts = Path(name).parts
    return next((file for at in range(len(parts)) if (file := run.joinpath(*parts[at:])).is_file()), None)


def record_of(csv: Path, run: Path) -> dict[str, Any]:
    """What is known of a table: its sidecar or, of one in the run's results, the manifest of the notebook behind it."""
    if (sidecar := csv.with_suffix(".json")).is_file():
        return dict(json.loads(sidecar.read_text(encoding="utf-8")))
    manifest = run / "notebooks" / f"{UNPUBLISHED.get(csv.name)}.manifest.json"
    if manifest.is_file():
        return dict(json.loads(manifest.read_text(encoding="utf-8")))
    raise LookupError(f"no {sidecar.name} says what it was made from")


def sources(csv: Path, run: Path) -> Sources:
    """Raises ``LookupError`` for a table without records, or made from files that the run does not have."""
    stem = csv.stem
    if stem.startswith("baselines_"):
        return Sources(run, (run / "baselines" / stem.removeprefix("baselines_") / "main" / "answers.jsonl",), {})
    named = [name for name in record_of(csv, run)["inputs"] if Path(name).name in RAW]
    found = {name: below(run, name) for name in named}
    if missing := [name for name, file in found.items() if file is None]:
        raise LookupError(f"it was made from {missing[0]}, which {run} does not have")
    manifest = run / "grids" / re.sub("_(findings|layers|names)$", "", stem) / "manifest.json"
    of_grid = csv.parent.name in ("ablations", "findings") and manifest.is_file()
    grid = json.loads(manifest.read_text(encoding="utf-8"))["parameters"] if of_grid else {}
    return Sources(run, tuple(file for file in found.values() if file), grid)


# ---- statistics ------------------------------------------------------------------------------------------------------


def accuracy(rows: pd.DataFrame, name: str) -> Row:
    """Percent correct and Wilson's interval, with n the number of questions per seed."""
    n = len(rows) // rows["seed"].nunique() if len(rows) else 0
    if not n:
        return {f"n_{name}": 0, name: math.nan, f"{name}_low": math.nan, f"{name}_high": math.nan}
    share = float(rows["correct"].mean())
    low, high = proportion_confint(share * n, n, method="wilson")
    return {f"n_{name}": n, name: 100 * share, f"{name}_low": 100 * max(low, 0), f"{name}_high": 100 * min(high, 1)}


def accuracies(rows: pd.DataFrame) -> Row:
    found: Row = {"seeds": rows["seed"].nunique()}
    for name, kinds in TYPES.items():
        found |= accuracy(rows[rows["question_type"].isin(kinds)], name)
    if rows["left_out"].notna().any():
        found["left_out"] = rows["left_out"].max()
    return found


@cache
def drawn(number: int, of: str) -> np.ndarray:
    """How often each class (or seed) is in a resample: RESAMPLES x number. Each draw is a number of its own."""
    stream = np.random.default_rng([STREAM, number, len(of)])
    places = stream.integers(number, size=(RESAMPLES, number)) + number * np.arange(RESAMPLES)[:, None]
    return np.bincount(places.ravel(), minlength=RESAMPLES * number).reshape(RESAMPLES, number).astype(float)


def interval(values: pd.Series, classes: pd.Series, seeds: pd.Series) -> tuple[Span, Span]:
    """Both ends of the 95 % interval of a mean when whole classes and whole seeds are drawn with replacement."""
    if classes.nunique() < 2:
        return Span(*[math.nan] * 3), Span(*[math.nan] * 3)
    cells = pd.DataFrame({"value": values.astype(float), "class": classes.astype(str), "seed": seeds})
    by_seed = cells.groupby(["class", "seed"])["value"].agg(["sum", "size"]).unstack(fill_value=0)
    of_classes, of_seeds = drawn(len(by_seed), "classes"), drawn(cells["seed"].nunique(), "seeds")
    sums, sizes = (((of_classes @ by_seed[of].to_numpy(dtype=float)) * of_seeds).sum(axis=1) for of in ("sum", "size"))
    means = np.sort(sums[sizes > 0] / sizes[sizes > 0])

    def end(level: float) -> Span:
        error = SIGMA * math.sqrt(level * (1 - level) * (1 / PUBLISHED + 1 / RESAMPLES))
        return Span(*np.quantile(means, [level, max(level - error, 0), min(level + error, 1)]))

    return end(0.025), end(0.975)


def unit(rows: pd.DataFrame) -> pd.Series:
    """What is drawn as one: the class, or the image of a question about none, or the question."""
    return rows["class_id"].fillna(rows["image_path"]).fillna(rows["question_id"].map("question {}".format))


def detectable(n: int, discordant: float) -> float:
    """Connor's smallest paired difference, from his condition: sqrt(n) d = a sqrt(D) + b sqrt(D - d²)."""
    a, b = norm.ppf(1 - ALPHA / 2), norm.ppf(POWER)

    def over(d: float) -> float:
        return math.sqrt(n) * d - a * math.sqrt(discordant) - b * math.sqrt(max(discordant - d * d, 0))

    most = math.sqrt(discordant)
    if discordant <= 0 or over(most) < 0:
        return math.nan
    found = float(brentq(over, 0, most, xtol=1e-14))
    return found if found <= discordant else math.nan


def difference(subject: pd.DataFrame, rival: pd.DataFrame | None) -> Row:
    """How many points the subject is above the rival (None: above chance), with what belongs to it."""
    chance = subject["chance"] if "chance" in subject else pd.Series(CHANCE / 100, index=subject.index)
    right = 100 * subject["correct"].mean()
    against = 100 * chance.mean() if rival is None else 100 * rival["correct"].mean()
    found: Row = {"n": subject["question_id"].nunique(), "seeds": subject["seed"].nunique(), "accuracy": right}
    found |= {"against_accuracy": against, "difference": right - against}
    if rival is None:
        low, high = interval(subject["correct"].astype(float) - chance, unit(subject), subject["seed"])
        return found | {"low": low * 100, "high": high * 100}
    if set(subject["question_id"]) != set(rival["question_id"]):
        return found
    sides = [dict(iter(side.set_index("question_id").groupby("seed"))) for side in (subject, rival)]
    seeds = max(sides, key=len)  # a side of a single seed is compared with each of the other's
    one, other = (side if len(side) > 1 else dict.fromkeys(seeds, *side.values()) for side in sides)
    parts, p_values, discordant = [], [], []
    for seed in (seed for seed in one if seed in other):
        mine, theirs = one[seed]["correct"], other[seed]["correct"].reindex(one[seed].index)
        only_mine, only_theirs = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
        table = [[int((mine & theirs).sum()), only_mine], [only_theirs, int((~mine & ~theirs).sum())]]
        p_values.append(float(mcnemar(table, exact=True).pvalue))
        discordant.append(only_mine + only_theirs)
        gain = pd.DataFrame({"gain": mine.astype(int) - theirs.astype(int), "seed": seed})
        parts.append(gain.assign(unit=unit(one[seed].reset_index()).to_numpy()))
    if not parts:
        return found
    pairs = pd.concat(parts)
    low, high = interval(pairs["gain"], pairs["unit"], pairs["seed"])
    found |= {"low": low * 100, "high": high * 100, "p_value": p_values[0]}
    if len(p_values) > 1:  # twice the mean of dependent p-values is one
        found["p_value"] = min(1.0, 2 * float(np.mean(p_values)))
    share = float(np.mean(discordant)) / found["n"]
    return found | {"discordant": 100 * share, "detectable": 100 * detectable(found["n"], share)}


def holm(rows: Sequence[Row], p_value: str, into: str) -> None:
    """Correct the p-values of all rows together; rows without a test are no part of the family."""
    tested = [row for row in rows if not math.isnan(row.get(p_value, math.nan))]
    if tested:
        corrected = multipletests([row[p_value] for row in tested], alpha=ALPHA, method="holm")[1]
        for row, value in zip(tested, corrected, strict=True):
            row[into] = float(value)


def outcomes(row: Mapping[str, Any]) -> set[str]:
    """What the printed interval decides by the rule of its relation, wherever in its last digit the bounds lie."""
    found = set()
    for low, high in itertools.product(*([row[end] - 0.05, row[end] + 0.05] for end in ("low", "high"))):
        if row["relation"] in ("below", "not above"):
            low, high = -high, -low
        yes, no = low > -MARGIN and high < MARGIN, high < -MARGIN or low > MARGIN
        if row["relation"] in ("above", "below"):
            yes, no = low > 0 and row["p_holm"] < ALPHA, high < MARGIN
        elif row["relation"] in ("not below", "not above"):
            yes, no = low > -MARGIN, high < -MARGIN
        found.add("yes" if yes else "no" if no else "open")
    return found


# ---- tables ----------------------------------------------------------------------------------------------------------

Recomputed = tuple[list[Row], list[str]]  # a row for each published one, and what is wrong with the whole


def accuracy_table(table: pd.DataFrame, of: Sources) -> Recomputed:
    """Tables 1 and 2 and all that have their columns: one row per group of answers."""
    rows = of.answers()
    if not of.grid:
        states = {"with", "without", "named", *table["image"]} if "image" in table else {"with"}
        rows = rows[rows["beside"] | rows["image"].isin(states)]
        if "image" in table:  # Table 2: only what was also asked without the image
            withheld = (rows["image"] == "without").groupby([rows[name] for name in (*RUN, "answering")])
            rows = rows[rows["beside"] | withheld.transform("any")]
    resources = of.resources() if of.named("resources.json") else None
    if resources is not None:  # the trade-off: only what was trained
        told = {column: column for column in table if column in resources and column not in KEPT}
        costs = {key: means(records, told) for key, records in resources.groupby(RUN)}
        rows = rows[[key in costs for key in rows[RUN].itertuples(index=False, name=None)]]
    keys = [column for column in table if column in KEPT and not (of.grid and column == "protocol")]
    cells = dict(iter(rows.groupby(keys)))
    published = list(table[keys].itertuples(index=False, name=None))
    problems = [f"no row for {key}" for key in cells if key not in set(published)]
    found: list[Row] = []
    for key in published:
        if key not in cells:
            problems.append(f"no answers for the row {key}")
            found.append({})
            continue
        found.append(accuracies(cells[key]) | {"tokens": cells[key]["new_tokens"].mean()})
        found[-1]["protocol"] = cells[key]["protocol"].iloc[0]
        if resources is not None:
            found[-1] |= costs[key[: len(RUN)]]
        elif of.named("timings.json"):
            found[-1] |= per_question(of, cells[key])
    if of.grid:
        grid_columns(of, list(zip(published, found, strict=True)), keys, cells)
    return found, problems


def per_question(of: Sources, cell: pd.DataFrame) -> Row:
    """What an answer costs by the `timings.json` of a group's evaluations: sums over its seeds, per question."""
    timings, first = [], cell.iloc[0]
    for file in of.named("timings.json"):
        run = answers_in(file.with_name("answers.jsonl")).iloc[0]
        timing = json.loads(file.read_text(encoding="utf-8")).get(f"{first['answering']}/{first['protocol']}/with")
        if timing and all(run[name] == first[name] for name in RUN):
            timings.append(timing)
    if not timings:
        return {}
    known = {name for name in timings[0] if all(timing.get(name) is not None for timing in timings)}
    found = means(pd.DataFrame(timings), {name: name for name in known})
    asked = found.pop("questions")
    return {name: cost if isinstance(cost, str) else cost / asked for name, cost in found.items()}


def grid_columns(
    of: Sources,
    found: Sequence[tuple[tuple[Any, ...], Row]],
    keys: Sequence[str],
    cells: Mapping[tuple[Any, ...], pd.DataFrame],
) -> None:
    """What only a grid's table has: the variant's settings, differences from the reference, training, old abilities."""
    settings = own_settings(of.grid)
    kept = dict(iter(of.retention().groupby(["variant", *RUN, "category"])))
    trained = training_costs(of)
    states = {key[keys.index("image")] for key, _ in found}
    by_image = len({key[0] for key, _ in found}) == 1 and len(states) > 1
    place, reference = keys.index("image" if by_image else "variant"), "with"
    if not by_image:
        reference = next((label for label, changed in settings.items() if not changed), None)
    for key, row in found:
        known = key[0] in settings  # a data set's key that is none of an evaluation's stands for itself
        changed = settings.get(key[0], {})
        row |= {
            "reference": (known and not changed) or key[0] == "main",
            "settings": json.dumps(changed, sort_keys=True),
        }
        values = {**of.grid.get("defaults", {}), **changed} if known else {}
        row["x"] = next((v for n, v in values.items() if of.grid.get("x") in (n, n.rpartition(".")[2])), math.nan)
        run = tuple(key[keys.index(column)] for column in ("variant", *RUN))
        row |= trained.get(run, {})
        for (*of_run, category), answers in kept.items():
            if tuple(of_run) == run:
                row |= {
                    column.replace("n_", "n_retention_", 1) if column.startswith("n_") else f"retention_{column}": value
                    for column, value in accuracy(answers, category).items()
                }
        other = cells.get((*key[:place], reference, *key[place + 1 :]))
        if key[place] == reference or other is None or key not in cells:
            continue
        for kind in (1, 2):
            sides = [side[side["question_type"] == kind] for side in (cells[key], other)]
            if all(map(len, sides)):
                measured = difference(*sides)
                row |= {f"type{kind}_{new}": measured.get(old, math.nan) for old, new in GRID_NAMES.items()}
    tests = [{"row": row, "kind": kind, "p": row.get(f"type{kind}_p", math.nan)} for _, row in found for kind in (1, 2)]
    holm(tests, "p", "p_holm")
    for test in tests:
        test["row"][f"type{test['kind']}_p_holm"] = test.get("p_holm", math.nan)


def own_settings(grid: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By published name, the settings in which a variant differs from the others of its grid."""
    every = grid.get("variants", {})
    shared = {
        n for first in list(every.values())[:1] for n in first if all(o.get(n) == first[n] for o in every.values())
    }
    return {
        grid.get("labels", {}).get(key, key): {n: v for n, v in changed.items() if n not in shared and key != "main"}
        for key, changed in every.items()
    }


def training_costs(of: Sources) -> dict[tuple[Any, ...], Row]:
    """Means over the trainings whose adapters were evaluated; each evaluation's manifest names its adapter."""
    found: dict[tuple[Any, ...], dict[Path, Row]] = {}
    for file in of.named("answers.jsonl"):
        manifest = file.with_name("manifest.json")
        given = json.loads(manifest.read_text(encoding="utf-8"))["parameters"] if manifest.is_file() else {}
        named = given.get("adapter_dir")
        if named and (record := below(of.run, f"{Path(named).parent}/resources.json")):
            run = of.renamed(answers_in(file).head(1)).iloc[0]
            costs = json.loads(record.read_text(encoding="utf-8"))
            found.setdefault(tuple(run[["variant", *RUN]]), {})[record] = costs
    return {run: means(pd.DataFrame(list(costs.values())), TRAINED) for run, costs in found.items()}


def means(records: pd.DataFrame, columns: Mapping[str, str]) -> Row:
    """Means of fields of some records; of a field in words, the first."""
    found: Row = {}
    for column, name in columns.items():
        if name in records:
            words = records[name].map(lambda value: isinstance(value, str)).any()
            found[column] = records[name].iloc[0] if words else records[name].astype(float).mean()
    return found


def contrasts(table: pd.DataFrame, of: Sources) -> Recomputed:
    """The claims and a grid's findings: the two sides that a row's words name."""
    answers, kept, problems, found = of.answers(), of.retention(), [], []
    words = WORDS | {label: {"variant": label} for label in answers["variant"].unique()}
    for published in table.to_dict("records"):
        try:
            subject, rival = two_sides(published, answers, kept, words)
        except LookupError as error:
            problems.append(str(error))
            found.append({})
            continue
        row = difference(subject, rival)
        row = row if published["relation"] in ("above", "below") else {**row, "p_value": math.nan}
        found.append(row)
    holm(found, "p_value", "p_holm")
    if "outcome" in table:
        for row, published in zip(found, table.to_dict("records"), strict=True):
            row["outcome"] = outcomes(published)
        problems += list(left_out(table, answers, kept, words))
    return found, problems


def two_sides(
    row: Mapping[str, Any], answers: pd.DataFrame, kept: pd.DataFrame, words: Mapping[str, Mapping[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Raises ``LookupError`` for a claim or a rival in words that are not known here, or without answers."""
    asked, claim = answers[answers["question_type"] == row["question_type"]], row["claim"]
    known = SUBJECTS.get(claim, {"variant": row["variant"]} if "variant" in row else {})
    if not known and answers["variant"].nunique() > 1:
        raise LookupError(f"{claim!r} is not in SUBJECTS: say whose answers it is about")
    if "category" in known:
        asked = kept[kept["category"] == known["category"]]
    names = {column: row[column] for column in SIDE} | {"variant": known.get("variant", asked["variant"].iloc[0])}
    subject = chosen(asked, names)
    if subject.empty:
        raise LookupError(f"no answers for {claim!r}, {names}")
    if "names" in known:
        described = {"variant": known["trained"], "mode": "text_only", "domain": row["domain"]}
        subject = by_names(subject, known["names"], right_options(chosen(asked, described)))
    if row["against"] == "chance":
        return subject, None
    names |= rival_of(row["against"], words)
    rival = chosen(asked, names)
    rival = rival if len(rival) else chosen(asked, names | {"model": "baseline"})
    if rival.empty:
        raise LookupError(f"no answers of {row['against']!r} beside {claim!r}, {names}")
    return subject, rival


def right_options(rows: pd.DataFrame) -> set[str]:
    """The names that training mentioned: the right options of questions on the classes in training."""
    asked = rows[rows["question_type"] == 1]
    return {options[answer] for options, answer in zip(asked["options"], asked["answer"], strict=True)}


def by_names(rows: pd.DataFrame, what: str, trained: set[str]) -> pd.DataFrame:
    """The answers with another meaning of `correct`, and the `chance` of each question.

    "among untrained": the right option has the highest score of those that training did not mention, where it is one of
    them and has a rival. "trained chosen": the chosen option is one that training mentioned, where some are and some
    are not.
    """
    found = []
    for row in rows.to_dict("records"):
        other = [place for place, option in enumerate(row["options"]) if option not in trained]
        if what == "trained chosen" and 0 < len(other) < 4:
            read = not pd.isna(row["parsed"]) and row["parsed"] not in other
            found.append({**row, "correct": read, "chance": 1 - len(other) / 4})
        elif (
            what == "among untrained" and row["answer"] in other and len(other) > 1 and isinstance(row["scores"], list)
        ):
            best = max(row["scores"][place] for place in other)
            first = next(place for place in other if row["scores"][place] == best)
            found.append({**row, "correct": first == row["answer"], "chance": 1 / len(other)})
    return pd.DataFrame(found, columns=[*rows.columns, "chance"])


def names_table(table: pd.DataFrame, of: Sources) -> Recomputed:
    """Trained and untrained names among the options and the answers, where training mentioned some only."""
    rows, keys = of.answers(), [*RUN, "answering", "variant"]
    rows, found = rows[rows["question_type"] == 1], []
    described = rows[(rows["variant"] == OTHER_HALF["trained"]) & (rows["mode"] == "text_only")]
    mentioned = {domain: right_options(asked) for domain, asked in described.groupby("domain")}
    published_keys = set(table[keys].itertuples(index=False, name=None))
    problems = [
        f"no row for {key}"
        for key, cell in rows.groupby(keys)
        if key not in published_keys and len(by_names(cell, "among untrained", mentioned.get(key[1], set())))
    ]
    for _, published in table.iterrows():
        trained = mentioned.get(published["domain"], set())
        cell, row = chosen(rows, published[keys].to_dict()), {}
        for what, names in {
            "trained chosen": ("questions", "options_trained", "answers_trained"),
            "among untrained": ("untrained_questions", "untrained_chance", "untrained_accuracy"),
        }.items():
            part = by_names(cell, what, trained)
            shares = (100 * part["chance"].mean(), 100 * part["correct"].astype(float).mean())
            row |= dict(zip(names, (part["question_id"].nunique(), *shares), strict=True))
        found.append(row)
    return found, problems


def chosen(rows: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    return rows[np.logical_and.reduce([rows[column] == value for column, value in values.items()])]


def rival_of(said: str, words: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The values that "image + text, asked directly" stands for."""
    found: dict[str, str] = {}
    rest = said
    while rest:
        longest_first = sorted(words, key=len, reverse=True)  # "in its own words, shuffled" is one phrase
        phrase = next((phrase for phrase in longest_first if f"{rest}, ".startswith(f"{phrase}, ")), None)
        if phrase is None:
            raise LookupError(f"{rest!r} is not in WORDS: say which answers it means")
        found |= words[phrase]
        rest = rest[len(phrase) + 2 :]
    return found


def left_out(
    table: pd.DataFrame, answers: pd.DataFrame, kept: pd.DataFrame, words: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Claims that could be tested on a model and domain where no row says how it went."""
    names = ["claim", "question_type", "mode", "image", "answering", "against"]
    for key, rows in table.groupby(names):
        there = set(rows[["model", "domain"]].itertuples(index=False, name=None))
        for model, domain in set(answers[["model", "domain"]].itertuples(index=False, name=None)) - there:
            row = {**dict(zip(names, key, strict=True)), "model": model, "domain": domain}
            try:
                subject, rival = two_sides(row, answers, kept, words)
            except LookupError:
                continue
            if rival is None or set(rival["question_id"]) == set(subject["question_id"]):
                yield f"no row for {key[0]!r} on {model}, {domain}"


def cost_table(table: pd.DataFrame, of: Sources) -> Recomputed:
    """The costs of each training, as its record has them."""
    records = {tuple(row[c] for c in [*RUN, "variant", "seed"]): row for row in of.resources().to_dict("records")}
    published = list(table[[*RUN, "variant", "seed"]].itertuples(index=False, name=None))
    problems = [f"no row for {key}" for key in records if key not in set(published)]
    return [{c: v for c, v in records.get(key, {}).items() if c in table} for key in published], problems


def saving_table(table: pd.DataFrame, of: Sources) -> Recomputed:
    """Means over the seeds of text-only training, of image-text training, and their ratio."""
    found: dict[tuple[str, ...], Row] = {}
    for place, runs in of.resources().groupby(["model", "domain"]):
        sides = [runs[runs["mode"] == mode] for mode in ("text_only", "image_text")]
        for cause in CAUSES:
            text, both = (side[cause].astype(float).mean() if cause in side else math.nan for side in sides)
            if not math.isnan(text) and both > 0:
                seeds = min(side["seed"].nunique() for side in sides)
                found[*place, cause] = {"text_only": text, "image_text": both, "share": text / both, "seeds": seeds}
    published = list(table[["model", "domain", "cause"]].itertuples(index=False, name=None))
    problems = [f"no row for {key}" for key in found if key not in published]
    return [found.get(key, {}) for key in published], problems + [
        f"no records for the row {key}" for key in published if key not in found
    ]


def break_even_table(table: pd.DataFrame, of: Sources) -> Recomputed:
    """Text-only training that describes first beside image-text training asked directly, both in compute seconds.

    Per question, the seconds are those that `answering.csv` prints, with four decimals.
    """
    rows, records, found = of.answers(), of.resources(), {}
    for place, asked in rows[rows["image"] == "with"].groupby(["model", "domain"]):
        row: Row = {}
        for mode, answering in {"text_only": "describe_then_answer", "image_text": "direct"}.items():
            cell = chosen(asked, {"mode": mode, "answering": answering})
            trained = chosen(records, dict(zip(RUN, (*place, mode), strict=True)))
            each = per_question(of, cell).get("compute_seconds", math.nan) if len(cell) else math.nan
            spent = trained["compute_seconds"].astype(float).mean() if "compute_seconds" in trained else math.nan
            row |= {f"train_seconds_{mode}": spent, f"question_seconds_{mode}": round(each, 6)}
        if any(map(math.isnan, row.values())):
            continue
        text, both = (
            [row[f"{what}_seconds_{mode}"] for what in ("train", "question")] for mode in ("text_only", "image_text")
        )
        saved, more = both[0] - text[0], text[1] - both[1]
        row["break_even"] = 0.0 if saved <= 0 else saved / more if more > 0 else math.inf
        row["questions"] = n = chosen(asked, {"mode": "text_only", "answering": "describe_then_answer"})[
            "question_id"
        ].nunique()
        found[place] = row | {"seconds_share": (text[0] + n * text[1]) / (both[0] + n * both[1])}
    published = list(table[["model", "domain"]].itertuples(index=False, name=None))
    return [found.get(key, {}) for key in published], [f"no row for {key}" for key in found if key not in published]


def kept_table(table: pd.DataFrame, of: Sources) -> Recomputed:
    """What each training did to the old abilities, beside the untuned model."""
    keys, answers = ["category", *RUN], of.retention()
    sides = dict(iter(answers[answers["variant"] == "main"].groupby(keys)))
    published, found = list(table[keys].itertuples(index=False, name=None)), []
    for key in published:
        pair = [sides.get(key), sides.get((*key[:-1], "base"))]
        row = difference(*pair) if all(side is not None for side in pair) else {}
        found.append(row | ({"before": row["against_accuracy"], "after": row["accuracy"]} if row else {}))
    holm(found, "p_value", "p_holm")
    could = [key for key in sides if key[-1] != "base" and (*key[:-1], "base") in sides]
    return found, [f"no row for {key}" for key in could if key not in published]


def time_table(table: pd.DataFrame, of: Sources) -> Recomputed:
    """The meter's readings of each model's and mode's training with the lowest seed, in their order."""
    files = {tuple(record[c] for c in [*RUN, "seed"]): record["file"] for record in of.resources().to_dict("records")}
    found = {}
    for key in dict.fromkeys(run[:-1] for run in files):
        file = files[min(run for run in files if run[:-1] == key)].with_name("resources.parquet")
        readings = pd.read_parquet(file) if file.is_file() else pd.DataFrame()
        for column in readings.select_dtypes("float32"):  # as it is printed, in the digits of its own precision
            readings[column] = [float(str(value)) for value in readings[column].to_numpy()]
        found[key] = iter(readings.to_dict("records"))
    rows = [next(found.get(key, iter([])), {}) for key in table[RUN].itertuples(index=False, name=None)]
    return rows, [f"readings of {key} are left out" for key, rest in found.items() if next(rest, None)]


def layer_table(table: pd.DataFrame, of: Sources) -> Recomputed:
    """The similarities that each evaluation wrote."""
    files = [file.with_name("representations.csv") for file in of.named("answers.jsonl")]
    keys = [*RUN, "variant", "seed", "layer"]
    rows = pd.concat([pd.read_csv(file) for file in files if file.is_file()])
    found = {tuple(row[column] for column in keys): row for row in rows.to_dict("records")}
    published = list(table[keys].itertuples(index=False, name=None))
    return [found.get(key, {}) for key in published], [f"no row for {key}" for key in found if key not in published]


def recomputes(table: pd.DataFrame) -> Callable[[pd.DataFrame, Sources], Recomputed]:
    """The way to recompute a table, by a column that only its kind has."""
    for column, way in {
        **{"claim": contrasts, "cause": saving_table, "phase": time_table, "layer": layer_table},
        **{"break_even": break_even_table, "before": kept_table},
        **{"untrained_questions": names_table, "type1": accuracy_table, "vision_tower_calls": cost_table},
    }.items():
        if column in table:
            return way
    raise LookupError(f"nothing here recomputes a table with the columns {', '.join(table)}")


# ---- comparison ------------------------------------------------------------------------------------------------------


def last_digit(column: str, printed: str, decimals: int) -> float:
    """What one unit of the last printed digit is worth: three digits of a p-value, a column's decimals otherwise."""
    if "p" not in column.split("_") or not float(printed):
        return 10.0**-decimals
    return 10.0 ** (math.floor(math.log10(abs(float(printed)))) - 2)


def compare(printed: pd.DataFrame, recomputed: Recomputed, result: Result) -> None:
    """Every cell of a published table beside the recomputed one."""
    rows, result.problems[len(result.problems) :] = recomputed
    for column in printed:
        if column in NAMES and not any(column in row for row in rows):
            result.names.add(column)
            continue
        values = printed[column]
        decimals = max([len(said.partition(".")[2]) for said in values if "e" not in said], default=0)
        if not any(column in row for row in rows) and (column not in OPTIONAL or any(values)):
            result.problems.append(f"column {column!r} is not recomputed")
            continue
        for number, (said, row) in enumerate(zip(values, rows, strict=True), 2):
            problem = differs(column, said, row, decimals, result) if row else ""
            if problem:
                where = ", ".join(v for c, v in printed.iloc[number - 2].items() if c in (*SIDE, "variant", "claim"))
                result.problems.append(f"line {number} ({where}), {column}: {problem}")


def differs(column: str, said: str, row: Row, decimals: int, result: Result) -> str:
    """In words, how a printed cell differs from ours; empty if it does not."""
    ours = row.get(column)
    if isinstance(ours, set):
        return "" if said in ours else f"{said}, its numbers give {' or '.join(sorted(ours))}"
    if isinstance(ours, str | bool):
        return "" if said == str(ours) else f"{said}, recomputed {ours}"
    span = ours if isinstance(ours, Span) else Span(*[math.nan if ours is None else float(ours)] * 3)
    if not said:
        one_type = column.startswith("overall") and not (row["n_type1"] and row["n_type2"])
        return "" if math.isnan(span.value) or one_type else f"empty, recomputed {span.value:.6g}"
    unit_, value = last_digit(column, said, decimals), float(said)
    if math.isnan(span.value):
        return f"{said}, recomputed none"
    slack = unit_ * 0.5 + 1e-9 * max(1.0, abs(value)) * (unit_ >= 1e-6)
    if isinstance(ours, Span):
        result.intervals += 1
        result.points = max(result.points, abs(value - span.value))
    else:
        result.numbers += 1
        result.digits = max(result.digits, abs(value - span.value) / unit_)
    if span.least - slack <= value <= span.most + slack:
        return ""
    about = f" (from {span.least:.6g} to {span.most:.6g})" if isinstance(ours, Span) else ""
    return f"{said}, recomputed {span.value:.6g}{about}"


def check(csv: Path, run: Path) -> Result:
    """One published file beside the raw rows of a run."""
    printed, result = pd.read_csv(csv, dtype=str, keep_default_na=False), Result()
    table = pd.read_csv(csv)
    try:
        way = recomputes(table)
        recomputed = way(table, sources(csv, run))
        if len(table):
            compare(printed, recomputed, result)
        else:  # an empty table has no cells, but may lack rows
            result.problems += recomputed[1]
    except (LookupError, ValueError, FileNotFoundError) as error:
        result.problems.append(f"nothing is called {error}" if isinstance(error, KeyError) else str(error))
    return result


def main(run: Path, figures: Path) -> int:
    """Print one line per file and what differs; return 1 if anything does."""
    files = sorted(figures.rglob("*.csv"))
    recorded = (run / "notebooks").is_dir()  # else the run is not the workflow's, and no manifest says what was read
    beside = [file for name in UNPUBLISHED if recorded and (file := run / "results" / name).is_file()]
    if not files:
        print(f"{figures} has no published tables (*.csv)")
        return 1
    results = []
    for file in [*files, *beside]:
        name = str(file.relative_to(figures if file in files else run))
        if name in WORDLESS:
            print(f"{name}: not covered ({WORDLESS[name]})")
            continue
        results.append(check(file, run))
        print(results[-1].line(name), *results[-1].problems, sep="\n    ")
    wrong = [result for result in results if result.problems]
    numbers, bounds = sum(result.numbers for result in results), sum(result.intervals for result in results)
    print(f"{numbers} numbers and {bounds} bootstrap bounds in {len(results)} files; {len(wrong)} files differ")
    print(
        f"not compared, as they name the rows: {', '.join(sorted(set().union(*(result.names for result in results))))}"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tests/recompute.py RUN FIGURES, for instance runs/demo figures/demo")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
