"""The butterfly table is complete, readable, true to the vocabulary, and its looks can be told apart."""

import re
from itertools import combinations

import pandas as pd
import pytest

from helpers.paths import DATA
from helpers.synthetic.appearances import BUTTERFLY, SEEN_AGAINST

TABLE = DATA / "butterflies.csv"
COLUMNS = [
    "class_id",
    "folder",
    "name",
    "scientific_name",
    "family",
    *BUTTERFLY.parts,
    *BUTTERFLY.facts,
    "wingspan_mm",
    "flight_months",
    "habitat_detail",
    "host_plants",
    "sources",
]
SOURCES = {
    "LepTraits",
    "Wikipedia",
    "BAMONA",
    "BugGuide",
    "Beccaloni",
    "ButterflyCircle",
    "Hoskins",
    "Australian Museum",
}

# The folders of the image set, with its own spelling.
FOLDERS = """
ADONIS, AFRICAN GIANT SWALLOWTAIL, AMERICAN SNOOT, AN 88, APPOLLO, ARCIGERA FLOWER MOTH, ATALA, ATLAS MOTH,
BANDED ORANGE HELICONIAN, BANDED PEACOCK, BANDED TIGER MOTH, BECKERS WHITE, BIRD CHERRY ERMINE MOTH, BLACK HAIRSTREAK,
BLUE MORPHO, BLUE SPOTTED CROW, BROOKES BIRDWING, BROWN ARGUS, BROWN SIPROETA, CABBAGE WHITE, CAIRNS BIRDWING,
CHALK HILL BLUE, CHECQUERED SKIPPER, CHESTNUT, CINNABAR MOTH, CLEARWING MOTH, CLEOPATRA, CLODIUS PARNASSIAN,
CLOUDED SULPHUR, COMET MOTH, COMMON BANDED AWL, COMMON WOOD-NYMPH, COPPER TAIL, CRECENT, CRIMSON PATCH, DANAID EGGFLY,
EASTERN COMA, EASTERN DAPPLE WHITE, EASTERN PINE ELFIN, ELBOWED PIERROT, EMPEROR GUM MOTH, GARDEN TIGER MOTH,
GIANT LEOPARD MOTH, GLITTERING SAPPHIRE, GOLD BANDED, GREAT EGGFLY, GREAT JAY, GREEN CELLED CATTLEHEART,
GREEN HAIRSTREAK, GREY HAIRSTREAK, HERCULES MOTH, HUMMING BIRD HAWK MOTH, INDRA SWALLOW, IO MOTH, Iphiclus sister,
JULIA, LARGE MARBLE, LUNA MOTH, MADAGASCAN SUNSET MOTH, MALACHITE, MANGROVE SKIPPER, MESTRA, METALMARK,
MILBERTS TORTOISESHELL, MONARCH, MOURNING CLOAK, OLEANDER HAWK MOTH, ORANGE OAKLEAF, ORANGE TIP, ORCHARD SWALLOW,
PAINTED LADY, PAPER KITE, PEACOCK, PINE WHITE, PIPEVINE SWALLOW, POLYPHEMUS MOTH, POPINJAY, PURPLE HAIRSTREAK,
PURPLISH COPPER, QUESTION MARK, RED ADMIRAL, RED CRACKER, RED POSTMAN, RED SPOTTED PURPLE, ROSY MAPLE MOTH,
SCARCE SWALLOW, SILVER SPOT SKIPPER, SIXSPOT BURNET MOTH, SLEEPY ORANGE, SOOTYWING, SOUTHERN DOGFACE, STRAITED QUEEN,
TROPICAL LEAFWING, TWO BARRED FLASHER, ULYSES, VICEROY, WHITE LINED SPHINX MOTH, WOOD SATYR, YELLOW SWALLOW TAIL,
ZEBRA LONG WING
"""


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The table as text, with nothing taken for a missing value: "none" is a word of the vocabulary."""
    return pd.read_csv(TABLE, dtype=str, keep_default_na=False)


def range_of(cell: str) -> tuple[int, int]:
    low, high = cell.split("-")
    return int(low), int(high)


def size_of(wingspan: str) -> str:
    """The rule of data/README.md: the class of the middle of the range."""
    middle = sum(range_of(wingspan)) / 2
    for size, limit in (("small", 34.999), ("medium", 70), ("large", 120)):
        if middle <= limit:
            return size
    return "giant"


def test_the_file_is_plain_utf8_with_lf_and_no_quotation_marks() -> None:
    raw = TABLE.read_bytes()
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in raw
    assert raw.endswith(b"\n")
    assert not set("\"'") & set(raw.decode("utf-8"))


def test_the_columns_are_in_order_and_no_cell_is_empty_or_padded(table: pd.DataFrame) -> None:
    assert list(table.columns) == COLUMNS
    bad = [
        (row["class_id"], column)
        for _, row in table.iterrows()
        for column in COLUMNS
        if not row[column] or row[column] != row[column].strip()
    ]
    assert not bad


def test_there_is_one_row_for_each_folder_of_the_image_set(table: pd.DataFrame) -> None:
    folders = " ".join(FOLDERS.split()).split(", ")
    assert len(folders) == len(table) == 100
    assert set(table["folder"]) == set(folders)


@pytest.mark.parametrize("column", ["class_id", "folder", "name", "scientific_name"])
def test_no_name_occurs_twice(table: pd.DataFrame, column: str) -> None:
    assert not list(table.loc[table[column].duplicated(), column])


def test_ids_and_names_are_the_folder_respelt(table: pd.DataFrame) -> None:
    for row in table.to_dict("records"):
        assert row["class_id"] == re.sub(r"[^a-z0-9]+", "-", row["folder"].lower())
        assert row["name"] == row["folder"].title()


def test_scientific_names_are_genus_and_species_and_families_end_in_idae(table: pd.DataFrame) -> None:
    for row in table.to_dict("records"):
        assert re.fullmatch(r"[A-Z][a-z]+ [a-z]+", row["scientific_name"]), row["class_id"]
        assert re.fullmatch(r"[A-Z][a-z]+idae", row["family"]), row["class_id"]


def test_every_look_is_of_the_vocabulary(table: pd.DataFrame) -> None:
    for row in table.to_dict("records"):
        BUTTERFLY.check({part: row[part] for part in BUTTERFLY.parts})


def test_pattern_and_border_can_be_seen_against_the_wing(table: pd.DataFrame) -> None:
    for part, ground in SEEN_AGAINST["butterfly"].items():
        assert not list(table.loc[table[part] == table[ground], "class_id"]), part


def test_every_two_looks_differ_in_two_parts_or_more(table: pd.DataFrame) -> None:
    appearances = table.set_index("name")[list(BUTTERFLY.parts)]
    assert not [
        (a, b) for a, b in combinations(appearances.index, 2) if (appearances.loc[a] != appearances.loc[b]).sum() < 2
    ]


def test_monarch_and_viceroy_are_as_near_as_two_looks_may_be(table: pd.DataFrame) -> None:
    appearances = table.set_index("name")[list(BUTTERFLY.parts)]
    assert (appearances.loc["Monarch"] != appearances.loc["Viceroy"]).sum() == 2


def test_every_fact_is_of_the_vocabulary(table: pd.DataFrame) -> None:
    for fact, values in BUTTERFLY.facts.items():
        assert not set(table[fact]) - set(values), fact


def test_size_follows_from_the_wingspan(table: pd.DataFrame) -> None:
    for row in table.to_dict("records"):
        assert re.fullmatch(r"\d{2,3}-\d{2,3}", row["wingspan_mm"]), row["class_id"]
        low, high = range_of(row["wingspan_mm"])
        assert low < high, row["class_id"]
        assert row["size"] == size_of(row["wingspan_mm"]), row["class_id"]


def test_flight_months_are_a_first_and_a_last_month(table: pd.DataFrame) -> None:
    for row in table.to_dict("records"):
        assert re.fullmatch(r"[1-9]\d?-[1-9]\d?", row["flight_months"]), row["class_id"]
        assert all(1 <= month <= 12 for month in range_of(row["flight_months"])), row["class_id"]


def test_every_source_is_one_that_the_readme_cites(table: pd.DataFrame) -> None:
    cited = (DATA / "README.md").read_text(encoding="utf-8")
    assert set(";".join(table["sources"]).split(";")) == SOURCES
    assert all(f"| {source} |" in cited for source in SOURCES)
