"""The results of a run as the report shows them: tables, figures and grids, each with its command and files."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.results.examples import data_address
from helpers.results.figures.style import label
from helpers.results.findings import reasons_shown
from helpers.workflow import provenance
from helpers.workflow.verify import Verified

_LABELLED = ["model", "domain", "mode", "answering", "image", "protocol", "first", "second"]  # columns of keys
_LONGEST = 60  # rows of a table on the page; the file has the rest
# Columns that are stated once, below the table, if all rows have the same value.
CIRCUMSTANCES = {"domain", "protocol", "variant", "seeds", "seed", "n_type1", "n_type2", "image"}
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
    "figure2": (
        "Figure 2: the cost of training",
        "Bars of time, peak memory and energy of a training run, image-text next to text-only, one group per model.",
    ),
    "accuracy": (
        "Accuracy",
        "Dots with 95 % intervals, one per training mode and prompting strategy, and one column per question type; a "
        "dashed line marks chance.",
    ),
    "ablation": (
        "The image withheld",
        "Pairs of dots, filled with the image and open without it, one per training mode and prompting strategy.",
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
    "paired": "Paired tests (McNemar, exact)",
    "unreadable": "Unreadable replies",
    "resources": "The cost of each training run",
    "verdicts": "The verdicts on own classes",
    "sight": "Does the model see the images? The untuned descriptions against the texts",
    "verdict": "Accuracy and cost of each training",
    "verdict_confusions": "What the text-only model confuses (Type 1)",
}
NOT_SHOWN = {"table1", "table2", "figure2_column"}  # images of tables that are on the page, and a variant of Figure 2


@dataclass(frozen=True)
class LinkedSource:
    """Where something on the page comes from: files next to the page (name, address), and what made them."""

    links: tuple[tuple[str, str], ...]
    makers: tuple[tuple[str, str], ...]  # notebook and command
    doubt: str = ""  # "stale" or "unrecorded" if the files are unreliable
    reasons: tuple[str, ...] = ()  # for the doubt


@dataclass(frozen=True)
class GridOnPage:
    """A table as words. ``cut``: rows that the page leaves out; ``throughout``: values that all rows share."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    cut: int = 0
    throughout: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """A table or figure with its title, alternative text and source."""

    name: str
    title: str
    source: LinkedSource
    table: GridOnPage | None = None
    image: str | None = None
    alt: str = ""


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
    found = []
    for file in sorted((run / "results").glob("*.csv"), key=_placed(TABLE_TITLES)):
        drawn = (run / "figures" / f"{file.stem}.{end}" for end in ("pdf", "json"))
        title = TABLE_TITLES.get(file.stem, file.stem)
        found.append(Exhibit(file.stem, title, shelf.source([file, *drawn]), as_grid(file)))
    return found


def figures(folder: Path, shelf: Shelf) -> list[Exhibit]:
    """The figures of a folder, in the paper's order; without those that only a paper needs."""
    images = sorted(folder.glob("*.png"), key=_placed(WORDS))
    return [_figure(image, shelf) for image in images if image.stem not in NOT_SHOWN]


def _placed(order: Iterable[str]) -> Callable[[Path], tuple[int, str]]:
    """A sort key: files in this order of their stems, then all others by name."""
    places = {name: place for place, name in enumerate(order)}
    return lambda file: (places.get(file.stem, len(places)), file.stem)


def _figure(image: Path, shelf: Shelf) -> Exhibit:
    title, alt = WORDS.get(image.stem, (image.stem.replace("_", " "), ""))
    data = image.with_suffix(".csv")
    numbers = as_grid(data) if data.is_file() and image.stem != "figure1" else None
    words = [f"{title}.", alt, "The numbers are in the table below." if numbers else ""]
    return Exhibit(
        name=image.stem,
        title=title,
        source=shelf.source([data, image.with_suffix(".pdf"), provenance.sidecar_of(image)]),
        table=numbers,
        image=data_address(image.read_bytes(), "png"),
        alt=" ".join(filter(None, words)),
    )


def grids(run: Path, shelf: Shelf) -> dict[str, list[Exhibit]]:
    """By grid: its figures, and its tables except the data of these figures."""
    found: dict[str, list[Exhibit]] = {}
    for folder in sorted(path for path in (run / "grids").glob("*") if path.is_dir()):
        images = {file.stem: file for file in sorted(folder.rglob("*.png"))}
        files = [file for file in sorted(folder.rglob("*.csv")) if file.stem not in images]
        exhibits = [_figure(file, shelf) for file in images.values()]
        found[folder.name] = exhibits + [Exhibit(f.stem, f.stem, shelf.source([f]), as_grid(f)) for f in files]
    return {name: exhibits for name, exhibits in found.items() if exhibits}


def as_grid(file: Path) -> GridOnPage:
    """A CSV file as words: an accuracy and its interval in one cell, keys in words, other numbers as in the file."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:  # a table without columns
        return GridOnPage((), (), 0)
    for column in [c for c in table.columns if {f"{c}_low", f"{c}_high"} <= set(table.columns)]:
        cells = table[[column, f"{column}_low", f"{column}_high"]].to_numpy()
        table[column] = [f"{value} [{low}, {high}]" if value else "" for value, low, high in cells]
        table = table.drop(columns=[f"{column}_low", f"{column}_high"])
    for column in table.columns.intersection(_LABELLED):
        table[column] = table[column].map(label)
    several = len(table) > 1
    same = [c for c in table.columns if several and c in CIRCUMSTANCES and table[c].nunique() == 1]
    throughout = tuple((_head(column), _short(table[column].iloc[0])) for column in same)
    table = table.drop(columns=same)
    rows = tuple(tuple(map(_short, row)) for row in table.head(_LONGEST).to_numpy())
    return GridOnPage(tuple(map(_head, table.columns)), rows, max(0, len(table) - _LONGEST), throughout)


def _head(column: str) -> str:
    """A column's name in words."""
    known = {"n_type1": "n (Type 1)", "n_type2": "n (Type 2)", "mode": "trained on", "answering": "asked"}
    if column in {"type1", "type2", "overall"}:
        return label(column)
    return known.get(column, column.replace("_", " "))


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
