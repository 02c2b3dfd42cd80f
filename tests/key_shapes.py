"""Shapes that a key has, or gets from a file, a document or a shell; and the spellings in which it could be shown."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

MIDDLE = "q7Zx-0Kd9_mW3tVb5"  # no word of any language

# What is wrong with each as a header, in the words of the error; None: nothing
SHAPES: dict[str, tuple[str, str | None]] = {
    "plain": (f"{MIDDLE}Plain", None),
    "openai": (f"sk-proj-{MIDDLE}AbCdEf", None),
    "newline at the end": (f"sk-nl-{MIDDLE}\n", "a line break at its end"),
    "windows newline": (f"sk-crlf-{MIDDLE}\r\n", "a line break at its end"),
    "newline first": (f"\nsk-first-{MIDDLE}", "a line break at its beginning"),
    "newline inside": (f"sk-upper-{MIDDLE}\nlower-{MIDDLE}", "a line break inside it"),
    "short lines": ("ab3d\nef6h\nij9l\nmn2p", "a line break inside it"),
    "line separator": (f"sk-sep-{MIDDLE}\u2028", "a line break at its end"),
    "byte order mark": (f"\ufeffsk-bom-{MIDDLE}", "a byte order mark at its beginning"),
    "mark and newline": (f"\ufeffsk-both-{MIDDLE}\r\n", "a byte order mark at its beginning, a line break at its end"),
    "mark read as latin-1": (f"\xef\xbb\xbfsk-latin-{MIDDLE}", "a byte order mark at its beginning"),
    "typographic quotes": (f"“sk-quoted-{MIDDLE}”", "a typographic quote at its beginning and at its end"),
    "typographic apostrophe": (f"sk-it’s-{MIDDLE}", "a typographic quote inside it"),
    "no-break space": (f"\xa0sk-nbsp-{MIDDLE}", "blanks at its beginning"),
    "zero-width space": (f"sk-zero-{MIDDLE}\u200b", "blanks at its end"),
    "tab": (f"sk-tab-{MIDDLE}\t", "blanks at its end"),
    "trailing blank": (f"sk-blank-{MIDDLE} ", "blanks at its end"),
    "words": (f"correct horse {MIDDLE}", "blanks inside it"),
    "with its scheme": (f"Bearer sk-scheme-{MIDDLE}", "blanks inside it"),
    "korean": (f"열쇠-{MIDDLE}-비밀", "a non-ASCII character at its beginning and at its end"),
    "accented": ("ñandú-pässwört-ÿ", "a non-ASCII character at its beginning and at its end and inside it"),
    "emoji": (f"sk-\U0001f511-{MIDDLE}", "a non-ASCII character inside it"),
    "control character": (f"sk-esc-{MIDDLE}\x1b[A", "a control character inside it"),
    "blanks only": (" \t ", "nothing but blanks in it"),
    "double quotes": (f'"sk-double-{MIDDLE}"', None),
    "single quote": (f"sk-sin'gle-{MIDDLE}", None),
    "backslashes": (f"sk-back\\slash\\n-{MIDDLE}\\x41", None),
    "percent": (f"sk-per%cent%41%20-{MIDDLE}", None),
    "4 KB": ("sk-long-" + "".join(f"{n:03x}{MIDDLE}" for n in range(205)), None),
    "six characters": ("q7Zx0K", None),
    "base64": (base64.b64encode(b"\xfb\xef\xbe" + MIDDLE.encode() + b"\xff\xfe").decode(), None),
    "regular expression": (f"sk-(a+)+$[^x]*|{MIDDLE}.?", None),
    "json": (f'{{"key":"{MIDDLE}","n":[1]}}', None),
    "markup": (f"<b>&amp;{MIDDLE}&lt;</b>", None),
    "address": (f"https://user:{MIDDLE}@host/?k={MIDDLE}", None),
    "common word": ("banana12", None),
    "digits": ("3141592653589793", None),
    "anthropic": (f"sk-ant-api03-{MIDDLE}-AA", None),
    "hugging face": (f"hf_{MIDDLE.replace('-', '').replace('_', '')}AbCdEfGhIj", None),
    "azure": ("0f1e2d3c4b5a69788796a5b4c3d2e1f0", None),
    "azure, long": (f"{MIDDLE.replace('-', '')}JQQJ99BDACYeBjFXJ3w3AAABACOGabcd", None),
    "web token": (f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{MIDDLE}", None),
    "google": (f"AIzaSy{MIDDLE}-_x", None),
    "percent-encoded": (f"sk%2Dper%2F{MIDDLE}%3D%3D", None),
    "json-escaped": (f"sk-\\u0041\\/{MIDDLE}\\n", None),
    "quoted by the shell": (f"'sk-it'\"'\"'s-{MIDDLE}'", None),
    "shell's escapes": (f"$'sk-{MIDDLE}\\x0a'", None),
    "assignment": (f"OPENAI_API_KEY=sk-{MIDDLE}", None),
    "comma": (f"sk-one-{MIDDLE},sk-two-{MIDDLE}", None),
    "two keys": (f"sk-one-{MIDDLE}\nsk-two-{MIDDLE}\n", "a line break at its end and inside it"),
    "tab inside": (f"sk-{MIDDLE}\tcomment", "blanks inside it"),
    "header": (f"Authorization: Bearer sk-{MIDDLE}", "blanks inside it"),
    "next line of latin-1": (f"sk-nel-{MIDDLE}\x85", "a line break at its end"),
    "right-to-left mark": (f"\u200fsk-rtl-{MIDDLE}", "a non-ASCII character at its beginning"),
    "soft hyphen": (f"sk-soft\xad-{MIDDLE}", "a non-ASCII character inside it"),
    "full width": (f"ｓｋ-{MIDDLE}", "a non-ASCII character at its beginning"),
    "combining": (f"sk-cle\u0301-{MIDDLE}", "a non-ASCII character inside it"),
}


def spellings(key: str) -> set[str]:
    """A key, and each of its longer lines, in the forms in which a program may show it; none of blanks alone."""
    core = key.strip()
    if not core:
        return set()
    raw = core.encode()
    return {
        *(core, *(line for line in core.splitlines() if len(line) >= 8)),
        *(repr(core)[1:-1], repr(raw)[2:-1], ascii(core)[1:-1], repr(repr(core))[2:-2], repr(json.dumps(core))[2:-2]),
        *(json.dumps(core)[1:-1], json.dumps(core, ensure_ascii=False)[1:-1], json.dumps(json.dumps(core))[3:-3]),
        *(quote(core), quote(core, safe=""), quote_plus(core), quote(quote(core)), "".join(f"%{b:02x}" for b in raw)),
        *(html.escape(core), html.escape(html.escape(core)), "".join(f"&#{ord(letter)};" for letter in core)),
        *(core.encode("ascii", how).decode() for how in ("xmlcharrefreplace", "namereplace", "backslashreplace")),
        *("\x1b[0m".join(core), *((raw.hex(), raw.hex().upper()) if len(core) >= 8 else ())),
    }


def logins(key: str) -> set[tuple[str, str]]:
    """Base64 of what a key is sent as, in both alphabets, and of each the part in which nothing but the key is."""
    found = set()
    for before in (b"", b"u:", b"us:", b"Bearer ") if key.strip() else ():
        whole = base64.b64encode(before + key.strip().encode()).decode()
        part = whole.rstrip("=")[-(-len(before) * 4 // 3) : -1]
        found |= {(whole, part), tuple(form.replace("+", "-").replace("/", "_") for form in (whole, part))}
    return found


def shown(key: str, text: str) -> list[str]:
    """The spellings of a key that are in a text."""
    return [form for form in (*spellings(key), *(part for _, part in logins(key))) if form in text]
