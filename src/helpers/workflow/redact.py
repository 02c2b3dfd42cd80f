r"""What must not be shown, and what replaces it: keys, folders of this machine, names of host and user.

`scrub` is for what is published. `Redactor` removes only secrets, for a log or a terminal. A secret has many spellings:
a library repeats a header as ``b'...\n'``, an address has it percent-encoded, basic authentication in base64. A text is
therefore searched as it is, and again unescaped, level by level. Whatever is found is replaced in the original text.
"""

import base64
import functools
import getpass
import html
import itertools
import os
import re
import socket
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from helpers.paths import ROOT

SECRET_NAME = re.compile(
    r"((KEYS?|TOKEN|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_|$)|_(PASS|PAT|PWD)$)", re.IGNORECASE
)
REDACTED = "HELPERS_REDACTED"  # environment: names of further variables that hold keys
LONG_SECRET = 8  # characters; a shorter value occurs in ordinary words and is removed only if it is known to be a key
SHORT_SECRET = 4  # characters; a shorter "key" protects nothing
NO_KEYS = {"none", "null", "empty", "dummy", "ollama", "token", "test", "fake", "false", "true", "xxxx"}  # placeholders
CUT = 16  # characters at either end that identify a key in a shortened message
LEVELS = 5  # of nested escaping
GENERIC_USERS = {"root", "user", "admin", "ubuntu", "debian", "runner", "jovyan", "nobody", "home", "mambauser"}
_IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"}  # in a notebook's outputs
_LOGIN = re.compile(r"://([^\s:@/]*)(?::([^\s]*))?@")  # in the address of a proxy, an index or a database
_ESCAPE = re.compile(
    r"""(?P<bytes>(?:\\x[\da-fA-F]{2}|%[\da-fA-F]{2})+) | (?P<utf16>(?:\\u[\da-fA-F]{4})+)
    | \\U(?P<point>[\da-fA-F]{8}) | \\N\{(?P<name>[^{}]{1,99})\} | \\(?P<octal>[0-3][0-7]{2}) | \\(?P<one>[^\x1b])
    | (?P<entity>&(?:\#\d{1,7}|\#[xX][\da-fA-F]{1,6}|[a-zA-Z]\w{1,30});)
    | (?P<shell>'"'"') | (?P<double>""|'')  # a quote within quotes: of a shell; of CSV and YAML
    | (?P<gone>\x1b\[[\d;?]*[ -/]*[@-~] | </?(?:span|b|i|wbr)\b[^<>]*> | \r?\n[ \t]*(?=\S))  # colours, wrapping
    """,
    re.VERBOSE | re.DOTALL,
)
_START = re.compile(r"[\\%&'\"\x1b<\r\n]")  # of an escape; ten times as fast as the whole pattern
_ONE = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "0": "\0", "e": "\x1b"}
_Span = tuple[int, int, str]
_Substitution = tuple[re.Pattern[str], Mapping[str, str]]


def secrets() -> dict[str, str]:
    """Secret values in the environment, and what replaces them, such as ``<HF_TOKEN>``.

    With at least `LONG_SECRET` characters: values of variables named after a key, token, secret, password or
    credential, and the login in an address (a proxy's password). With at least `SHORT_SECRET` characters: values of
    variables registered with `name_key`, unless they are placeholders such as "none".
    """
    found: dict[str, str] = {}
    named = os.environ.get(REDACTED, "").split()
    for name, value in os.environ.items():
        for user, password in _LOGIN.findall(value):
            login = [password, unquote(password), f"{user}:{password}"] if password else [user] * (len(user) > 15)
            found |= {text: f"<{name}>" for text in login if len(text) >= LONG_SECRET}
        core = value.strip()
        key = name in named and len(core) >= SHORT_SECRET and core.lower() not in NO_KEYS
        if key or (SECRET_NAME.search(name) and len(core) >= LONG_SECRET):
            found[core] = f"<{name}>"
    return found


def name_key(variable: str | None) -> None:
    """Treat the value of this environment variable as a key, in this process and those that it starts from now on."""
    names = os.environ.get(REDACTED, "").split()
    if variable and variable not in names:
        os.environ[REDACTED] = " ".join([*names, variable])


class Redactor:
    """Call it with a text: replaces secrets that were in the environment at its creation, however they are spelt."""

    def __init__(self) -> None:
        self._needles = _needles(tuple(sorted(secrets().items())))

    def __call__(self, text: str) -> str:
        parts, at = [], 0
        for start, end, word in sorted(self._spans(text, 0), key=lambda span: (span[0], -span[1])):
            if start >= at:
                parts += [text[at:start], word]
            at = max(at, end)
        return "".join([*parts, text[at:]])

    def _spans(self, text: str, level: int) -> Iterator[_Span]:
        for needle in self._needles:
            yield from ((start, end, needle.word) for start, end in needle.spans(text))
        if self._needles and level < LEVELS and next(_escapes(text), None):
            plain, origin = _unescaped(text)
            yield from ((*origin(start, end), word) for start, end, word in self._spans(plain, level + 1))


@dataclass(frozen=True)
class _Needle:
    """One form of a secret. ``part`` is a piece of it: searching for it is much faster than matching the pattern."""

    part: str
    pattern: re.Pattern[str]
    word: str
    end_tells: str = ""  # the form, if its beginning or end is enough to identify it

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        if self.part in text:
            yield from (found.span() for found in self.pattern.finditer(text))
        if self.end_tells:
            yield from _shortened(text, self.end_tells)


@functools.lru_cache(maxsize=8)
def _needles(known: tuple[tuple[str, str], ...]) -> list[_Needle]:
    found = []
    for value, word in known:
        for form in sorted(_forms(value)):
            part, pattern = max(form.split(), key=len, default=form), re.compile(_as_pattern(form))
            found.append(_Needle(part, pattern, word, form if _tells_by_its_end(form) else ""))
            found += [_Needle(code, re.compile(re.escape(code)), word) for code in _codes(form)]
    return found


def _forms(value: str) -> set[str]:
    """A secret, its parts between line breaks, typographic quotes and the like, and all of these unescaped.

    Only parts of at least `LONG_SECRET` characters; if there are none, the longest part.
    """
    pieces = [part.strip(" \"'") for part in re.split(r"[^\x20-\x7e]+", value)]
    least = min(LONG_SECRET, max(SHORT_SECRET, *map(len, pieces)))
    parts, found = {value.strip(" \"'"), *pieces}, set[str]()
    while parts := {part for part in parts if len(part) >= least} - found:
        found |= parts
        parts = {_unescaped(part)[0] for part in parts}
    return found


def _as_pattern(form: str) -> str:
    """A short form must be a whole word. Blanks may have become other blanks, or the plus signs of a query."""
    text = r"[\s+]+".join(map(re.escape, form.split()))
    return text if len(form) >= LONG_SECRET else rf"(?<![A-Za-z0-9]){text}(?![A-Za-z0-9])"


def _codes(form: str) -> Iterator[str]:
    """The form in hexadecimal digits, and in base64, in either alphabet, at any offset (basic authentication).

    In base64, only the part that does not depend on the text before or after the form.
    """
    raw = form.encode("utf-8", "surrogatepass")
    if len(form) >= LONG_SECRET:
        yield from (raw.hex(), raw.hex().upper())
    for before in range(3):
        coded = base64.b64encode(bytes(before) + raw).decode()
        core = coded[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]
        if len(core) >= 7:
            yield from {core, core.replace("+", "-").replace("/", "_")}


def _tells_by_its_end(form: str) -> bool:
    """Whether a form is long and varied enough for its beginning or end to identify it. A folder's does not."""
    ends = form[:CUT] + form[-CUT:]
    varied = min(len(set(form[:CUT])), len(set(form[-CUT:]))) >= LONG_SECRET
    return len(form) >= 3 * CUT // 2 and varied and not re.search(r"\s|^[~./]|://", ends)


def _shortened(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Where at least `CUT` characters of either end of a form occur."""
    head, tail = form[:CUT], form[-CUT:]
    at = text.find(head)
    while at >= 0:
        end = at + _alike(text[at : at + len(form)], form)
        yield at, end
        at = text.find(head, end)
    at = text.find(tail)
    while at >= 0:
        end = at + CUT
        yield end - _alike(text[max(0, end - len(form)) : end][::-1], form[::-1]), end
        at = text.find(tail, end)


def _alike(text: str, other: str) -> int:
    """How many characters the two texts have in common at the beginning."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))


def _unescaped(text: str) -> tuple[str, Callable[[int, int], tuple[int, int]]]:
    """The text with each escape replaced by its meaning, and a function from spans of it to spans of the original."""
    parts: list[str] = []
    marks, at, length = [(0, 0, 0)], 0, 0  # per escape: its start and end in the result, its end in the original
    starts = [0]
    for found in _escapes(text):
        meaning = _meaning(found)
        length += found.start() - at
        marks.append((length, length + len(meaning), found.end()))
        starts.append(found.start())
        parts += [text[at : found.start()], meaning]
        at, length = found.end(), length + len(meaning)
    parts.append(text[at:])

    def place(position: int, last: bool) -> int:
        number = bisect_right(marks, position, key=lambda mark: mark[0]) - 1
        _, end, original = marks[number]
        if position >= end:
            return original + position - end + last
        return original if last else starts[number]

    return "".join(parts), lambda start, end: (place(start, False), place(end - 1, True))


def _escapes(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while start := _START.search(text, at):
        found = _ESCAPE.match(text, start.start())
        if found:
            yield found
        at = (found or start).end()


def _meaning(found: re.Match[str]) -> str:
    """What an escape stands for; the escape itself if it stands for nothing."""
    kind, text = found.lastgroup or "", found[found.lastgroup or 0]
    try:
        if kind == "bytes":
            return _decoded(bytes.fromhex(re.sub(r"\\x|%", "", text)))
        if kind == "utf16":
            return bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be", "surrogatepass")
        if kind in {"point", "octal"}:
            return chr(int(text, 16 if kind == "point" else 8))
        if kind == "name":
            return unicodedata.lookup(text)
    except (ValueError, KeyError, OverflowError):
        return found[0]
    if kind == "one":
        return _ONE.get(text, text)
    return {"entity": html.unescape(text), "shell": "'", "double": text[:1]}.get(kind, "")


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def machine_names() -> dict[str, str]:
    """What must not be published of this machine, and what replaces it.

    Folders: the repository and the home folder. Names: host and user (except a common one, such as "root", which occurs
    in ordinary words).
    """
    names = {host: "<host>" for host in {socket.gethostname(), socket.gethostname().split(".")[0]}}
    if (user := _user()) not in GENERIC_USERS:
        names[user] = "<user>"
    short = {name: word for name, word in names.items() if len(name) > 3 and name != "localhost"}
    folders = {str(Path.home()): "~", str(ROOT): "."}
    return {**short, **{folder: word for folder, word in folders.items() if folder.strip("/")}}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        return ""


def scrub(value: Any) -> Any:
    """The value with everything private replaced in all its strings; images (base64) are left alone.

    A list of lines counts as one text, as in a notebook: a secret may span several of them.
    """
    return _scrubbed(value, Redactor(), _whole_words(machine_names()))


def _scrubbed(value: Any, redact: Redactor, names: _Substitution) -> Any:
    if isinstance(value, Mapping):
        return {
            redact(k) if isinstance(k, str) else k: item if str(k) in _IMAGES else _scrubbed(item, redact, names)
            for k, item in value.items()
        }
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        text = "".join(value)
        if (redacted := redact(text)) != text and all(line.endswith("\n") for line in value[:-1]):
            value = redacted.splitlines(keepends=True)
    if isinstance(value, list | tuple):
        return [_scrubbed(item, redact, names) for item in value]
    if isinstance(value, str):
        pattern, words = names
        return pattern.sub(lambda found: words[found[0]], redact(value))
    return value


def _whole_words(words: Mapping[str, str]) -> _Substitution:
    """A pattern of names and folders, longest first, and what replaces each.

    Only whole words match: a host called "fern" is not in "ferns". A folder is replaced together with its slash.
    """
    inside = {f"{folder}/": "" if word == "." else f"{word}/" for folder, word in words.items() if word in {".", "~"}}
    everything = {**words, **inside}
    parts = [
        rf"(?<![\w.-]){re.escape(text)}" + ("" if text in inside else r"(?![\w-])")
        for text in sorted(everything, key=len, reverse=True)
    ]
    return re.compile("|".join(parts) or r"(?!)"), everything
