"""Every input that the search of `search.py` kept, and what was found by hand, keeps its parser's promise."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import search
import targets


@pytest.mark.parametrize("target", targets.TARGETS)
def test_no_input_that_was_ever_kept_breaks_a_promise(target, tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "FOLDER", tmp_path)
    for data in (*targets.seeds(target), *search.kept(target)):
        targets.TARGETS[target](data)


def test_the_corpus_is_small_and_of_targets_that_there_are():
    files = list(search.CORPUS.glob("*.txt"))
    assert {file.stem for file in files} <= set(targets.TARGETS)
    assert sum(file.stat().st_size for file in files) < 1_000_000
