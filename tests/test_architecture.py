"""The shape of the package: which way imports point, and that a public name means one thing."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import grimp
import pytest

from helpers import paths

PACKAGE = paths.ROOT / "src" / "helpers"
# From the bottom to the top: a package may import what stands before it, never what stands after it
ORDER = (
    *("paths", "rows", "images", "schemas", "workflow", "config", "synthetic", "models", "domains", "writer"),
    *("datasets", "evaluation", "photographs", "training", "base_models", "families"),
    "results",
)


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("helpers", cache_dir=None)


def part(module: str) -> str:
    """`helpers.models.loading` belongs to `models`."""
    return module.split(".")[1] if "." in module else ""


def test_four_modules_are_loose_and_everything_else_has_its_package():
    loose = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert loose == {"paths", "rows", "images", "schemas"}
    assert loose | packages == set(ORDER)


def test_imports_point_one_way(graph):
    wrong = [
        f"{importer} imports {imported}"
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if part(importer) and part(imported) and ORDER.index(part(importer)) < ORDER.index(part(imported))
    ]
    assert not wrong


def test_no_import_goes_round_in_a_circle(graph):
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            chain = graph.find_shortest_chain(importer=other, imported=module)
            assert chain is None, f"{module} -> {' -> '.join(chain or ())}"


def public_names(file: Path) -> set[str]:
    """Functions, classes and constants that a module defines at its top, without those that it keeps to itself."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def test_a_public_name_means_one_thing():
    """Each command line has a `main`; no other name is defined in two modules."""
    found = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for name in public_names(file) - {"main", "command"}:
            found[name].append(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_the_layout_of_a_run_is_written_down_once():
    """Folders of a run are named by `paths.Layout` alone: no f-string or pattern elsewhere spells one out."""
    places = {step.place.partition("/")[0] for step in paths.STEPS.values() if step.place}
    spelt = re.compile(rf"""["'/](?:{"|".join(sorted(places))})/\{{""")
    files = [*PACKAGE.rglob("*.py"), *paths.NOTEBOOKS.glob("*.ipynb"), paths.ROOT / "Snakefile"]
    assert [f for f in files if f.name != "paths.py" and spelt.search(f.read_text(encoding="utf-8"))] == []


def test_the_notebooks_show_the_method():
    """What a reader looks for in the fine-tuning stands in its cells, not in a helper."""
    cells = (paths.NOTEBOOKS / "03_qlora_finetuning.ipynb").read_text(encoding="utf-8")
    for name in ("BitsAndBytesConfig(", "LoraConfig(", "TrainingArguments(", "target_modules", "backward()", "optim="):
        assert name in cells, name
