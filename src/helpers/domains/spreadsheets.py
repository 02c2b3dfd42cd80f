"""Tables as written by spreadsheets; every fault is listed with file, row, rule and remedy.

Nothing here raises because of a file's content: what cannot be used is a *problem*; what was understood but is worth
knowing (another encoding, an unused column) is a *note*.
"""

import csv
import difflib
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LARGEST_TABLE, LONGEST_CELL, MOST_COLUMNS = 20_000_000, 5_000, 500  # bytes, characters

# Invisible characters that a text may have: joiners (Persian, Hindi, emoji), soft hyphens, marks of writing direction
# and others of its script. These are refused: nobody means them, or they make a text read otherwise than it is
_HARMFUL = re.compile(
    "[\u200b\ufeff\u202a-\u202e\u2061-\u206f\ufff9-\ufffb\U000e0001]"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]"  # letters of tags, which follow a flag alone
)

Cells = dict[str, str]


@dataclass(frozen=True)
class TableProblem:
    """A remark about a place in the folder: the rule that it breaks, and what to do."""

    file: str
    row: int | None  # line in the file, from 1 as in editors; None: the whole file
    rule: str
    remedy: str = ""

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}:{self.row}"
        return f"{where}: {self.rule}" + (f"; {self.remedy}" if self.remedy else "")


class Findings:
    """What has been found so far."""

    def __init__(self) -> None:
        self.problems: list[TableProblem] = []
        self.notes: list[TableProblem] = []

    def problem(self, file: str, row: int | None, rule: str, remedy: str) -> None:
        self.problems.append(TableProblem(file, row, rule, remedy))

    def note(self, file: str, row: int | None, rule: str, remedy: str = "") -> None:
        self.notes.append(TableProblem(file, row, rule, remedy))


def read_table(path: Path, required: Iterable[str], known: str, findings: Findings) -> list[tuple[int, Cells]]:
    """Rows as (line, cells by column) of a CSV file from a spreadsheet; ``known`` is a pattern for optional columns.

    Accepts commas, semicolons or tabs, and UTF-8 with or without BOM, UTF-16 or Windows-1252; a note says which.
    """
    text = _decoded(path, findings)
    if text is None:
        return []
    delimiter = _delimiter(text, path.name, findings)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, Cells]] = []
    try:
        columns = [column.strip().lower() for column in next(lines, [])]
        if not _good_header(columns, required, known, path.name, findings):
            return []
        start = lines.line_num + 1
        for cells in lines:
            if any(cell.strip() for cell in cells):
                rows += _row(cells, columns, start, path.name, findings)
            start = lines.line_num + 1
    except csv.Error as error:
        findings.problem(path.name, lines.line_num, f"not readable as CSV ({error})", "fix the quotation marks there")
    return rows


def _decoded(path: Path, findings: Findings) -> str | None:
    if path.stat().st_size > LARGEST_TABLE:
        rule = f"has {path.stat().st_size} bytes, more than {LARGEST_TABLE}"
        findings.problem(path.name, None, rule, "a table of classes is smaller: is it the right file?")
        return None
    content = path.read_bytes()
    if content.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        findings.problem(
            path.name, None, "is a spreadsheet file, not CSV", "save it as CSV (UTF-8) in your spreadsheet"
        )
        return None
    for encoding, name in (("utf-16", "UTF-16"), ("utf-8-sig", "UTF-8"), ("cp1252", "Windows-1252")):
        if encoding == "utf-16" and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            continue
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if name != "UTF-8":
            remedy = "look at the names below; if letters are wrong, save the file as UTF-8"
            findings.note(path.name, None, f"is not UTF-8; it was read as {name}", remedy)
        elif content.startswith(b"\xef\xbb\xbf"):
            findings.note(path.name, None, "begins with a byte order mark, which was ignored")
        return text
    findings.problem(path.name, None, "is not text in UTF-8, UTF-16 or Windows-1252", "save it as CSV (UTF-8)")
    return None


def _delimiter(text: str, file: str, findings: Findings) -> str:
    """Comma, semicolon or tab, whichever is most frequent in the header."""
    header = text.partition("\n")[0]
    best = max(",;\t", key=header.count)
    if best != "," and header.count(best):
        findings.note(file, None, f"cells are separated by {'semicolons' if best == ';' else 'tabs'}, not by commas")
        return best
    return ","


def _good_header(columns: list[str], required: Iterable[str], known: str, file: str, findings: Findings) -> bool:
    if len(columns) > MOST_COLUMNS:
        rule = f"the header has {len(columns)} columns; at most {MOST_COLUMNS} are read"
        findings.problem(file, 1, rule, "write one class or question per row, not per column")
        return False
    missing = [column for column in required if column not in columns]
    for column in missing:
        near = difflib.get_close_matches(column, columns, 1)
        hint = f"rename {near[0]!r}" if near else "add it to the first line"
        findings.problem(file, 1, f"the column {column!r} is missing (found: {', '.join(columns) or 'nothing'})", hint)
    for column, times in Counter(filter(None, columns)).items():
        if times > 1:
            findings.problem(file, 1, f"the column {column!r} is there {times} times", "rename or remove one")
    for column in columns:
        if column not in required and not re.fullmatch(known, column):
            readable = known.replace("|", ", ").replace(".+", "...")  # noun|fact:.+ becomes noun, fact:...
            findings.note(file, 1, f"the column {column!r} is not used", f"known: {', '.join(required)}, {readable}")
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
    if "\ufffd" in cell:
        findings.problem(
            file, line, f"{column} holds a character that was lost (\ufffd)", "save the file as UTF-8 again"
        )


def _control_character(cell: str) -> int | None:
    """The place of the first character that must not be there."""
    harmful = {match.start() for match in _HARMFUL.finditer(cell)}
    control = ("Cc", "Cs", "Co", "Zl", "Zp")
    for place, character in enumerate(cell):
        beyond = ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef"  # no characters, by definition
        if place in harmful or beyond or unicodedata.category(character) in control:
            return place
    return None


def _name_of(character: str) -> str:
    return f" ({name.lower()})" if (name := unicodedata.name(character, "")) else ""


def read_json_lines(path: Path, required: tuple[str, ...], findings: Findings) -> list[tuple[int, Cells]]:
    """The rows of a JSON Lines file, in the form of `read_table`; each has the ``required`` fields as texts."""
    rows = []
    for line, content in enumerate((_decoded(path, findings) or "").split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:  # numbers of more than 4,300 digits raise no JSONDecodeError
            findings.problem(path.name, line, f"is not JSON ({error})", 'write {"class_id": "...", "look": "...", ...}')
            continue
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in required):
            findings.problem(path.name, line, f"must hold {', '.join(required)}, all texts", "add what is missing")
            continue
        rows += _row([row[key] for key in required], list(required), line, path.name, findings)
    return rows
