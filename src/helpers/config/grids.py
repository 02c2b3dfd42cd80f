"""Grids: many runs of one profile, as a readable file in `config/grids/`.

A grid names the models, domains, modes and seeds of a profile that it covers, and the settings that vary: named
`variants`, or `axes`, of which every combination is run. A grid of the collection `searches` asks the dev questions, to
choose settings; it is published nowhere. A variant is named after the settings that differ from the
profile, so two grids that need the same run share it: `main` if nothing differs, else for example
``training.lora_rank=4``.
"""

import argparse
import fnmatch
import hashlib
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, NonNegativeInt

from helpers import paths
from helpers.config import Settings, SettingsError, validated
from helpers.config.build import Mode
from helpers.config.profiles import Profile, check_name, load_profile, parse_overrides, read_yaml, replaced
from helpers.paths import MAIN
from helpers.workflow import estimates

LONGEST_KEY = 100  # characters; a longer one could not be part of a folder's name
Overrides = dict[str, Any]

# What each step's result depends on; a setting of a later step does not affect earlier results.
DEPENDS_ON = {
    "data": ("data.", "writer."),
    "dataset": ("data.", "writer.", "build."),
    "training": ("data.", "writer.", "build.", "models.", "training."),
    "evaluation": ("data.", "writer.", "build.", "models.", "training.", "evaluation."),
}
Collection = Literal["ablations", "findings", "searches"]
Baseline = Literal[
    "options_described",
    "dictionary",
    "dictionary_translated",
    "embeddings",
    "contrastive",
    "nearest_features",
    "nearest_pixels",
    "prior",
]
QUESTION_SETTINGS = (  # irrelevant to training
    "data.distractors",
    "data.test_images_per_class",
    "build.limit_questions",
    "build.asked",
)
HYBRID_SHARE = "build.hybrid_share"
_SPLIT = "evaluation.split"
# What may change within a run's folder: it only adds runs with their own subfolders, or no result depends on it.
IN_PLACE = ("seeds", "modes", "families.members", "jobs.", "disk_gb", "description")


class Grid(Settings):
    """One file of `config/grids/`."""

    name: str  # the file's name
    title: str  # the question that the grid answers, for its table and figure
    profile: str
    collection: Collection = "ablations"  # the word of run_all.sh that runs it, and its folder; searches: neither
    models: list[str] | None = Field(default=None, min_length=1)  # null, here and below: all in the profile
    domains: list[str] | None = Field(default=None, min_length=1)
    modes: list[Mode | Literal["base"]] | None = Field(default=None, min_length=1)
    seeds: list[NonNegativeInt] | None = Field(default=None, min_length=1)
    set: Overrides = Field(default_factory=dict)  # settings shared by all runs
    variants: dict[str, Overrides] = Field(default_factory=dict)  # label: the settings that differ
    axes: dict[str, list[Any]] = Field(default_factory=dict)  # setting: its values; all combinations, plus the variants
    exclude: list[dict[str, Any]] = Field(default_factory=list)  # skip runs that match all fields of one of these
    images: bool = False  # the table also has a row per way to show the image: withheld, changed
    baselines: list[Baseline] = Field(default_factory=list)  # modes of notebook 12, asked for each variant's texts
    x: str | None = None  # the setting on the figure's horizontal axis
    minutes: float | None = Field(default=None, gt=0)  # per run, for the plan; null: unknown


@dataclass(frozen=True)
class Run:
    """One cell of a grid."""

    model: str
    domain: str
    mode: str
    seed: int
    label: str
    overrides: Overrides

    def at(self, step: str) -> tuple[str, Overrides]:
        """The mode and the overrides that this step's result depends on."""
        return at(step, self.mode, self.overrides)

    def key(self, step: str) -> str:
        """The part of the variant's name that this step's result depends on."""
        return key(self.at(step)[1])

    def name(self, step: str) -> str:
        """Where this step's result is, inside the step's folder."""
        return f"{self.model}/{self.domain}/{self.at(step)[0]}/{self.key(step)}/seed{self.seed}"


def load_grid(path: str | Path) -> Grid:
    """Read a grid file; a bare name means a file in `config/grids/`. Raises `SettingsError`."""
    file = Path(path) if str(path).endswith((".yaml", ".yml")) else paths.GRIDS / f"{path}.yaml"
    file = paths.resolve(file)
    if not file.is_file():
        found = ", ".join(sorted(grid.stem for grid in paths.GRIDS.glob("*.yaml"))) or "none"
        raise SettingsError(f"no grid {path}; found in config/grids/: {found}")
    check_name("grid", file.stem)
    try:
        values = read_yaml(file)
    except SettingsError as error:
        raise SettingsError(f"grid {file.name} is not a file of `field: value` lines: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"grid {file.name} is not a file of `field: value` lines, but {type(values).__name__}")
    return validated(Grid, {**values, "name": file.stem}, f"grid {file.name}", "the file")


def runs(grid: Grid, profile: Profile, only: str = "") -> list[Run]:
    """Every run of the grid, each once; a setting equal to the profile's does not count as a difference.

    ``only``: keep the runs whose `Run.name` contains this; ``*`` matches anything, as in ``qwen2_vl/*/seed0``.

    Raises `SettingsError` for a model, domain or setting that the profile does not have, or for a grid without runs.
    """
    for field in ("models", "domains"):
        if unknown := set(getattr(grid, field) or []) - set(getattr(profile, field)):
            raise SettingsError(f"grid {grid.name}: {field} {sorted(unknown)} are not in profile {profile.name}")
    _check_exclude(grid)
    _check_split(grid)
    found: dict[tuple[str, ...], Run] = {}
    for run in _cells(grid, profile):
        cell = {**run.overrides, "model": run.model, "domain": run.domain, "mode": run.mode, "seed": run.seed}
        if not any(all(cell.get(field) == value for field, value in out.items()) for out in grid.exclude):
            found.setdefault((run.model, run.domain, run.mode, str(run.seed), run.key("evaluation")), run)
    if not found:
        raise SettingsError(f"grid {grid.name} leaves no run: its exclude removes everything")
    _check_methods(grid, profile, found.values())
    kept = [run for run in found.values() if fnmatch.fnmatchcase(run.name("evaluation"), f"*{only}*")]
    if not kept:
        example = next(iter(found.values())).name("evaluation")
        raise SettingsError(f"grid {grid.name} has no run with {only!r} in its name; an example of a name is {example}")
    return kept


def _check_methods(grid: Grid, profile: Profile, cells: Iterable[Run]) -> None:
    """Text does not pass through the projector, so a projector trained alone learns nothing from text."""
    field = "training.method"
    for run in cells:
        if run.mode == "text_only" and run.overrides.get(field, value_of(profile, field)) == "projector":
            raise SettingsError(
                f"grid {grid.name}: {field} is projector in mode text_only, where no image reaches the projector and "
                "nothing could be learned; leave it out: exclude: [{mode: text_only, training.method: projector}]"
            )


def _named(grid: Grid) -> set[str]:
    """Every setting that the grid names."""
    return {*grid.set, *grid.axes, *(field for variant in grid.variants.values() for field in variant)}


def _check_split(grid: Grid) -> None:
    """Answers to dev questions must not reach a published table, nor settings be chosen on the test."""
    if _SPLIT in _named(grid):
        raise SettingsError(
            f"grid {grid.name} sets {_SPLIT}; a grid of `collection: searches` asks the dev questions, others the test"
        )
    if grid.collection == "searches" and grid.baselines:
        raise SettingsError(
            f"grid {grid.name} searches on the dev questions and names baselines, which answer the test; leave them out"
        )


def _check_exclude(grid: Grid) -> None:
    """A misspelt field would silently exclude nothing."""
    known = {"model", "domain", "mode", "seed", *_named(grid)}
    if unknown := sorted({field for out in grid.exclude for field in out} - known):
        raise SettingsError(
            f"grid {grid.name}: exclude names {', '.join(unknown)}, which no run here has; the fields are "
            f"{', '.join(sorted(known))}"
        )


def _cells(grid: Grid, profile: Profile) -> Iterator[Run]:
    shared = grid.set | ({_SPLIT: "dev"} if grid.collection == "searches" else {})
    axes = [grid.models or profile.models, grid.domains or profile.domains, grid.modes or profile.modes]
    for model, domain, mode in itertools.product(*axes):
        for seed in [0] if mode == "base" else grid.seeds or profile.seeds:
            for label, overrides in _variants(grid):
                different = differing_settings(grid, profile, shared | overrides)
                of_others = tuple(f"models.{other}." for other in profile.models if other != model)
                different = {field: value for field, value in different.items() if not field.startswith(of_others)}
                yield Run(model, domain, mode, seed, label, of_step(different, "evaluation", mode))


def _variants(grid: Grid) -> Iterator[tuple[str, Overrides]]:
    if not grid.variants and not grid.axes:
        yield MAIN, {}
    yield from grid.variants.items()
    if grid.axes:
        for values in itertools.product(*grid.axes.values()):
            overrides = dict(zip(grid.axes, values, strict=True))
            yield ", ".join(f"{field.rpartition('.')[2]} {value}" for field, value in overrides.items()), overrides


def differing_settings(grid: Grid, profile: Profile, overrides: Mapping[str, Any]) -> Overrides:
    """The overrides that change something; all are validated by the profile's rules."""
    if foreign := [field for field in overrides if not field.startswith(DEPENDS_ON["evaluation"])]:
        groups = ", ".join(group.rstrip(".") for group in DEPENDS_ON["evaluation"])
        raise SettingsError(f"grid {grid.name} varies {foreign[0]}; only fields of {groups} can vary, e.g. build.seed")
    changed = replaced(profile, overrides, f"grid {grid.name}")
    values = {field: value_of(changed, field) for field in overrides}
    return {field: value for field, value in values.items() if value != value_of(profile, field)}


def _models_not_here(grid: Grid) -> list[str]:
    """Folders of models that the grid's variants name, and that are not in this clone: they are made on demand."""
    named = [value for variant in grid.variants.values() for field, value in variant.items() if field.endswith(".path")]
    return [path for path in named if not paths.is_hub_id(path) and not paths.resolve(path).is_dir()]


def value_of(profile: Profile, field: str) -> Any:
    """A setting by its dotted name, as a plain value."""
    return reduce(getitem, field.split("."), profile.model_dump())


def of_step(overrides: Mapping[str, Any], step: str, mode: str = "") -> Overrides:
    """The overrides that matter up to a step. The untuned model has seen neither samples nor training, and the share of
    classes with an image concerns mode hybrid alone.
    """
    kept = {field: value for field, value in overrides.items() if field.startswith(DEPENDS_ON[step])}
    if mode == "base":
        kept = {field: value for field, value in kept.items() if not field.startswith(("build.", "training."))}
    if mode not in ("", "hybrid"):  # "": a data set, which holds all modes
        kept.pop(HYBRID_SHARE, None)
    if step == "training":
        kept = {field: value for field, value in kept.items() if field not in QUESTION_SETTINGS}
    return kept


def at(step: str, mode: str, overrides: Mapping[str, Any]) -> tuple[str, Overrides]:
    """The mode and the overrides that identify a step's result.

    A hybrid that shows no class is trained as text_only, and one that shows every class as joint: the samples and their
    order are the same, and so is the adapter.
    """
    kept = of_step(overrides, step, mode)
    ends: dict[Any, str] = {0: "text_only", 1: "joint"}
    same = ends.get(kept.get(HYBRID_SHARE)) if (step, mode) == ("training", "hybrid") else None
    return (same, {field: value for field, value in kept.items() if field != HYBRID_SHARE}) if same else (mode, kept)


def key(overrides: Mapping[str, Any]) -> str:
    """A variant's name, usable as a folder: what differs, in a fixed order; a long name is cut and gets a hash."""
    if not overrides:
        return MAIN
    name = "+".join(f"{field}={_slug(value)}" for field, value in sorted(overrides.items()))
    digest = hashlib.sha256(repr(sorted(overrides.items())).encode()).hexdigest()[:8]
    return name if len(name) <= LONGEST_KEY else f"{name[: LONGEST_KEY - 9]}~{digest}"


def _slug(value: Any) -> str:
    """A text that had to be changed gets a hash: two models ``a/b`` and ``a_b`` must not share a folder."""
    if isinstance(value, list):
        return "-".join(map(_slug, value)) or "none"
    plain = re.sub(r"[^A-Za-z0-9_.]", "_", str(value))
    if not isinstance(value, str) or plain == value:
        return plain
    return f"{plain}~{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def run_name(profile: str, overrides: Mapping[str, Any], name: str | None = None) -> str:
    """The folder in ``runs/`` for a profile with some settings replaced, so that no run overwrites another.

    ``demo`` for the unchanged profile, ``demo+training.epochs=3`` if a result depends on what differs, ``demo+NAME`` if
    a name is given. Other seeds and modes, and added or removed models and domains, stay in ``demo``: each of their
    runs has its own path, and only the tables and figures, which take seconds, are made again.

    Raises `SettingsError` for a name that is not a plain folder name, and as `load_profile` does.
    """
    as_it_stands, changed = (_fields(load_profile(profile, given).model_dump()) for given in ({}, overrides))
    if name is not None:
        check_name("run", name)
        return f"{profile}+{name}"
    both = {field for field in as_it_stands.keys() & changed if not field.startswith(IN_PLACE)}
    different = {field: changed[field] for field in both if changed[field] != as_it_stands[field]}
    return f"{profile}+{key(different)}" if different else profile


def _fields(settings: Mapping[str, Any], group: str = "") -> Overrides:
    """All settings, by their dotted names."""
    found: Overrides = {}
    for field, value in settings.items():
        found |= _fields(value, f"{group}{field}.") if isinstance(value, Mapping) else {f"{group}{field}": value}
    return found


def plan(grid: Grid, profile: Profile, only: str = "", run: str | None = None) -> str:
    """A grid in words: what it varies, how many notebooks it runs, how many are done, and what the rest costs.

    ``run``: the folder in ``runs/`` to look at; by default the profile's own.
    """
    cells = runs(grid, profile, only)
    steps = estimates.steps(cells)
    varied = ", ".join(sorted({field for cell in cells for field in cell.overrides})) or "nothing"
    counts = f"{len(steps['training'])} trainings, {len(steps['evaluation'])} evaluations"
    return (
        f"{grid.name}: {grid.title}\n  varies {varied}\n  {len(cells)} runs: {counts}\n"
        f"{estimates.cost_estimate(paths.RUNS / (run or profile.name), steps, grid.minutes)}"
    )


def main(arguments: list[str] | None = None) -> int:
    """``list PROFILE``: the names of its grids of a collection; ``plan GRID...``: what they run; ``profile GRID``:
    their profile; ``run PROFILE``: the folder in ``runs/`` for the profile with these settings.
    """
    parser = argparse.ArgumentParser(prog="python -m helpers.config.grids", description=main.__doc__)
    parser.add_argument("what", choices=["list", "plan", "profile", "run"])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--only", default="", help="only runs with this in their names")
    parser.add_argument("--set", default="", help="settings that differ from the profile's, as KEY=VALUE KEY=VALUE")
    parser.add_argument("--name", help="the run's name, instead of what differs")
    parser.add_argument("--collection", default="ablations", choices=get_args(Collection))
    given = parser.parse_args(arguments)
    try:
        overrides = parse_overrides(given.set)
        if given.what == "list":
            every = [load_grid(file) for file in sorted(paths.GRIDS.glob("*.yaml"))]
            listed = [grid for grid in every if grid.collection == given.collection and grid.profile in given.names]
            lacking = {grid.name: gone for grid in listed if (gone := _models_not_here(grid))}
            for name, gone in lacking.items():
                text = f"grid {name} is left out: no {', '.join(gone)}; its file says how to make it"
                print(text, file=sys.stderr)
            print(*[grid.name for grid in listed if grid.name not in lacking])
        if given.what == "profile":
            print(load_grid(given.names[0]).profile)
        if given.what == "run":
            print(run_name(given.names[0], overrides, given.name))
        for grid in map(load_grid, given.names if given.what == "plan" else []):
            run = run_name(grid.profile, overrides, given.name)
            print(plan(grid, load_profile(grid.profile, overrides), given.only, run))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
