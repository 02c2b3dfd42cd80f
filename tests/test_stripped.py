"""A reader who runs and saves notebooks has a clean clone: git sees cells, never outputs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from helpers import paths
from helpers.workflow.lab import after_save
from helpers.workflow.stripped import stripped

SOURCE = {
    "cells": [
        {"cell_type": "markdown", "id": "text", "metadata": {}, "source": ["# Düne"]},
        {
            **{"cell_type": "code", "execution_count": None, "id": "parameters", "metadata": {"tags": ["parameters"]}},
            **{"outputs": [], "source": ["steps: int = 30  # of training\n", "rivals: list[str] = []"]},
        },
    ],
    "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}


def text_of(notebook: dict) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def saved(text: str) -> str:
    """A notebook as JupyterLab saves it after a run."""
    notebook = json.loads(text)
    notebook["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    notebook["metadata"]["language_info"] |= {"version": "3.12.4", "codemirror_mode": {"name": "ipython", "version": 3}}
    notebook["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        cell["execution_count"] = 7
        cell["metadata"]["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["30\n"]}]
    return json.dumps(notebook, indent=2)


def test_a_saved_notebook_is_its_source_again():
    assert stripped(saved(text_of(SOURCE))) == text_of(SOURCE)


def test_an_edit_of_a_cell_or_a_parameter_is_kept():
    edited = json.loads(text_of(SOURCE))
    edited["cells"][1]["source"][0] = "steps: int = 60  # of training\n"
    assert stripped(saved(text_of(edited))) == text_of(edited)


@pytest.mark.parametrize("notebook", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.stem)
def test_a_source_of_this_repository_passes_unchanged(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert stripped(text) == text or any(cell.get("outputs") for cell in nbformat.reads(text, 4).cells)


class Clone:
    """A clone with one notebook, its executed copy, and as much of run_all.sh's set-up as concerns git."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".gitattributes", "run_all.sh", "src/helpers/workflow/stripped.py"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, root / name)
        for name in ("notebooks/00.ipynb", "notebooks/executed/00.ipynb"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text_of(SOURCE), encoding="utf-8")

    def git(self, *arguments: str) -> str:
        names = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = os.environ | names | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, env=environment, capture_output=True, text=True, check=True, timeout=600
        )
        return done.stdout

    def set_up(self, python: str = sys.executable) -> None:
        """Run the script's own function, as `set_up` calls it."""
        functions = (self.root / "run_all.sh").read_text(encoding="utf-8").removesuffix('\nmain "$@"\n')
        here = functions.replace('"$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"', '"$PWD"')
        assert here != functions
        environment = os.environ | {"PYTHON_HERE": python}
        command = ["bash", "-c", f'{here}\nPY="$PYTHON_HERE"\nignore_outputs']
        subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=True, timeout=600)


@pytest.fixture
def clone(tmp_path):
    made = Clone(tmp_path / "a reader's clone")
    made.git("init", "--quiet")
    made.git("add", ".")
    made.git("commit", "--quiet", "-m", "all")
    return made


def save(clone: Clone, name: str) -> None:
    (clone.root / name).write_text(saved(text_of(SOURCE)), encoding="utf-8")


def test_saved_outputs_leave_a_clone_clean_after_the_set_up_and_stay_on_disk(clone):
    clone.set_up()
    save(clone, "notebooks/00.ipynb")
    assert clone.git("diff") == ""
    after_save(str(clone.root / "notebooks/00.ipynb")).wait(600)
    assert clone.git("status", "--porcelain") == ""
    assert json.loads((clone.root / "notebooks/00.ipynb").read_text(encoding="utf-8"))["cells"][1]["outputs"]
    save(clone, "notebooks/executed/00.ipynb")
    assert clone.git("status", "--porcelain") == " M notebooks/executed/00.ipynb\n"


def test_an_edited_cell_and_a_new_notebook_are_seen_and_not_staged(clone):
    clone.set_up()
    edited = text_of(SOURCE).replace("steps: int = 30", "steps: int = 60")
    for name in ("notebooks/00.ipynb", "notebooks/mine.ipynb"):
        (clone.root / name).write_text(saved(edited), encoding="utf-8")
        after_save(str(clone.root / name)).wait(600)
    assert clone.git("status", "--porcelain") == " M notebooks/00.ipynb\n?? notebooks/mine.ipynb\n"
    changed = [line for line in clone.git("diff").splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert [line[0] + line[1:].strip(' ",n\\') for line in changed] == [
        *("-steps: int = 30  # of training", "+steps: int = 60  # of training")
    ]


def test_a_clone_whose_environment_is_gone_takes_notebooks_as_they_are(clone):
    clone.set_up(python="/no where/python")
    assert clone.git("status", "--porcelain") == ""
    save(clone, "notebooks/00.ipynb")
    assert clone.git("status", "--porcelain") == " M notebooks/00.ipynb\n"
    clone.git("commit", "--quiet", "-a", "-m", "with outputs")
    assert clone.git("show", "HEAD:notebooks/00.ipynb") == saved(text_of(SOURCE))


def test_an_unpacked_archive_is_set_up_without_git_and_leaves_a_repository_around_it_alone(clone, tmp_path):
    inside = Clone(clone.root / "unpacked")
    inside.set_up()
    alone = Clone(tmp_path / "alone")
    alone.set_up()
    assert "stripped" not in (clone.root / ".git/config").read_text(encoding="utf-8")
    after_save(str(alone.root / "notebooks/00.ipynb")).wait(600)
    assert not (alone.root / ".git").exists()


def test_a_file_that_is_no_notebook_such_as_one_in_conflict_passes_as_it_is():
    filter_ = [sys.executable, "-P", str(paths.ROOT / "src/helpers/workflow/stripped.py")]
    for content in (b'{\n<<<<<<< HEAD\n "cells": []\n', b"[1]", b"\xff", b""):
        done = subprocess.run(filter_, input=content, capture_output=True, check=True)
        assert done.stdout == content and not done.stderr
