"""The page: what `contents` collected, rendered with the templates, and the files that it links to."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from helpers.paths import MAIN, resolve
from helpers.results import claims, examples, findings
from helpers.results.figures.style import COLOURS, label, use_displays
from helpers.results.report import contents
from helpers.results.report.executed import convert, executed_notebooks
from helpers.results.stats import MARGIN
from helpers.workflow import verify

_VERDICTS = "verdicts.csv"  # in the results of a run on own classes
TEMPLATES = Path(__file__).parent / "templates"


def build(run: Path, checked: verify.Verified | None = None, displays: Mapping[str, str] | None = None) -> Path:
    """Make ``report/index.html`` in the run's folder, and what it links to; returns its path.

    ``checked`` is the result of `helpers.workflow.verify` (default: verify now). What it finds stale or unrecorded is
    listed at the top of the page and not judged. ``displays``: display names of the models.

    A run on the user's own classes has no Table 1: in place of the paper's claims, its page has the verdicts of
    notebook 09. Raises ``FileNotFoundError`` for a run with neither.
    """
    use_displays(displays or {}, run)
    checked = checked or verify.verify([run])
    tables = None if is_of_own_classes(run) else claims.read_tables(run, checked)
    target = run / "report"
    shelf = contents.open_shelf(run, checked)
    pages = _notebooks(run, target)
    page = template_environment().get_template("index.html.j2").render(_everything(run, tables, shelf, pages))
    for address, file in shelf.files.items():
        (target / address).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / address)
    target.mkdir(parents=True, exist_ok=True)
    index = target / "index.html"
    index.write_text(page, encoding="utf-8")
    return index


def is_of_own_classes(run: Path) -> bool:
    """Whether notebook 09 has judged the run, and no Table 1 says that it is one of the paper's."""
    results = run / "results"
    return (results / _VERDICTS).is_file() and not (results / "table1.csv").is_file()


def template_environment() -> jinja2.Environment:
    """The templates, which escape all values and fail on an undefined name."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["label"] = label
    made.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    return made


def _everything(
    run: Path, tables: claims.Tables | None, shelf: contents.Shelf, pages: list[tuple[str, str]]
) -> dict[str, Any]:
    by_hand = shelf.checked.by_hand
    galleries = examples.galleries(run)
    return (_of_paper(run, tables, shelf) if tables else _of_own_classes(run, shelf)) | {
        "name": run.name,
        "findings": [(f, _taken(run, f.file, shelf)) for f in findings.findings(run, shelf.checked) if f.file],
        "margin": MARGIN,
        "lead": next(((of, card) for of in galleries for card in of.cards if card.image), None),
        "galleries": [(one, shelf.source(one.files)) for one in galleries],
        "tables": [table for table in contents.tables(run, shelf) if tables or table.name != "verdicts"],
        "figures": contents.figures(run / "figures", shelf),
        "grids": contents.grids(run, shelf),
        "machine": contents.machine(shelf.manifests.values()),
        "notebooks": pages,
        "checked": _checked(shelf.checked),
        "faults": [(fault, findings.reasons_shown(fault.reasons)) for fault in shelf.checked.faults],
        "remedy": verify.remedy(shelf.checked, run),
        "by_hand": by_hand,
        "colours": COLOURS,
    }


def _of_paper(run: Path, tables: claims.Tables, shelf: contents.Shelf) -> dict[str, Any]:
    """The paper's claims, each with the file that it rests on."""
    by_hand = shelf.checked.by_hand
    return {
        "command": "notebooks/10_report.ipynb" if by_hand else f"./run_all.sh report --profile {run.name}",
        "abstract": claims.abstract(tables),
        "claims": [(claim, _taken(run, claim.file, shelf)) for claim in claims.claims(tables)],
        "describing": claims.describing(tables),
        "not_tried": claims.NOT_TRIED,
        "behind_claims": shelf.source(resolve(file) for file in tables.files.values() if file),
        "seeds": claims.one_seed_said(tables),
    }


def _of_own_classes(run: Path, shelf: contents.Shelf) -> dict[str, Any]:
    """The verdicts in place of claims; none that are stale."""
    file = run / "results" / _VERDICTS
    said = [
        f"{label(one['model'])}, type {one['question_type']} ({one['n']} questions): {one['verdict'].upper()}. "
        f"{one['reason']}."
        for one in pd.read_csv(file).to_dict("records")
    ]
    said = ["The verdict is not shown: it no longer matches its inputs."] if shelf.checked.doubt(file) else said
    made = {"command": "./run_all.sh own FOLDER", "claims": [], "describing": [], "not_tried": [], "seeds": ""}
    return made | {"abstract": said, "behind_claims": shelf.source([file])}


def _taken(run: Path, file: str, shelf: contents.Shelf) -> str | None:
    """Copy the file that a claim rests on; returns its address relative to the page, or None if there is no file."""
    path = resolve(file) if file else run
    return shelf.put(path) if path.is_file() else None


def _notebooks(run: Path, target: Path) -> list[tuple[str, str]]:
    """Convert each executed notebook to a page next to the report; returns their names and addresses."""
    frame, found = template_environment().get_template("notebook.html.j2"), []
    for notebook in executed_notebooks(run):
        inside = notebook.relative_to(run / "notebooks").with_suffix("")
        address = f"notebooks/{inside.as_posix()}.html"
        convert(notebook, target / address, frame, home="../" * address.count("/") + "index.html")
        found.append((_title(inside), address))
    return found


def _title(copy: Path) -> str:
    """What an executed notebook is about, in words, without the variant and folder that all of them share."""
    parts = [label(part) for part in copy.parts if part not in (MAIN, "all")]
    said = " · ".join(part.replace("_", " ").replace("seed", "seed ") for part in parts)
    return said[:1].upper() + said[1:]


def _checked(checked: verify.Verified) -> str:
    """One line on whether the results still match their inputs at this moment."""
    return "no manifest found, so the run was made by hand" if checked.by_hand else verify.counted(checked)
