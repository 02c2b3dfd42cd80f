"""Paths, and the layout of a run: the Snakefile, the notebooks and the tests all get them here.

Inside the repository, a relative path starts at the repository root. A notebook opened in JupyterLab (working folder
`notebooks/`) and the same notebook run by the workflow (working folder: the root) therefore read and write the same
files. Outside the repository, output goes to the working folder, and input is looked up there first and in the
repository second. So a loop over `papermill /path/to/notebooks/03...` leaves its results beside its own script and
still finds the models that come with the repository.
"""

import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
FIGURES = ROOT / "figures"
PROFILES = ROOT / "config" / "profiles"
GRIDS = ROOT / "config" / "grids"
RUNS = ROOT / "runs"
BENCHMARKS = ROOT / "benchmarks"
MAIN = "main"  # the variant with the unchanged profile
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w.-]+)?")
_LITTER = re.compile(
    r"\..*|(eh)?thumbs\.db|desktop\.ini|icon\r|__macosx|@eadir|\$recycle\.bin|system volume information",
    re.IGNORECASE | re.DOTALL,
)


def resolve(path: str | Path) -> Path:
    """The absolute path of an input; `~` is the home folder. The module's docstring explains relative paths."""
    here = resolve_output(path)
    return here if here.exists() else (ROOT / Path(path).expanduser()).resolve()


def resolve_output(path: str | Path) -> Path:
    """The absolute path of an output; `~` is the home folder. The module's docstring explains relative paths."""
    here = Path.cwd().resolve()
    return ((ROOT if here.is_relative_to(ROOT) else here) / Path(path).expanduser()).resolve()


def is_hub_id(source: str | Path) -> bool:
    """Whether this is owner/name or owner/name@revision, and not the path of a local folder, existing or missing."""
    text = str(source)
    return bool(HUB_ID.fullmatch(text)) and not resolve(text).exists() and not resolve(text).parent.is_dir()


def visible(found: Iterable[Path], folder: Path) -> list[Path]:
    """Those found in ``folder``, sorted, without what is hidden or left behind by a system, an archive or a drive."""
    return sorted(path for path in found if not any(map(_LITTER.fullmatch, path.relative_to(folder).parts)))


def file_name(name: str) -> str:
    """The name as a file name that every system accepts: forbidden characters become ``_``; Hangul is kept."""
    safe = re.sub(r'[\x00-\x1f\x7f\\/:*?"<>|]|^\.+|[. ]+$', "_", unicodedata.normalize("NFC", name))
    if len(safe.encode()) <= 120:
        return safe or "_"
    kept = safe.encode()[:100].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Step:
    """What one notebook leaves in a run's folder; names in braces are filled in per run, as in ``str.format``."""

    notebook: str  # its file in notebooks/, without the suffix
    place: str = ""  # the folder for its files, inside the run's folder
    files: tuple[str, ...] = ()  # in that folder
    tables: tuple[str, ...] = ()  # in results/, as CSV
    figures: tuple[str, ...] = ()  # in figures/, each in every kind of `kinds_of`

    @property
    def fields(self) -> list[str]:
        """The names in braces, in order."""
        return [name for _, name, _, _ in Formatter().parse(self.place) if name]


MODES = ("text_only", "image_text", "joint", "hybrid", "printed")  # all versions of a data set; a profile trains some
FIGURE_KINDS = ("pdf", "png", "csv", "json")  # json: what it was made from (helpers.workflow.verify)
TYPESET = ("table1", "table2", "families")  # of the figures, those that are written as LaTeX too
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "training.json", "README.md")
_TRAINED = "{model}/{domain}/{mode}/{variant}/seed{seed}"  # one training run; mode `base` is the untuned model
_ANSWERS = ("answers.jsonl", "timings.json", "descriptions.jsonl", "descriptions.seconds.json")
STEPS = {
    "base_models": Step("appendix_base_models"),
    "start": Step("00_start_here"),
    "data": Step("01_data_generation", "data/{domain}/{variant}", ("texts.jsonl", "questions.jsonl")),
    "dataset": Step(
        "02_dataset_build",
        "datasets/{domain}/{variant}",
        (*(f"{mode}.jsonl" for mode in MODES), "questions.jsonl", "audit.json"),
    ),
    "training": Step(
        "03_qlora_finetuning",
        f"training/{_TRAINED}",
        (*(f"adapter/{file}" for file in ADAPTER), "resources.json", "losses.csv", "resources.parquet"),
    ),
    "evaluation": Step(
        "04_evaluation", f"evaluation/{_TRAINED}", (*_ANSWERS, "retention_answers.jsonl", "representations.csv")
    ),
    "ablation": Step("05_ablation", tables=("table2", "leakage"), figures=("table2", "ablation")),
    "resources": Step(
        "06_resources",
        tables=("resources", "phases", "operations", "break_even"),
        figures=(
            *("figure2", "figure2_column", "resources_tradeoff", "resources_saving", "resources_time"),
            "answering",
        ),
    ),
    "paper": Step(
        "07_paper",
        tables=(
            *("table1", "claims", "protocols", "bootstrap", "seeds", "differences", "paired", "retention"),
            *("unreadable", "categories", "classes", "confusions", "look_alikes", "comparison"),
        ),
        figures=("figure1", "table1", "accuracy", "claims"),
    ),
    "grid": Step(
        "08_grid",
        "grids/{grid}",
        ("{grid}.csv", *(f"figures/{{grid}}.{kind}" for kind in FIGURE_KINDS), "figures/{grid}_findings.csv"),
    ),
    "own_classes": Step(
        "09_own_classes", tables=("verdict", "verdicts", "sight", "verdict_confusions"), figures=("verdict",)
    ),
    "report": Step("10_report", "report", ("index.html",)),
    "families": Step(
        "14_families",
        "families/{member}/{domain}/seed{seed}",
        ("answers.jsonl", "retention_answers.jsonl", "gates.csv", "trainings.csv"),
    ),
    "families_table": Step(
        "15_families_table",
        files=("figures/families_findings.csv", "figures/families_findings.json"),
        tables=("families_gates", "families_trainings"),
        figures=("families",),
    ),
    "baselines": Step("12_baselines", "baselines/{domain}/{variant}", ("answers.jsonl", "baselines.csv")),
}


@dataclass(frozen=True)
class Layout:
    """Where the files of one run are, inside its folder, such as ``runs/demo``.

    Names in braces (``model``, ``domain``, ``mode``, ``variant``, ``seed``, ``grid``, ``member``) that a call leaves
    out stay in the path unchanged. The Snakefile uses such paths as patterns.
    """

    run: Path

    def folder(self, step: str, **names: object) -> Path:
        """The folder for a step's files: ``layout.folder("training", model="qwen2_vl", ...)``."""
        return Path(_filled(str(self.run / STEPS[step].place), names))

    def file(self, step: str, name: str, **names: object) -> Path:
        """One of a step's files. Raises ``KeyError`` for a file that the step does not write."""
        if name not in STEPS[step].files:
            raise KeyError(f"step {step} writes no {name}; it writes {', '.join(STEPS[step].files)}")
        return self.folder(step, **names) / _filled(name, names)

    def made(self, step: str, **names: object) -> list[Path]:
        """Everything that a step writes: files, tables, figures."""
        made = STEPS[step]
        files = [self.file(step, name, **names) for name in made.files]
        drawn = [self.figures / f"{name}.{kind}" for name in made.figures for kind in kinds_of(name)]
        return [*files, *(self.results / f"{name}.csv" for name in made.tables), *drawn]

    def executed(self, step: str, **names: object) -> Path:
        """The executed copy of a step's notebook."""
        below = STEPS[step].place.partition("{")[1:]
        return self.run / "notebooks" / f"{_filled('/'.join([step, *filter(None, [''.join(below)])]), names)}.ipynb"

    def log(self, step: str, **names: object) -> Path:
        """What a step's notebook prints."""
        return self.run / "logs" / self.executed(step, **names).relative_to(self.run / "notebooks").with_suffix(".log")

    def features(self, model: str = "{model}") -> Path:
        """The frozen tower's features (see ``training.tower_cache``), shared by all runs of a model."""
        return self.run / "features" / model

    @property
    def results(self) -> Path:
        """Tables that cover all runs, as CSV."""
        return self.run / "results"

    @property
    def figures(self) -> Path:
        """Figures that cover all runs, in every kind of `kinds_of`."""
        return self.run / "figures"


def kinds_of(figure: str) -> tuple[str, ...]:
    """The kinds of files that a figure is written as."""
    return (*FIGURE_KINDS, "tex") if figure in TYPESET else FIGURE_KINDS


def _filled(pattern: str, names: Mapping[str, object]) -> str:
    """The pattern with the given names filled in; the others stay as they are."""
    for name, value in names.items():
        pattern = pattern.replace(f"{{{name}}}", str(value))
    return pattern


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds, delete it if not.

    So neither a reader nor a workflow that only checks whether a file exists ever sees a half-written one. The
    temporary name keeps the suffix, from which matplotlib, PIL and others infer the format. Creates missing folders.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp creates private files, but others should be able to read results
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The umask of the process; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
