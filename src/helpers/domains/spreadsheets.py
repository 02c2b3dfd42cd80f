"""Tables as written by spreadsheets; every fault is listed with file, row, rule and remedy.

Nothing here raises because of a file's content: what cannot be used is a *problem*; what was understood but is worth
knowing (another separator, an unused column) is a *note*. `helpers.domains.encodings` decodes the files.
"""

import csv
import difflib
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from helpers.domains.findings import Findings
from helpers.images import other_content
from helpers.schemas import chat_mark

LARGEST_TABLE, LONGEST_CELL, MOST_COLUMNS = 20_000_000, 5_000, 500  # bytes, characters

# Invisible characters that a text may have: joiners (Persian, Hindi, emoji), soft hyphens, marks of writing direction
# and others of its script. These are refused: nobody means them, or they make a text read otherwise than it is
_HARMFUL = re.compile(
    "[\u200b\ufeff\u202a-\u202e\u2061-\u206f\ufff9-\ufffb\U000e0001]"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]"  # letters of tags, which follow a flag alone
)

Cells = dict[str, str]
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?(?:\r\n|\r|\n)', re.IGNORECASE)


def table_bytes(folder: Path, files: Iterable[str], findings: Findings) -> dict[str, bytes]:
    """The content of the tables that are there, by file name; one that cannot be a table is a problem, and left out."""
    found = {}
    for path in (folder / file for file in files):
        if not path.is_file():
            continue
        if path.stat().st_size > LARGEST_TABLE:
            rule = f"has {path.stat().st_size} bytes, more than {LARGEST_TABLE}"
            findings.problem(path.name, None, rule, "a table of classes is smaller: is it the right file?")
            continue
        content = path.read_bytes()
        if content.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
            rule = "is a spreadsheet file, not CSV"
            findings.problem(path.name, None, rule, "save it as CSV (UTF-8) in your spreadsheet")
            continue
        if content and (what := other_content(content)):
            findings.problem(path.name, None, f"is no table: it is {what}", "then validate again")
            continue
        found[path.name] = content
    return found


def read_table(
    file: str, text: str, required: Iterable[str], known: str, findings: Findings
) -> list[tuple[int, Cells]] | None:
    """Rows as (line, cells by column) of a CSV file from a spreadsheet; ``known`` is a pattern for optional columns.

    Accepts commas, semicolons, tabs or bars; a note says which. None if the header cannot be used.
    """
    said = _SEPARATOR_LINE.match(text)  # Excel reads it, and some programs write it for Excel
    delimiter = said[1] if said else _delimiter(text, file, findings)
    skipped = 1 if said else 0
    lines = csv.reader(io.StringIO(text[said.end() :] if said else text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, Cells]] = []
    short: list[int] = []  # lines
    nameless: list[int] = []
    required = tuple(required)
    try:
        columns = [column.strip().lower() for column in next(lines, [])]
        if not _good_header(columns, required, known, file, 1 + skipped, findings):
            return None
        start = lines.line_num + 1 + skipped
        for cells in lines:
            if any(cell.strip() for cell in cells):
                if (lacking := columns[len(cells) :]) and not set(required) & set(lacking):
                    short += [start] if any(lacking) else []
                    cells += [""] * len(lacking)
                if any(cell.strip() for column, cell in zip(columns, cells, strict=False) if not column):
                    nameless.append(start)
                rows += _row(cells, columns, start, file, findings)
            start = lines.line_num + 1 + skipped
    except csv.Error as error:
        line = lines.line_num + skipped
        findings.problem(file, line, f"not readable as CSV ({error})", "fix the quotation marks there")
    if short:  # Excel leaves separators out behind the last filled cell, from some row on
        rule = f"has fewer cells than the header in {_lines(short)}; those missing at the end were read as empty"
        findings.note(file, None, rule, "make sure that no separator is missing in the middle of these rows")
    if nameless:
        rule = f"has cells under no header in {_lines(nameless)}, which are not used"
        findings.note(file, None, rule, "name their column in the first line, or empty them")
    return rows


def _lines(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:5]))
    return f"row{'s' if len(lines) > 1 else ''} {shown}{' and others' if len(lines) > 5 else ''}"


def _delimiter(text: str, file: str, findings: Findings) -> str:
    """Whichever is most frequent in the header."""
    header = next(iter(text.splitlines()), "")
    best = max(_SEPARATORS, key=header.count)
    if best != "," and header.count(best):
        findings.note(file, None, f"cells are separated by {_SEPARATORS[best]}, not by commas")
        return best
    return ","


def _good_header(
    columns: list[str], required: Iterable[str], known: str, file: str, line: int, findings: Findings
) -> bool:
    if len(columns) > MOST_COLUMNS:
        rule = f"the header has {len(columns)} columns; at most {MOST_COLUMNS} are read"
        findings.problem(file, line, rule, "write one class or question per row, not per column")
        return False
    missing = [column for column in required if column not in columns]
    for column in missing:
        near = difflib.get_close_matches(column, columns, 1)
        hint = f"rename {near[0]!r}" if near else "add it to the first line"
        findings.problem(
            file, line, f"the column {column!r} is missing (found: {', '.join(columns) or 'nothing'})", hint
        )
    for column, times in Counter(filter(None, columns)).items():
        if times > 1:
            findings.problem(file, line, f"the column {column!r} is there {times} times", "rename or remove one")
    for column in filter(None, columns):  # spreadsheets write separators for empty columns
        if column not in required and not re.fullmatch(known, column):
            readable = known.replace("|", ", ").replace(".+", "...")  # noun|fact:.+ becomes noun, fact:...
            findings.note(file, line, f"the column {column!r} is not used", f"known: {', '.join(required)}, {readable}")
    return not missing


def _row(cells: list[str], columns: list[str], line: int, file: str, findings: Findings) -> list[tuple[int, Cells]]:
    """The row with normalised white space; empty if it does not match the columns."""
    while len(cells) > len(columns) and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) != len(columns):
        more = len(cells) > len(columns)
        remedy = "put a cell that holds the separator into quotation marks" if more else "add the missing ones"
        findings.problem(file, line, f"has {len(cells)} cells; the header has {len(columns)}", remedy)
        return []
    tidy = {column: " ".join(cell.split()) for column, cell in zip(columns, cells, strict=True) if column}
    for column, cell in tidy.items():
        _check_cell(cell, column, line, file, findings)
    return [(line, tidy)]


def _check_cell(cell: str, column: str, line: int, file: str, findings: Findings) -> None:
    if len(cell) > LONGEST_CELL:
        rule = f"{column} has {len(cell)} characters, more than {LONGEST_CELL}"
        findings.problem(file, line, rule, "shorten it, or look for a quotation mark that was never closed")
    if (at := _control_character(cell)) is not None:
        what = f"the control character {cell[at]!r}{_name_of(cell[at])}"
        remedy = f"delete it (after {cell[max(0, at - 20) : at]!r})" if at else "delete it (at the beginning)"
        findings.problem(file, line, f"{column} holds {what}", remedy)
    if mark := chat_mark(cell, findings.tokens):
        rule = f"{column} holds {mark!r}, which a model takes for a mark of its chat and not for text"
        findings.problem(file, line, rule, "delete it, or describe it in words")
    if (meant := _saved_twice(cell)) is not None:
        rule = f"{column} reads {cell[:60]!r}: UTF-8 that was opened in another encoding and saved again"
        findings.problem(file, line, rule, f"write {meant[:60]!r}, or take an earlier copy of the file")
    if "\ufffd" in cell:
        findings.problem(
            file, line, f"{column} holds a character that was lost (\ufffd)", "save the file as UTF-8 again"
        )


def _control_character(cell: str) -> int | None:
    """The place of the first character that must not be there."""
    if cell.isprintable():
        return None
    harmful = {match.start() for match in _HARMFUL.finditer(cell)}
    control = ("Cc", "Cs", "Co", "Zl", "Zp")
    for place, character in enumerate(cell):
        beyond = ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef"  # no characters, by definition
        if place in harmful or beyond or unicodedata.category(character) in control:
            return place
    return None


def _name_of(character: str) -> str:
    return f" ({name.lower()})" if (name := unicodedata.name(character, "")) else ""


def _saved_twice(cell: str) -> str | None:
    """The text that was meant by one such as "MÃ¶rel"; None if nothing happened to it."""
    if cell.isascii():
        return None
    try:
        return cell.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return None


def read_json_lines(file: str, text: str, required: tuple[str, ...], findings: Findings) -> list[tuple[int, Cells]]:
    """The rows of a JSON Lines file, in the form of `read_table`; each has the ``required`` fields as texts."""
    rows = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:  # numbers of more than 4,300 digits raise no JSONDecodeError
            findings.problem(file, line, f"is not JSON ({error})", 'write {"class_id": "...", "look": "...", ...}')
            continue
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in required):
            findings.problem(file, line, f"must hold {', '.join(required)}, all texts", "add what is missing")
            continue
        rows += _row([row[key] for key in required], list(required), line, file, findings)
    return rows
