"""The table of real things of Korean culture: complete, in the vocabulary, and every two things told apart by sight."""

import csv
from collections import Counter
from itertools import combinations

import pytest

from helpers.paths import DATA
from helpers.synthetic.appearances import CULTURE, NONE, SEEN_AGAINST

TABLE = DATA / "culture.csv"
CATEGORIES = {
    "Food",
    "ArchitecturePlaces",
    "Tool",
    "Heritage",
    "Agriculture",
    "Beverage",
    "GamePlayPerformance",
    "Celebrations",
    "Clothes",
    "Religion",
}
COLUMNS = [
    *("class_id", "name", "hangul", "category"),
    *CULTURE.parts,
    *CULTURE.facts,
    *("detail", "background", "sources"),
]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def appearance(row: dict[str, str]) -> dict[str, str]:
    return {part: row[part] for part in CULTURE.parts}


def test_file_is_utf8_with_unix_line_ends_and_no_byte_order_mark():
    content = TABLE.read_bytes()
    assert b"\r" not in content
    assert not content.startswith(b"\xef\xbb\xbf")
    assert content.decode("utf-8").endswith("\n")


def test_columns_are_identity_look_facts_and_text(rows):
    assert list(rows[0]) == COLUMNS


def test_no_cell_is_empty_quoted_or_split_by_a_comma():
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if set(line) & set("\"'“”‘’")]
    assert {len(line.split(",")) for line in lines} == {len(COLUMNS)}
    assert not [line for line in lines for cell in line.split(",") if not cell.strip()]


def test_all_ten_categories_have_at_least_eight_things(rows):
    counts = Counter(row["category"] for row in rows)
    assert set(counts) == CATEGORIES
    assert min(counts.values()) >= 8
    assert len(rows) >= 80


def test_identifiers_names_and_hangul_are_unique(rows):
    for column in ("class_id", "name", "hangul"):
        assert len({row[column].lower() for row in rows}) == len(rows), column
    for row in rows:
        assert row["class_id"] == row["name"].lower().replace(" ", "_")
        assert row["name"].replace(" ", "").isascii() and row["name"] == row["name"].title()
        assert all("가" <= letter <= "힣" for letter in row["hangul"])


def test_every_look_is_in_the_vocabulary_and_visible(rows):
    for row in rows:
        CULTURE.check(appearance(row))
        for part, ground in SEEN_AGAINST["culture"].items():
            assert row[part] != row[ground], f"{row['name']}: {part} cannot be seen on {ground}"
        assert (row["pattern"] == "plain") == (row["pattern_colour"] == NONE), row["name"]


def test_every_fact_is_in_the_vocabulary(rows):
    for row in rows:
        for fact, values in CULTURE.facts.items():
            assert row[fact] in values, f"{row['name']}: {fact} is {row[fact]!r}"


def test_every_two_things_differ_in_at_least_two_parts(rows):
    for one, other in combinations(rows, 2):
        parts = [part for part in CULTURE.parts if one[part] != other[part]]
        assert len(parts) >= 2, f"{one['name']} and {other['name']} differ in {parts} only"


def test_every_form_fact_and_accent_is_met(rows):
    """A value that no thing has would be learned for nothing."""
    for column in ("form", "pattern", "accent", *CULTURE.facts):
        values = CULTURE.parts.get(column) or CULTURE.facts[column]
        assert {row[column] for row in rows} == set(values), column


def test_texts_are_single_short_sentences(rows):
    for row in rows:
        for column in ("detail", "background"):
            assert row[column].endswith(".") and ". " not in row[column], row["name"]
            assert 4 <= len(row[column].split()) <= 30, row["name"]
