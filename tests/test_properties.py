"""Properties that hold for every input, sought with random ones (hypothesis; the same in every run under CI).

A longer search: ``PROPERTY_EXAMPLES=2000 pytest tests/test_properties.py``; with PROPERTY_DATABASE=FOLDER it keeps
there what it found, and begins with it the next time. tests/fuzz/ searches by coverage.
"""

import csv
import json
import os
import re
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from helpers.config import grids
from helpers.config.profiles import SettingsError, load_profile, parse_overrides, read_yaml, replaced
from helpers.domains.butterfly_vqa import Numbering, answer_of, label_of, split_letter
from helpers.domains.commons import licence_family
from helpers.domains.own_folder import read_folder
from helpers.images import check_image_bytes
from helpers.rows import read_rows
from helpers.schemas import ClassText, Question, read_questions, read_texts, write_questions, write_texts
from helpers.workflow.notebooks import NotebookError, declared_parameters
from helpers.writer import checks
from helpers.writer.cache import Cache, CachedReply
from helpers.writer.prompts import as_data

DATABASE = os.environ.get("PROPERTY_DATABASE")

settings.register_profile(
    "project",
    max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "25")),
    deadline=None,
    derandomize=os.environ.get("CI", "") not in ("", "0", "false"),
    database=DirectoryBasedExampleDatabase(DATABASE) if DATABASE else None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

ANY = st.text(max_size=80)  # all of Unicode but lone surrogates
WHOLE = ANY.map(str.strip).filter(bool)
DEMO = load_profile("demo")


def file(content: bytes, name: str = "a") -> Path:
    """In a folder of its own, which the example leaves behind for the system to clear."""
    path = Path(tempfile.mkdtemp(prefix="property-")) / name
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


# ---- rows ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.builds(
            Question,
            domain=WHOLE,
            question_id=WHOLE,
            question_type=st.sampled_from([1, 2]),
            category=WHOLE,
            class_id=st.none() | WHOLE,
            question=WHOLE,
            options=st.lists(WHOLE, min_size=4, max_size=4, unique=True),
            answer=st.integers(0, 3),
            image=st.none(),
            split=st.sampled_from(["test", "dev"]),
            answer_form=st.sampled_from(["{option}", "It is {option}."]),
            refers=st.none() | WHOLE,
        ),
        max_size=4,
        unique_by=lambda question: question.question_id,
    )
)
def test_questions_come_back_from_their_file_as_they_were(questions):
    path = write_questions(file(b"", "questions.jsonl"), questions)
    assert read_questions(path) == questions
    assert all(question.sentences()[question.answer].count(question.right_option) for question in questions)


@given(WHOLE, WHOLE, WHOLE, st.integers(0, 9))
def test_texts_come_back_from_their_file_as_they_were(name, appearance, background, wording):
    text = ClassText(
        class_id=name,
        name=name,
        domain="d",
        appearance=appearance,
        background=background,
        wording=wording,
        writer="w",
        image=None,
    )
    assert read_texts(write_texts(file(b"", "texts.jsonl"), [text])) == [text]


@given(st.binary(max_size=300) | ANY.map(str.encode))
def test_a_file_of_anything_is_read_as_rows_or_named_with_the_line(content):
    path = file(content, "rows.jsonl")
    try:
        assert read_rows(path, Question) == []
    except ValueError as error:
        assert re.match(rf"{re.escape(str(path))}:\d+: ", str(error))


@given(st.binary(max_size=60), st.integers(1, 3))
def test_a_cache_cut_anywhere_loses_at_most_the_line_that_was_being_written(tail, count):
    replies = [
        CachedReply(request=str(n), model="m", text="t", finish="stop", tokens_in=1, tokens_out=1, cost=1.0)
        for n in range(count)
    ]
    whole = b"".join(reply.model_dump_json().encode() + b"\n" for reply in replies)
    cache = Cache(file(whole + tail.replace(b"\n", b""), "cache.jsonl"))
    assert (len(cache.replies), cache.spent) == (count, float(count))


# ---- settings and names --------------------------------------------------------------------------------------------

FIELDS = ["writer.model", "writer.base_url", "build.parts", "training.epochs", "evaluation.protocols"]
VALUES = st.recursive(ANY | st.integers() | st.booleans() | st.none(), lambda v: st.lists(v, max_size=3), max_leaves=4)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_a_variant_s_name_is_one_folder_that_no_shell_reads_anything_into(overrides):
    name = grids.key(overrides)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.=+~-]*", name)
    assert len(name) <= grids.LONGEST_KEY
    assert name == grids.key(dict(reversed(overrides.items())))


@given(ANY, ANY)
def test_two_texts_never_share_the_name_of_a_variant(one, other):
    names = {grids.key({"writer.model": one}), grids.key({"writer.model": other})}
    assert (len(names) == 1) == (one == other)


@given(st.sampled_from([*FIELDS, "seeds", "domains.butterfly.source", "ghost", "training", ""]), VALUES)
def test_a_setting_fits_or_is_refused_by_its_name(field, value):
    try:
        assert replaced(DEMO, {field: value}, "it")
    except SettingsError as error:
        assert field.split(".")[0] in str(error)
        assert len(str(error)) < 20_000


@given(ANY)
def test_settings_beside_a_profile_are_read_or_refused(text):
    try:
        assert isinstance(parse_overrides(text), dict)
    except SettingsError as error:
        assert "cannot read the setting" in str(error)


@given(st.binary(max_size=100) | ANY.map(str.encode))
def test_a_file_of_anything_is_read_as_yaml_or_refused_by_its_name(content):
    try:
        read_yaml(file(content, "a.yaml"))
    except SettingsError as error:
        assert "a.yaml" in str(error)


# ---- files of others -----------------------------------------------------------------------------------------------

CELL = st.text(alphabet=string.printable + "äé²한\u2028\ufeff", max_size=20)


@given(st.binary(max_size=200) | st.lists(st.lists(CELL, max_size=9), max_size=5).map(lambda rows: _csv(rows)))
def test_a_folder_of_one_s_own_never_fails_however_its_tables_are_filled(content):
    folder = file(b"class_id,name\n" + content, "classes.csv").parent
    (folder / "texts.csv").write_bytes(b"class_id,look,background\n" + content)
    head = b"question,option_a,option_b,option_c,option_d,answer,picture,type,answer_form\n"
    (folder / "questions.csv").write_bytes(head + content)
    (folder / "domain.yaml").write_bytes(content)
    assert read_folder(folder).findings.problems


def _csv(rows: list[list[str]]) -> bytes:
    path = file(b"", "cells.csv")
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(rows)
    return path.read_bytes()


@given(st.lists(CELL, min_size=9, max_size=9))
def test_a_question_of_one_s_own_becomes_one_or_is_listed(cells):
    names = ["question", "option_a", "option_b", "option_c", "option_d", "answer", "image", "type", "answer_form"]
    folder = file(_csv([names, cells]), "questions.csv").parent
    (folder / "classes.csv").write_text("class_id,name\na,A\nb,B\nc,C\nd,D\n", encoding="utf-8")
    own = read_folder(folder)
    assert own.questions or own.findings.problems


@given(st.binary(max_size=200), st.integers(0, 60))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bytes_are_a_picture_or_refused_by_name(content, place):
    for start in (
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"RIFF\0\0\0\0WEBP",
        b"P6",
    ):
        try:
            check_image_bytes(start + content, "name")
        except ValueError as error:
            assert str(error).startswith("name: ")


@given(ANY | st.builds(json.dumps, st.dictionaries(st.sampled_from(["cells", "metadata"]), VALUES)))
def test_a_file_of_anything_is_a_notebook_or_refused_by_its_name(text):
    path = file(text.encode(), "a.ipynb")
    with pytest.raises(NotebookError, match=r"a\.ipynb"):
        declared_parameters(path)


@given(ANY)
def test_options_in_one_text_are_four_or_none(text):
    try:
        assert len(split_letter(text)[1]) == 4
    except ValueError as error:
        assert "options are written A)" in str(error)


@given(st.lists(st.text("abc {}()\n", min_size=1, max_size=9).map(lambda s: f"x{s.strip()}x"), min_size=4, max_size=4))
def test_options_written_with_letters_are_read_as_they_were(options):
    joined = " ".join(f"{letter}) {option}" for letter, option in zip("ABCD", options, strict=True))
    assert split_letter(f"Which? {joined}") == ("Which? ", options)


@given(
    ANY | st.integers() | st.none(),
    st.lists(WHOLE, min_size=4, max_size=4, unique=True),
    st.sampled_from([0, 1]),
    st.booleans(),
)
def test_an_answer_is_one_of_four_places_or_refused(value, options, first, every):
    try:
        assert answer_of(value, options, Numbering(first, every)) in range(4)
    except ValueError as error:
        assert "is none of the options" in str(error)


@given(ANY)
def test_a_label_is_compared_the_same_however_often_it_is_brought_into_form(text):
    assert label_of(label_of(text)) == label_of(text)


@given(ANY)
def test_no_licence_that_forbids_use_or_change_is_taken_for_a_free_one(text):
    assert licence_family(f"cc-by-nc {text}") is None
    assert licence_family(f"CC BY-ND {text}") is None


# ---- what models write ---------------------------------------------------------------------------------------------


@pytest.mark.slow  # imports torch
@given(ANY)
def test_a_letter_is_read_from_a_bare_letter_alone(reply):
    from helpers.evaluation.protocols import read_letter

    found = read_letter(reply)
    assert (
        found is None or (reply.strip(" ().:\n\t\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029") or "A")[0] in "ABCD\u00a0"
    )
    for place, letter in enumerate("ABCD"):
        for form in (letter, f"{letter}.", f"({letter})", f" {letter}:\n"):
            assert read_letter(form) == place
        assert read_letter(f"{letter}{letter}") is None
        assert read_letter(f"The answer is {letter}") is None


@pytest.mark.slow
@given(ANY)
def test_a_name_is_part_of_the_reply_and_of_one_line(reply):
    from helpers.evaluation.strategies import read_name

    found = read_name(reply)
    assert found is None or (found in reply and "\n" not in found)
    assert read_name(f"This is {found}. It lives here.") == found or not found or "." in found or found != found.strip()


@given(ANY, ANY, ANY)
def test_whatever_data_says_it_stays_within_its_block_and_comes_back(name, value, other):
    said = as_data({"name": name, "facts": {other: value}})
    assert not set("<>") & set(said)
    assert json.loads(said) == {"name": name, "facts": {other: value}}


@given(ANY, ANY)
def test_the_gates_take_any_text(text, name):
    for faults in (
        checks.length_faults("appearance", text, 1, 5),
        checks.name_faults("appearance", text, [name], "absent"),
        checks.name_faults("appearance", text, [name], "present"),
        checks.fact_faults(text, {"a": name}, ["a"]),
        checks.contradiction_faults(text, "a", name, [text, name]),
        checks.option_faults(text, [name, text, name]),
    ):
        assert all(isinstance(fault, str) for fault in faults)


@given(st.text(string.ascii_letters, min_size=5, max_size=12), ANY)
def test_a_name_within_a_text_is_always_found(name, text):
    assert checks.name_faults("appearance", f"{text} {name} {text}", [name], "absent")
