"""What a run has left, as the report shows it: tables, figures, grids, each with its command and files."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.results.examples import data_address
from helpers.results.figures.style import label
from helpers.results.findings import reasons_shown
from helpers.workflow import provenance
from helpers.workflow.verify import Verified

_LONGEST = 60  # rows of a table on the page; the file has all
CIRCUMSTANCES = {
    "domain",
    "protocol",
    "variant",
    "seeds",
    "seed",
    "n_type1",
    "n_type2",
    "image",
}  # said once if the same
WORDS = {
    "figure1": ("Figure 1: the idea", "Four panels: training by text alone, the test with a picture, training by image "
                "and text, and the test in two steps, describing first. Drawn, not measured."),
    "figure2": ("Figure 2: what training costs", "Bars of time, peak memory and energy of a training run, image-text "
                "beside text-only, a group a model. The numbers are in the table below."),
    "accuracy": ("Accuracy", "Dots with 95 % intervals, one a mode and way of asking, a column for each type of "
                 "question; a dashed line marks chance. The numbers are in the table below."),
    "ablation": ("The picture withheld", "Pairs of dots, filled with the picture and open without it, one a mode and "
                 "way of asking. The numbers are in the table below."),
    "resources_tradeoff": ("Cost against accuracy", "Each trained model as a point: what its training cost against its "
                           "recognition accuracy. The numbers are in the table below."),
    "resources_saving": ("Where the saving comes from", "Text-only relative to image-text training: tower calls, "
                         "tokens, memory, time. The numbers are in the table below."),
    "resources_time": ("Power and memory over time", "Lines of power and of memory over the seconds of a training."),
}  # fmt: skip
TABLE_TITLES = {
    "table1": "Table 1: accuracy with the picture shown",
    "table2": "Table 2: the picture withheld",
    "comparison": "Beside the paper's numbers",
    "paired": "Paired tests (McNemar, exact)",
    "unreadable": "Replies that could not be read",
    "resources": "What each training cost",
}
NOT_SHOWN = {"table1", "table2", "figure2_column"}  # pictures of tables that the page has, and a figure in another form


@dataclass(frozen=True)
class LinkedSource:
    """Where something on the page is from: files beside the page (shown name, address), and what made them."""

    links: tuple[tuple[str, str], ...]
    makers: tuple[tuple[str, str], ...]  # notebook and command
    doubt: str = ""  # "stale" or "unrecorded", where the files cannot be relied on
    reasons: tuple[str, ...] = ()  # why


@dataclass(frozen=True)
class GridOnPage:
    """A table as words. ``cut``: how many rows the page leaves out; ``throughout``: what all of them have in common."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    cut: int = 0
    throughout: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """A table or figure with its title, its words for who cannot see it, and its source."""

    name: str
    title: str
    source: LinkedSource
    table: GridOnPage | None = None
    picture: str | None = None
    alt: str = ""


@dataclass
class Shelf:
    """The files that go along with the page, by their address relative to it, and who made each."""

    run: Path
    manifests: dict[Path, dict[str, Any]]
    checked: Verified
    owners: dict[str, Path] = field(init=False)
    files: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_end = sorted(self.manifests.items(), key=lambda item: str(item[1].get("ended")))
        self.owners = {name: path for path, content in by_end for name in content.get("outputs", {})}

    def put(self, file: Path) -> str:
        """Take a file of the run along; returns its address."""
        address = f"files/{file.relative_to(self.run).as_posix()}"
        self.files[address] = file
        return address

    def source(self, files: Iterable[Path]) -> LinkedSource:
        """Links to the files that are there, and the manifests and commands of the runs that made them."""
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
        """A file's name, or its path in the run where several have the same."""
        twice = [other.name for other in among].count(file.name) > 1
        return file.relative_to(self.run).as_posix() if twice else file.name


def open_shelf(run: Path, checked: Verified) -> Shelf:
    """An empty shelf that knows the run's manifests of runs that succeeded; not that of the page before this one."""
    own = provenance.manifest_in_progress()
    paths = [
        path
        for path in sorted(run.rglob(f"*{provenance.MANIFEST_SUFFIX}"))
        if "report" not in path.relative_to(run).parts
    ]
    others = [path for path in paths if provenance.portable(path) != own]
    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in others}
    return Shelf(run, {path: content for path, content in found.items() if content.get("exit") == 0}, checked)


def tables(run: Path, shelf: Shelf) -> list[Exhibit]:
    """The tables in the run's results: those of the paper first, others by name."""
    order = list(TABLE_TITLES)
    files = sorted(
        (run / "results").glob("*.csv"),
        key=lambda f: (f.stem not in order, order.index(f.stem) if f.stem in order else 0, f.stem),
    )
    return [
        Exhibit(
            file.stem,
            TABLE_TITLES.get(file.stem, file.stem),
            shelf.source([file, *_drawn(run / "figures", file.stem)]),
            as_grid(file),
        )
        for file in files
    ]


def figures(folder: Path, shelf: Shelf) -> list[Exhibit]:
    """The figures of a folder, in the paper's order; without those that only a paper needs."""
    order = list(WORDS)
    pictures = sorted(
        folder.glob("*.png"), key=lambda f: (f.stem not in order, order.index(f.stem) if f.stem in order else 0, f.stem)
    )
    return [_figure(picture, shelf) for picture in pictures if picture.stem not in NOT_SHOWN]


def _figure(picture: Path, shelf: Shelf) -> Exhibit:
    title, alt = WORDS.get(picture.stem, (picture.stem.replace("_", " "), "The numbers are in the table below."))
    data = picture.with_suffix(".csv")
    return Exhibit(
        name=picture.stem,
        title=title,
        source=shelf.source([data, picture.with_suffix(".pdf"), provenance.sidecar_of(picture)]),
        table=as_grid(data) if data.is_file() and picture.stem != "figure1" else None,
        picture=data_address(picture.read_bytes(), "png"),
        alt=f"{title}. {alt}",
    )


def grids(run: Path, shelf: Shelf) -> dict[str, list[Exhibit]]:
    """By a grid's name its figures, and those of its tables that are not the data of a figure."""
    found: dict[str, list[Exhibit]] = {}
    for folder in sorted(path for path in (run / "grids").glob("*") if path.is_dir()):
        pictures = {file.stem: file for file in sorted(folder.rglob("*.png"))}
        files = [file for file in sorted(folder.rglob("*.csv")) if file.stem not in pictures]
        exhibits = [_figure(file, shelf) for file in pictures.values()]
        found[folder.name] = exhibits + [Exhibit(f.stem, f.stem, shelf.source([f]), as_grid(f)) for f in files]
    return {name: exhibits for name, exhibits in found.items() if exhibits}


def _drawn(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.pdf", folder / f"{name}.json"]


def as_grid(file: Path) -> GridOnPage:
    """A CSV as words: an accuracy and its interval in one cell, keys of profiles in words, numbers as in the file."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:  # a table that came out without a column
        return GridOnPage((), (), 0)
    for column in [c for c in table.columns if {f"{c}_low", f"{c}_high"} <= set(table.columns)]:
        table[column] = [_with_interval(*row) for row in table[[column, f"{column}_low", f"{column}_high"]].to_numpy()]
        table = table.drop(columns=[f"{column}_low", f"{column}_high"])
    known = [
        c
        for c in table.columns
        if c in {"model", "domain", "mode", "answering", "image", "protocol", "first", "second"}
    ]
    for column in known:
        table[column] = table[column].map(label)
    same = [column for column in table.columns if column in CIRCUMSTANCES and table[column].nunique() == 1]
    same = same if len(table) > 1 else []
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


def _with_interval(value: str, low: str, high: str) -> str:
    return f"{value} [{low}, {high}]" if value else ""


def _short(text: str) -> str:
    """A number of many digits to four significant ones; anything else as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if len(text) <= 8 or not math.isfinite(number) else f"{number:.4g}"


def machine(manifests: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """On what and with what the run was made: every value that occurs, so that a mixture shows."""
    named: dict[str, set[str]] = {"commit": set(), "hardware": set(), "Python": set(), "packages": set()}
    for content in manifests:
        git = content.get("git") or {}
        named["commit"].add(f"{git.get('commit', 'none')[:12]}{' with changes' if git.get('dirty') else ''}")
        named["hardware"].add(str(content.get("hardware")))
        named["Python"].add(f"{content.get('python')}, {content.get('system')}")
        named["packages"].add(", ".join(f"{n} {v}" for n, v in (content.get("packages") or {}).items() if v))
    return {name: sorted(values) for name, values in named.items() if values}
