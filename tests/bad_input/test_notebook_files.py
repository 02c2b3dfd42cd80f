"""Notebooks that cannot be run as asked are refused before a kernel is started."""

import json

import pytest

from helpers.workflow.notebooks import NotebookError, check_parameters, declared_parameters, helper_files


def cell(source: str, *tags: str, kind: str = "code") -> dict:
    return {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)} if tags else {}}


def notebook(path, *cells: dict, **metadata) -> str:
    path.write_text(json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": 4}), encoding="utf-8")
    return str(path)


GOOD = cell("seed = 1  # such as 2\nmodel: str = 'm'", "parameters")


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        ([], "has 0 cells tagged `parameters`; it needs exactly one, which assigns every parameter"),
        ([cell("seed = 1")], "has 0 cells tagged `parameters`.*property inspector"),
        ([cell("seed = 1", "Parameters")], "has 0 cells tagged"),
        ([cell("seed = 1", "parameters", kind="markdown")], "has 0 cells tagged"),
        ([GOOD, GOOD], "has 2 cells tagged `parameters`; it needs exactly one"),
        ([cell("seed = = 1", "parameters")], "syntax error in a cell: invalid syntax: seed = = 1"),
        ([cell("def f(:\n", "parameters")], "syntax error in a cell"),
        ([cell("print 'old'", "parameters")], "syntax error in a cell"),
        ([cell("", "parameters")], "does not declare the parameter seed; it declares "),
        ([cell("%seed = 1\n!rm -rf x", "parameters")], "does not declare the parameter seed"),
        ([cell("sead = 1", "parameters")], "does not declare the parameter seed; it declares sead. Correct the name"),
        ([cell("print(seed)", "parameters")], "does not declare the parameter seed"),
        ([cell("if True:\n    seed = 1", "parameters")], "does not declare the parameter seed"),
        ([cell("seed = '\ud800'", "parameters")], "a cell cannot be read as Python .*surrogates not allowed"),
        ([cell("seed = " + "-" * 20_000 + "1", "parameters")], "a cell cannot be read as Python"),
        ([cell("seed = " + "1+" * 20_000 + "1", "parameters")], "a cell cannot be read as Python"),
        ([{**GOOD, "metadata": {"tags": 7}}], "has 0 cells tagged"),
    ],
)
def test_cells_that_do_not_declare_what_is_given_are_named_with_the_remedy(cells, rule, refused, tmp_path):
    path = notebook(tmp_path / "a.ipynb", *cells)
    assert str(refused(NotebookError, rule, check_parameters, path, ["seed"])).startswith(path)


def test_stale_parameters_are_all_named(refused, tmp_path):
    path = notebook(tmp_path / "a.ipynb", GOOD)
    rule = "does not declare the parameter epochs, rate; it declares seed, model"
    refused(NotebookError, rule, check_parameters, path, ["seed", "epochs", "rate"])


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"7", b"{}", b'{"cells": null}', b'{"cells": 7}', b'{"cells": [7]}'),
        *(
            b'{"cells": [{}]}',
            b'{"cells": [{"cell_type": "code"}]}',
            b'{"cells": [{"cell_type": "code", "source": 7}]}',
        ),
        *(b'{"worksheets": [{"cells": []}]}', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"[" * 10**5, b"# %%\nseed = 1\n"),
    ],
)
def test_what_is_no_notebook_is_told(content, refused, tmp_path):
    (tmp_path / "a.ipynb").write_bytes(content)
    refused(NotebookError, r"a\.ipynb is not a notebook of format 4", declared_parameters, tmp_path / "a.ipynb")


def test_a_notebook_that_is_missing_is_told(refused, tmp_path):
    refused(NotebookError, "there is no notebook .*none.ipynb", check_parameters, tmp_path / "none.ipynb", [])


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "ir", "language": "R"}},
        {"kernelspec": {"name": "julia-1.9", "language": "julia"}},
        {"language_info": {"name": "javascript"}},
    ],
)
def test_a_kernel_of_another_language_is_refused(metadata, refused, tmp_path):
    path = notebook(tmp_path / "a.ipynb", GOOD, **metadata)
    rule = "is written for a kernel of the language .*; only Python notebooks can be run.*Change Kernel"
    refused(NotebookError, rule, check_parameters, path, ["seed"])


@pytest.mark.parametrize(
    "metadata", [{}, {"kernelspec": {"name": "old-env", "language": "python"}}, {"kernelspec": None}]
)
def test_a_python_notebook_is_taken_whatever_its_kernel_was_called(metadata, tmp_path):
    check_parameters(notebook(tmp_path / "a.ipynb", GOOD, **metadata), ["seed", "model"])


def test_tags_that_are_null_are_none(tmp_path):
    odd = {"cell_type": "code", "source": ["x = 1"], "metadata": {"tags": None}}
    assert declared_parameters(notebook(tmp_path / "a.ipynb", odd, GOOD)) == ["seed", "model"]


def test_a_syntax_error_in_a_cell_is_found_before_the_workflow_starts(refused, tmp_path):
    path = notebook(tmp_path / "a.ipynb", GOOD, cell("from helpers import ("))
    refused(NotebookError, "syntax error in a cell", helper_files, [path])
