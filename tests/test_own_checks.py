"""A folder of classes that is well-formed: in which encoding it is, and whether what it says can be meant."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from helpers.domains import own_folder
from helpers.domains.near_copies import near_copies
from helpers.domains.own_checks import is_placeholder
from helpers.results import own_classes

NAMES = ("Alder Coin", "Birch Coin", "Cedar Coin", "Dogwood Coin", "Elm Coin")
IDS = ("a1", "b2", "c3", "d4", "e5")
COLOURS = ("red", "blue", "green", "white", "black")
HOMES = ("north", "south", "east", "west", "hills")


def as_csv(rows):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def class_rows(names=NAMES, colours=COLOURS):
    return [
        {"class_id": class_id, "name": name, "look:colour": colour, "fact:home": home}
        for class_id, name, colour, home in zip(IDS, names, colours, HOMES, strict=True)
    ]


def drawn(number):
    """An image with enough structure for a hash; each number gives another one."""
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return small.resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Five coins with one image to train with and one to test with."""
    (tmp_path / "classes.csv").write_text(as_csv(class_rows()), encoding="utf-8")
    for place, class_id in enumerate(IDS):
        for number, split in enumerate(("train", "test")):
            file = tmp_path / "pictures" / split / class_id / "0.png"
            file.parent.mkdir(parents=True)
            drawn(10 * place + number).save(file)
    return tmp_path


def read(folder, tokens=()):
    return own_folder.read_folder(folder, tokens=tokens)


def problems(folder):
    return [str(problem) for problem in read(folder).findings.problems]


def notes(folder):
    return [str(note) for note in read(folder).findings.notes]


def texts(folder, *appearances, background="Old."):
    rows = [
        {"class_id": i, "look": appearance, "background": background}
        for i, appearance in zip(IDS, appearances, strict=False)
    ]
    (folder / "texts.csv").write_text(as_csv(rows), encoding="utf-8")


def questions(folder, *rows):
    plain = {"question": "What?", **dict(zip(("option_a", "option_b", "option_c", "option_d"), NAMES, strict=False))}
    plain |= {"answer": "A", "picture": "pictures/test/a1/0.png", "type": "1"}
    (folder / "questions.csv").write_text(as_csv([plain | row for row in rows]), encoding="utf-8")


def test_a_plain_folder_has_nothing_to_tell(folder):
    assert problems(folder) == notes(folder) == []


# ---- encodings -------------------------------------------------------------------------------------------------------

WRITTEN = {  # by encoding: five names as a spreadsheet of that language saves them
    "cp949": ("김치", "떡볶이", "한복", "장구", "솟대"),
    "gbk": ("长城", "故宫", "西湖", "黄山", "泰山"),
    "big5": ("松鼠", "皇冠", "長城", "蘋果", "鳳梨"),
    "cp932": ("金閣寺", "東京タワー", "大阪城", "姫路城", "寿司"),
    "euc_jp": ("寿司", "ラーメン", "着物", "畳", "神社"),
    "cp1251": ("Рубль", "Копейка", "Гривна", "Деньга", "Алтын"),
    "koi8_r": ("белка", "корона", "заяц", "лиса", "волк"),
    "cp1252": ("Mörel", "Käfer", "Grünling", "Weißling", "Möhre"),
    "cp1250": ("Żubr", "Łoś", "Jeż", "Bóbr", "Żaba"),
    "cp1253": ("Ελιά", "Σύκο", "Κάππαρη", "Ρίγανη", "Θυμάρι"),
    "cp1254": ("Şahin", "Doğan", "Kırlangıç", "Güvercin", "Baykuş"),
    "cp1255": ("זית", "תאנה", "תמר", "רימון", "גפן"),
    "cp1256": ("زيتون", "تين", "تمر", "رمان", "عنب"),
    "cp874": ("ต้มยำ", "ผัดไทย", "ส้มตำ", "แกงเขียว", "ข้าวผัด"),
    "mac_roman": ("Mörel", "Käfer", "Grünling", "Weißling", "Möhre"),
    "cp850": ("Mörel", "Käfer", "Grünling", "Weißling", "Möhre"),
}


@pytest.mark.parametrize("encoding", WRITTEN)
def test_an_uncertain_encoding_is_one_problem_that_shows_the_names_and_is_read_once_confirmed(folder, encoding):
    names = WRITTEN[encoding]
    (folder / "classes.csv").write_bytes(as_csv(class_rows(names)).encode(encoding))
    (only,) = problems(folder)
    assert only.startswith("classes.csv: is not UTF-8; it could read as ")
    assert ", ".join(names[:3]) in only
    (folder / "domain.yaml").write_text(f"encoding: {encoding}\n")
    own = read(folder)
    assert (own.findings.problems, tuple(thing.name for thing in own.classes)) == ([], names)
    told = f"classes.csv: was read as {encoding}, as domain.yaml says: {', '.join(names[:3])}"
    assert [str(note) for note in own.findings.notes] == [told]


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        (lambda text: text.encode("utf-16"), "it was read as UTF-16: 김치, 떡볶이, 한복"),
        (lambda text: text.encode("utf-16-le"), "it was read as UTF-16: 김치, 떡볶이, 한복"),
        (lambda text: text.encode("utf-16-be"), "it was read as UTF-16: 김치, 떡볶이, 한복"),
        (lambda text: text.encode("utf-32"), "it was read as UTF-32: 김치, 떡볶이, 한복"),
        (lambda text: text.encode("iso2022_kr"), "was read as iso2022_kr: 김치, 떡볶이, 한복"),
        (lambda text: text.encode("utf-8-sig"), "byte order mark"),
        (lambda text: ("\ufeff" + text).encode("utf-8-sig"), "byte order mark"),
    ],
)
def test_what_the_bytes_leave_no_doubt_about_is_read_and_told(folder, encode, said):
    (folder / "classes.csv").write_bytes(encode(as_csv(class_rows(WRITTEN["cp949"]))))
    own = read(folder)
    assert (own.findings.problems, own.classes[0].name) == ([], "김치")
    assert said in str(own.findings.notes[0])


def test_two_tables_in_one_encoding_are_one_problem(folder):
    texts(folder, "둥글고 붉다", "길고 푸르다")
    for file in ("classes.csv", "texts.csv"):
        text = (folder / file).read_text(encoding="utf-8").replace("Alder Coin", "김치")
        (folder / file).write_bytes(text.encode("cp949"))
    (only,) = problems(folder)
    assert only.startswith("classes.csv: is not UTF-8, nor is texts.csv; it could read as cp949: 김치")
    (folder / "domain.yaml").write_text("Encoding: CP949\n")
    assert read(folder).texts[0].appearance == "둥글고 붉다"


def test_a_table_in_utf8_stays_so_beside_one_in_another_encoding(folder):
    texts(folder, "둥글고 붉다")
    (folder / "classes.csv").write_bytes(as_csv(class_rows(WRITTEN["cp949"])).encode("cp949"))
    (folder / "domain.yaml").write_text("encoding: cp949\n")
    own = read(folder)
    assert (own.classes[0].name, own.texts[0].appearance) == ("김치", "둥글고 붉다")


def test_json_lines_are_asked_for_their_encoding_too(folder):
    row = {"class_id": "a1", "look": "둥글고 붉다", "background": "북쪽에서 왔다"}
    (folder / "texts.jsonl").write_bytes(json.dumps(row, ensure_ascii=False).encode("cp949"))
    (only,) = problems(folder)
    assert only.startswith("texts.jsonl: is not UTF-8; it could read as cp949: ")


def test_the_first_special_letter_of_a_long_table_may_come_late(folder):
    rows = [{"class_id": f"x{i}", "name": f"Plain {i}", "look:colour": "red", "fact:home": "here"} for i in range(3000)]
    (folder / "classes.csv").write_bytes(as_csv([*rows, *class_rows(WRITTEN["cp1251"])]).encode("cp1251"))
    (only,) = problems(folder)
    assert "it could read as cp1251: Рубль, Копейка, Гривна" in only


@pytest.mark.parametrize(
    ("written", "named", "said"),
    [
        ("cp949", "cp9494", "domain.yaml: encoding is 'cp9494', which is no encoding that is known here"),
        ("cp949", "rot13", "domain.yaml: encoding is 'rot13', which is no encoding that is known here"),
        ("cp949", "punycode", "domain.yaml: encoding is 'punycode', which is no encoding that is known here"),
        ("cp949", "ascii", "classes.csv:2: is not ascii, which domain.yaml names: byte 0xb1 does not exist there"),
        ("cp932", "utf-8", "classes.csv:2: is not utf-8, which domain.yaml names: byte 0x8b does not exist there"),
    ],
)
def test_a_wrong_name_of_an_encoding_is_told(folder, written, named, said):
    (folder / "classes.csv").write_bytes(as_csv(class_rows(WRITTEN[written])).encode(written))
    (folder / "domain.yaml").write_text(f"encoding: {named}\n")
    assert problems(folder)[0].startswith(said)


def test_utf8_with_a_few_other_bytes_is_named_by_its_line(folder):
    content = as_csv(class_rows(WRITTEN["cp949"])).encode().replace("장구".encode(), "장구".encode()[:-1])
    (folder / "classes.csv").write_bytes(content)
    (only,) = problems(folder)
    assert only.startswith("classes.csv:5: holds bytes that are not UTF-8, while the rest of the file is")


def test_a_text_that_was_saved_in_the_wrong_encoding_is_told_with_what_was_meant(folder):
    (folder / "classes.csv").write_text(as_csv(class_rows(("MÃ¶rel", *NAMES[1:]))), encoding="utf-8")
    (only,) = problems(folder)
    assert only.startswith("classes.csv:2: name reads 'MÃ¶rel'") and "write 'Mörel'" in only


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\r\n', "SEP=;\n", "sep=;\r"])
def test_the_line_in_which_excel_names_the_separator_is_no_row(folder, line):
    rows = class_rows(("Alder; Coin", *NAMES[1:]))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=";", lineterminator=line.lstrip('sepSEP=;"'))
    writer.writeheader()
    writer.writerows([*rows, dict.fromkeys(rows[0], ""), rows[4]])
    (folder / "classes.csv").write_bytes((line + out.getvalue()).encode("utf-8-sig"))
    assert read(folder).classes[0].name == "Alder; Coin"
    assert problems(folder)[0].startswith(
        "classes.csv:9: class_id 'e5' is there already (row 7)"
    )  # as an editor counts


def test_without_the_classes_nothing_that_refers_to_them_is_a_problem(folder):
    texts(folder, "Round.")
    questions(folder, {})
    (folder / "classes.csv").write_text("class;name\n", encoding="utf-8")
    assert [line.partition(";")[0] for line in problems(folder)] == [
        "classes.csv:1: the column 'class_id' is missing (found: class, name)"
    ]


# ---- domain.yaml -----------------------------------------------------------------------------------------------------


def test_capitals_in_a_key_make_no_difference(folder):
    (folder / "domain.yaml").write_text("Noun: coin\nFACT_QUESTIONS:\n  fact:Home: Where was it struck?\n")
    own = read(folder)
    assert own.findings.problems == []
    assert (own.language.noun, own.language.fact_questions) == ("coin", {"home": "Where was it struck?"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("noum: coin", "domain.yaml: no key is called 'noum'; did you mean 'noun'?"),
        ("fact_question: {home: Where}", "no key is called 'fact_question'; did you mean 'fact_questions'?"),
        (
            "fact_questions: {hoem: Where}",
            "fact_questions.hoem: no column is called 'fact:hoem'; did you mean 'home'?",
        ),
        ("fact_answers: {colour: 'It is {option}.'}", "fact_answers.colour: no column is called 'fact:colour'"),
        ("noun: coin\nNOUN: medal", "noun is there twice: capitals make no difference"),
        ("fact_questions: {Home: A, home: B}", "fact_questions.home is there twice"),
        ("- noun", "it holds \"['noun']\", not keys with values"),
        ("naming_question: <image> What is it?", "naming_question: holds '<image>'"),
        ("naming_answer: It is <{option}>.", "which can become a mark of a model's chat"),
    ],
)
def test_a_key_that_would_never_be_used_is_told(folder, content, said):
    (folder / "domain.yaml").write_text(content + "\n")
    (only,) = problems(folder)
    assert said in only


def test_a_faulty_key_does_not_take_the_others_with_it(folder):
    (folder / "classes.csv").write_bytes(as_csv(class_rows(WRITTEN["cp949"])).encode("cp949"))
    (folder / "domain.yaml").write_text("noun: [a, b]\nencoding: cp949\n")
    assert len(problems(folder)) == 1
    assert read(folder).classes[0].name == "김치"


def test_a_domain_file_in_another_encoding_is_one_problem(folder):
    (folder / "domain.yaml").write_bytes("noun: 동전\n".encode("cp949"))
    assert problems(folder) == [
        "domain.yaml: not readable as YAML (it is not UTF-8; save it as plain text in UTF-8); "
        "see data/own/template/domain.yaml"
    ]


# ---- marks of a chat -------------------------------------------------------------------------------------------------

MARKS = (
    *("<image>", "<|image_pad|>", "</s>", "<|im_end|>", "<|vision_start|>", "[INST]", "[/INST]", "<<SYS>>", "<s>"),
    *("<start_of_turn>", "<end_of_turn>", "<|eot_id|>", "<|begin_of_text|>", "<pad>", "<unk>", "<video>", "[IMG]"),
    *("<image_soft_token>", "<｜end▁of▁sentence｜>", "<|endoftext|>", "</think>"),
)


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_of_a_chat_is_found_in_any_table(folder, mark):
    (folder / "classes.csv").write_text(as_csv(class_rows(colours=(f"red {mark}", *COLOURS[1:]))), encoding="utf-8")
    texts(folder, f"Round {mark} and red.")
    questions(folder, {"question": f"{mark}\nWhat is it?", "option_d": f"a {mark}"})
    found = problems(folder)
    assert [line.partition(" holds ")[0] for line in found] == [
        *("classes.csv:2: look:colour", "texts.csv:2: look", "questions.csv:2: question", "questions.csv:2: option_d")
    ]
    assert all(repr(mark) in line for line in found)


@pytest.mark.parametrize("words", ["a < b > c", "5 <6", "<b>bold</b>", "[1]", "x|y", "s/s", "image", "<https://a.b>"])
def test_angle_brackets_of_another_kind_are_words(folder, words):
    texts(folder, f"Round, {words}.")
    assert problems(folder) == []


def test_the_special_tokens_of_a_processor_are_marks_too(folder):
    texts(folder, "Round ▁<sep-7> and red.")
    assert read(folder).findings.problems == []
    (only,) = read(folder, tokens=("▁<sep-7>",)).findings.problems
    assert "'▁<sep-7>'" in only.rule


def test_an_option_that_becomes_a_mark_in_its_sentence_is_told(folder):
    questions(folder, {"option_d": "image", "answer_form": "It is an <{option}>"})
    (only,) = problems(folder)
    assert "with an option '<image>', a mark of a model's chat" in only


# ---- content ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["-", "–", "n/a", "N/A", "?", "???", "TBD", "tbd.", "...", "(none)", "NA", "없음", "なし"]
)
def test_a_look_that_says_nothing_is_a_problem(folder, words):
    texts(folder, words)
    (only,) = problems(folder)
    assert only.startswith(f"texts.csv:2: look of 'a1' is {words!r}, which says nothing")


@pytest.mark.parametrize("words", ["white", "Round.", "Na", "none", "unknown", "+", "♀", "❤️", "0", "A", "Nay"])
def test_a_short_value_may_be_meant(words):
    assert not is_placeholder(words)


def test_a_value_that_says_nothing_is_read_as_an_empty_cell(folder):
    rows = class_rows()
    rows[1]["fact:home"], rows[2]["look:colour"] = "n/a", "-"
    (folder / "classes.csv").write_text(as_csv(rows), encoding="utf-8")
    own = read(folder)
    assert (own.classes[1].facts, own.classes[2].appearance) == ({}, {})
    assert [str(note).partition(";")[0] for note in own.findings.notes] == [
        "classes.csv:3: fact:home is 'n/a', which was read as an empty cell",
        "classes.csv:4: look:colour is '-', which was read as an empty cell",
    ]


def test_a_name_that_names_nothing_is_a_problem(folder):
    (folder / "classes.csv").write_text(as_csv(class_rows(("TBD", *NAMES[1:]))), encoding="utf-8")
    assert problems(folder)[0].startswith("classes.csv:2: name is 'TBD', which names nothing")


def test_one_look_for_all_classes_is_a_problem_also_with_each_ones_own_name_in_it(folder):
    texts(folder, *(f"The {name} is a round, red thing" for name in NAMES))
    (only,) = problems(folder)
    assert only.startswith("texts.csv:2: look is the same for all 5 classes")


def test_a_look_that_two_classes_share_is_noted_with_the_rows(folder):
    texts(folder, "Round and red.", "Long.", "round, and red", "Square.", "Thin.")
    (only,) = notes(folder)
    assert only.startswith("texts.csv:2: look of 'a1', 'c3' is the same (row 4): nothing tells them apart")


def test_columns_that_are_the_same_for_all_are_noted(folder):
    (folder / "classes.csv").write_text(as_csv(class_rows(colours=["red"] * 5)), encoding="utf-8")
    assert problems(folder) == []
    (only,) = notes(folder)
    assert only.startswith("classes.csv:2: look of 'a1', 'b2', 'c3', 'd4', 'e5' is the same (rows 3, 4, 5, 6)")


def test_another_classs_name_in_a_look_is_noted_and_ones_own_is_not(folder):
    texts(folder, "The Alder Coin, like the birch coin, but redder.", "The Birch Coin is blue.", "Birch Coins do not.")
    assert [line.partition(";")[0] for line in notes(folder) if " names " in line] == [
        "texts.csv:2: look of 'a1' names 'Birch Coin', another class",
        "texts.csv:4: look of 'c3' names 'Birch Coin', another class",  # in the plural
    ]


def test_a_name_that_is_part_of_ones_own_name_is_no_other_class(folder):
    (folder / "classes.csv").write_text(as_csv(class_rows(("Coin", *NAMES[1:]))), encoding="utf-8")
    texts(folder, "It is round.", "The Birch Coin is blue.")
    assert notes(folder) == []


def test_a_text_that_is_there_twice_is_noted(folder):
    rows = [{"class_id": "a1", "look": appearance, "background": "Old."} for appearance in ("Red.", "Round.", "red")]
    (folder / "texts.csv").write_text(as_csv(rows), encoding="utf-8")
    (only,) = notes(folder)
    assert only.startswith("texts.csv:4: says of 'a1' what row 2 says")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"answer": "B"}], "questions.csv:2: the answer is 'Birch Coin', but its picture lies in the folder of 'a1'"),
        (
            [{"option_b": "Penny", "answer": "B"}],
            "questions.csv:2: the answer is 'Penny', but its picture lies in the folder of 'a1', and 'Alder Coin' is",
        ),
        ([{"class_id": "b2"}], "questions.csv:2: class_id is 'b2', but its picture lies in the folder of 'a1'"),
        ([{}, {}], "questions.csv:3: asks what row 2 asks; delete one: it would count twice"),
        (
            [{}, {"option_a": "Cedar Coin", "option_c": "Alder Coin", "answer": "C", "question": "what ?"}],
            "questions.csv:3: asks what row 2 asks; delete one",
        ),
        (
            [{"type": "2", "question": "How old?"}, {"type": "2", "question": "How old?", "answer": "C"}],
            "questions.csv:3: asks what row 2 asks, and has another answer: 'Cedar Coin', not 'Alder Coin'",
        ),
    ],
)
def test_a_key_that_cannot_be_right_is_a_problem(folder, rows, said):
    every = {name: "" for row in rows for name in row if name == "class_id"}
    questions(folder, *(every | row for row in rows))
    (only,) = problems(folder)
    assert only.startswith(said)


def test_an_answer_against_the_table_is_noted(folder):
    options = dict(zip(("option_a", "option_b", "option_c", "option_d"), HOMES, strict=False))
    questions(folder, {"type": "2", "question": "Where from?", **options, "answer": "B"})
    (only,) = notes(folder)
    assert only.startswith("questions.csv:2: the answer is 'south', but fact:home of 'a1' is 'north'")


def test_an_option_that_is_no_answer_is_noted(folder):
    questions(folder, {"option_d": "n/a"})
    assert problems(folder) == []
    assert notes(folder)[0].startswith("questions.csv:2: option_d is 'n/a', which is no answer")


# ---- near copies -----------------------------------------------------------------------------------------------------


def again(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


COPIES = {
    "compressed.jpg": lambda image: again(image, 40),
    "half.png": lambda image: image.resize((48, 48)),
    "double.webp": lambda image: image.resize((192, 192)),
    "mirror.png": ImageOps.mirror,
    "messenger.jpg": lambda image: again(image.resize((64, 64)), 60),
    "brighter.png": lambda image: ImageEnhance.Brightness(image).enhance(1.03),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_a_training_image_is_named_beside_it(folder, copy):
    COPIES[copy](drawn(20)).save(folder / "pictures" / "test" / "b2" / copy)  # also in another class's folder
    (only,) = notes(folder)
    kind = " (mirrored)" if copy == "mirror.png" else ""
    assert only.startswith(
        "pictures/: 1 of 6 test pictures look like copies of a training picture: "
        f"pictures/test/b2/{copy} ~ pictures/train/c3/0.png{kind}; "
    )


def test_different_images_flat_ones_and_copies_among_the_test_images_are_no_copies(tmp_path):
    for number in range(40):
        drawn(number).save(tmp_path / f"{number}.png")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "flat.png")
    Image.new("RGB", (50, 50), "red").save(tmp_path / "flat2.png")
    train, test = [f"{n}.png" for n in range(20)], [f"{n}.png" for n in range(20, 40)]
    assert near_copies(tmp_path, [*train, "flat.png"], [*test, "flat2.png"]) == []
    assert near_copies(tmp_path, [], test) == near_copies(tmp_path, train, []) == []


def test_validate_says_how_many_notes_there_are_to_read(folder, capsys):
    ImageOps.mirror(drawn(0)).save(folder / "pictures" / "test" / "a1" / "1.png")
    assert own_classes.main(["validate", str(folder)]) == 0
    assert "READ the note above first" in capsys.readouterr().out
