"""Photographed butterflies: the Kaggle set's folders, the authors' questions in several forms, and both."""

import base64
import csv
import io
import random

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from helpers.domains import drawn, open_domain
from helpers.domains.butterflies import NAMES_FILE, ButterflyPhotoDomain, unknown_names
from helpers.domains.butterfly_vqa import Columns, Numbering, answer_of, find_columns, options_of, split_letter
from helpers.paths import DATA
from helpers.schemas import read_questions, write_questions

CLASSES = drawn.load_classes("butterfly")
ROWS = list(csv.DictReader((DATA / "butterflies.csv").read_text(encoding="utf-8").splitlines()))


def photo(name: str, size: int = 8) -> bytes:
    """A picture like no other: noise from the name."""
    stream = io.BytesIO()
    Image.frombytes("RGB", (size, size), random.Random(name).randbytes(3 * size * size)).save(stream, "JPEG")
    return stream.getvalue()


def kaggle(root, classes: int = 6, per_split: int = 2):
    """The set's layout with the first classes of the table."""
    for split in ("train", "valid", "test"):
        for row in ROWS[:classes]:
            folder = root / split / row["folder"]
            folder.mkdir(parents=True)
            for number in range(per_split):
                (folder / f"{number + 1}.jpg").write_bytes(photo(f"{split}/{row['folder']}/{number}"))
    return root


def opened(root, classes=6, images=1, seed=0, distractors="random") -> ButterflyPhotoDomain:
    return open_domain("butterfly", "butterflies", root, classes, images, 56, seed, distractors)


@pytest.fixture
def photos(tmp_path):
    return kaggle(tmp_path / "kaggle")


# -- the table of names


def test_the_table_of_names_agrees_with_the_table_of_butterflies():
    folders = {row["folder"]: row for row in ROWS}
    for row in unknown_names():
        assert row["split"] in {"train", "valid", "test", "all"}
        if row["fault"] == "renamed":
            assert row["correction"] in folders
            assert row["folder"] not in folders
        elif row["fault"] == "ambiguous":
            assert folders[row["folder"]]["scientific_name"] == row["correction"]
        else:
            assert (row["fault"], row["correction"]) == ("missing", "none")
            assert row["folder"] in folders


def test_the_known_faults_are_all_there():
    faults = {(row["split"], row["folder"]): row["correction"] for row in unknown_names()}
    assert faults["train", "POLYGONIA"] == "QUESTION MARK"
    assert {("valid", "GREAT EGGFLY"), ("valid", "SOUTHERN DOGFACE")} <= set(faults)
    assert sum(row["fault"] == "ambiguous" for row in unknown_names()) == 9
    assert b"\r" not in NAMES_FILE.read_bytes()


# -- folders


def test_a_class_has_a_training_picture_and_a_question_of_either_type_a_test_picture(photos, tmp_path):
    domain = opened(photos, images=2)
    asked = domain.questions()
    assert [thing.name for thing in domain.classes] == [thing.name for thing in CLASSES[:6]]
    assert sum(q.split == "test" for q in asked) == sum(q.split == "dev" for q in asked) == 6 * 2 * 2
    domain.bring_images(tmp_path / "out")
    assert read_questions(write_questions(tmp_path / "out" / "questions.jsonl", asked)) == asked
    trained = [domain.training_image(thing) for thing in domain.classes]
    assert all((tmp_path / "out" / image).is_file() for image in trained)
    assert len(list((tmp_path / "out" / "images").rglob("*.jpg"))) == 6 * (1 + 2 + 2)
    assert domain.table()[0] | {"train": 1, "test": 2, "dev": 2, "name": "Adonis"} == domain.table()[0]
    assert domain.retention_questions() == []


def test_photographs_are_asked_about_in_the_words_of_the_drawn_world(photos):
    photographed = opened(photos).questions()
    drawn_ones = open_domain("butterfly", "drawn", None, 6, 1, 56, 0).questions()
    same = ("question_id", "question", "options", "answer", "answer_form", "category", "class_id")
    for one, other in zip(photographed, drawn_ones, strict=True):
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]


def test_test_and_training_pictures_come_from_their_own_folders(photos, tmp_path):
    opened(photos).bring_images(tmp_path / "out")
    for split, folder in (("train", "train"), ("test", "test"), ("dev", "valid")):
        sources = {path.read_bytes() for path in (photos / folder / "ADONIS").iterdir()}
        assert (tmp_path / "out" / "images" / split / "adonis-0.jpg").read_bytes() in sources


def test_look_alikes_can_be_the_wrong_options(photos):
    asked = next(q for q in opened(photos, distractors="look_alike").questions() if q.question_type == 1)
    appearances = {thing.name: thing.appearance for thing in CLASSES[:6]}
    parts = {name: drawn.differing_parts(appearances["Adonis"], appearance) for name, appearance in appearances.items()}
    others = [name for name in appearances if name not in asked.options]
    assert max(parts[name] for name in asked.options) <= min(parts[name] for name in others)


def test_no_training_picture_is_a_test_picture_too(photos):
    """The set has pictures in more than one split."""
    tested = (photos / "test" / "ADONIS" / "1.jpg").read_bytes()
    (photos / "test" / "ADONIS" / "2.jpg").unlink()
    (photos / "train" / "ADONIS" / "1.jpg").write_bytes(tested)
    kept = (photos / "train" / "ADONIS" / "2.jpg").read_bytes()
    for seed in range(6):
        out = photos.parent / f"out{seed}"
        opened(photos, seed=seed).bring_images(out)
        assert (out / "images" / "train" / "adonis-0.jpg").read_bytes() == kept


def test_polygonia_is_the_question_mark_and_case_and_spaces_do_not_matter(tmp_path):
    root = kaggle(tmp_path / "kaggle", 100, 1)
    (root / "train" / "QUESTION MARK").rename(root / "train" / "POLYGONIA")
    (root / "test" / "Iphiclus sister").rename(root / "test" / "IPHICLUS  SISTER ")
    for name in ("GREAT EGGFLY", "SOUTHERN DOGFACE"):
        (root / "valid" / name / "1.jpg").unlink()
        (root / "valid" / name).rmdir()
    domain = opened(root, None)
    assert len(domain.training) == 100
    assert sum(q.split == "test" for q in domain.questions()) == 200
    assert sum(q.split == "dev" for q in domain.questions()) == 196
    assert [row["name"] for row in domain.table() if row["dev"] == 0] == ["Great Eggfly", "Southern Dogface"]


def test_all_unknown_folders_are_listed_with_the_remedy(photos):
    (photos / "train" / "POLYGONIUM").mkdir()
    (photos / "test" / "POLYGONIA").mkdir()  # known in train alone
    with pytest.raises(ValueError, match=r"2 folder\(s\) of no known class: train/POLYGONIUM, test/POLYGONIA") as error:
        opened(photos)
    assert "data/butterfly_names.csv (fault renamed)" in str(error.value)


def test_two_folders_of_one_class_are_refused(photos):
    (photos / "train" / "adonis ").mkdir()
    with pytest.raises(ValueError, match="are both ADONIS; put their images into one folder"):
        opened(photos)


def test_classes_with_too_few_pictures_are_all_named(photos):
    for name in ("1.jpg", "2.jpg"):
        (photos / "test" / "ADONIS" / name).unlink()
    (photos / "test" / "AN 88" / "1.jpg").unlink()
    with pytest.raises(ValueError, match=r"2 different image\(s\) per class .* in 2: ADONIS \(0\), AN 88 \(1\)"):
        opened(photos, images=2)


def test_broken_pictures_are_named_and_counted(photos):
    for number in (1, 2):
        (photos / "train" / "ADONIS" / f"{number}.jpg").write_bytes(b"no picture" * number)
        (photos / "test" / "AN 88" / f"{number}.jpg").write_bytes(b"none either" * number)
    with pytest.raises(ValueError, match=r"2 image\(s\) cannot be read") as error:
        opened(photos)
    assert "train/ADONIS/" in str(error.value)
    assert "test/AN 88/" in str(error.value)


def test_a_link_out_of_the_folder_is_refused(photos, tmp_path):
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(photo("outside"))
    for number in (1, 2):
        (photos / "train" / "ADONIS" / f"{number}.jpg").unlink()
        (photos / "train" / "ADONIS" / f"{number}.jpg").symlink_to(outside)
    with pytest.raises(ValueError, match=r"train/ADONIS/\d\.jpg' leads out of .* by a link"):
        opened(photos)


def test_a_folder_of_another_kind_is_named_with_the_layouts(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold train\|valid\|test/<CLASS NAME>/<n>\.jpg .*, or parquet"):
        opened(tmp_path)


# -- the authors' questions


def vqa(root, rows):
    root.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "train-00000-of-00001.parquet")
    return root


def row(label: str, question_type: int, options: list[str], answer: int, number: int = 0) -> dict:
    """A row in the columns that the authors' set has."""
    return {
        "image": {"bytes": photo(f"{label}/{number}"), "path": None},
        "label": label,
        "question": "What is the name of the species in this image?" if question_type == 1 else "What does it eat?",
        "options": " ".join(f"{letter}) {option}" for letter, option in zip("ABCD", options, strict=True)),
        "answer": "ABCD"[answer],
        "question_type": str(question_type),
    }


NAMES_OF_FOUR = ["ADONIS", "AN 88", "COMMON WOOD-NYMPH", "JULIA"]
PLANTS = ["Pine trees", "Oak trees, mostly", "Mt. A) grass", "St. B shrubs"]
AUTHORS = [row("ADONIS", 1, NAMES_OF_FOUR, 0), row("ADONIS", 2, PLANTS, 1), row("AN 88", 1, NAMES_OF_FOUR, 1)]


def test_the_authors_set_is_read_word_for_word(tmp_path):
    domain = opened(vqa(tmp_path / "hub", AUTHORS), None)
    first, second, third = domain.questions()
    assert first.options == NAMES_OF_FOUR
    assert (first.answer, first.question_type, first.class_id, first.split) == (0, 1, "adonis", "test")
    assert (second.options[1], second.answer, second.question_type) == ("Oak trees, mostly", 1, 2)
    assert first.image == second.image != third.image
    assert len(domain.classes) == 100
    assert domain.training_image(domain.classes[0]) is None
    domain.bring_images(tmp_path / "out")
    assert (tmp_path / "out" / str(first.image)).read_bytes() == photo("ADONIS/0")
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 2


def test_a_limit_on_the_classes_leaves_the_others_questions_out(tmp_path):
    domain = opened(vqa(tmp_path / "hub", AUTHORS), 1)
    assert [q.class_id for q in domain.questions()] == ["adonis", "adonis"]


def test_training_pictures_and_the_authors_questions_together_are_the_papers_setting(photos, tmp_path):
    (photos / "train" / "ADONIS" / "1.jpg").write_bytes(photo("ADONIS/0"))  # which the authors ask about
    kept = (photos / "train" / "ADONIS" / "2.jpg").read_bytes()
    vqa(photos, AUTHORS)
    domain = opened(photos)
    assert len(domain.questions()) == 3
    assert len(domain.training) == 6
    domain.bring_images(tmp_path / "out")
    assert (tmp_path / "out" / str(domain.training_image(domain.classes[0]))).read_bytes() == kept


def test_a_hub_id_is_fetched(tmp_path, monkeypatch):
    folder = vqa(tmp_path / "hub", AUTHORS)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(folder))
    assert len(opened("HAERAE-HUB/butterflies_and_moths_vqa", None).questions()) == 3


def changed(**changes) -> list[dict]:
    """The authors' rows with columns replaced: a value, a function of the row, or None to drop the column."""
    rows = []
    for old in AUTHORS:
        new = {key: value for key, value in old.items() if key not in changes}
        rows.append(new | {key: make(old) for key, make in changes.items() if make is not None})
    return rows


def listed(old: dict) -> list[str]:
    return split_letter(old["options"])[1]


def encoded(old: dict) -> str:
    return base64.b64encode(old["image"]["bytes"]).decode()


def index(old: dict) -> int:
    return "ABCD".index(old["answer"])


@pytest.mark.parametrize(
    "changes",
    [
        {"options": listed},
        {"options": lambda old: str(listed(old))},
        {"options": lambda old: [f"{letter}. {text}" for letter, text in zip("ABCD", listed(old), strict=True)]},
        {"options": lambda old: old["options"].replace(" B)", "\nB)").replace(" C)", "\nC)").replace(" D)", "\nD)")},
        {"options": None, **{key: lambda old, n=n: listed(old)[n] for n, key in enumerate("ABCD")}},
        {"options": None, **{f"option_{n}": lambda old, n=n: listed(old)[n - 1] for n in (1, 2, 3, 4)}},
        {"options": None, "question": lambda old: f"{old['question']} {old['options']}"},
        {"answer": lambda old: listed(old)[index(old)]},
        {"answer": lambda old: f"({old['answer']})"},
        {"answer": lambda old: f"{old['answer']}) {listed(old)[index(old)]}"},
        {"answer": index},
        {"question_type": lambda old: int(old["question_type"])},
        {"question_type": lambda old: "Type " + old["question_type"]},
        {"question_type": lambda old: "recognition" if old["question_type"] == "1" else "reasoning"},
        {"question_type": None},
        {"image": lambda old: old["image"]["bytes"]},
        {"image": None, "picture": lambda old: old["image"]},
        {"image": lambda old: [old["image"]]},
        {"image": lambda old: [old["image"]["bytes"]]},
        {"image": lambda old: encoded(old)},
        {"image": lambda old: f"data:image/png;base64,{encoded(old)}"},
        {"image": lambda old: {"bytes": encoded(old), "path": None}},
        {"label": None, "species": lambda old: old["label"].title()},
    ],
)
def test_columns_are_found_by_what_they_hold_and_what_they_are_called(tmp_path, changes):
    expected = opened(vqa(tmp_path / "authors", AUTHORS), None).questions()
    assert opened(vqa(tmp_path / "other", changed(**changes)), None).questions() == expected


def test_answers_counted_from_1_are_known_by_a_4(tmp_path):
    rows = [row("ADONIS", 1, NAMES_OF_FOUR, place, place) for place in range(4)]
    counted = [{**old, "answer": place + 1} for place, old in enumerate(rows)]
    assert [q.answer for q in opened(vqa(tmp_path / "a", counted), None).questions()] == [0, 1, 2, 3]
    with pytest.raises(
        ValueError, match=r"answers are \[1, 2, 3\]: is the first option 0 or 1\? Write the letters A to D"
    ):
        opened(vqa(tmp_path / "b", counted[:3]), None)


def test_answers_that_are_numbers_among_the_options_are_options_and_no_places(tmp_path):
    years = ["1758", "1775", "1780", "1793"]
    rows = [row("ADONIS", 2, years, 2) | {"answer": 1780}, row("AN 88", 2, years, 0) | {"answer": 1758}]
    asked = opened(vqa(tmp_path / "hub", rows), None).questions()
    assert [(q.answer, q.right_option) for q in asked] == [(2, "1780"), (0, "1758")]


COUNTS = ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("answers", "options", "places"),
    [
        ([0, 1, 2, 3], COUNTS, [0, 1, 2, 3]),  # integers are places, also among options that are numbers
        ([1, 2, 3, 4], COUNTS, [0, 1, 2, 3]),
        ([3, 2], ["4", "3", "2", "1"], None),  # from 0 or from 1?
        ([3, 0], ["4", "3", "2", "1"], [3, 0]),
        (["2", "4"], COUNTS, [1, 3]),  # texts, each of them an option
        (["0", "3"], COUNTS, [0, 3]),  # texts, not all of them options
        (["0", "3"], ["blue", "red", "0", "3"], [2, 3]),
        (["b", "D"], COUNTS, [1, 3]),
    ],
)
def test_a_whole_column_says_whether_its_numbers_are_places_or_options(tmp_path, answers, options, places):
    rows = [row("ADONIS", 2, options, 0) | {"answer": answer} for answer in answers]
    rows = [{**old, "options": options, "question": f"How many {n}?"} for n, old in enumerate(rows)]
    if places is None:
        with pytest.raises(ValueError, match="is the first option 0 or 1"):
            opened(vqa(tmp_path / "hub", rows), None)
    else:
        assert [q.answer for q in opened(vqa(tmp_path / "hub", rows), None).questions()] == places


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("pictures/1.png", "the text 'pictures/1.png', which is not base64"),
        ("https://example.org/1.png", "which is not base64"),
        ("abcd", "not a readable image"),
        ("", "has no bytes"),
        ([b"one", b"two"], "the row has 2 images"),
        ({"bytes": None, "path": "1.png"}, "has no bytes"),
    ],
)
def test_a_row_without_one_image_is_named_with_its_file(tmp_path, image, said):
    rows = [{**old, "image": image} for old in AUTHORS[:1]]
    with pytest.raises(ValueError, match=r"\.parquet, row 1: ") as error:
        opened(vqa(tmp_path / "hub", rows), None)
    assert said in str(error.value)


def test_without_a_label_type_1_tells_the_class_and_type_2_does_not(tmp_path):
    asked = opened(vqa(tmp_path / "hub", changed(label=None)), None).questions()
    assert [q.class_id for q in asked] == ["adonis", None, "an-88"]


def test_columns_that_cannot_be_told_are_listed(tmp_path):
    with pytest.raises(ValueError, match=r"no column for a question and an answer; there are image \(image\), ") as e:
        opened(vqa(tmp_path / "hub", changed(question=None, answer=None, words=lambda old: old["question"])), None)
    assert "label (text), options (text), question_type (text), words (text)" in str(e.value)


def test_all_rows_that_are_no_question_are_named(tmp_path):
    rows = [dict(old) for old in AUTHORS] + [dict(AUTHORS[2])]
    rows[0]["options"] = "A) ADONIS B) ADONIS C) JULIA D) ATALA"
    rows[1]["answer"] = "E"
    rows[2]["image"] = {"bytes": b"no picture", "path": "../../etc/passwd"}
    rows[3]["label"] = "DRAGONFLY"
    with pytest.raises(ValueError, match=r"4 row\(s\) are not questions with an image") as error:
        opened(vqa(tmp_path / "hub", rows), None)
    for number, rule in enumerate(
        ("four different options", "answer 'E' is none", "not a readable image", "DRAGONFLY")
    ):
        assert f"row {number + 1}: " in str(error.value)
        assert rule in str(error.value)


def test_lettered_options_are_split_at_the_letters_in_their_order():
    assert split_letter("Which? A. x, B. y; C: z D) w") == ("Which? ", ["x", "y", "z", "w"])
    with pytest.raises(ValueError, match="no option C in"):
        split_letter("A) x B) y D) w")


@pytest.mark.parametrize(
    ("text", "question", "options"),
    [
        ("Vitamin A: good? A) yes B) no C) both D) neither", "Vitamin A: good?", ["yes", "no", "both", "neither"]),
        ("Vitamin A: good? A: yes B: no C: both D: none", "Vitamin A: good?", ["yes", "no", "both", "none"]),
        ("Is B) it? (A) x (B) y (C) z (D) w", "Is B) it?", ["x", "y", "z", "w"]),
        ("In A.D. 79? A. x B. y C. z D. w", "In A.D. 79?", ["x", "y", "z", "w"]),
        ("Which?\nA. vitamin B. 12\nB. y\nC. z\nD. w", "Which?", ["vitamin B. 12", "y", "z", "w"]),
        ("Hepatitis B: what? A) x B) type B: y C) z D) w", "Hepatitis B: what?", ["x", "type B: y", "z", "w"]),
        ("Grade A, B or C? A)x B)y C)z D)w", "Grade A, B or C?", ["x", "y", "z", "w"]),
    ],
)
def test_a_letter_within_a_sentence_begins_no_option(text, question, options):
    found, given = split_letter(text)
    assert (found.strip(), given) == (question, options)


def test_marks_that_could_be_read_in_two_ways_are_refused():
    with pytest.raises(ValueError, match="several marks could begin an option"):
        split_letter("Which? A) vitamin B) 12 B) y C) z D) w")


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (["A. Lincoln", "G. Washington", "C. Colt", "D. Crockett"],) * 2,  # initials, not letters of options
        (["A. x", "B. y", "C. z", "D. w"], ["x", "y", "z", "w"]),
        ("['A) x', 'B) y', 'C) z', 'D) w']", ["x", "y", "z", "w"]),
        ([1, 2, 3, 4], COUNTS),
    ],
)
def test_a_list_of_options_loses_its_letters_if_all_four_have_one(value, options):
    assert options_of({"q": "Which?", "o": value}, Columns("i", "q", ["o"], "a", None, None)) == ("Which?", options)


@pytest.mark.parametrize("value", [["a", "b", "c"], list("abcde"), ["a", None, "c", "d"], "['a', 'b']", []])
def test_a_list_that_is_not_of_four_options_is_refused(value):
    with pytest.raises(ValueError, match=r"there must be four|no option A"):
        options_of({"q": "Which?", "o": value}, Columns("i", "q", ["o"], "a", None, None))


def test_an_answer_that_is_an_option_is_that_option_whatever_else_it_looks_like():
    assert answer_of("B", ["B", "A", "C", "D"], Numbering()) == 0
    assert answer_of("2", COUNTS, Numbering()) == 1
    assert answer_of(2, COUNTS, Numbering(0, every=True)) == 2


def test_the_authors_columns_are_told_apart():
    kinds = dict.fromkeys(("label", "question", "options", "answer", "question_type"), "text") | {"image": "image"}
    assert find_columns(kinds, "file").all() == ["image", "question", "options", "answer", "question_type", "label"]
