"""Notebook 13 as it stands, with the drawn example and the demo's tiny CLIP: its numbers, and what it shows."""

import json

import pandas as pd
import papermill
import pytest

from helpers.paths import NOTEBOOKS

NOTEBOOK = NOTEBOOKS / "13_photographs.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    given = {"splits": 2, "examples": [1, 2], "licence": None}
    papermill.execute_notebook(
        str(NOTEBOOK), str(folder / "13.ipynb"), given, cwd=str(folder), kernel_name="python3", progress_bar=False
    )
    return folder, json.loads((folder / "13.ipynb").read_text(encoding="utf-8"))


def outputs(notebook, cell):
    found = next(c for c in notebook["cells"] if c["id"] == cell)
    return "".join("".join(o.get("text", "")) for o in found["outputs"]), [o.get("data", {}) for o in found["outputs"]]


@pytest.mark.slow
def test_descriptions_recognise_drawn_classes_that_were_never_seen(executed):
    table = pd.read_csv(executed[0] / "runs/lab/photographs/accuracy.csv").set_index(["text", "photographs"])[
        "accuracy"
    ]
    assert table["descriptions, compared directly", 0] > 70  # the tiny CLIP knows the drawn world's words
    assert table["descriptions", 0] > table["descriptions, shuffled", 0] + 15
    assert table["photographs", 2] > 80


@pytest.mark.slow
def test_the_text_tower_reads_and_the_control_does_not(executed):
    folder, notebook = executed
    table = pd.read_csv(folder / "runs/lab/photographs/accuracy.csv").set_index("text")["accuracy"]
    right, shuffled = (f"trained on text: text tower{what}, compared directly" for what in ("", ", shuffled"))
    assert table[right] > max(table[shuffled], table["names, compared directly"]) + 15
    assert "trained on text: inversion, shuffled, compared directly" in table
    assert "after reading: " in outputs(notebook, "towers")[0]


@pytest.mark.slow
def test_the_map_in_sight_is_the_helpers_map(executed):
    folder, notebook = executed
    said = float(outputs(notebook, "map")[0].split(": ")[1].split(" %")[0])
    rows = pd.read_parquet(folder / "runs/lab/photographs/answers.parquet")
    first = rows[(rows["split"] == 0) & (rows["text"] == "name masked")]
    assert said == pytest.approx(100 * first["right"].mean(), abs=0.1)


@pytest.mark.slow
def test_no_photograph_is_shown_without_a_licence(executed):
    _, notebook = executed
    for cell in ("shown", "classes-shown"):
        text, data = outputs(notebook, cell)
        assert "no licence is known" in text
        assert not any("image/png" in one for one in data)
