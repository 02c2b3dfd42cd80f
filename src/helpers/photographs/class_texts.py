"""The texts of the classes: from a table, from CuPL-like JSON, from the LLM writer, or from ``data/butterflies.csv``.

- ``.csv``: a column ``name`` (or ``class``, ``class_id``) and further columns, each an *attribute* with words about the
  class: ``colour``, ``markings``, ``tips`` ... Rows of a class add up. A column ``noun`` says what the class is.
- ``.json``: ``{"class": ["sentence", ...]}`` as of CuPL (arXiv 2209.03320) and classification by description
  (2210.07183); or ``{"class": {"attribute": "words"}}``.
- ``.jsonl``: ``texts.jsonl`` of notebook 01, so that what an LLM wrote serves here too.
- ``butterflies``: what a photograph shows, from ``data/butterflies.csv``.
"""

import difflib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.domains.encodings import check_encodings, decoded
from helpers.domains.findings import Findings
from helpers.domains.spreadsheets import read_table, table_bytes
from helpers.paths import DATA, resolve
from helpers.rows import read_csv_rows
from helpers.schemas import read_texts

OWN_TABLE = "butterflies"
SENTENCES = "sentences"  # the attribute of a source that names none
NOUN = "noun"
_BUTTERFLIES = ("Nymphalidae", "Papilionidae", "Lycaenidae", "Pieridae", "Hesperiidae", "Riodinidae")  # no moths
_NAMES = ("name", "class", "class_id")
_MASK = "it"
_CELL = 8  # words

Attributes = dict[str, list[str]]  # sentences by attribute


@dataclass
class ClassTexts:
    """The attributes of each class, by its name in plain form (`plain_name`)."""

    source: str
    classes: dict[str, Attributes] = field(default_factory=dict)
    nouns: dict[str, str] = field(default_factory=dict)  # what a class is, where the classes differ: butterfly, moth

    def of(self, name: str) -> Attributes:
        """A class's attributes; empty if there is no text about it."""
        return self.classes.get(plain_name(name), {})

    def noun_of(self, name: str, otherwise: str) -> str:
        """What the class is, by the texts' column ``noun``."""
        return self.nouns.get(plain_name(name), otherwise)

    def near(self, name: str) -> str | None:
        """The class with the most similar name, for a remedy."""
        return next(iter(difflib.get_close_matches(plain_name(name), self.classes, 1)), None)


def plain_name(name: str) -> str:
    """A name without case, hyphens and underscores: "Black_and-white Warbler" is "black and white warbler".

    A number in front, as in CUB-200's folders ("001.Black_footed_Albatross"), is left out.
    """
    words = re.sub(r"^\d+\.", "", unicodedata.normalize("NFC", name))
    return " ".join(re.sub(r"[\W_]+", " ", words.replace("'", "").replace("’", "")).casefold().split())


def read_class_texts(source: str, findings: Findings) -> ClassTexts:
    """Read any of the forms above; what cannot be used goes into ``findings``."""
    if source == OWN_TABLE:
        rows = {plain_name(row["name"]): row for row in _butterflies()}
        nouns = {name: "butterfly" if row["family"] in _BUTTERFLIES else "moth" for name, row in rows.items()}
        return ClassTexts(source, {name: photo_sentences(row) for name, row in rows.items()}, nouns)
    path = resolve(source)
    if not path.is_file():
        findings.problem(str(source), None, "is not a file", f"a .csv, .json or .jsonl with texts, or {OWN_TABLE!r}")
        return ClassTexts(source)
    found = {".csv": _from_table, ".json": _from_json, ".jsonl": _from_writer}.get(path.suffix.lower())
    if found is None:
        findings.problem(path.name, None, f"ends in {path.suffix!r}", "texts come as .csv, .json or .jsonl")
        return ClassTexts(source)
    classes = found(path, findings)
    nouns = {name: said.pop(NOUN)[0] for name, said in classes.items() if NOUN in said}
    return ClassTexts(source, classes, nouns)


def _from_table(path: Path, findings: Findings) -> dict[str, Attributes]:
    contents = table_bytes(path.parent, [path.name], findings)
    if path.name not in contents or check_encodings(contents, None, findings):
        return {}
    rows = read_table(path.name, decoded(contents[path.name], None), (), ".+", findings)
    if not rows:
        if not findings.problems:
            findings.problem(path.name, None, "holds no text", f"one row per class, with a column {_NAMES[0]}")
        return {}
    named = next((column for column in _NAMES if column in rows[0][1]), None)
    if named is None:
        rule = f"has the columns {', '.join(rows[0][1])}, none of which names the class"
        findings.problem(path.name, 1, rule, f"call it {' or '.join(_NAMES)}")
        return {}
    found: dict[str, Attributes] = defaultdict(lambda: defaultdict(list))
    for _, cells in rows:
        for attribute, words in cells.items():
            if attribute not in _NAMES and words:
                found[plain_name(cells[named])][attribute].append(words)
    return {name: dict(attributes) for name, attributes in found.items()}


def _from_json(path: Path, findings: Findings) -> dict[str, Attributes]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        findings.problem(path.name, None, f"not readable as JSON ({error})", "see docs/photographs.md for the form")
        return {}
    if not isinstance(content, dict):
        findings.problem(path.name, None, f"holds a {type(content).__name__}", 'the form is {"class": ["sentence"]}')
        return {}
    found = {}
    for name, given in content.items():
        attributes = {attribute: _sentences(words) for attribute, words in _by_attribute(given).items()}
        if not all(attributes.values()):
            findings.problem(path.name, None, f"{name!r} holds something else than texts", "sentences, in a list")
        found[plain_name(name)] = attributes
    return found


def _by_attribute(given: object) -> Mapping[str, object]:
    return given if isinstance(given, dict) else {SENTENCES: given}


def _sentences(given: object) -> list[str]:
    some = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return [" ".join(words.split()) for words in some if isinstance(words, str) and words.strip()]


def _from_writer(path: Path, findings: Findings) -> dict[str, Attributes]:
    try:
        texts = read_texts(path)
    except ValueError as error:
        findings.problem(path.name, None, str(error), "it is the texts.jsonl that notebook 01 writes")
        return {}
    found: dict[str, Attributes] = defaultdict(lambda: {SENTENCES: []})
    for text in texts:
        found[plain_name(text.name.removeprefix("the "))][SENTENCES] += split_sentences(text.appearance)
    return dict(found)


def is_short(words: str) -> bool:
    """Whether this is a table's cell, such as "black and red", and no sentence."""
    return len(words.split()) <= _CELL and not words.rstrip().endswith((".", "!", "?"))


def split_sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence]


# ---- the name in a text ----------------------------------------------------------------------------------------------


def masked(sentence: str, name: str) -> str:
    """The sentence without the class's name: neither the whole name nor one of its words of four letters and more.

    So "The red admiral has red bands" becomes "The it has it bands" for the red admiral: a word that the name and the
    appearance share is lost as well, which makes the control strict.
    """
    whole = r"[\W_]+".join(map(re.escape, plain_name(name).split()))
    words = "|".join(re.escape(word) for word in plain_name(name).split() if len(word) > 3)
    without = re.sub(rf"\b{whole}(e?s)?\b", _MASK, sentence, flags=re.IGNORECASE) if whole else sentence
    return re.sub(rf"\b({words})(e?s)?\b", _MASK, without, flags=re.IGNORECASE) if words else without


# ---- the project's own table -----------------------------------------------------------------------------------------


def _butterflies() -> Sequence[dict[str, str]]:
    return read_csv_rows(DATA / "butterflies.csv")


def photo_sentences(row: Mapping[str, str]) -> Attributes:
    """What a photograph of the species shows, from a row of ``data/butterflies.csv``, in the cells of a field guide.

    The drawn world's sentences name the parts of a stylised plate one by one, antennae included. A field guide gives
    the size, all colours that are seen, and the markings.
    """
    parts = ("wing_colour", "pattern_colour", "border_colour", "hindwing_colour")
    colours = dict.fromkeys(row[part] for part in parts if row[part] != "none")
    found = {
        "size": {"giant": "very large"}.get(row["size"], row["size"]),
        "colour": listed(colours),
        "markings": "" if row["pattern"] == "plain" else f"with {row['pattern_colour']} {row['pattern']}",
    }
    return {attribute: [words] for attribute, words in found.items() if words}


def listed(words: Iterable[str]) -> str:
    """Such as "black, white and red"."""
    some = list(words)
    return " and ".join(filter(None, [", ".join(some[:-1]), *some[-1:]]))
