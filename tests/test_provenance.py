"""A manifest says where a result comes from and nothing about whose machine it was."""

import json
import socket
from pathlib import Path

import pytest

from helpers import provenance
from helpers.paths import ROOT
from helpers.provenance import manifest, portable, sha256, write_manifest


def test_a_manifest_is_complete(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    found = json.loads(write_manifest(tmp_path / "out", {"rank": 16}, [tmp_path / "a.txt"], {"seed": 3}).read_text())
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
