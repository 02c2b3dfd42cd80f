"""Classes of one's own: the folder and everything that can be wrong with it, the verdict, the worked example."""

import csv
import json
import math
import re
import shlex
import shutil
import unicodedata

import pandas as pd
import pytest
from PIL import Image

from helpers import paths
from helpers.base_models.curriculum import DOMAINS
from helpers.config import profiles
from helpers.config.grids import run_name
from helpers.domains import drawn, open_domain, own_example
from helpers.domains.own_folder import half_width, read_folder
from helpers.images import open_image
from helpers.results import own_classes, tables
from helpers.results.figures.style import use_displays
from helpers.results.figures.verdict import verdict_figure
from helpers.results.verdict import (
    Difference,
    compare,
    counted_answers,
    detectable,
    in_words,
    judge,
    needed,
    tango,
    verdict_table,
    verdicts,
)
from helpers.schemas import read_questions, write_questions, write_texts
from helpers.synthetic.appearances import BUTTERFLY
from helpers.synthetic.invented import invent_classes, target_names
from helpers.workflow import preflight

EXAMPLE = paths.DATA / "own" / "example"
NAMES = ("Chanterelle", "Parasol", "Morel", "Blewit", "Cep")
PLACES = ("oaks", "meadows", "ash trees", "leaf litter", "spruces")


def image(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (number % 256, number // 256, 9)).save(path)


def table(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def class_rows():
    return [
        {"class_id": name.lower(), "name": name, "fact:place": place, "fact:season": "autumn" if i else "spring"}
        for i, (name, place) in enumerate(zip(NAMES, PLACES, strict=True))
    ]


@pytest.fixture
def folder(tmp_path):
    """Five mushrooms, three pictures each in one folder a class, nothing else."""
    table(tmp_path / "classes.csv", class_rows())
    for place, name in enumerate(NAMES):
        for number in range(3):
            image(tmp_path / "pictures" / name.lower() / f"{number}.png", 10 * place + number)
    return tmp_path


def split(folder, train=1):
    """The first pictures of each class for training, the others for testing."""
    shutil.move(folder / "pictures", folder / "all")
    for file in sorted((folder / "all").rglob("*.png")):
        side = "train" if int(file.stem) < train else "test"
        (folder / "pictures" / side / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.move(file, folder / "pictures" / side / file.parent.name)


def problems(folder):
    return [str(problem) for problem in read_folder(folder).findings.problems]


def notes(folder):
    return [str(note) for note in read_folder(folder).findings.notes]


def opened(folder):
    return open_domain("own", "own", folder, None, 5, 56, 0)


# ---- what a folder gives ---------------------------------------------------------------------------------------------


def test_a_minimal_folder_has_no_problem(folder):
    assert problems(folder) == []


def test_of_one_set_the_first_picture_trains_and_the_others_test(folder):
    thing = read_folder(folder).classes[0]
    assert thing.train == ["pictures/chanterelle/0.png"]
    assert thing.test == ["pictures/chanterelle/1.png", "pictures/chanterelle/2.png"]


def test_of_two_sets_each_picture_keeps_its_side(folder):
    split(folder)
    thing = read_folder(folder).classes[4]
    assert (thing.train, len(thing.test)) == (["pictures/train/cep/0.png"], 2)


def test_each_test_picture_gets_a_question_of_either_type_and_none_shows_a_training_picture(folder):
    domain = opened(folder)
    asked = domain.questions()
    assert [sum(q.question_type == kind for q in asked) for kind in (1, 2)] == [10, 10]
    assert not {q.image for q in asked} & {name for thing in domain.classes for name in thing.train}
    assert domain.retention_questions() == []


def test_the_right_option_is_the_name_or_the_value_of_the_column(folder):
    facts = {thing.class_id: thing for thing in opened(folder).classes}
    for question in opened(folder).questions():
        thing = facts[question.class_id]
        assert question.right_option == (thing.name if question.question_type == 1 else thing.facts["place"])


def test_a_column_with_fewer_than_four_values_is_not_asked_for(folder):
    assert read_folder(folder).facts_to_ask() == ["place"]  # the season has two


def test_the_questions_stay_the_same_when_pictures_are_added(folder):
    before = {question.question_id: question for question in opened(folder).questions()}
    image(folder / "pictures" / "cep" / "9.png", 999)
    after = {question.question_id: question for question in opened(folder).questions()}
    assert set(after) - set(before) == {"cep/9.png/type1", "cep/9.png/type2"}
    assert all(after[name] == question for name, question in before.items())


def test_pictures_texts_and_questions_pass_through_the_common_files(folder, tmp_path_factory):
    domain, output = opened(folder), tmp_path_factory.mktemp("data")
    domain.bring_images(output)
    write_texts(output / "texts.jsonl", domain.offline_texts(1))
    assert read_questions(write_questions(output / "questions.jsonl", domain.questions())) == domain.questions()


def test_without_texts_the_columns_are_said_in_sentences(folder):
    rows = [row | {"look:colour": "yellow", "noun": "mushroom"} for row in class_rows()]
    table(folder / "classes.csv", rows)
    text = opened(folder).offline_texts(1)[0]
    assert text.appearance == "The colour of this mushroom is yellow."
    assert text.background == "Its place is oaks. Its season is spring."
    assert (text.writer, text.image) == ("offline", "pictures/chanterelle/0.png")


def test_given_texts_are_kept_and_only_the_others_are_made(folder):
    table(
        folder / "texts.csv",
        [{"class_id": "cep", "look": "The Cep is brown. A cep is stout.", "background": "It grows."}],
    )
    domain = opened(folder)
    assert [(text.class_id, text.writer, text.appearance) for text in domain.own_texts()] == [
        ("cep", "own", "This is brown. This is stout.")
    ]
    assert [text.class_id for text in domain.offline_texts(1) if text.writer == "offline"] == [
        n.lower() for n in NAMES[:4]
    ]


def named_folder(folder, appearances):
    """The folder with other names and looks, given as name: look; class ids stay."""
    table(folder / "classes.csv", [{**row, "name": name} for row, name in zip(class_rows(), appearances, strict=False)])
    rows = zip(NAMES, appearances.values(), strict=False)
    table(
        folder / "texts.csv",
        [{"class_id": n.lower(), "look": appearance, "background": "Old."} for n, appearance in rows],
    )
    for name in NAMES[len(appearances) :]:
        shutil.rmtree(folder / "pictures" / name.lower())


def test_names_are_taken_out_of_looks_and_no_other_word_is_cut(folder):
    (folder / "domain.yaml").write_text("noun: thing\n")
    appearances = {
        "Cramer's Eighty-eight": "The Cramer’s Eighty‑eight is black.",
        "Monarch": "Monarchs are orange. A Monarch moth is browner.",
        "Monarch moth": "The Monarch moth is brown.",
        "김치": unicodedata.normalize("NFD", "김치") + "는 맵다. 배추김치.",
        "東京タワー": "これは東京タワーです。",
    }
    named_folder(folder, appearances)
    assert [text.appearance for text in opened(folder).own_texts()] == [
        "This thing is black.",
        "These things are orange. A Monarch moth is browner.",
        "This thing is brown.",
        "This thing는 맵다. 배추김치.",
        "これはthis thingです。",
    ]
    remedy = "if it gives the name away, say it in other words"
    assert (problems(folder), notes(folder)) == (
        [],
        [
            f"texts.csv:3: the look keeps 'Monarch moth': possibly the name 'Monarch'; {remedy}",
            f"texts.csv:5: the look keeps '배추김치': possibly the name '김치'; {remedy}",
            "texts.csv:3: look of 'parasol' names 'Monarch moth', another class; say the difference without the name, "
            "unless you mean it",
        ],
    )


def test_a_word_of_the_name_that_no_other_look_holds_is_noted(folder):
    appearances = {
        "Porsche 911": "The Porsche 911s are low and red; the 911 is fast.",
        "Red Kite": "A red and brown thing.",
        **{name: f"Red, the {number}." for number, name in enumerate(NAMES[2:])},
    }
    named_folder(folder, appearances)
    assert notes(folder) == [
        "texts.csv:2: the look keeps '911': part of the name 'Porsche 911', and in no other look; if it gives the name "
        "away, say it in other words"
    ]


def test_a_look_in_a_column_is_treated_like_a_text(folder):
    rows = [
        {**row, "name": name, "look:top": f"{name}찌개"} for row, name in zip(class_rows(), "가나다라마", strict=True)
    ]
    rows[0] |= {"name": "김치", "look:top": "김치의 빛"}
    table(folder / "classes.csv", rows)
    assert opened(folder).offline_texts(1)[0].appearance == "Its top is this의 빛."
    assert [note.partition("; ")[0] for note in notes(folder)] == [
        f"classes.csv:{row}: the look keeps '{name}찌개': possibly the name '{name}'"
        for row, name in enumerate("나다라마", 3)
    ]


def test_joiners_and_marks_of_a_script_are_read_and_stay(folder):
    names = ["نیم\u200cفاصله", "क्\u200dष", "family 👨\u200d👩\u200d👧", "Soft\u00adhyphen", "left\u200emark"]
    table(folder / "classes.csv", [{**row, "name": name} for row, name in zip(class_rows(), names, strict=True)])
    assert (problems(folder), [thing.name for thing in read_folder(folder).classes]) == ([], names)


@pytest.mark.parametrize(
    "text",
    [
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "❤\ufe0f\u200d🔥",
        "\U0001fae9 of Unicode 16",
        "a\u2060b",
        "ع\u061cx",
        "\u06dd٣",
        "কে\u200cন",
        "ᠭ\u180eᠠ",
        "ᄀ\u034fᄀ",
    ],
)
def test_invisible_characters_of_writing_are_read(folder, text):
    table(folder / "texts.csv", [{"class_id": "cep", "look": text, "background": "Old."}])
    assert (problems(folder), read_folder(folder).texts[0].appearance) == ([], text)


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\u200b", "zero width space"),
        ("\ufeff", "zero width no-break space"),
        ("\u202e", "right-to-left override"),
        ("\u202a", "left-to-right embedding"),
        ("\u2067", "right-to-left isolate"),
        ("\u2063", "invisible separator"),
        ("\U000e0041", "tag latin capital letter a"),
    ],
)
def test_invisible_characters_that_mislead_are_refused_with_their_place(folder, character, name):
    table(folder / "texts.csv", [{"class_id": "cep", "look": f"It is{character} red.", "background": "Old."}])
    assert problems(folder) == [
        f"texts.csv:2: look holds the control character {character!r} ({name}); delete it (after 'It is')"
    ]


@pytest.mark.parametrize("character", ["\x07", "\x1b", "\x9f", "\ue000", "\ufdd0", "\U0001ffff"])
def test_control_characters_and_those_of_one_font_are_refused(folder, character):
    table(folder / "texts.csv", [{"class_id": "cep", "look": f"{character}Red.", "background": "Old."}])
    assert problems(folder) == [
        f"texts.csv:2: look holds the control character {character!r}; delete it (at the beginning)"
    ]


@pytest.mark.parametrize("twin", ["Mo\u200drel", "More\u00adl", "Morel\u200e"])
def test_names_that_differ_only_in_what_cannot_be_seen_are_one_name_twice(folder, twin):
    rows = class_rows()
    rows[4]["name"] = twin
    table(folder / "classes.csv", rows)
    (only,) = problems(folder)
    assert only.startswith(
        f"classes.csv:6: name {twin!r} differs only in what cannot be seen from 'Morel' (row 4); each"
    )


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD"), ("NFC", "NFC")])
def test_a_picture_is_found_however_its_accents_are_stored(folder, on_disk, in_table):
    name = unicodedata.normalize(on_disk, "떡볶이 é")
    image(folder / "shown" / name / f"{name}.png", 999)
    said = unicodedata.normalize(in_table, "shown/떡볶이 é/떡볶이 é.png")
    table(folder / "questions.csv", [QUESTION | {"picture": said}])
    assert (problems(folder), opened(folder).questions()[0].image) == ([], f"shown/{name}/{name}.png")


def test_a_picture_with_accents_in_a_class_folder_belongs_to_the_class(folder):
    table(
        folder / "classes.csv",
        [{**row, "class_id": "é" if row["class_id"] == "cep" else row["class_id"]} for row in class_rows()],
    )
    shutil.move(folder / "pictures" / "cep", folder / "pictures" / unicodedata.normalize("NFD", "é"))
    table(folder / "questions.csv", [QUESTION | {"picture": "pictures/é/1.png"}])
    assert (problems(folder), opened(folder).questions()[0].class_id) == ([], "é")
    table(
        folder / "questions.csv",
        [QUESTION | {"class_id": unicodedata.normalize("NFD", "é"), "picture": "pictures/é/2.png"}],
    )
    assert (problems(folder), opened(folder).questions()[0].class_id) == ([], "é")


def test_options_that_look_alike_are_not_different(folder):
    table(folder / "questions.csv", [QUESTION | {"option_a": "Café", "option_b": unicodedata.normalize("NFD", "Café")}])
    assert "there must be four different ones" in problems(folder)[0]


def test_texts_may_come_as_json_lines(folder):
    row = {"class_id": "cep", "look": "Brown and stout.", "background": "It grows."}
    (folder / "texts.jsonl").write_text(json.dumps(row) + "\n\n", encoding="utf-8")
    assert opened(folder).own_texts()[0].appearance == "Brown and stout."


QUESTION = {
    "question": "Where does it grow?",
    **{f"option_{letter}": value for letter, value in zip("abcd", PLACES, strict=False)},
    "answer": "b",
    "picture": "pictures/parasol/1.png",
    "type": "2",
}


def test_given_questions_replace_those_of_their_type_only(folder):
    table(folder / "questions.csv", [QUESTION])
    asked = opened(folder).questions()
    given = [question for question in asked if question.question_type == 2]
    assert [(q.right_option, q.class_id, q.question_id) for q in given] == [("meadows", "parasol", "questions.csv:2")]
    assert sum(question.question_type == 1 for question in asked) == 10


def test_a_noun_gives_the_words_of_the_questions(folder):
    (folder / "domain.yaml").write_text("noun: mushroom\nfact_questions:\n  place: Where does it grow?\n")
    naming, fact = opened(folder).questions()[:2]
    assert (naming.question, naming.refers) == ("Which mushroom is this?", "this mushroom")
    assert (fact.question, fact.answer_form) == ("Where does it grow?", "The place of this mushroom is {option}.")


def test_the_words_of_the_drawn_world_say_its_facts_and_plain_ones_the_others(folder):
    rows = [row | {"noun": "butterfly", "fact:habitat": "forests"} for row in class_rows()]
    table(folder / "classes.csv", rows)
    assert (
        opened(folder).offline_texts(1)[0].background == "Its place is oaks. It flies in spring. It lives in forests."
    )


def test_a_name_stands_in_sentences_as_the_folder_says(folder):
    (folder / "domain.yaml").write_text("name_form: a true {name}\n")
    domain = opened(folder)
    assert domain.called(domain.classes[0]) == domain.offline_texts(1)[0].name == "a true Chanterelle"


def test_the_table_has_columns_facts_and_counts_of_pictures(folder):
    assert opened(folder).table()[0] == {
        **{"name": "Chanterelle", "category": None, "place": "oaks", "season": "spring"},
        **{"train": 1, "test": 2},
    }


def test_the_first_classes_can_be_taken(folder):
    domain = open_domain("own", "own", folder, 4, 5, 56, 0)
    assert {question.class_id for question in domain.questions()} == {name.lower() for name in NAMES[:4]}
    three = open_domain("own", "own", folder, 3, 5, 56, 0)  # too few names for four options, but enough places
    assert {question.question_type for question in three.questions()} == {2}


def test_without_facts_only_the_name_is_asked_for(folder):
    table(folder / "classes.csv", [{"class_id": name.lower(), "name": name} for name in NAMES])
    assert {question.question_type for question in opened(folder).questions()} == {1}


# ---- what can be wrong with it ---------------------------------------------------------------------------------------


def test_every_problem_is_listed_with_file_row_rule_and_remedy(folder):
    rows = class_rows()
    rows[1]["class_id"], rows[2]["name"], rows[3]["class_id"] = "../parasol", "", "chanterelle"
    table(folder / "classes.csv", rows)
    (folder / "pictures" / "cep" / "1.png").write_bytes(b"no picture")
    found = problems(folder)
    assert any(line.startswith("classes.csv:3: class_id is '../parasol'") and "'parasol'" in line for line in found)
    assert any(line.startswith("classes.csv:4: name is empty") for line in found)
    assert any(line.startswith("classes.csv:5: class_id 'chanterelle' is there already (row 2)") for line in found)
    assert any(line.startswith("pictures/cep/1.png: not a readable image") for line in found)
    with pytest.raises(ValueError, match=rf"{len(found)} problem\(s\)"):
        opened(folder)


def test_a_table_without_names_is_one_problem_and_not_one_per_image(folder):
    rows = class_rows()
    table(folder / "classes.csv", [{name: cell for name, cell in row.items() if name != "name"} for row in rows])
    assert [problem.split(" (found")[0] for problem in problems(folder)] == [
        "classes.csv:1: the column 'name' is missing"
    ]
    table(folder / "classes.csv", [row | {"name": ""} for row in rows])
    assert problems(folder) == [
        "classes.csv: the column 'name' is empty in every row; write the names that the questions will ask for"
    ]
    table(folder / "classes.csv", [rows[0] | {"name": ""}, *rows[1:]])
    assert [problem.split(";")[0] for problem in problems(folder)] == ["classes.csv:2: name is empty"]


@pytest.mark.parametrize("class_id", ["../x", "/etc", "a/b", "a\\b", ".hidden", "", "c:", "train", "a b", "x" * 101])
def test_a_class_id_that_could_leave_the_folder_is_refused(folder, class_id):
    rows = class_rows()
    rows[0]["class_id"] = class_id
    table(folder / "classes.csv", rows)
    assert any(line.startswith(f"classes.csv:2: class_id is {class_id!r}") for line in problems(folder))


def test_names_that_differ_only_in_case_are_refused(folder):
    rows = class_rows()
    rows[2]["name"] = "CEP"
    table(folder / "classes.csv", rows)
    assert problems(folder) == [
        "classes.csv:6: name 'Cep' differs only in case from 'CEP' (row 4); each class needs its own"
    ]


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        (lambda text: text.encode("utf-8-sig"), "byte order mark"),
        (lambda text: text.encode("utf-16"), "read as UTF-16"),
        (lambda text: text.replace(",", ";").encode(), "separated by semicolons"),
        (lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode(), "separated by tabs"),
        (lambda text: text.replace(",", "|").replace("\n", "\r").encode(), "separated by bars"),
    ],
)
def test_what_spreadsheets_write_is_read_and_told(folder, encode, said):
    text = (folder / "classes.csv").read_text(encoding="utf-8").replace("Morel", "Mörel")
    (folder / "classes.csv").write_bytes(encode(text))
    own = read_folder(folder)
    assert (own.findings.problems, own.classes[2].name) == ([], "Mörel")
    assert any(said in str(note) for note in own.findings.notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04", "is a spreadsheet file"),
        (b"class_id,name\0\n", "is not text"),
        (b"", "the column 'class_id' is missing"),
        (b"class,name\na,A\n", "rename 'class'"),
        (b"class_id,name\n", "holds no class"),
        (b"class_id,name,name\na,A,A\n", "the column 'name' is there 2 times"),
        (b"class_id,name\na,A,more\n", "classes.csv:2: has 3 cells; the header has 2"),
        (b"class_id,name\na\n", "classes.csv:2: has 1 cells"),
        (b'class_id,name\na,"A\nb,B\n', "not readable as CSV"),
        (b"class_id,name\na,A\x07\n", "classes.csv:2: name holds the control character"),
        (b"class_id,name\na," + b"A" * 6000 + b"\n", "classes.csv:2: name has 6000 characters"),
        (b"class_id,name\na,{A}\n", "no braces"),
        (
            b"class_id,name,fact:{x}\na,A,b\n",
            "classes.csv:1: the column 'fact:{x}' becomes part of a sentence; no braces",
        ),
        (b"class_id,name,look:" + b"x" * 101 + b"\na,A,b\n", "or angle brackets, at most 100 letters"),
    ],
)
def test_a_faulty_table_is_told_by_its_rule(folder, content, said):
    (folder / "classes.csv").write_bytes(content)
    assert any(said in line for line in problems(folder)), problems(folder)


def test_separators_behind_the_last_column_change_nothing(folder):
    """Excel writes them for every column that was ever used."""
    before = read_folder(folder).classes
    lines = (folder / "classes.csv").read_text().splitlines()
    for behind in ([","] * 6, [",,,", "", "", "", "", ""], ["," * 100] * 6):
        (folder / "classes.csv").write_text("\n".join(map("".join, zip(lines, behind, strict=True))))
        assert (problems(folder), notes(folder), read_folder(folder).classes) == ([], [], before)


def test_a_cell_under_no_header_is_noted_once_with_its_rows(folder):
    lines = (folder / "classes.csv").read_text().splitlines()
    (folder / "classes.csv").write_text("\n".join([lines[0] + ",", *(line + ",mine" for line in lines[1:])]))
    (said,) = notes(folder)
    assert said.startswith("classes.csv: has cells under no header in rows 2, 3, 4, 5, 6, which are not used")


def test_cells_that_excel_leaves_out_at_the_end_of_a_row_are_empty(folder):
    """Where the last columns are empty for long, Excel writes no separators for them (from row 17 on)."""
    lines = (folder / "classes.csv").read_text().splitlines()
    (folder / "classes.csv").write_text("\n".join([lines[0] + ",category", lines[1] + ",edible", *lines[2:]]))
    own = read_folder(folder)
    assert (own.findings.problems, [thing.category for thing in own.classes]) == ([], ["edible", *[None] * 4])
    assert own.classes[4].facts == {"place": "spruces", "season": "autumn"}
    assert notes(folder)[0].startswith("classes.csv: has fewer cells than the header in rows 3, 4, 5, 6; those missing")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:919d\nsize 3304\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title></html>", "a web page, as of a download that failed"),
        (b"\0" * 4096, "empty, as left by an interrupted copy or a cloud drive"),
    ],
)
def test_what_stands_in_the_place_of_a_table_or_an_image_is_named(folder, content, said):
    (folder / "pictures" / "cep" / "2.png").write_bytes(content)
    (image_problem,) = problems(folder)
    assert image_problem.startswith("pictures/cep/2.png: not a readable image (it is ") and said in image_problem
    (folder / "classes.csv").write_bytes(content)
    (table_problem,) = problems(folder)
    assert table_problem.startswith("classes.csv: is no table: it is ") and said in table_problem


@pytest.mark.parametrize("name", ["classes.csv", "pictures/cep/2.png"])
def test_a_file_that_icloud_has_not_downloaded_is_a_problem(folder, name):
    file = folder / name
    file.unlink()
    file.with_name(f".{file.name}.icloud").write_bytes(b"bplist00")
    assert problems(folder)[0] == f"{name}: is in iCloud and not on this disk; choose 'Download Now' in Finder"


def test_what_windows_macos_archives_and_network_drives_leave_behind_is_not_there(folder):
    before = opened(folder).questions()
    litter = (
        "__MACOSX/cep/._0.png|@eaDir/x|cep/@eaDir/0.png/SYNO.jpg|cep/desktop.ini|cep/THUMBS.DB|cep/Icon\r|cep/._0.png"
    )
    for name in litter.split("|"):
        (folder / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / name).write_bytes(b"\0\5\x16\7")
    assert (problems(folder), notes(folder), opened(folder).questions()) == ([], [], before)
    known = [file for file in preflight.source_files(str(folder)) if "pictures" in file]
    assert len(known) == 15  # else a look into the folder would make everything anew


@pytest.mark.parametrize(
    ("name", "meant", "remedy"),
    [
        ("Questions.csv", "questions.csv", "rename it"),
        ("question.csv", "questions.csv", "rename it"),
        ("questions.csv.csv", "questions.csv", "rename it"),
        ("questions (1).csv", "questions.csv", "rename it"),
        ("texts - Copy.csv", "texts.csv", "rename it"),
        ("classes (conflicted copy).csv", "classes.csv", "put it in the place of classes.csv, or take it away"),
    ],
)
def test_a_file_whose_name_is_nearly_one_that_is_read_is_noted(folder, name, meant, remedy):
    (folder / name).write_text("question,answer\n")
    assert notes(folder) == [f"{name}: is not {meant}, the name that is read (capitals count); {remedy}"]


def test_files_of_other_names_are_of_no_concern(folder):
    for name in ("README.md", "LICENSE", "old.csv", "notes.txt", "pictures_raw.zip"):
        (folder / name).write_text("mine")
    assert (problems(folder), notes(folder)) == ([], [])


def renamed(folder, class_id, image_folder):
    text = (folder / "classes.csv").read_text()
    (folder / "classes.csv").write_text(text.replace("cep,", f"{class_id},"))
    (folder / "pictures" / "cep").rename(folder / "pictures" / image_folder)


def test_leading_zeros_that_a_spreadsheet_took_are_told(folder):
    renamed(folder, "7", "007")
    assert problems(folder) == [
        "pictures/007/: no class has the class_id '007'; a spreadsheet has taken the leading zeros: "
        "format the column as text, write '007' again"
    ]


@pytest.mark.parametrize("made", ["1-Mar", "Mar-03", "12-Dec"])
def test_a_date_that_a_spreadsheet_made_is_noted(folder, made):
    renamed(folder, made, made)
    assert problems(folder) == []
    assert notes(folder) == [
        f"classes.csv:6: class_id reads {made!r}, which spreadsheets make of entries like 1-3 or MAR1; "
        "if no date is meant, format the column as text and write it again"
    ]


@pytest.mark.parametrize(
    ("class_id", "said"), [("aux", "Windows has no folder of that name"), ("cep.", "it becomes the name of a folder")]
)
def test_a_class_id_that_windows_cannot_hold_is_refused(folder, class_id, said):
    renamed(folder, class_id, class_id)
    assert said in problems(folder)[0]


def test_a_row_after_a_cell_of_several_lines_keeps_its_line_number(folder):
    text = (folder / "classes.csv").read_text().replace("oaks", '"oaks\nand pines"') + "cep,Other,x,y\n"
    (folder / "classes.csv").write_text(text)
    assert problems(folder)[0].startswith("classes.csv:8: class_id 'cep' is there already (row 7)")


def test_a_table_of_absurd_size_is_not_read(folder):
    with (folder / "classes.csv").open("r+b") as file:
        file.truncate(20_000_001)
    assert "more than 20000000" in problems(folder)[0]


def test_without_test_pictures_it_says_what_is_needed_and_how_few_would_tell_something(folder):
    shutil.rmtree(folder / "pictures")
    (only,) = problems(folder)
    assert "nothing can be measured" in only
    assert "pictures/test/<class_id>/" in only
    assert "20 ±20, 50 ±13, 100 ±10, 200 ±7" in only


def test_three_classes_are_too_few_for_four_options(folder):
    table(folder / "classes.csv", class_rows()[:3])
    for name in NAMES[3:]:
        shutil.rmtree(folder / "pictures" / name.lower())
    assert any("has 3 classes; a question with four options needs 4" in line for line in problems(folder))


def test_a_picture_in_training_and_test_is_found_by_content(folder):
    shutil.copy(folder / "pictures" / "cep" / "0.png", folder / "pictures" / "morel" / "7.png")
    (only,) = problems(folder)
    assert only.startswith("pictures/morel/7.png: is the same image as pictures/cep/0.png (a training image is a test")


def test_a_misspelt_folder_a_nested_one_and_two_layouts_are_told(folder):
    (folder / "pictures" / "ceps").mkdir()
    (folder / "pictures" / "cep" / "deep").mkdir()
    assert [line for line in problems(folder) if "rename it to 'cep'?" in line]
    assert [line for line in problems(folder) if "a folder within a class's folder" in line]
    (folder / "pictures" / "test").mkdir()
    assert any("has both test and folders of classes" in line for line in problems(folder))


@pytest.mark.parametrize("name", ["photo.jfif", "photo.JFIF", "photo.jpe", "photo.heic", "photo", "photo.jpg_large"])
def test_an_image_is_known_by_its_content_where_its_name_is_uncommon(folder, name):
    Image.effect_noise((32, 32), 90).convert("RGB").save(folder / "pictures" / "cep" / name, "JPEG")
    assert (problems(folder), notes(folder)) == ([], [])
    thing = next(thing for thing in read_folder(folder).classes if thing.class_id == "cep")
    assert f"pictures/cep/{name}" in thing.train + thing.test


@pytest.mark.parametrize("size", [(2100, 10), (9, 2000), (4000, 19)])
def test_an_image_that_a_processor_would_refuse_is_named_before_any_training(folder, size):
    Image.new("RGB", size, "red").save(folder / "pictures" / "cep" / "thin.png")
    (said,) = problems(folder)
    assert said.startswith(f"pictures/cep/thin.png: {size[0]}x{size[1]} pixels: one side is more than 200 times")


def test_an_image_is_as_thin_as_a_processor_takes_after_our_own_scaling_too(folder):
    """What the library itself says: at the limit of pixels of profile own, 1990x10 was 225 to 1."""
    from helpers.models.loading import load_processor

    for name in ("tiny-qwen2-vl", "tiny-llava-next"):
        prepare = load_processor(paths.DATA / "models" / name).image_processor
        for size in ((1990, 10), (10, 2000), (200, 1)):
            Image.new("RGB", size).save(folder / "thin.png")
            for pixels in (None, 12_544, 3_000, 400):
                assert len(prepare([open_image(folder / "thin.png", pixels)])["pixel_values"])


@pytest.mark.parametrize("two_sets", [False, True])
def test_a_picture_that_belongs_to_no_class_is_noted_and_not_used(folder, two_sets):
    if two_sets:
        split(folder)
    before = opened(folder).questions()
    stray = "pictures/test/stray.png" if two_sets else "pictures/stray.png"
    image(folder / stray, 999)
    assert notes(folder) == [f"{stray}: is outside the folders of the classes and is not used; move it, or delete it"]
    assert opened(folder).questions() == before


@pytest.mark.parametrize("name", ["a:b.png", "a\\b.png"])
def test_a_name_that_another_system_cannot_hold_is_refused(folder, name):
    image(folder / "pictures" / "cep" / name, 999)
    assert problems(folder) == [f"pictures/cep/{name}: has a backslash or a colon in its name; rename it"]


def test_a_picture_of_absurd_size_is_not_read(folder):
    with (folder / "pictures" / "cep" / "2.png").open("r+b") as file:
        file.truncate(100_000_001)
    assert problems(folder) == ["pictures/cep/2.png: has 100000001 bytes, more than 100000000; scale it down"]


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.png"
    image(outside, 5)
    (folder / "pictures" / "cep" / "5.png").symlink_to(outside)
    assert problems(folder) == ["pictures/cep/5.png: leads out of the folder by a link; put a copy there instead"]


def test_a_decompression_bomb_is_refused(folder):
    Image.new("1", (10_000, 10_000)).save(folder / "pictures" / "cep" / "5.png")
    (only,) = problems(folder)
    assert "too large" in only and "at most 80000000 pixels" in only


def test_a_picture_of_no_size_and_a_file_of_another_kind_are_told(folder):
    Image.new("RGB", (4, 40)).save(folder / "pictures" / "cep" / "5.png")
    (folder / "pictures" / "cep" / "photo.heic").write_bytes(b"x")
    (folder / "pictures" / "cep" / ".DS_Store").write_bytes(b"x")
    assert problems(folder) == ["pictures/cep/5.png: is 4x40 pixels; at least 8 a side; replace it"]
    assert len(notes(folder)) == 1 and "photo.heic: does not end like an image" in notes(folder)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "E"}, "answer is 'E'"),
        ({"type": "3"}, "type is '3'"),
        ({"option_a": "meadows"}, "there must be four different ones"),
        ({"picture": "../x.png"}, "stays inside it"),
        ({"picture": "/etc/passwd"}, "stays inside it"),
        ({"picture": "pictures/cep/8.png"}, "is not there"),
        ({"picture": "pictures/cep/0.png"}, "is a training image"),
        ({"question": ""}, "question is empty"),
        ({"class_id": "x"}, "no class has the class_id 'x'"),
        ({"answer_form": "{x}"}, "must hold {option} once"),
    ],
)
def test_a_faulty_question_is_told_by_its_rule(folder, change, said):
    table(folder / "questions.csv", [QUESTION | change])
    (only,) = problems(folder)
    assert only.startswith("questions.csv:2: ") and said in only


def test_a_letter_from_an_east_asian_keyboard_is_the_letter(folder):
    table(folder / "questions.csv", [QUESTION | {"answer": "\uff22"}])
    assert (problems(folder), read_folder(folder).questions[0].answer) == ([], 1)


def test_a_letter_that_only_looks_like_an_answer_is_named(folder):
    table(folder / "questions.csv", [QUESTION | {"answer": "\u0410"}])
    assert problems(folder) == [
        "questions.csv:2: answer is '\u0410' (cyrillic capital letter a); the letter of the right option: A, B, C or D"
    ]


def test_texts_without_a_class_or_content_are_told(folder):
    rows = [{"class_id": "ceps", "look": "a", "background": "b"}, {"class_id": "cep", "look": "", "background": "b"}]
    table(folder / "texts.csv", rows)
    first, second = problems(folder)
    assert first == "texts.csv:2: no class has the class_id 'ceps'; did you mean 'cep'?"
    assert second.startswith("texts.csv:3: look of 'cep' is empty")
    (folder / "texts.jsonl").write_text("{")
    assert problems(folder) == ["texts.csv: and texts.jsonl are both there; keep one of the two"]
    (folder / "texts.csv").unlink()
    assert problems(folder)[0].startswith("texts.jsonl:1: is not JSON")


@pytest.mark.parametrize("content", ["noum: x", "noun: {a: b}", "naming_answer: This is it.", "a: [", "noun: '{x}'"])
def test_a_faulty_domain_file_is_told(folder, content):
    (folder / "domain.yaml").write_text(content)
    assert problems(folder)[0].startswith("domain.yaml: ")


def test_an_archive_in_place_of_a_folder_is_not_opened(folder):
    (folder / "mine.zip").write_bytes(b"PK\x03\x04")
    assert "is a file; a folder is needed; unpack an archive yourself" in problems(folder / "mine.zip")[0]


# ---- the command line ------------------------------------------------------------------------------------------------


def test_validate_says_what_would_be_run_and_what_it_could_show(folder, capsys):
    assert own_classes.main(["validate", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "10 of type 1" in said and "untuned, trained on text only, and on image and text" in said
    assert "accuracy is known to within ±26 points" in said
    assert "the appearance of chanterelle, parasol, morel, blewit, cep is not described" in said


def test_validate_lists_problems_and_returns_1(folder, capsys):
    (folder / "classes.csv").unlink()
    assert own_classes.main(["validate", str(folder)]) == 1
    assert "PROBLEM classes.csv: is missing" in capsys.readouterr().out


def test_validate_says_what_is_not_asked_not_used_and_not_run(folder, capsys):
    split(folder, train=2)
    shutil.rmtree(folder / "pictures" / "test" / "cep")
    assert own_classes.main(["validate", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "NOTE    no test image of cep: no questions about them" in said
    assert "NOTE    a text is paired with one training image; 5 more need several texts per class to be used" in said
    shutil.rmtree(folder / "pictures" / "train" / "morel")
    rows = [row | {"look:colour": f"colour {place}"} for place, row in enumerate(class_rows())]
    table(folder / "classes.csv", rows)
    assert own_classes.main(["validate", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "untuned, and trained on text only. Not on image and text: no training image of morel" in said
    assert "the appearance of" not in said
    assert "within 10 points of images" not in said


def test_settings_of_a_folder_with_problems_are_refused(folder, capsys):
    (folder / "classes.csv").unlink()
    assert own_classes.main(["settings", str(folder)]) == 1
    said = capsys.readouterr()
    found = len(problems(folder))
    assert (said.out, said.err) == (
        "",
        f"error: {folder} has {found} problem(s); `./run_all.sh own validate FOLDER` lists them\n",
    )


def test_settings_leave_image_text_out_where_a_class_has_no_training_picture(folder, capsys):
    assert own_classes.settings(folder)["modes"] == ["text_only", "image_text"]
    shutil.rmtree(folder / "pictures" / "cep")
    own_classes.main(["settings", str(folder)])
    assert capsys.readouterr().out.splitlines() == [f'domains.own.path="{folder}"', 'modes=["text_only"]']
    overrides = profiles.parse_overrides("""'modes=["text_only"]'""")
    assert overrides == {"modes": ["text_only"]}


@pytest.mark.parametrize("modes", ["text_only", "[text_only]", "text_only,printed", "[image_text]", "hybrid"])
def test_modes_that_the_user_asks_for_are_not_overridden(folder, capsys, modes):
    assert own_classes.main(["settings", str(folder), "--set", f"'modes={modes}' 'training.epochs=3'"]) == 0
    assert capsys.readouterr().out.splitlines() == [f'domains.own.path="{folder}"']


@pytest.mark.parametrize("modes", ["image_text", "[text_only, hybrid]", "text_only,image_text"])
def test_modes_that_the_images_do_not_allow_are_refused_before_anything_runs(folder, capsys, modes):
    shutil.rmtree(folder / "pictures" / "cep")
    assert own_classes.main(["settings", str(folder), "--set", f"'modes={modes}'"]) == 1
    assert "needs a training image of every class, and cep has none" in capsys.readouterr().err


def test_in_another_profile_the_folder_takes_the_place_of_its_data_sets(folder):
    found = own_classes.settings(folder, profile="laptop")
    chosen = profiles.load_profile("laptop", found)
    assert {name: (domain.source, domain.path) for name, domain in chosen.domains.items()} == {
        "own": ("own", str(folder))
    }
    assert chosen.modes == ["text_only", "image_text"]


@pytest.mark.parametrize("setting", ["domains.own.path=x", "domains={}", "domains.own={}"])
def test_a_folder_named_twice_is_refused(folder, capsys, setting):
    assert own_classes.main(["settings", str(folder), "--set", f"'{setting}'"]) == 1
    assert "names another folder than" in capsys.readouterr().err


def test_one_folder_has_one_path_however_it_is_named(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "link").symlink_to(folder)
    named = (folder, folder.name, f"./{folder.name}/", f"{folder}/../{folder.name}", "link")
    assert {own_classes.settings(name)["domains.own.path"] for name in named} == {str(folder.resolve())}
    for name in (EXAMPLE, "data/own/example"):  # in the clone, a path from its root, which a moved clone keeps
        assert own_classes.settings(name)["domains.own.path"] == "data/own/example"


def test_two_folders_of_one_name_have_runs_of_their_own(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / folder.name
    shutil.copytree(folder, other)
    runs = [
        run_name("own", profiles.parse_overrides(f"'{key}={value}'"))
        for key, value in (
            (key, own_classes.settings(name)[key]) for name in (folder, other) for key in ("domains.own.path",)
        )
    ]
    assert len(set(runs)) == 2


@pytest.mark.parametrize("name", ["my classes", "it's", 'a"b', "$HOME", "나비 #1", "a&b;c"])
def test_the_command_that_validate_prints_can_be_pasted(folder, tmp_path_factory, capsys, name):
    place = tmp_path_factory.mktemp("odd") / name
    shutil.copytree(folder, place)
    assert own_classes.main(["validate", str(place)]) == 0
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("to run it: "))
    assert shlex.split(command.removeprefix("to run it: ")) == ["./run_all.sh", "own", str(place)]
    assert own_classes.main(["settings", str(place)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert profiles.parse_overrides(shlex.join(printed))["domains.own.path"] == str(place.resolve())


def test_the_template_has_every_column_that_is_required():
    own = read_folder(paths.DATA / "own" / "template")
    assert [problem.file for problem in own.findings.problems] == ["classes.csv", "pictures/"]
    assert own.findings.notes == []


def test_the_profile_reads_the_example():
    profile = profiles.load_profile("own")
    assert (profile.domains["own"].source, profile.domains["own"].path) == ("own", "data/own/example")


# ---- statistics: hand-computed ---------------------------------------------------------------------------------------


def test_without_disagreement_the_interval_is_z2_over_n_plus_z2():
    z2 = 1.959964**2
    assert tango(0, 0, 40) == pytest.approx((-z2 / (40 + z2), z2 / (40 + z2)), abs=1e-6)


def test_the_interval_is_mirrored_when_the_two_change_places():
    low, high = tango(30, 5, 96)
    assert tango(5, 30, 96) == pytest.approx((-high, -low))
    assert (low, high) == pytest.approx((0.1498, 0.3705), abs=1e-4)  # a search over the likelihood found 0.150, 0.370


def test_at_its_ends_the_score_is_as_far_as_the_level_says():
    # At difference 0 the score is McNemar's: (10 - 2)^2 / 12 = 5.33, beyond 3.84; (8 - 2)^2 / 10 = 3.6, within.
    assert tango(10, 2, 50)[0] > 0
    assert tango(8, 2, 50)[0] < 0


@pytest.mark.parametrize(("n", "base"), [(0, 0.25), (96, 1.0), (96, -0.1)])
def test_a_gain_over_nothing_or_over_all_is_refused(n, base):
    with pytest.raises(
        ValueError, match=f"n is {n} and base is {base}; n must be at least 1, and base a share below 1"
    ):
        detectable(n, base)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match=r"counts lie in 0\.\.n"):
        tango(3, 3, 5)


def test_the_questions_needed_follow_the_formula():
    # (1.95996 + 0.84162)^2 x 0.32 / 0.1^2 = 7.84888 x 32 = 251.16
    assert needed(0.32, 0.0, 0.1) == 252
    assert needed(0.3, 0.1, 0.1) is None
    assert needed(0.3, 0.1, 0.101) is None  # more than 10,000


def test_the_detectable_gain_solves_connors_formula():
    gain = detectable(96)
    after, base = 0.25 + gain, 0.25
    discordant = after * (1 - base) + base * (1 - after)
    n = (1.959964 * math.sqrt(discordant) + 0.841621 * math.sqrt(discordant - gain**2)) ** 2 / gain**2
    assert (n, round(100 * gain, 1)) == (pytest.approx(96, abs=0.01), 19.4)
    assert detectable(3) == 0.75  # even a perfect score might be missed
    assert round(half_width(100), 1) == 9.6


def difference(only_first, only_second, n, p=None):
    return Difference(only_first, only_second, n, 0.001 if p is None else p)


@pytest.mark.parametrize(
    ("gain", "against", "answer"),
    [
        (difference(60, 5, 100), difference(3, 4, 100), "yes"),  # -1 [-7, +5]: within the margin
        (difference(60, 5, 100), None, "yes"),
        (difference(60, 5, 100), difference(2, 30, 100), "no"),  # -28 [-38, -18]
        (difference(10, 12, 400, 0.8), difference(20, 30, 400), "no"),  # it learned nothing, and that is known
        (difference(60, 5, 100), difference(10, 15, 100), "cannot tell"),  # -5 [-15, +5]
        (difference(6, 3, 20, 0.5), None, "cannot tell"),
        (difference(9, 1, 20, 0.06), None, "cannot tell"),  # the exact test has a say beside the interval
    ],
)
def test_the_verdict_follows_its_rules(gain, against, answer):
    assert judge(gain, against)[0] == answer


def test_a_wider_margin_turns_a_no_into_a_yes():
    gain, against = difference(60, 5, 100), difference(2, 30, 100)
    assert [judge(gain, against, margin)[0] for margin in (10, 30, 40)] == ["no", "cannot tell", "yes"]


def test_cannot_tell_says_how_many_questions_would():
    # Without any disagreement, Tango's interval reaches z^2 / (n + z^2): 10 points at n = 9 z^2 = 34.6
    against = judge(difference(10, 0, 10), difference(0, 0, 10))
    assert against[0] == "cannot tell"
    assert "about 35 questions would settle it if the shares stay the same, and 10 were asked" in against[1]
    said = judge(difference(60, 5, 100), difference(10, 15, 100))[1]
    n = int(re.search(r"about (\d+) questions", said)[1])
    assert tango(n * 0.1, n * 0.15, n)[0] >= -0.1 > tango((n - 1) * 0.1, (n - 1) * 0.15, n - 1)[0]


def test_a_gain_is_settled_where_the_exact_test_agrees():
    # 9 against 1: p = 0.02 by the counts themselves
    assert "about 21 questions would settle it" in judge(difference(9, 1, 20, 0.06), None)[1]
    # 3 against none of 20: the exact test needs six, 2 x 0.5^6 = 0.03; 15 % of 37 are 5.55, of 36 only 5.4
    assert "about 37 questions would settle it" in judge(difference(3, 0, 20, 0.25), None)[1]


def test_a_verdict_that_no_number_of_questions_would_settle_says_so():
    assert judge(Difference(10, 10, 40, 1.0), None, margin=40.0)[0] == "no"
    answer, reason = judge(Difference(1000, 999, 2000, 1.0), None, margin=0.1)
    assert answer == "cannot tell"
    assert "more than 10000 questions would be needed, and 2000 were asked" in reason


# ---- the verdict of a run --------------------------------------------------------------------------------------------


def rows_of(mode, right, answering="describe_then_answer", seed=0, kind=1, n=40, model="qwen2_vl", **more):
    """``right`` of ``n`` questions right, the first ones."""
    full = dict.fromkeys((*tables.ANSWER_COLUMNS, "variant"))
    own = {"model": model, "domain": "own", "mode": mode, "seed": seed, "image": "with", "answering": answering}
    own |= {"protocol": "option_likelihood", "question_type": kind, "category": "name", "answer": 0, "variant": "main"}
    own |= {"prompt_hash": "0", "options": ["a", "b", "c", "d"], "new_tokens": 0}
    return [
        full
        | own
        | more
        | {"question_id": f"q{kind}-{i}", "class_id": f"class{i % 5}", "parsed": int(i >= right)}
        | {"correct": i < right}
        for i in range(n)
    ]


def answers(*groups):
    return pd.DataFrame([row for group in groups for row in group])


def test_two_modes_are_compared_question_by_question():
    found = compare(answers(rows_of("text_only", 30)), answers(rows_of("base", 10)))
    assert (found.only_first, found.only_second, found.n, found.points) == (20, 0, 40, 50)
    assert found.p_value == pytest.approx(2 * 0.5**20)


def test_over_seeds_counts_are_means_and_p_is_twice_the_mean():
    text = answers(rows_of("text_only", 30, seed=0), rows_of("text_only", 14, seed=1))
    found = compare(text, answers(rows_of("base", 10)))
    assert (found.only_first, found.n) == (12, 40)
    assert found.p_value == pytest.approx(2 * 0.5**4 + 2 * 0.5**20)  # of 20 and of 4 questions that only one got right


def test_seeds_go_in_pairs_or_one_with_all_of_the_other():
    text, base = (
        [rows_of(mode, right, seed=seed) for seed, right in enumerate((30, 14))] for mode in ("text_only", "base")
    )
    assert compare(answers(text[0]), answers(*base)).only_first == 8
    assert compare(answers(*text), answers(*base)).points == 0
    other = rows_of("base", 10, seed=2)
    with pytest.raises(ValueError, match=r"seeds \[0, 1\] against \[0, 2\]; run the missing ones"):
        compare(answers(*text), answers(base[0], other))


def test_answers_to_different_questions_are_refused():
    with pytest.raises(ValueError, match="needs the same questions"):
        compare(answers(rows_of("text_only", 30)), answers(rows_of("base", 10, n=39)))


def full_run():
    """80 questions a type. Recognition: 35 % untuned, 85 % text, 87.5 % pictures; knowledge: nothing was learned."""
    modes, ways = ("base", "text_only", "image_text"), ("direct", "describe_then_answer")
    return answers(
        rows_of("base", 28, "direct", n=80),
        rows_of("base", 20, "describe_then_answer", n=80),
        rows_of("text_only", 30, "direct", n=80),
        rows_of("text_only", 68, "describe_then_answer", n=80),
        rows_of("image_text", 70, "direct", n=80),
        rows_of("image_text", 24, "describe_then_answer", n=80),
        *(rows_of(mode, 24, way, kind=2, n=80) for mode in modes for way in ways),
    )


def test_text_is_read_by_describing_and_its_rivals_by_their_better_way():
    ways = counted_answers(full_run()).query("question_type == 1").groupby("mode")["answering"].first()
    assert ways.to_dict() == {"base": "direct", "text_only": "describe_then_answer", "image_text": "direct"}


def test_withheld_pictures_variants_and_other_protocols_do_not_count():
    extra = [
        rows_of("text_only", 0, image="without"),
        rows_of("text_only", 0, variant="rank=4"),
        rows_of("text_only", 0, protocol="letter"),
    ]
    assert len(counted_answers(pd.concat([full_run(), answers(*extra)]))) == len(counted_answers(full_run()))
    assert counted_answers(answers(*extra), "letter")["protocol"].unique() == ["letter"]


def test_the_verdict_of_a_run_in_words():
    use_displays({}, "runs/none")
    first, second = verdicts(full_run())
    assert (first.answer, second.answer) == ("yes", "no")
    said = in_words([second, first]).splitlines()
    assert said[0].startswith("qwen2_vl, type 1 (recognition), n = 80: YES. Text alone: it beats the untuned model")
    assert "within 10 points of images: -2.5 points" in said[0]
    assert said[1].startswith("qwen2_vl, type 2 (reasoning), n = 80: NO. Text alone: it gains less than 10 points")
    use_displays({"qwen2_vl": "My Model 7B"}, "runs/own")
    assert in_words([first]).startswith("My Model 7B, type 1 (recognition)")
    use_displays({}, "none")


def test_without_the_untuned_model_there_is_no_verdict():
    with pytest.raises(ValueError, match="needs answers of modes base and text_only; found: text_only"):
        verdicts(answers(rows_of("text_only", 30)))


def test_the_table_has_accuracy_difference_and_cost():
    resources = pd.DataFrame(
        [{"model": "qwen2_vl", "mode": "text_only", "seconds": s, "peak_memory_mb": 9, "energy_wh": 1} for s in (2, 4)]
    )
    lines = verdict_table(full_run(), resources)
    first = lines[lines["question_type"] == 1].set_index("mode")
    assert list(first.index) == ["base", "text_only", "image_text"]
    assert first["accuracy"].tolist() == [35.0, 85.0, 87.5]
    assert (first.loc["text_only", "low"], first.loc["text_only", "high"]) == (75.6, 91.2)  # Wilson, 68 of 80
    assert first["text_above"].fillna(0).tolist() == [50.0, 0, -2.5]
    assert first.loc[["base", "text_only"], "seconds"].tolist() == [0, 3]
    assert first["seconds"].isna().tolist() == [False, False, True]


def test_the_figure_has_a_panel_a_model_and_type():
    assert len(verdict_figure(verdict_table(full_run())).axes) == 2


def test_the_command_prints_verdict_and_table(tmp_path, capsys):
    assert own_classes.main(["verdict", str(tmp_path)]) == 1
    assert "run `./run_all.sh own FOLDER` first" in capsys.readouterr().err
    for mode, rows in full_run().groupby("mode"):
        file = tmp_path / "evaluation" / mode / "answers.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows.to_dict("records")), encoding="utf-8")
    assert own_classes.main(["verdict", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "YES. Text alone" in said and "text_above" in said


def run_of(run, rows, folder="runs/classes"):
    """A run as the workflow leaves it: answers, what its notebook 09 was given, and where its data are from."""
    for mode, group in rows.groupby("mode"):
        file = run / "evaluation" / mode / "answers.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in group.to_dict("records")), encoding="utf-8")
    made = run / "data" / "own" / "main" / "manifest.json"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(json.dumps({"parameters": {"source_path": str(folder)}}))


def record_answers(run, modes):
    files = [str(run / "evaluation" / mode / "answers.jsonl") for mode in modes]
    (run / "notebooks").mkdir(exist_ok=True)
    given = {"answer_files": files, "resource_files": []}
    (run / "notebooks" / "own_classes.manifest.json").write_text(json.dumps({"parameters": given}))


def test_a_verdict_is_of_the_answers_that_its_run_was_given_and_not_of_what_is_left(tmp_path, capsys):
    """An earlier folder had training images and this one has none: its image_text must not be compared with."""
    run_of(tmp_path, full_run())
    assert own_classes.main(["verdict", str(tmp_path)]) == 0
    assert "image_text" in capsys.readouterr().out
    record_answers(tmp_path, ["base", "text_only"])
    assert own_classes.main(["verdict", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "training on images was not tested" in said
    assert "image_text" not in said


def test_answers_of_another_folder_are_never_compared(tmp_path, capsys):
    rows = full_run()
    mixed = rows.assign(dataset_hash=rows["mode"].map({"base": "bbb", "text_only": "bbb", "image_text": "aaa"}))
    run_of(tmp_path, mixed)
    assert own_classes.main(["verdict", str(tmp_path)]) == 1
    assert "answered data set" in capsys.readouterr().err


def test_a_run_that_another_folder_has_taken_over_is_not_read_as_its_own(tmp_path, capsys, folder):
    run = tmp_path / "run"
    run_of(run, full_run(), folder)
    assert own_classes.main(["verdict", str(run), "--folder", str(folder)]) == 0
    assert own_classes.main(["verdict", str(run), "--folder", str(EXAMPLE)]) == 1
    assert f"run holds the results of {folder}, not of {EXAMPLE}; run `./run_all.sh own" in capsys.readouterr().err


def test_a_verdict_is_about_one_domain(tmp_path, capsys):
    rows = full_run()
    run_of(tmp_path, rows.assign(domain=rows["mode"].map(lambda mode: "own" if mode == "base" else "butterfly")))
    assert own_classes.main(["verdict", str(tmp_path)]) == 1
    assert "a verdict is about one" in capsys.readouterr().err


# ---- the worked example ----------------------------------------------------------------------------------------------


def test_the_example_is_in_order_and_small():
    assert problems(EXAMPLE) == notes(EXAMPLE) == []
    assert sum(file.stat().st_size for file in EXAMPLE.rglob("*") if file.is_file()) < 400_000


def test_the_example_asks_in_the_language_of_the_drawn_world():
    domain = opened(EXAMPLE)
    asked = domain.questions()
    assert [sum(q.question_type == kind for q in asked) for kind in (1, 2)] == [96, 96]
    real = drawn.DrawnDomain(drawn.load_classes("butterfly", 4), 1, 56, 0).questions()
    for kind in (1, 2):
        of_drawn = {(q.question, q.answer_form, q.refers) for q in real if q.question_type == kind}
        of_own = {(q.question, q.answer_form, q.refers) for q in asked if q.question_type == kind}
        assert of_drawn & of_own
    assert {(text.domain, text.name[:4]) for text in domain.offline_texts(1)} == {("butterfly", "the ")}


def test_the_example_is_made_anew_to_the_byte(tmp_path, capsys):
    assert own_classes.main(["example", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path} made\n"
    made = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    tables_only = [name for name in made if name.suffix != ".png"]
    assert len(made) - len(tables_only) == 108
    assert all((EXAMPLE / name).read_bytes() == made[name] for name in tables_only)
    for name in made.keys() - set(tables_only):  # by pixels: another zlib packs the same picture differently
        assert (
            Image.open(EXAMPLE / name).convert("RGB").tobytes() == Image.open(tmp_path / name).convert("RGB").tobytes()
        )


def test_no_model_can_know_the_example():
    invented = [
        thing.name.lower() for domain in DOMAINS for seed in (0, 1) for thing in invent_classes(domain, 300, seed)
    ]
    names = [name.lower() for name in own_example.MADE_UP_NAMES]
    assert not [(n, other) for n in names for other in (*invented, *target_names()) if n in other or other in n]
    for appearance in own_example.appearances():
        BUTTERFLY.check(appearance)
        others = (thing.appearance for thing in drawn.load_classes("butterfly"))
        assert all(sum(appearance[part] != other[part] for part in BUTTERFLY.parts) >= 2 for other in others)
