"""A manifest says where a result comes from and nothing about whose machine it was."""

import json
import socket
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from helpers.paths import ROOT
from helpers.workflow import manifest as runs
from helpers.workflow import provenance
from helpers.workflow.provenance import manifest, portable, sha256, write_json


def test_a_manifest_is_complete(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    content = manifest({"rank": 16}, [tmp_path / "a.txt"], {"seed": 3})
    found = json.loads(write_json(tmp_path / "out" / "manifest.json", content).read_text())
    assert found["parameters"] == {"rank": 16}
    assert found["seeds"] == {"seed": 3}
    assert list(found["inputs"].values()) == ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
    assert found["packages"]["numpy"]
    assert {"created", "git", "python", "system", "hardware"} <= set(found)


def test_a_manifest_names_no_host_and_no_home():
    parameters = {"data": str(Path.home() / "set"), "folders": [ROOT / "data", ROOT]}
    found = manifest(parameters)
    text = json.dumps(found)
    assert str(Path.home()) not in text
    assert str(ROOT) not in text
    assert socket.gethostname() not in text
    assert found["parameters"] == {"data": "~/set", "folders": ["data", "."]}


def test_paths_relative_to_the_root_and_other_values_stay():
    assert portable({"a": "../shared", "b": 1.5, "c": None, "d": "runs/demo"}) == {
        "a": "../shared",
        "b": 1.5,
        "c": None,
        "d": "runs/demo",
    }


def test_the_hash_of_a_folder_is_that_of_names_and_contents(tmp_path):
    for folder, name, text in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    a, b, c, d = (sha256(tmp_path / folder) for folder in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_a_missing_input_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        manifest({}, [tmp_path / "none"])


def test_without_git_the_state_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.git_state() is None
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state() is None


def test_a_folders_hash_does_not_change_with_its_manifest(tmp_path):
    (tmp_path / "a").write_text("1")
    before = sha256(tmp_path)
    write_json(tmp_path / "manifest.json", manifest({}))
    assert sha256(tmp_path) == before


def test_a_sidecar_names_inputs_code_and_files_and_no_date(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("abc")
    for kind in ("csv", "png"):
        (tmp_path / f"figure.{kind}").write_text(kind)
    monkeypatch.setenv(provenance.MANIFEST, "runs/x/paper.manifest.json")
    path = provenance.write_sidecar(tmp_path, "figure", [tmp_path / "rows.csv"])
    first = path.read_bytes()
    found = json.loads(first)
    assert (path.name, found["manifest"]) == ("figure.json", "runs/x/paper.manifest.json")
    assert list(found["files"]) == ["figure.csv", "figure.png"]
    assert "src/helpers/workflow/provenance.py" in found["code"]
    assert next(iter(found["inputs"].values())).startswith("ba7816bf")
    assert provenance.write_sidecar(tmp_path, "figure", [tmp_path / "rows.csv"]).read_bytes() == first


def test_inputs_are_the_paths_that_are_there_however_deep_they_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("a")
    no_paths = ["~nobody-of-this-name/x", "a/\0", "x" * 300 + "/" + "y" * 300, "what / how?"]
    named = {"files": {"one": [str(tmp_path / "a.csv")]}, "texts": no_paths, "output_dir": str(tmp_path)}
    assert runs.inputs_of(named) == [tmp_path / "a.csv"]


def test_of_a_cell_of_parameters_the_plain_values_count(tmp_path):
    source = "%matplotlib inline\nseed = 3\nodd = {[]: 1}\nmade = seed + 1\nrate: float\n"
    cell = v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    assert runs.default_parameters(tmp_path / "a.ipynb") == {"seed": 3, "rate": None}


def test_a_package_that_is_not_there_has_no_version():
    assert provenance.package_versions(["no-such-package"]) == {"no-such-package": None}
