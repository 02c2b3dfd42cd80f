"""The test is opened by one function, which leaves a line in the run's manifest; read here from the code itself."""

import ast
import json
from pathlib import Path

import grimp
import pytest

from helpers import paths
from helpers.schemas import shuffled_question, write_questions
from helpers.workflow import manifest, provenance
from helpers.workflow.notebooks import code_cells, parse
from helpers.workflow.splits import open_questions

DOOR = "helpers.workflow.splits"
TEACHERS = ("helpers.training", "helpers.base_models", "helpers.writer", "helpers.datasets.build", "helpers.families")
RAW = {"read_questions", "read_rows", "iterate_rows", "RowFile"}  # readers of files; the last three of any rows


def sources():
    """Every module and notebook as Python; the door itself and the modules that define rows are left out."""
    left_out = {"schemas.py", "rows.py", "splits.py"}
    for file in sorted((paths.ROOT / "src/helpers").rglob("*.py")):
        if file.name not in left_out:
            yield file, ast.parse(file.read_text(encoding="utf-8"))
    for file in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        for cell in code_cells(file):
            yield file, parse(file, cell["source"])


def names_in(node):
    """Names and attributes in an expression, such as q and split in ``q.split``."""
    inside = list(ast.walk(node))
    return {n.id for n in inside if isinstance(n, ast.Name)} | {n.attr for n in inside if isinstance(n, ast.Attribute)}


def reads_questions(call: ast.Call) -> bool:
    """Whether a call reads a file of questions, and not through the door."""
    called = names_in(call.func)
    given = {name for argument in call.args for name in names_in(argument)}
    return "read_questions" in called or bool(called & RAW and "Question" in given)


def picks_a_split(comparison: ast.Compare) -> bool:
    """Whether a question's split is compared with anything but "dev", which is there to choose by."""
    sides = [comparison.left, *comparison.comparators]
    constants = {side.value for side in sides if isinstance(side, ast.Constant)}
    of_row = any(isinstance(side, ast.Attribute) and side.attr == "split" for side in sides)
    of_table = any(isinstance(s, ast.Subscript) and getattr(s.slice, "value", None) == "split" for s in sides)
    by_name = any(isinstance(side, ast.Name) and side.id == "split" for side in sides)
    return (of_row and constants != {"dev"}) or ((of_table or by_name) and "test" in constants)


def test_nothing_else_reads_a_file_of_questions_or_picks_the_test():
    found = {}
    for file, tree in sources():
        for node in ast.walk(tree):
            if (isinstance(node, ast.Call) and reads_questions(node)) or (
                isinstance(node, ast.Compare) and picks_a_split(node)
            ):
                found.setdefault(file.name, []).append(ast.unparse(node))
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "[q for q in asked if q.split == 'test']",
        "[q for q in asked if q.split != given.split]",
        "rows[rows['split'] == 'test']",
        "[a for a, split in pairs if split in ('x', 'y') or split == 'test']",
        "schemas.read_questions(file)",
        "list(RowFile(file, Question))",
        "rows.iterate_rows(file, schemas.Question)",
    ],
)
def test_what_goes_round_the_door_is_noticed(code):
    nodes = list(ast.walk(ast.parse(code)))
    assert any(isinstance(n, ast.Compare) and picks_a_split(n) for n in nodes) or any(
        isinstance(n, ast.Call) and reads_questions(n) for n in nodes
    )


@pytest.mark.parametrize(
    "code", ["[q for q in asked if q.split == 'dev']", "RowFile(file, ClassText)", "'a b'.split()"]
)
def test_what_is_chosen_on_dev_or_reads_other_rows_is_free(code):
    nodes = list(ast.walk(ast.parse(code)))
    assert not any(isinstance(n, ast.Compare) and picks_a_split(n) for n in nodes)
    assert not any(isinstance(n, ast.Call) and reads_questions(n) for n in nodes)


def test_what_teaches_or_trains_cannot_reach_the_test():
    graph = grimp.build_graph("helpers", cache_dir=None)
    for module in graph.modules:
        if module.startswith(TEACHERS) and module != "helpers.families.rivals":  # asked at the test, as a baseline is
            chain = graph.find_shortest_chain(importer=module, imported=DOOR)
            assert chain is None, " -> ".join(chain or ())


def test_the_notebooks_that_teach_or_train_do_not_open_it():
    opened_by = {
        file.stem for file, tree in sources() if "open_questions" in names_in(tree) and file.suffix == ".ipynb"
    }
    assert opened_by == {"02_dataset_build", "04_evaluation", "12_baselines", "14_families"}


# ---- what is recorded ------------------------------------------------------------------------------------------------


@pytest.fixture
def questions(tmp_path):
    """A file of three questions of the test and one of dev."""
    import random

    given = {"domain": "d", "question_type": 1, "category": "name", "class_id": "a", "question": "What?", "image": None}
    rows = [
        shuffled_question(random.Random(0), list("wxyz"), question_id=f"q{i}", split=split, **given)
        for i, split in enumerate(["test", "dev", "test", "test"])
    ]
    return write_questions(tmp_path / "questions.jsonl", rows)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A notebook that is being run."""
    notebook = tmp_path / "n.ipynb"
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "seed: int = 0"}
    notebook.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    record = manifest.RunRecord(notebook, tmp_path / "out.ipynb", {})
    monkeypatch.setenv(provenance.MANIFEST, str(record.path))
    return record


def opened(record: manifest.RunRecord) -> list[dict]:
    return json.loads(Path(record.finish(0)).read_text())["test_opened"]


def test_the_manifest_says_who_opened_the_test_what_for_which_file_and_how_many(run, questions):
    for _ in range(2):  # the same twice is told once
        assert [q.question_id for q in open_questions(questions, "test", use="answers")] == ["q0", "q2", "q3"]
    assert len(open_questions(questions, "dev", "test", use="audit")) == 4
    first, second = opened(run)
    assert (first["use"], second["use"]) == ("answers", "audit")
    assert first["by"].endswith("n.ipynb") and first["by_sha256"] == provenance.sha256(run.notebook)
    for use in (first, second):
        assert use["file"].endswith("questions.jsonl") and use["sha256"] == provenance.sha256(questions)
        assert use["questions"] == 3
    assert not provenance.opened_beside(run.path).exists()


def test_dev_is_free_and_a_run_that_opens_nothing_says_so(run, questions):
    assert [q.question_id for q in open_questions(questions, "dev", use="to choose the rank")] == ["q1"]
    assert opened(run) == []


def test_outside_a_run_nothing_is_written(tmp_path, questions, monkeypatch):
    monkeypatch.delenv(provenance.MANIFEST, raising=False)
    assert len(open_questions(questions, "test", use="a look")) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["questions.jsonl"]


@pytest.mark.parametrize(
    ("splits", "use", "rule"),
    [
        (["train"], "x", "splits are train; name one or more of test, dev"),
        ([], "x", "splits are not named"),
        (["test"], " ", "use is empty; say what the questions are opened for"),
    ],
)
def test_what_does_not_say_which_questions_or_what_for_is_refused(splits, use, rule, questions):
    with pytest.raises(ValueError, match=rule):
        open_questions(questions, *splits, use=use)
