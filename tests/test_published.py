"""The published copies are those of the notebooks, whole, and small enough to keep."""

import base64
import io
import json

import pytest
from PIL import Image

from helpers import paths
from helpers.workflow import published

COPIES = sorted(published.EXECUTED.glob("*.ipynb"))
ON_DEMAND = {"appendix_base_models"}  # hours


def test_every_notebook_has_its_published_copy():
    assert {copy.stem for copy in COPIES} == {file.stem for file in paths.NOTEBOOKS.glob("*.ipynb")} - ON_DEMAND


@pytest.mark.parametrize("copy", COPIES, ids=lambda path: path.stem)
def test_a_published_copy_is_that_of_its_notebook(copy):
    """Where this fails, the notebook has changed since: `./run_all.sh publish` makes its copy anew."""
    assert published.sources(copy) == published.sources(paths.NOTEBOOKS / copy.name)


@pytest.mark.parametrize("copy", COPIES, ids=lambda path: path.stem)
def test_a_published_copy_has_its_outputs_and_no_error(copy):
    cells = [cell for cell in json.loads(copy.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    assert any(cell["outputs"] for cell in cells)
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]


def test_all_copies_together_are_small():
    assert sum(copy.stat().st_size for copy in COPIES) <= published.LARGEST_TOGETHER


def test_a_wide_image_is_scaled_and_a_missing_notebook_is_passed_over(tmp_path):
    memory = io.BytesIO()
    Image.new("RGB", (2520, 100), "red").save(memory, "PNG")
    wide = {"output_type": "display_data", "data": {"image/png": base64.b64encode(memory.getvalue()).decode()}}
    cells = [{"cell_type": "code", "source": ["1"], "metadata": {}, "outputs": [wide], "execution_count": 1}]
    executed = paths.Layout(tmp_path / "run").executed("paper")
    executed.parent.mkdir(parents=True)
    executed.write_text(json.dumps({"cells": cells}))
    [copy] = published.publish(tmp_path / "run", tmp_path / "out")
    assert copy.name == "07_paper.ipynb"
    [output] = json.loads(copy.read_text())["cells"][0]["outputs"]
    with Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))) as image:
        assert image.size == (1260, 50)
