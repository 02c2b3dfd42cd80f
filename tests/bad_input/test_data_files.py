"""Every kind of data file, spoiled in every way that files are: the reader says what, where and what to do."""

import csv
import io
import json
import time

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from helpers.domains import open_domain
from helpers.domains.commons import read_attribution
from helpers.domains.kviscuit import load_kviscuit
from helpers.domains.own_folder import MOST_CLASSES, read_folder
from helpers.results.tables import ANSWER_COLUMNS, read_answers
from helpers.rows import read_rows
from helpers.schemas import ClassText, Question, Sample, read_questions, read_texts, write_questions
from helpers.writer.cache import Cache
from helpers.writer.prompts import load_prompt

TEXT = {
    "class_id": "monarch",
    "name": "the Monarch",
    "domain": "butterfly",
    "appearance": "It has orange wings.",
    "background": "It lives in meadows.",
    "wording": 0,
    "writer": "offline",
    "image": None,
}
ASKED = {
    "domain": "butterfly",
    "question_id": "q1",
    "question_type": 1,
    "category": "name",
    "class_id": "monarch",
    "question": "Which butterfly is this?",
    "options": ["Monarch", "Viceroy", "Comma", "Atlas"],
    "answer": 0,
    "image": None,
    "split": "test",
}
SAMPLE = {
    "id": "s1",
    "domain": "butterfly",
    "class_id": "monarch",
    "direction": "name_to_description",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What does the Monarch look like?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It has orange wings."}]},
    ],
}
ROWS = {"texts": (ClassText, TEXT), "questions": (Question, ASKED), "samples": (Sample, SAMPLE)}


def lines(*rows: dict) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


# ---- files of rows: the same faults in each ------------------------------------------------------------------------

SPOILED = {
    "no JSON": (lambda row: b"{'a': 1}\n", r":1: the row: Invalid JSON"),
    "a list": (lambda row: b"[1, 2]\n", r":1: the row: Input should be an object"),
    "null": (lambda row: b"null\n", r":1: the row: Input should be an object"),
    "truncated": (lambda row: lines(row)[:-9], r":1: the row: Invalid JSON: EOF.*the file ends within the row"),
    "truncated in the second row": (lambda row: lines(row) + lines(row)[:40], r":2: the row: .*fetch it again"),
    "latin-1": (lambda row: lines(row).replace(b"M", b"\xe9"), r":1: .*must be UTF-8; save the file as UTF-8"),
    "utf-16": (lambda row: lines(row).decode().encode("utf-16"), r":1: .*must be UTF-8"),
    "a byte-order mark": (
        lambda row: b"\xef\xbb\xbf" + lines(row),
        r":1: the row: begins with a byte-order mark",
    ),
    "half a character": (
        lambda row: lines(row).replace(b"onarch", b"\\ud800"),
        r":1: .*half of one \(a lone",
    ),
    "twice the same": (lambda row: lines(row, row), r":2: .* is there twice; each row needs its own name"),
    "NaN": (lambda row: lines({**row, "domain": float("nan"), "category": float("nan")}), r":1: (domain|category): "),
    "an unknown field": (lambda row: lines({**row, "ghost": 1}), r":1: ghost: Extra inputs are not permitted"),
    "a missing field": (lambda row: lines({k: row[k] for k in list(row)[1:]}), r":1: (class_id|domain|id): Field"),
    "a million columns": (
        lambda row: b"{" + b",".join(b'"%d":1' % n for n in range(10**6)) + b"}\n",
        r":1: the row: must have at most 1048576 bytes; is there one row per line\?",
    ),
    "many columns": (lambda row: lines({**row, **{str(n): 1 for n in range(9999)}}), r":1: 0: Extra .*and 9996 more"),
    "one endless line": (lambda row: b"a" * 2**21, r":1: the row: must have at most 1048576 bytes"),
    "nested without end": (lambda row: b"[" * 10**5 + b"\n", r":1: the row: Invalid JSON: recursion limit"),
    "zeros": (lambda row: b"\0" * 500, r":1: the row: Invalid JSON"),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_row_is_named_with_file_line_field_and_rule(kind, fault, refused, tmp_path):
    (schema, row), (spoil, rule) = ROWS[kind], SPOILED[fault]
    path = tmp_path / f"{kind}.jsonl"
    path.write_bytes(spoil(row))
    message = refused(ValueError, rule, read_rows, path, schema)
    assert message.startswith(f"{path}:")
    assert len(message) < 1500


@pytest.mark.parametrize("kind", ROWS)
def test_a_file_of_rows_that_is_missing_is_told_with_the_remedy(kind, refused, tmp_path):
    rule = rf"{kind}\.jsonl does not exist; run the notebook that writes it, or correct the name"
    refused(FileNotFoundError, rule, read_rows, tmp_path / f"{kind}.jsonl", ROWS[kind][0])


def test_the_rows_as_they_are_have_no_fault(tmp_path):
    for kind, (schema, row) in ROWS.items():
        (tmp_path / kind).write_bytes(b"\n" + lines(row) + b"  \n")
        assert len(read_rows(tmp_path / kind, schema)) == 1


FOUR = ASKED["options"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"options": FOUR[:3]}, "options: must be four different options"),
        ({"options": [*FOUR, "Owl"]}, "options: must be four different options"),
        ({"options": [FOUR[0], *FOUR[:3]]}, "options: must be four different options"),
        ({"options": ["", *FOUR[1:]]}, "options.0: must be a non-empty text"),
        ({"options": [7, *FOUR[1:]]}, "options.0: Input should be a valid string"),
        ({"options": "Monarch"}, "options: Input should be a valid array"),
        ({"answer": 4}, "answer: Input should be less than or equal to 3"),
        ({"answer": -1}, "answer: Input should be greater than or equal to 0"),
        ({"answer": "0"}, "answer: Input should be a valid integer"),
        ({"answer": 0.5}, "answer: Input should be a valid integer"),
        ({"answer": True}, "answer: Input should be a valid integer"),
        ({"answer": None}, "answer: Input should be a valid integer"),
        ({"answer": float("nan")}, "answer: Input should be"),
        ({"answer": float("inf")}, "answer: Input should be"),
        ({"question_type": 3}, "question_type: Input should be 1 or 2"),
        ({"split": "train"}, "split: Input should be 'test' or 'dev'"),
        ({"question": "  x"}, "question: must be a non-empty text that neither begins nor ends with a space"),
        ({"question_id": ""}, "question_id: must be a non-empty text"),
        ({"answer_form": "It is."}, r"answer_form: must hold \{option\} where the option goes, and no other braces"),
        ({"answer_form": "{option} {option.__class__}"}, r"answer_form: must hold \{option\}.*no other braces"),
        ({"image": "../a.png"}, "image: must be a path.*that stays inside that folder"),
        ({"image": "/etc/passwd"}, "image: must be a path.*that stays inside that folder"),
        ({"image": "~/a.png"}, "image: must be a path.*that stays inside that folder"),
        ({"image": "a/../../b.png"}, "image: must be a path.*that stays inside that folder"),
        ({"image": "C:\\a.png"}, "image: must be a path.*that stays inside that folder"),
        ({"image": "file:///etc/passwd"}, "image: must be a path.*that stays inside that folder"),
        ({"image": "none.png"}, "picture 'none.png' is not in .*; put it there before the row that names it"),
        ({"image": "$(rm -rf ~).png"}, r"picture '\$\(rm -rf ~\).png' is not in .*; put it there before"),
        ({"image": "a\0.png"}, "picture 'a.x00.png' is not in"),
    ],
)
def test_a_field_of_a_question_that_does_not_fit_is_named_with_the_rule(change, rule, refused, tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_bytes(lines({**ASKED, **change}))
    refused(ValueError, rf"questions\.jsonl:1: {rule}", read_questions, path)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"wording": -1}, "wording: Input should be greater than or equal to 0"),
        ({"wording": 1.5}, "wording: Input should be a valid integer"),
        ({"appearance": ""}, "appearance: must be a non-empty text"),
        ({"name": " the Monarch"}, "name: must be a non-empty text that neither begins nor ends with a space"),
        ({"image": "../a.png"}, "image: must be a path"),
    ],
)
def test_a_field_of_a_text_that_does_not_fit_is_named_with_the_rule(change, rule, refused, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(lines({**TEXT, **change}))
    refused(ValueError, rf"texts\.jsonl:1: {rule}", read_texts, path)


def test_of_rows_of_which_one_fails_none_is_written(refused, tmp_path):
    good = Question.model_validate(ASKED)
    for rows, rule in (
        ([good, good], "'q1' is there twice"),
        ([good, good.model_copy(update={"question_id": "q2", "image": "a.png"})], "picture 'a.png' is not in"),
    ):
        refused(ValueError, rule, write_questions, tmp_path / "questions.jsonl", rows)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", r"has no answers; delete it and run its evaluation again"),
        (b"{", r"answers\.jsonl"),
        (b'{"model": "m"}\n', r"answers\.jsonl"),
        (b"[]\n", r"answers\.jsonl:1: the row: Input should be an object"),
        (b"\xff\n", r"answers\.jsonl:1: the row: must be UTF-8"),
    ],
)
def test_spoiled_answers_are_named_with_the_file(content, rule, refused, tmp_path):
    (tmp_path / "answers.jsonl").write_bytes(content)
    refused(ValueError, rule, read_answers, [tmp_path / "answers.jsonl"])


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_an_answer_with_an_unusual_line_end_in_its_words_is_one_row(separator, tmp_path):
    row = dict.fromkeys(ANSWER_COLUMNS) | {"model": "m", "domain": "d", "mode": "base", "variant": "main", "seed": 0}
    row |= {"image": "with", "answering": "direct", "protocol": "letter", "question_id": "q", "question_type": 1}
    row |= {
        "category": "name",
        "prompt_hash": "0",
        "new_tokens": 1,
        "options": list("abcd"),
        "answer": 0,
        "parsed": 0,
        "correct": True,
        "reply": f"a{separator}b",
    }
    (tmp_path / "answers.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert len(read_answers([tmp_path / "answers.jsonl"])) == 1


def test_a_spoiled_cache_of_the_writer_is_named_and_kept(refused, tmp_path):
    (tmp_path / "cache.jsonl").write_bytes(b'{"request": 1}\n')
    refused(ValueError, r"cache\.jsonl:1: request: Input should be a valid string", Cache, tmp_path / "cache.jsonl")


@pytest.mark.parametrize("content", ["", "version: 0", "a: [", "- 1", "version: 1\nkind: poem\n"])
def test_a_spoiled_prompt_is_named_with_the_reason(content, refused, tmp_path):
    (tmp_path / "x.yaml").write_text(content, encoding="utf-8")
    refused(ValueError, r"x\.yaml is not a usable prompt", load_prompt, "x", tmp_path)


def test_a_spoiled_table_of_attributions_is_named_with_the_columns(refused, tmp_path):
    (tmp_path / "attribution.csv").write_text("keyword,file\na,b\n", encoding="utf-8")
    refused(ValueError, "the columns must be keyword, file, title", read_attribution, tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"' + b"a" * 200_000], ids=["another encoding", "an endless cell"])
def test_attributions_that_are_no_table_are_named(content, refused, tmp_path):
    (tmp_path / "attribution.csv").write_bytes(content)
    refused(
        ValueError, r"attribution\.csv: cannot be read as CSV in UTF-8 .*put the file back", read_attribution, tmp_path
    )


# ---- a folder of one's own -----------------------------------------------------------------------------------------

HEADER = "class_id,name,fact:place\n"
CLASSES = HEADER + "".join(f"c{n},Name {n},place {n}\n" for n in range(5))
ASKING = "question,option_a,option_b,option_c,option_d,answer,picture,type\n"


@pytest.fixture
def own(tmp_path):
    """Five classes, one test picture."""
    folder = tmp_path / "own"
    (folder / "pictures" / "test" / "c0").mkdir(parents=True)
    Image.new("RGB", (16, 16), "red").save(folder / "pictures" / "test" / "c0" / "a.png")
    (folder / "classes.csv").write_text(CLASSES, encoding="utf-8")
    return folder


def opened(folder):
    return open_domain("own", "own", folder, None, 1, 56, 0)


@pytest.mark.parametrize("file", ["classes.csv", "texts.csv", "questions.csv"])
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", r"{file}:1: the column '\w+' is missing \(found: nothing\)"),
        (b"\n\n\n", r"{file}:1: the column '\w+' is missing"),
        (b"PK\x03\x04", "{file}: is a spreadsheet file, not CSV; save it as CSV"),
        (b"\xd0\xcf\x11\xe0", "{file}: is a spreadsheet file, not CSV; save it as CSV"),
        (b"\0\0\0", "{file}: is no table: it is empty, as left by an interrupted copy"),
        (b"\x81\x8d\x8f", "{file}: is not text; save it as CSV"),
        (b'a,"b\nc', r"{file}:\d: not readable as CSV .*; fix the quotation marks there|column '\w+' is missing"),
        (b"a,a\n1,2\n", r"{file}:1: the column 'a' is there 2 times; rename or remove one"),
        (b"x" * 200_000, r"{file}:1: not readable as CSV \(field larger than field limit"),
        (b"," * 10**6 + b"\n", r"{file}:1: the header has 1000001 columns; at most 500 are read; write one class"),
    ],
    ids=["empty", "blank", "xlsx", "xls", "zeros", "bytes", "quotes", "twice", "long cell", "a million columns"],
)
def test_a_spoiled_table_is_named_with_file_row_rule_and_remedy(file, content, rule, own, refused):
    (own / file).write_bytes(content)
    started = time.process_time()
    message = refused(ValueError, rule.format(file=file.replace(".", r"\.")), opened, own)
    assert "cannot be used, " in message
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("c1,Twin,x", "classes.csv:7: class_id 'c1' is there already .row 3.; each class needs its own"),
        ("C1,Twin,x", "class_id 'C1' differs only in case from 'c1'"),
        ("c9,name 1,x", "name 'name 1' differs only in case from 'Name 1'"),
        ("$(rm -rf ~),X,x", r"class_id is '\$\(rm -rf ~\)'; it becomes the name of a folder: letters.*write e.g. 'x'"),
        ("../../etc,X,x", "class_id is '../../etc'; it becomes the name of a folder"),
        ("train,X,x", "class_id is 'train'; it becomes the name of a folder: .* not train or test"),
        ("-rf,X,x", "class_id is '-rf'; it becomes the name of a folder"),
        (",X,x", "class_id is ''; it becomes the name of a folder"),
        ("c9,,x", "classes.csv:7: name is empty; write the name that the questions will ask for"),
        ("c9,<script>alert(1)</script>,x", "name is '<script>.*no braces or angle brackets"),
        ("c9,{option},x", "name is '{option}'; no braces or angle brackets"),
        ("c9", "classes.csv:7: has 1 cells; the header has 3; add the missing ones"),
        (
            "c9,X,x,y",
            "classes.csv:7: has 4 cells; the header has 3; put a cell that holds the separator",
        ),
        ("c9,a\x07b,x", "classes.csv:7: name holds the control character '.x07'; delete it"),
        (
            "c9,\u202eevil,x",
            "classes.csv:7: name holds the control character '.u202e' .right-to-left override.; delete it",
        ),
        ("c9,\ufffd,x", "classes.csv:7: name holds a character that was lost"),
        (f"c9,{'x' * 5001},x", "classes.csv:7: name has 5001 characters, more than 5000; shorten it"),
    ],
)
def test_a_row_of_classes_that_does_not_fit_is_named_with_the_rule(row, rule, own, refused):
    (own / "classes.csv").write_text(CLASSES + row + "\n", encoding="utf-8")
    refused(ValueError, rule, opened, own)


def test_too_many_classes_are_told_with_the_limit(own, refused):
    rows = "".join(f"d{n},Other {n},x\n" for n in range(MOST_CLASSES + 1))
    (own / "classes.csv").write_text(HEADER + rows, encoding="utf-8")
    refused(ValueError, "has 10001 classes; at most 10000 are read; split the study", opened, own)


def asked(**changes) -> str:
    cells = {"question": "What?", "option_a": "a", "option_b": "b", "option_c": "c", "option_d": "d"}
    cells |= {"answer": "A", "picture": "pictures/test/c0/a.png", "type": "2", **changes}
    out = io.StringIO()
    writer = csv.DictWriter(out, list(cells), lineterminator="\n")
    writer.writeheader()
    writer.writerow(cells)
    return out.getvalue()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"question": ""}, "question is empty; write it"),
        ({"option_d": ""}, "the options are .* there must be four different ones; fill them in"),
        ({"option_d": "A"}, "the options are .* there must be four different ones"),
        ({"answer": "E"}, "answer is 'E'; the letter of the right option: A, B, C or D"),
        ({"answer": "4"}, "answer is '4'; the letter of the right option"),
        ({"answer": ""}, "answer is ''; the letter of the right option"),
        ({"answer": "AB"}, "answer is 'AB'; the letter of the right option"),
        ({"answer": "nan"}, "answer is 'nan'; the letter of the right option"),
        ({"type": "3"}, "type is '3'; 1 asks what the image shows, 2 what is known about it"),
        ({"type": "²"}, "type is '²'; 1 asks what the image shows"),
        ({"class_id": "c77"}, "no class has the class_id 'c77'; correct it, or add the class"),
        ({"answer_form": "It is."}, r"answer_form is 'It is.'; it must hold \{option\} once"),
        ({"answer_form": "{option}}"}, r"answer_form is '\{option\}\}'; it must hold \{option\} once"),
        ({"answer_form": "{option!r}"}, r"answer_form is '\{option!r\}'; it must hold \{option\} once"),
        ({"picture": ""}, "picture is ''; a path from this folder, with '/', that stays inside it"),
        ({"picture": "../../etc/passwd"}, "picture is '../../etc/passwd'; a path from this folder"),
        ({"picture": "/etc/passwd"}, "picture is '/etc/passwd'; a path from this folder"),
        ({"picture": "http://10.0.0.1/a.png"}, "picture is 'http://10.0.0.1/a.png'; a path from this folder"),
        ({"picture": "x.png"}, "picture 'x.png' is not there; put it there, or correct the path"),
        ({"picture": f"{'x' * 300}.png"}, "picture 'x+.png' is not there; put it there"),
        ({"picture": f"{'a/' * 2000}x.png"}, "picture '[a/]+x.png' is not there"),
    ],
)
def test_a_question_of_ones_own_that_does_not_fit_is_named_with_the_rule(changes, rule, own, refused):
    (own / "questions.csv").write_text(asked(**changes), encoding="utf-8")
    refused(ValueError, rf"questions\.csv:2: {rule}", opened, own)


def test_the_question_as_it_is_has_no_fault(own):
    (own / "questions.csv").write_text(asked(), encoding="utf-8-sig")
    assert not read_folder(own).findings.problems


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"{", "texts.jsonl:1: is not JSON"),
        (b"[" * 10**5, "texts.jsonl:1: is not JSON"),
        (b"[1]", "texts.jsonl:1: must hold class_id, look, background, all texts; add what is missing"),
        (b'{"class_id": "c0", "look": NaN, "background": "x"}', "must hold class_id, look, background, all texts"),
        (b'{"class_id": "c77", "look": "a", "background": "b"}', "no class has the class_id 'c77'"),
        (b'{"class_id": "c0", "look": "", "background": "b"}', "look of 'c0' is empty; write it, or delete the row"),
        (b'{"class_id": "c0", "look": "\\ud800", "background": "b"}', "look holds the control character '.ud800'"),
        (b'{"class_id": "c0", "look": "\\u0000", "background": "b"}', "look holds the control character '.x00'"),
    ],
)
def test_a_row_of_texts_that_does_not_fit_is_named_with_the_rule(content, rule, own, refused):
    (own / "texts.jsonl").write_bytes(content)
    refused(ValueError, rule, opened, own)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("noum: x", "domain.yaml: no key is called 'noum'; did you mean 'noun'."),
        ("noun: 7", "domain.yaml: noun: Input should be a valid string"),
        ("noun: '{x}'", r"domain.yaml: noun is '\{x\}'; a word or two, without braces"),
        (
            "naming_answer: '{option.__class__}'",
            r"naming_answer is .* it must hold \{option\} once and no",
        ),
        ("name_form: '{name}{name}'", r"name_form is .* it must hold \{name\} once and no other braces"),
        ("a: [", "domain.yaml: not readable as YAML"),
        ("!!python/object/apply:os.system ['true']", "domain.yaml: not readable as YAML .*could not determine"),
        ("- x", "domain.yaml: not readable as YAML .it holds .*not keys with values"),
        ("x" * 100_001, "domain.yaml: not readable as YAML .has 100001 bytes, more than 100000"),
    ],
)
def test_a_spoiled_domain_file_is_named_with_the_rule(content, rule, own, refused):
    (own / "domain.yaml").write_text(content, encoding="utf-8")
    refused(ValueError, rule, opened, own)


# ---- K-VISCUIT and parquet -----------------------------------------------------------------------------------------

ANNOTATION = {
    "question": "What is it?",
    "options": ["hanbok", "gat", "norigae", "beoseon"],
    "answer": 0,
    "category": "Clothes",
    "id_": "Clothes.1",
    "question_type": 1,
    "image_url": "https://example.org/a.jpg",
    "image_path": "a.png",
}


@pytest.fixture
def kviscuit(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "images" / "a.png")
    return tmp_path


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", r"annotations\.jsonl: holds no question; fetch it again"),
        (b"{", r"annotations\.jsonl:1: the row: Invalid JSON"),
        (b"\xef\xbb\xbf" + lines(ANNOTATION), "begins with a byte-order mark; save the file as UTF-8 without one"),
        (lines({**ANNOTATION, "options": ANNOTATION["options"][:3]}), "options: must be four different options"),
        (lines({**ANNOTATION, "answer": 4}), "answer: Input should be less than or equal to 3"),
        (lines(ANNOTATION, ANNOTATION), r"each image needs exactly one type-1 question; a\.png has 2"),
        (lines({**ANNOTATION, "question_type": 2}), "each image needs exactly one type-1 question"),
        (lines({**ANNOTATION, "image_path": "../../etc/passwd"}), "image_path: must be a path.*inside that folder"),
        (lines({**ANNOTATION, "image_path": "/etc/passwd"}), "image_path: must be a path.*inside that folder"),
        (lines({**ANNOTATION, "image_path": "b.png"}), r"1 image\(s\) missing or unreadable:\n  images/b.png"),
        (lines({**ANNOTATION, "image_path": "$(rm -rf ~)"}), r"1 image\(s\) missing or unreadable:\n  images/\$\(rm"),
    ],
)
def test_spoiled_annotations_are_named_with_the_rule(content, rule, kviscuit, refused):
    (kviscuit / "annotations.jsonl").write_bytes(content)
    refused(ValueError, rule, load_kviscuit, kviscuit)


def test_an_archive_an_empty_folder_and_a_folder_that_is_missing_are_told_apart(refused, tmp_path):
    (tmp_path / "data.zip").write_bytes(b"PK\x03\x04")
    refused(ValueError, "is a file; name the folder it lies in, and unpack", load_kviscuit, tmp_path / "data.zip")
    refused(FileNotFoundError, r"the folder must hold annotations\.jsonl and images/", load_kviscuit, tmp_path)
    refused(FileNotFoundError, r"annotations\.jsonl does not exist", load_kviscuit, tmp_path / "none")


def parquet(path, columns: dict) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


IMAGE = {"bytes": b"no picture", "path": "a.png"}


@pytest.mark.parametrize("read", [load_kviscuit, lambda folder: open_domain("b", "butterflies", folder, 4, 1, 56, 0)])
@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"not parquet at all"],
    ids=["empty", "short", "zeros", "words"],
)
def test_a_spoiled_parquet_file_is_named_with_the_remedy(read, content, refused, tmp_path):
    (tmp_path / "test.parquet").write_bytes(content)
    refused(ValueError, r"test\.parquet: not a readable parquet file .*; fetch it again", read, tmp_path)


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"a": [1]}, "no column for an image and a question and an answer; there are a .number."),
        ({f"c{n}": [1] for n in range(2000)}, "no column for an image and a question and an answer"),
        (
            {"image": [IMAGE], "question": ["Which?"], "options": [["a", "b", "c"]], "answer": ["A"]},
            r"1 row\(s\) are not questions with an image:\n.*row 1: ",
        ),
        (
            {"image": [IMAGE], "question": ["Which?"], "options": [["a", "b", "c", "d"]], "answer": ["E"]},
            "row 1: answer 'E' is none of the options .* and neither a letter A to D nor an index",
        ),
        (
            {"image": [IMAGE], "question": ["Which? A) a B) b C) c"], "answer": ["A"]},
            r"row 1: no option D in .*; options are written A\) ... B\) ... C\) ... D\)",
        ),
        (
            {"image": [IMAGE], "question": ["W?"], "options": ["[__import__('os')]"], "answer": ["A"]},
            "row 1: options .* look like a list but are not one",
        ),
        (
            {"image": [IMAGE], "question": ["W?"], "options": [["a", "b", "c", "d"]], "answer": ["A"]},
            "row 1: not a readable image|row 1: .*not a readable image",
        ),
        (
            {"image": [IMAGE | {"bytes": None}], "question": ["W?"], "options": [list("abcd")], "answer": ["A"]},
            "row 1: the image has no bytes",
        ),
    ],
)
def test_rows_of_parquet_that_are_no_questions_are_named(columns, rule, refused, tmp_path):
    parquet(tmp_path / "test.parquet", columns)
    refused(ValueError, rule, open_domain, "butterfly", "butterflies", tmp_path, None, 1, 56, 0)


@pytest.mark.parametrize(
    ("source", "path", "rule"),
    [
        ("web", None, "source is 'web'; known: drawn, kviscuit, butterflies, own"),
        ("own", None, "source own without a path: name the folder"),
        ("drawn", None, "birds"),
    ],
)
def test_an_unknown_source_or_drawn_domain_is_named_with_those_there_are(source, path, rule, refused):
    refused(ValueError, rule, open_domain, "birds", source, path, None, 1, 56, 0)
