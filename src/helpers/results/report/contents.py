"""The results of a run as the report shows them: tables, figures and grids, each with its command and files."""

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.config.grids import Grid, load_grid
from helpers.paths import GRIDS
from helpers.results.examples import data_address
from helpers.results.figures.style import label
from helpers.results.findings import reasons_shown
from helpers.workflow import provenance
from helpers.workflow.verify import Verified

_LABELLED = ["model", "domain", "mode", "answering", "image", "protocol", "first", "second"]  # columns of keys
_KEYS = {"seed", "question_type", "epoch", "fraction", "differs"}  # numbers that name a row
_HEADINGS = ("model", "domain")  # these name a group of rows
_LONGEST = 60  # rows of a table on the page; the file has the rest
# Columns that are stated once, below the table, if all rows have the same value.
CIRCUMSTANCES = {
    "domain",
    "protocol",
    "variant",
    "seeds",
    "seed",
    "n_type1",
    "n_type2",
    "image",
    "energy_source",
    "compute_of",
}
_LAST = ("protocol", "seeds", "n", "n_type1", "n_type2")  # behind the numbers that they are about
_IN_FILE = {"reference", "settings", "x"}  # what a grid's figure is drawn from
WORDS = {  # title and alternative text of each figure
    "verdict": (
        "Accuracy of each training",
        "Dots with 95 % intervals, one per training mode; a panel per model and question type; a dashed line marks "
        "chance.",
    ),
    "figure1": (
        "Figure 1: the idea",
        "Four panels: training on text alone, the test with an image, training on image and text, and the test in two "
        "steps, describing first. Drawn, not measured.",
    ),
    "claims": (
        "Every claim as a difference",
        "Dots with 95 % intervals, one per model and domain, grouped by claim; the colour says whether the interval "
        "bears the claim out, rules it out or leaves it open. Under “What was reproduced”, each is in words.",
    ),
    "accuracy": (
        "Accuracy",
        "Dots with 95 % intervals, one per training mode and prompting strategy, and one column per question type; a "
        "dashed line marks chance.",
    ),
    "figure2": (
        "Figure 2: the cost of training",
        "Bars of processor time and memory above the loaded model, and of energy where it was measured, image-text "
        "next to text-only, one group per model.",
    ),
    "ablation": (
        "The image withheld",
        "Pairs of dots, filled with the image and open without it, one per training mode and prompting strategy.",
    ),
    "answering": (
        "Asked directly, or describing first",
        "Dots of recognition per training mode and prompting strategy, beside the tokens and seconds per question.",
    ),
    "resources_tradeoff": (
        "Cost against accuracy",
        "Each trained model as a point: its recognition accuracy over its training cost.",
    ),
    "resources_saving": (
        "Where the saving comes from",
        "Text-only relative to image-text training: vision-tower calls, tokens, memory, time.",
    ),
    "resources_time": ("Power and memory over time", "Lines of power and memory over the time of a training run."),
}
TABLE_TITLES = {
    "table1": "Table 1: accuracy with the image",
    "table2": "Table 2: the image withheld",
    "comparison": "Comparison with the paper's numbers",
    "differences": "Text-only training against the others, on the same questions",
    "paired": "Paired tests (McNemar, exact)",
    "bootstrap": "Intervals that resample classes and seeds",
    "seeds": "How far apart the seeds are",
    "categories": "Accuracy by category of question",
    "classes": "Accuracy by class",
    "confusions": "Which wrong class was chosen",
    "look_alikes": "Wrong choices by how much the classes look alike",
    "leakage": "What is answered without seeing the image",
    "retention": "What training made the models forget",
    "unreadable": "Unreadable replies",
    "protocols": "Do the ways of reading an answer agree?",
    "resources": "The cost of each training run",
    "phases": "The cost of each phase of a training run",
    "break_even": "After how many questions describing first has used up what training saved",
    "operations": "Arithmetic of a training run, by part of the model",
    "verdicts": "The verdicts on own classes",
    "sight": "Does the model see the images? The untuned descriptions against the texts",
    "verdict": "Accuracy and cost of each training",
    "verdict_confusions": "What the text-only model confuses (Type 1)",
}
_UNFOLDED = {"table1", "table2", "sight", "verdict_confusions"}
_ELSEWHERE = {"claims"}  # tables of contrasts: the page has each as a claim in words
_UNNUMBERED = {"figure1", *_ELSEWHERE}  # figures without a table of their numbers
NOT_SHOWN = {"table1", "table2", "figure2_column"}  # images of tables that are on the page, and a variant of Figure 2
_HEADS = {"mode": "trained on", "answering": "asked", "class_id": "class"}
_UNITS = {"mb": "MB", "w": "W", "wh": "Wh", "g": "g"}


@dataclass(frozen=True)
class LinkedSource:
    """Where something on the page comes from: files next to the page (name, address), and what made them."""

    links: tuple[tuple[str, str], ...]
    makers: tuple[tuple[str, str], ...]  # notebook and command
    doubt: str = ""  # "stale" or "unrecorded" if the files are unreliable
    reasons: tuple[str, ...] = ()  # for the doubt


@dataclass(frozen=True)
class GridOnPage:
    """A table as words: rows under headings, each row with its name first.

    ``cut``: rows that the page leaves out; ``throughout``: what all rows share.
    """

    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    cut: int = 0
    throughout: tuple[str, ...] = ()
    one_seed: bool = False


@dataclass(frozen=True)
class Exhibit:
    """A table or figure with its title, alternative text and source. ``folded``: shown when it is asked for."""

    name: str
    title: str
    source: LinkedSource
    table: GridOnPage | None = None
    image: str | None = None
    alt: str = ""
    one_seed: bool = False
    folded: bool = False


@dataclass
class Shelf:
    """The files that accompany the page, by their address relative to it, and what made each."""

    run: Path
    manifests: dict[Path, dict[str, Any]]
    checked: Verified
    owners: dict[str, Path] = field(init=False)
    files: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_end = sorted(self.manifests.items(), key=lambda item: str(item[1].get("ended")))
        self.owners = {name: path for path, content in by_end for name in content.get("outputs", {})}

    def put(self, file: Path) -> str:
        """Add a file of the run; returns its address."""
        address = f"files/{file.relative_to(self.run).as_posix()}"
        self.files[address] = file
        return address

    def source(self, files: Iterable[Path]) -> LinkedSource:
        """Links to the existing files, and the manifests and commands of the runs that made them."""
        there = [file for file in files if file.is_file()]
        links = [(self._shown(file, there), self.put(file)) for file in there]
        named = (str(provenance.portable(file)) for file in there)
        owners = list(dict.fromkeys(self.owners[name] for name in named if name in self.owners))
        links += [(self._shown(owner, owners), self.put(owner)) for owner in owners]
        makers = ((str(self.manifests[o].get("notebook")), str(self.manifests[o].get("command"))) for o in owners)
        doubt = self.checked.doubt(*there)
        why = (doubt.status, reasons_shown(doubt.reasons)) if doubt else ("", ())
        return LinkedSource(tuple(links), tuple(makers), *why)

    def _shown(self, file: Path, among: Sequence[Path]) -> str:
        """A file's name, or its path in the run if several files share the name."""
        twice = [other.name for other in among].count(file.name) > 1
        return file.relative_to(self.run).as_posix() if twice else file.name


def open_shelf(run: Path, checked: Verified) -> Shelf:
    """An empty shelf with the manifests of the run's successful notebooks, except that of the previous page."""
    own = provenance.manifest_in_progress()
    paths = sorted(run.rglob(f"*{provenance.MANIFEST_SUFFIX}"))
    others = [p for p in paths if "report" not in p.relative_to(run).parts and provenance.portable(p) != own]
    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in others}
    return Shelf(run, {path: content for path, content in found.items() if content.get("exit") == 0}, checked)


def tables(run: Path, shelf: Shelf) -> list[Exhibit]:
    """The tables in the run's results: those of the paper first, the others by name."""
    files = sorted((run / "results").glob("*.csv"), key=_placed(TABLE_TITLES))
    return [_table(file, shelf, run / "figures") for file in files if file.stem not in _ELSEWHERE]


def _table(file: Path, shelf: Shelf, figures: Path) -> Exhibit:
    drawn = (figures / f"{file.stem}.{end}" for end in ("pdf", "json"))
    read, title = as_grid(file), TABLE_TITLES.get(file.stem, _words(file.stem))
    folded = file.stem not in _UNFOLDED
    return Exhibit(file.stem, title, shelf.source([file, *drawn]), read, one_seed=read.one_seed, folded=folded)


def figures(folder: Path, shelf: Shelf) -> list[Exhibit]:
    """The figures of a folder, in the paper's order; without those that only a paper needs."""
    images = sorted(folder.glob("*.png"), key=_placed(WORDS))
    return [_figure(image, shelf) for image in images if image.stem not in NOT_SHOWN]


def _placed(order: Iterable[str]) -> Callable[[Path], tuple[int, str]]:
    """A sort key: files in this order of their stems, then all others by name."""
    places = {name: place for place, name in enumerate(order)}
    return lambda file: (places.get(file.stem, len(places)), file.stem)


def _figure(image: Path, shelf: Shelf) -> Exhibit:
    title, alt = WORDS.get(image.stem, (_words(image.stem), ""))
    data = image.with_suffix(".csv")
    read = as_grid(data) if data.is_file() else None
    numbers = None if image.stem in _UNNUMBERED else read
    words = [f"{title}.", alt, "The numbers are in the table below." if numbers else ""]
    return Exhibit(
        name=image.stem,
        title=title,
        source=shelf.source([data, image.with_suffix(".pdf"), provenance.sidecar_of(image)]),
        table=numbers,
        image=data_address(image.read_bytes(), "png"),
        alt=" ".join(filter(None, words)),
        one_seed=read is not None and read.one_seed,
    )


def grids(run: Path, shelf: Shelf) -> dict[str, tuple[str, list[Exhibit]]]:
    """By grid: the question that it answers, and its figures, then its tables except the data of these figures.

    Searches are left out: their answers are to the dev questions.
    """
    found: dict[str, tuple[str, list[Exhibit]]] = {}
    for folder in sorted(path for path in (run / "grids").glob("*") if path.is_dir() and not _searches(path.name)):
        images = {file.stem: file for file in sorted(folder.rglob("*.png"))}
        files = [file for file in sorted(folder.rglob("*.csv")) if file.stem not in images]
        tables = [_table(file, shelf, folder) for file in files if file.stem != f"{folder.name}_findings"]
        exhibits = [*(_figure(file, shelf) for file in images.values()), *tables]
        found |= {folder.name: (_question(folder.name), exhibits)} if exhibits else {}
    return found


def _question(name: str) -> str:
    """What a grid asks: its title in ``config/grids``, or its name if it has no file there."""
    return grid.title if (grid := _shipped(name)) else _words(name)


def _searches(name: str) -> bool:
    grid = _shipped(name)
    return grid is not None and grid.collection == "searches"


def _shipped(name: str) -> Grid | None:
    """The grid of ``config/grids`` of this name, if there is one."""
    file = GRIDS / f"{name}.yaml"
    return load_grid(file) if file.is_file() else None


def as_grid(file: Path) -> GridOnPage:
    """A CSV file as words: keys in one cell, an accuracy and its interval in another, other numbers as in the file."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:  # a table without columns
        return GridOnPage((), ())
    one_seed = _one_seed(table)
    for column in [c for c in table.columns if {f"{c}_low", f"{c}_high"} <= set(table.columns)]:
        cells = table[[column, f"{column}_low", f"{column}_high"]].to_numpy()
        table[column] = [f"{value} [{low},\xa0{high}]" if low else value for value, low, high in cells]
        table = table.drop(columns=[f"{column}_low", f"{column}_high"])
    for column in table.columns.intersection(_LABELLED):
        table[column] = table[column].map(label)
    several = len(table) > 1
    same = [c for c in table.columns if several and c in CIRCUMSTANCES and table[c].nunique() == 1]
    told = [column for column in same if not (one_seed and column in ("seed", "seeds"))]
    throughout = tuple(f"{_head(column)} {_short(table[column].iloc[0])}" for column in told)
    empty = [c for c in table.columns if several and not table[c].any()]
    table = table.drop(columns={*same, *empty, *_IN_FILE.intersection(table.columns)})
    columns, groups = _grouped(table[[*table.columns.difference(_LAST, sort=False), *_last(table)]].head(_LONGEST))
    return GridOnPage(columns, groups, max(0, len(table) - _LONGEST), throughout, one_seed)


def _one_seed(table: pd.DataFrame) -> bool:
    """Whether all that was trained for a table was trained with one seed."""
    if "seeds" in table:
        return set(table["seeds"]) == {"1"}
    return "seed" in table and table["seed"].nunique() == 1


def _last(table: pd.DataFrame) -> list[str]:
    return [column for column in _LAST if column in table.columns]


def _grouped(table: pd.DataFrame) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]]:
    """The heads of the columns, and the rows in groups: what names a row is its first cell, or its group's heading."""
    keys = list(itertools.takewhile(lambda column: _names_rows(table, column), table.columns))
    keys = keys or list(table.columns[:1])
    heading = [key for key in keys if key in _HEADINGS]
    if heading and (heading == keys or not table.duplicated(heading).any()):
        heading = []  # a heading for every row
    naming = [key for key in keys if key not in heading]
    measured = [column for column in table.columns if column not in keys]
    rows = [
        (", ".join(row[key] for key in heading), (_named(row, naming), *(_short(row[column]) for column in measured)))
        for row in table.to_dict("records")
    ]
    groups = [(of, tuple(row for _, row in group)) for of, group in itertools.groupby(rows, key=lambda row: row[0])]
    return (", ".join(map(_head, naming)), *map(_head, measured)), tuple(groups)


def _names_rows(table: pd.DataFrame, column: str) -> bool:
    """Whether a column names the rows rather than says something about them."""
    numbers = pd.to_numeric(table[column].str.split(" ").str[0], errors="coerce")
    return column not in _LAST and (column in _KEYS or bool(numbers.isna().all()))


def _named(row: Mapping[Any, str], keys: Sequence[str]) -> str:
    words = {"question_type": "Type {}", "seed": "seed {}", "differs": "{} parts differ"}
    return ", ".join(words.get(key, "{}").format(_short(row[key])) for key in keys if row[key])


def _head(column: str) -> str:
    """A column's name in words, with its unit in brackets."""
    if (known := _HEADS.get(column, label(column))) != column:
        return known
    *words, last = [{"type1": "Type 1", "type2": "Type 2"}.get(word, word) for word in column.split("_")]
    words = [word.upper() if word in ("cpu", "gpu", "ram") else word for word in words]
    bracketed = words and (words[0] == "n" or last in {*_UNITS, "holm"})
    return " ".join([*words, f"({_UNITS.get(last, last.replace('holm', 'Holm'))})" if bracketed else last])


def _words(name: str) -> str:
    """A file's name as a title."""
    return name[:1].upper() + name[1:].replace("_", " ")


def _short(text: str) -> str:
    """A long number to four significant digits; anything else unchanged."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if len(text) <= 8 or not math.isfinite(number) else f"{number:.4g}"


def machine(manifests: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The hardware and software of the run: every value that occurs, so that a mixture is visible."""
    named: dict[str, set[str]] = {"commit": set(), "hardware": set(), "Python": set(), "packages": set()}
    for content in manifests:
        git = content.get("git") or {}
        named["commit"].add(f"{git.get('commit', 'none')[:12]}{' with changes' if git.get('dirty') else ''}")
        named["hardware"].add(str(content.get("hardware")))
        named["Python"].add(f"{content.get('python')}, {content.get('system')}")
        named["packages"].add(", ".join(f"{n} {v}" for n, v in (content.get("packages") or {}).items() if v))
    return {name: sorted(values) for name, values in named.items() if values}
