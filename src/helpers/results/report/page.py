"""The page: what `contents` found, put into the templates, and the files that it links to beside it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from helpers.paths import resolve
from helpers.results import claims, examples, findings
from helpers.results.figures.style import COLOURS, label, use_displays
from helpers.results.report import contents
from helpers.results.report.executed import convert, executed_notebooks
from helpers.workflow import verify

TEMPLATES = Path(__file__).parent / "templates"


def build(run: Path, checked: verify.Verified | None = None, displays: Mapping[str, str] | None = None) -> Path:
    """Make ``report/index.html`` in the run's folder, and what it links to; returns its path.

    ``checked`` is what `helpers.workflow.verify` found of the run, by default now; what it puts in doubt heads the page
    and is not judged. ``displays``: what each model is called. Raises ``FileNotFoundError`` of a run without Table 1.
    """
    use_displays(displays or {}, run)
    checked = checked or verify.verify([run])
    tables = claims.read_tables(run, checked)
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


def template_environment() -> jinja2.Environment:
    """Templates that escape whatever is put into them, and fail on a name that is not there."""
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
    run: Path, tables: claims.Tables, shelf: contents.Shelf, pages: list[tuple[str, str]]
) -> dict[str, Any]:
    shown = examples.galleries(run)
    behind = [resolve(file) for file in tables.files.values() if file]
    return {
        "name": run.name,
        "command": "notebooks/10_report.ipynb"
        if shelf.checked.by_hand
        else f"./run_all.sh report --profile {run.name}",
        "abstract": claims.abstract(tables),
        "claims": [(claim, _taken(run, claim.file, shelf)) for claim in claims.claims(tables)],
        "describing": claims.describing(tables),
        "findings": [(f, _taken(run, f.file, shelf)) for f in findings.findings(run, shelf.checked) if f.file],
        "not_tried": claims.NOT_TRIED,
        "behind_claims": shelf.source(behind),
        "galleries": [(one, shelf.source(one.files)) for one in shown],
        "tables": contents.tables(run, shelf),
        "figures": contents.figures(run / "figures", shelf),
        "grids": contents.grids(run, shelf),
        "machine": contents.machine(shelf.manifests.values()),
        "notebooks": pages,
        "checked": _checked(shelf.checked),
        "faults": [(fault, findings.reasons_shown(fault.reasons)) for fault in shelf.checked.faults],
        "remedy": verify.remedy(shelf.checked, run),
        "by_hand": shelf.checked.by_hand,
        "colours": COLOURS,
    }


def _taken(run: Path, file: str, shelf: contents.Shelf) -> str | None:
    """The address beside the page of a file that a claim rests on; None where there is no such file."""
    path = resolve(file) if file else run
    return shelf.put(path) if path.is_file() else None


def _notebooks(run: Path, target: Path) -> list[tuple[str, str]]:
    """Name and address of each executed notebook, as a page beside the report."""
    frame, found = template_environment().get_template("notebook.html.j2"), []
    for notebook in executed_notebooks(run):
        inside = notebook.relative_to(run / "notebooks").with_suffix("")
        address = f"notebooks/{inside.as_posix()}.html"
        convert(notebook, target / address, frame, home="../" * (address.count("/")) + "index.html")
        found.append((inside.as_posix().replace("/", " · "), address))
    return found


def _checked(checked: verify.Verified) -> str:
    """One line on whether the results are those of their inputs, at the moment when the page was made."""
    return "no manifest was found: made by hand" if checked.by_hand else verify.counted(checked)
