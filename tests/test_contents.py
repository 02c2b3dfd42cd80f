"""A job's digest follows the contents of what it reads, and nothing else."""

import os
import shutil

import pytest

from helpers.workflow import contents, provenance, verify
from helpers.workflow.contents import Contents


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two inputs, and a run whose notebook has made a file."""
    for module in (contents, verify, provenance):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "a.csv").write_text("new")
    (tmp_path / "b b.csv").write_text("other")
    run = tmp_path / "runs" / "x"
    (run / "data").mkdir(parents=True)
    (run / "data" / "rows.jsonl").write_text("made")
    (run / "notebooks").mkdir()
    record = {"notebook": "n.ipynb", "exit": 0, "ended": "1", "outputs": provenance.hashes([run / "data/rows.jsonl"])}
    provenance.write_json(run / "notebooks" / "n.manifest.json", record)
    return tmp_path


def digest(tree, read=("a.csv", "b b.csv"), made=("runs/x/data/rows.jsonl",)):
    return Contents(tree / "runs" / "x").digest(read, made)


def test_dates_order_and_repetition_change_nothing_and_contents_do(tree):
    before = digest(tree)
    os.utime(tree / "a.csv", (1, 1))
    assert digest(tree, ("b b.csv", "a.csv", "a.csv")) == before
    older = tree / "older"
    older.write_text("old")
    os.utime(older, (10**9, 10**9))
    shutil.copy2(older, tree / "a.csv")  # as cp -p does
    assert digest(tree) != before
    (tree / "a.csv").write_text("new")
    assert digest(tree) == before


def test_a_missing_file_has_no_contents_and_a_new_one_has(tree):
    without = digest(tree)
    assert digest(tree, ("a.csv", "b b.csv", "c.csv")) == without  # Snakemake says that it is missing
    (tree / "c.csv").write_text("")
    assert digest(tree, ("a.csv", "b b.csv", "c.csv")) != without


def test_a_file_of_the_run_counts_only_while_it_is_not_what_its_notebook_made(tree):
    before = digest(tree)
    made = tree / "runs/x/data/rows.jsonl"
    made.write_text("older")
    os.utime(made, (10**9, 10**9))
    replaced = digest(tree)
    assert replaced != before
    assert digest(tree, made=()) == before  # a job that does not read it
    made.write_text("oldest")
    assert digest(tree) not in (before, replaced)
    made.write_text("made")
    assert digest(tree) == before


def test_without_a_run_nothing_is_written_and_with_one_its_hashes_are(tree):
    found = Contents(tree / "runs" / "new")
    assert found.digest(["a.csv"]) == Contents(tree / "runs" / "x").digest(["a.csv"])
    found.remember()
    assert not (tree / "runs" / "new").exists()
    known = Contents(tree / "runs" / "x")
    known.digest(["a.csv"])
    known.remember()
    assert (tree / "runs" / "x" / verify.HASHES).is_file()
