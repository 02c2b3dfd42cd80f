"""A card says where a data set comes from and what is in it, in a header that a program can read."""

import pytest
import yaml

from helpers.config.prompts import training_prompts
from helpers.datasets.card import (
    UNKNOWN_LICENCE,
    audit_summary,
    count_rows,
    recorded_source,
    source_of,
    write_dataset_card,
)
from helpers.rows import RowFile
from helpers.schemas import ClassText, write_texts
from helpers.workflow.provenance import sha256


@pytest.fixture
def texts(tmp_path):
    given = {"domain": "own", "appearance": "Red.", "background": "Old.", "image": None, "wording": 0}
    rows = [
        ClassText(class_id="a", name="A", writer="offline", **given),
        ClassText(class_id="나", name="나", writer="gpt-4o", prompt_hash="0123456789ab", **given),
    ]
    return RowFile(write_texts(tmp_path / "texts.jsonl", rows), ClassText)


FOUND = {
    "questions": 3,
    "question_texts_in_training": ["What?"],
    "near_images": {"distance": 4, "count": 2, "examples": ["x ~ y (1)"]},
    "type1": {"questions": 3, "answer_positions": [1, 2, 0, 0], "option_words": None},
}


def card(texts, folder):
    files = {"texts.jsonl": count_rows(texts)}
    notes = {"texts.jsonl": "a remark"}
    return write_dataset_card(folder, "own", source_of("own"), files, {"seed": 0}, texts, FOUND, notes)


def test_the_header_has_source_licence_counts_hashes_settings_prompts_and_audit(texts, tmp_path):
    content = card(texts, tmp_path).read_text(encoding="utf-8")
    header = yaml.safe_load(content.split("---\n")[1])
    made = header["text_only_training"]
    assert (header["license"], header["configs"]) == (
        "unknown",
        [{"config_name": "texts", "data_files": "texts.jsonl"}],
    )
    about = {"rows": 2, "bytes": texts.path.stat().st_size, "sha256": sha256(texts.path)}
    assert made["files"] == {"texts.jsonl": about}
    assert made["texts"] == {
        "classes": 2,
        "writers": {"offline": 1, "gpt-4o": 1},
        "prompt_hashes": ["0123456789ab"],
    }
    assert made["settings"] == {"seed": 0}
    assert made["audit"]["near_images"] == 2
    assert "| `texts.jsonl` | 2 |" in content
    assert "a remark" in content


def test_equal_data_sets_have_equal_cards(texts, tmp_path):
    assert card(texts, tmp_path).read_bytes() == card(texts, tmp_path).read_bytes()


def test_a_file_that_is_not_there_is_an_error(texts, tmp_path):
    with pytest.raises(FileNotFoundError):
        write_dataset_card(tmp_path, "own", UNKNOWN_LICENCE, {"none.jsonl": 0}, {}, texts, {})


def test_a_summary_counts_examples_and_keeps_numbers():
    assert audit_summary(FOUND) == {
        "questions": 3,
        "question_texts_in_training": 1,
        "near_images": 2,
        "type1": {"questions": 3, "answer_positions": [1, 2, 0, 0], "option_words": None},
    }


def test_an_unknown_source_is_refused_and_none_is_not_stated():
    with pytest.raises(ValueError, match="known: drawn, kviscuit, butterflies, own"):
        source_of("moon")
    assert source_of(None) == UNKNOWN_LICENCE


def test_the_source_is_what_the_run_that_made_the_data_recorded(tmp_path):
    assert recorded_source(tmp_path) is None
    (tmp_path / "manifest.json").write_text('{"parameters": {"source": "own"}}', encoding="utf-8")
    assert recorded_source(tmp_path) == "own"


def test_the_card_says_which_prompts_the_samples_were_made_with(texts, tmp_path):
    prompts = training_prompts()
    path = write_dataset_card(tmp_path, "own", UNKNOWN_LICENCE, {}, {}, texts, FOUND, prompts=prompts)
    content = path.read_text(encoding="utf-8")
    made = yaml.safe_load(content.split("---\n")[1])["text_only_training"]
    assert made["prompts"] == {"version": prompts.version, "hash": prompts.hash}
    assert f"Samples: prompts version 1, hash {prompts.hash}." in content
