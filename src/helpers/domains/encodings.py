"""The encoding of a table: UTF-8 and UTF-16 can be told for certain, every other one has to be confirmed.

A wrong guess fails silently: "Żubr" in Windows-1250 is "¯ubr" in Windows-1252, "ş" is "þ", and most Chinese reads as a
row of accented letters. No detector is right about tables of a few words, so its guesses are shown as they would read.
"""

import codecs
import re
from collections.abc import Mapping

from charset_normalizer import from_bytes

from helpers.domains.findings import Findings

KEY = "encoding"  # of domain.yaml
_BOMS = {  # those of UTF-32 come first: they begin like those of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What spreadsheets and editors write, the more frequent first: of encodings that read alike, the first is offered
_OFFERED = (
    *("cp1252", "cp949", "gb18030", "big5", "cp932", "euc_jp", "cp1251", "cp1250", "cp1253", "cp1254", "cp1255"),
    *("cp1256", "cp874", "cp1257", "cp1258", "koi8_r", "mac_roman", "cp850", "cp852", "cp866"),
)
_MOST_OFFERED, _SHOWN, _LONGEST_SHOWN = 6, 3, 30  # encodings, names per encoding, letters per name
_NOT_OF_TABLES = (
    "idna",
    "punycode",
    "unicode-escape",
    "raw-unicode-escape",
    "utf-7",
)  # of host names, and of source text
_MOST_LINES = 500  # not in ASCII; more make it no clearer
_ESCAPES = {b"\x1b$B": "iso2022_jp", b"\x1b$@": "iso2022_jp", b"\x1b$)C": "iso2022_kr"}  # these are ASCII to a machine


def certain_encoding(content: bytes) -> str | None:
    """The name of an encoding that the bytes leave no doubt about; None if they do."""
    for mark, name in _BOMS.items():
        if content.startswith(mark):
            return name if _decodes(content, name) else None
    for mark, name in _ESCAPES.items():
        if mark in content and _decodes(content, name):
            return name
    if b"\0" in content:
        return next((name for name in ("utf-16-le", "utf-16-be") if _is_utf16(content, name)), None)
    return "utf-8" if _decodes(content, "utf-8") else None


def _decodes(content: bytes, name: str) -> bool:
    try:
        content.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _is_utf16(content: bytes, name: str) -> bool:
    """Without a byte order mark: the header's letters are ASCII, so every second byte is zero."""
    if not _decodes(content, name):
        return False
    header = content.decode(name).splitlines()[0]
    return header.replace("\t", "").isprintable() and header.isascii()


def encoding_fault(name: str) -> str | None:
    """Why Python cannot decode a table by this name; None if it can."""
    try:
        codec = codecs.lookup(name)
        "".encode(codec.name)
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.name in _NOT_OF_TABLES:
        return f"{KEY} is {name!r}, which is no encoding that is known here"
    return None


def decoded(content: bytes, named: str | None) -> str:
    """The text; ``named`` is the encoding in `domain.yaml`, for files that are not certain. Check them first."""
    text = content.decode(certain_encoding(content) or named or "utf-8")
    return text.lstrip("\ufeff")  # some programs write the mark twice


def check_encodings(contents: Mapping[str, bytes], named: str | None, findings: Findings) -> set[str]:
    """The files that cannot be decoded, which are one problem together; ``contents``: by file name.

    What was decoded otherwise than as plain UTF-8 is noted, with names as they read.
    """
    certain = {file: certain_encoding(content) for file, content in contents.items()}
    unclear = {file: contents[file] for file, name in certain.items() if name is None}
    for file, name in certain.items():
        if name is not None:
            _note(file, contents[file], name, findings)
    if named:
        return {file for file, content in unclear.items() if not _follows(file, content, named, findings)}
    plain = {file: content for file, content in unclear.items() if not _damaged(file, content, findings)}
    if plain:
        _ask(plain, findings)
    return set(unclear)


def _note(file: str, content: bytes, name: str, findings: Findings) -> None:
    if name == "utf-8-sig":
        findings.note(file, None, "begins with a byte order mark, which was ignored")
    elif name != "utf-8":
        how = f"is not UTF-8; it was read as {name.upper()[:6]}" if name.startswith("utf") else f"was read as {name}"
        findings.note(file, None, f"{how}: {_names(content.decode(name))}")


def _follows(file: str, content: bytes, named: str, findings: Findings) -> bool:
    try:
        text = content.decode(named)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        rule = f"is not {named}, which domain.yaml names: byte {content[error.start]:#04x} does not exist there"
        findings.problem(file, line, rule, f"correct `{KEY}`, or take it out to see what fits")
        return False
    findings.note(file, None, f"was read as {named}, as domain.yaml says: {_names(text)}")
    return True


def _damaged(file: str, content: bytes, findings: Findings) -> bool:
    """Whether the file is no text at all, or UTF-8 for the most part."""
    if b"\0" in content or not re.search(rb"[A-Za-z]", content):  # every header has letters
        findings.problem(file, None, "is not text", "save it as CSV (UTF-8)")
        return True
    text = content.decode("utf-8", errors="replace")
    lost = text.count("\ufffd")
    if sum(not letter.isascii() for letter in text) - lost < 4 * lost:
        return False
    line = text[: text.index("\ufffd")].count("\n") + 1
    rule = "holds bytes that are not UTF-8, while the rest of the file is: two encodings were mixed, or it was cut"
    findings.problem(file, line, rule, "write that line anew, and save the file as CSV (UTF-8)")
    return True


def _ask(contents: Mapping[str, bytes], findings: Findings) -> None:
    """Together the files are more to go by than each alone; the names are those of the first, the classes."""
    first, *others = contents
    readings = _readings(b"\n".join(contents.values()), contents[first])
    rule = f"is not UTF-8{', nor is ' + ', nor is '.join(others) if others else ''}"
    if not readings:
        findings.problem(first, None, f"{rule}, and no other encoding fits", "save it as CSV (UTF-8)")
        return
    shown = " | ".join(f"{name}: {names}" for name, names in readings.items())
    remedy = (
        f"write the one that reads right into domain.yaml (`{KEY}: {next(iter(readings))}`), or save as CSV (UTF-8)"
    )
    findings.problem(first, None, f"{rule}; it could read as {shown}", remedy)


def _readings(everything: bytes, first: bytes) -> dict[str, str]:
    """The first file's names by encoding, the likeliest first; of encodings that read alike, the most common."""
    found: dict[str, str] = {}
    telling = [line for line in everything.split(b"\n") if not line.isascii()]
    for match in from_bytes(b"\n".join(telling[:_MOST_LINES]), cp_isolation=list(_OFFERED), threshold=0.35):
        alike = {match.encoding, *match.could_be_from_charset} & set(_OFFERED)
        for name in sorted(alike, key=_OFFERED.index):
            if _decodes(first, name) and (names := _names(first.decode(name))) not in found.values():
                found[name] = names
    return dict(list(found.items())[:_MOST_OFFERED])


def _names(text: str) -> str:
    """The first names that are not plain ASCII, or other cells if all are."""
    lines = [re.split(r'"?[,;\t|]"?', line) for line in text.splitlines()]
    header = [cell.strip(' "\ufeff').lower() for cell in lines[0]] if lines else []
    place = header.index("name") if "name" in header else None
    names = [cells[place] for cells in lines[1:] if place is not None and place < len(cells)]
    cells = [*names, *(cell for line in lines for cell in line)]
    special = dict.fromkeys(cell.strip(' "') for cell in cells if not cell.isascii())
    return ", ".join(_short(cell) for cell in list(special)[:_SHOWN]) or "(ASCII only)"


def _short(cell: str) -> str:
    text = cell if len(cell) <= _LONGEST_SHOWN else cell[:_LONGEST_SHOWN] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
