"""Find a class's name in a text, in any script, and take it out: the only place that does either.

It stands in the lowest package that needs it: `helpers.domains` removes names from descriptions, `helpers.writer`
checks replies, `helpers.datasets` removes names from other texts and audits all of them.

Text and name are compared in a folded form (compatibility forms, case, quotation marks, hyphens, invisible characters),
whose offsets lead back to the text: what surrounds a name is never changed. A name counts where it is a word by the
rules of its script: English plurals, Russian, Greek and Hindi endings, Arabic and Hebrew prefixes, Korean particles,
Japanese and Chinese words that usually stand beside a noun. There is no dictionary. Where only one could tell, as for a
short Chinese name within a longer run, the mention is *uncertain*: it is reported and never removed.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

from helpers.synthetic.language import capitalise

_Kind = Literal["", "letter", "hangul", "han", "hiragana", "katakana", "unspaced"]  # "": not part of a word


class Mention(NamedTuple):
    """Where a text has a name: ``text[start:end]``, with a plural's ending but without prefixes and particles."""

    start: int
    end: int
    certain: bool
    plural: bool  # in English
    around: str  # the words or characters that it stands in, for a report


class _Folded(NamedTuple):
    text: str
    starts: Sequence[int]  # of each folded character in the original
    ends: Sequence[int]


class _Form(NamedTuple):
    """One way to write a name."""

    pattern: re.Pattern[str]  # groups: prefix, name, and within the name those of plurals
    exact: str  # folded, without inflection
    script: str  # of its last letter
    stem: int  # letters that every inflected form has
    anchor: str  # occurs in every match, and is quick to look for
    certain: bool


# ---- folding -------------------------------------------------------------------------------------------------------

_SEPARATORS = "-‐‑–−_・"  # as good as a space between the words of a name
_QUOTES = str.maketrans(dict.fromkeys("’‘ʼʻ′ʹ`´‛", "'"))
_SAME = str.maketrans(
    {
        **dict.fromkeys("أإآٱ", "ا"),
        **{"ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ё": "е", "ı": "i", "œ": "oe", "æ": "ae", "⁄": "/"},
        **{"ـ": None, "\u0307": None},  # the Arabic stretching stroke; the second dot of a Turkish capital İ
        **dict.fromkeys((*range(0x64B, 0x653), 0x670, *range(0x591, 0x5C8)), None),  # vowel points
        **dict.fromkeys((0x34F, *range(0xFE00, 0xFE10)), None),  # variation selectors
    }
)


def same_name(name: str) -> str:
    """Equal for names that differ only in case, in the way that letters are composed, or in what cannot be seen."""
    composed = unicodedata.normalize("NFC", name).casefold()
    seen = (c for c in composed if unicodedata.category(c) != "Cf" and not 0xFE00 <= ord(c) < 0xFE10)
    return unicodedata.normalize("NFC", "".join(seen))


def words_of(text: str) -> list[str]:
    """The longer words of a text, folded; none of scripts that do not set words apart."""
    found = re.findall(r"\w{3,}", _fold(text).text)
    return [word for word in dict.fromkeys(found) if word not in _COMMON and _kind(word[0]) == "letter"]


@lru_cache(maxsize=2**16)
def _continues(character: str) -> bool:
    """Whether it belongs to the character before it: an accent, a vowel sign, the rest of a Korean syllable."""
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff" or character in "ﾞﾟ"


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or not (_continues(text[place]) or (text[place] + text[place - 1]).isspace()):
            yield start, place
            start = place


@lru_cache(maxsize=2048)
def _fold(text: str, loose: bool = False) -> _Folded:
    """``loose``: without accents and apostrophes."""
    if text.isascii() and not loose and not re.search(r"[-_\s]{2}", text):  # the usual case, and a hundred times faster
        places = range(len(text) + 1)
        return _Folded(re.sub(r"[-_\s]", " ", text.lower()).replace("`", "'"), places, places[1:])
    folded: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        said = _folded_cluster(text[start:end], loose)
        if said == " " and folded and folded[-1] == " ":
            ends[-1] = end
            continue
        folded += said
        starts += [start] * len(said)
        ends += [end] * len(said)
    return _Folded("".join(folded), starts, ends)


@lru_cache(maxsize=2**16)
def _folded_cluster(cluster: str, loose: bool) -> str:
    if cluster.isspace() or cluster in _SEPARATORS:
        return " "
    seen = "".join(c for c in cluster.translate(_QUOTES) if unicodedata.category(c) != "Cf")
    said = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    if loose or any("Ͱ" <= c <= "Ͽ" or "ἀ" <= c <= "῾" for c in said):  # Greek capitals are written without accents
        bare = (c for c in unicodedata.normalize("NFKD", said) if not "\u0300" <= c <= "\u036f")
        said = unicodedata.normalize("NFKC", "".join(bare))
    said = said.translate(_SAME).replace("ς", "σ")
    return said.replace("'", "") if loose else said


def _kind(character: str) -> _Kind:
    code = ord(character)
    if code < 128:
        return "letter" if character.isalnum() else ""
    if 0xAC00 <= code <= 0xD7A3 or 0x1100 <= code <= 0x11FF:
        return "hangul"
    if 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF or character in "々〇":
        return "han"
    if 0x3041 <= code <= 0x309F:
        return "hiragana"
    if 0x30A1 <= code <= 0x30FF:
        return "katakana"
    if 0xE00 <= code <= 0x109F or 0x1780 <= code <= 0x17FF:
        return "unspaced"  # Thai, Lao, Tibetan, Burmese, Khmer
    return "letter" if unicodedata.category(character)[0] in "LMN" else ""


# ---- the forms of a name -------------------------------------------------------------------------------------------

_IRREGULAR = {
    **{"man": "men", "foot": "feet", "tooth": "teeth", "goose": "geese", "mouse": "mice", "louse": "lice"},
    **{"child": "children", "ox": "oxen", "fe": "ves", "f": "ves", "us": "i", "is": "es", "a": "ae"},
}
_COMMON = frozenset("a an the i it he she we is are be in on of at to by this that and or no not so as".split())
_PARTS_OF_CASES = {  # what a name may end in, in its own form or in a case or number
    "CYRILLIC": "ыми ими ого его ому ему ами ями ый ий ой ая яя ое ее ые ие ым им ых их ую юю ею ою ей ом ем ам ям ах "
    "ях ов ев а я о е ь й ы и у ю",
    "GREEK": "ουσ εισ εων οσ ησ ασ εσ οι ου ων ον α η ο ι ε",
    "DEVANAGARI": "ियाँ ियों ाओं ों ें ओं ा ी े ि ो",
    "HEBREW": "יות ות ים ה ת",
}
_CASES = {script: sorted(endings.split(), key=len, reverse=True) for script, endings in _PARTS_OF_CASES.items()}
_PREFIXES = {"ARABIC": "[وف]?[بكل]?", "HEBREW": "[ושכ]{0,2}[בלמ]?ה?"}
_PERSIAN = re.compile("(?:ها(?:ي+|يش|يشان)?|اي|ي|اش|ات|ام|شان)(?!\\w)")  # written behind a zero-width non-joiner
_SHORTEST_STEM = 4  # letters: an inflected word, or one with a prefix, could otherwise be another word


def plurals(word: str) -> list[str]:
    """How an English plural of the word may be written, the regular form first."""
    low = word.lower()
    if re.search("[^aeiou]y$", low):
        return [f"{word[:-1]}ies", f"{word}s"]
    regular = [f"{word}es", f"{word}s"] if low.endswith(("s", "x", "z", "ch", "sh")) else [f"{word}s", f"{word}es"]
    longest = next((end for end in _IRREGULAR if low.endswith(end) and (len(end) > 1 or len(low) > 3)), None)
    return regular + ([word[: -len(longest)] + _IRREGULAR[longest]] if longest else [])


def _script(word: str) -> str:
    """The script of the last letter, such as "LATIN" or "DIGIT"; "" if the word ends in anything else."""
    return unicodedata.name(word[-1], "").partition(" ")[0] if word and _kind(word[-1]) == "letter" else ""


def _word(word: str, script: str, plural: bool) -> tuple[str, str]:
    """A pattern for a word of a name, and the letters that every match begins with."""
    if script in _CASES:
        ending = next((e for e in _CASES[script] if word.endswith(e) and len(word) > len(e) + 1), "")
        stem = word.removesuffix(ending)
        return f"{re.escape(stem)}(?:{'|'.join(_CASES[script])})?", stem
    if script == "ARABIC":
        bare = word.removeprefix("ال") if len(word) > _SHORTEST_STEM else word
        ending = "[هت]" if bare.endswith("ه") else ""  # before a pronoun, the last letter is written openly
        stem = bare[:-1] if ending else bare
        return f"(?:ا?ل)?{re.escape(stem)}{ending}", stem
    if plural and script in ("LATIN", "DIGIT"):
        several = plurals(word)
        shared = next(n for n in range(len(word), -1, -1) if all(form.startswith(word[:n]) for form in several))
        return f"(?:({'|'.join(map(re.escape, several))})|{re.escape(word)})", word[:shared]
    if all(_kind(c) == "hangul" for c in word) and len(word) > 2:
        return " ?".join(word), word[0]  # a compound may be written as two words
    return ("(?:and|&)", "") if word in ("and", "&") else (re.escape(word), word)


def _form(name: str, certain: bool = True) -> _Form:
    words = [word for word in name.split(" ") if word]
    script = _script(words[-1].rstrip("'"))
    heads = {len(words) - 1, *(place - 1 for place, word in enumerate(words) if word == "of" and place)}
    parts = [_word(word, _script(word) or "", place in heads) for place, word in enumerate(words)]
    body = " ?".join(pattern for pattern, _ in parts).replace("'", "'?")
    body = re.sub(r"(?<=[^\W\d])\\\.(?=.)", r"\\.?", body)  # of an abbreviation
    anchor = max((piece for _, literal in parts for piece in re.split("['.]", literal)), key=len)
    pattern = re.compile(f"(?P<prefix>{_PREFIXES.get(script, '')})(?P<name>{body})")
    return _Form(pattern, name, script, sum(len(literal) for _, literal in parts), anchor, certain)


@lru_cache(maxsize=32768)
def _forms(name: str, loose: bool = False) -> list[_Form]:
    """The name as it is written, without its article, without its brackets, and what is before or in them."""
    whole = _fold(name, loose).text.strip()
    bare = re.sub("^(?:the|an?) ", "", whole)
    said = {bare if len(bare) > 2 and bare not in _COMMON else whole: True}
    if found := re.fullmatch(r"(.*?) ?[(（\[](.+?)[)）\]] ?(.*)", whole):
        before, inside, after = found.groups()
        said.setdefault(" ".join(filter(None, (before, inside, after))), True)
        if rest := f"{before} {after}".strip():
            said.setdefault(rest, bool(before))
        if before:
            written_twice = (_kind(inside[-1]), _script(inside)) != (_kind(before[-1]), _script(before))
            if written_twice or re.search(r"[(（\[].*[A-Z]", name):  # a small word is no name: "Mercury (planet)"
                said.setdefault(inside, written_twice)
    if re.fullmatch("[a-z' ]*[a-z]{3}[^iu' s]s", bare):
        said.setdefault(re.sub("ie$", "y", bare[:-1]), False)  # the name is a plural
    return [_form(form, certain) for form, certain in said.items() if form.strip("' ")]


# ---- the limits of a word ------------------------------------------------------------------------------------------

_PARTICLE = re.compile(
    "들?(?:은|는|이|가|을|를|의|에|와|과|도|로|으로|만|께서|에서|에게|한테|부터|까지|처럼|보다|마다|조차|밖에|만큼|이나|나|이랑|랑|"
    "이?라고|이?라는|이?란|이?다|이?며|이?고|인|인데|이?지만|이었다|였다|입니다|이에요|예요|이어서|여서)?(?:은|는|도|만|의|이|가|을|를)?"
)
_AFTER_CONSONANT, _AFTER_VOWEL, _AFTER_BOTH = (
    set("은이을과") | {"으로", "이다"},
    set("는가를와로다"),
    set("의에도만") | {"에서", "에는"},
)
_KANA = re.compile("は|が|を|に|の|で|と|も|や|へ|から|まで|より|だ|など")
_KANA_OF_ONE = re.compile("は|を|の|です|である")  # no verb or adjective of one Chinese character goes on like this
_BEFORE_KANA = "はがをにのでともやへいるただな"
_BEFORE_HAN = set("是的在有和与及跟像为把被这那个種种只条座件块片朵张了从到对比用叫而或即如以将为")
_AFTER_HAN = set("是的在有和与及也很都呈为被把了着过这那而或等将会能可则由从到对比像以叫之具其")


def _long(name: str, kind: _Kind) -> bool:
    """Long enough to be no accident within a longer word, or within a run of characters without spaces."""
    least = {"han": 3, "hiragana": 3, "unspaced": 5}.get(kind, 5 if name.isascii() else 4)
    return len(name) >= least


def _is_mixed(name: str) -> bool:
    return len({_kind(character) for character in name}) > 1


def _begins(text: str, at: int, name: str) -> bool | None:
    """Whether a word begins at this place; None: only a dictionary could tell."""
    if not at:
        return True
    kind, before, other = _kind(name[0]), text[at - 1], _kind(text[at - 1])
    if not kind or not other:
        return not (name[0].isdigit() and before in ".," and at > 1 and text[at - 2].isdigit())
    if kind != other:
        if "hiragana" in (kind, other) and {kind, other} <= {"han", "hiragana", "katakana"}:
            return None if kind == "hiragana" or before in "おご" else True
        return True if not {kind, other} <= {"han", "katakana"} or _is_mixed(name) else None
    if kind == "letter":
        return None if _long(name, kind) else False
    if kind == "han":
        return True if _long(name, kind) or before in _BEFORE_HAN else None
    if kind == "hiragana":
        return True if _long(name, kind) and before in _BEFORE_KANA else None
    if kind == "unspaced":
        return False if before in "เแโใไ" else _long(name, kind) or None
    return None


def _ends(text: str, at: int, name: str) -> bool | None:
    """Whether a word ends at this place, particles aside; None: only a dictionary could tell."""
    if at == len(text):
        return True
    kind, after, other = _kind(name[-1]), text[at], _kind(text[at])
    if not kind or not other:
        return _ends_before_a_sign(text, at, name)
    if kind == "hangul" == other:
        rest = re.match("[가-힣]*", text[at : at + 15])  # no particles are longer
        return (rest is not None and _is_particle(rest[0], name)) or None
    if kind == "letter" == other:
        return None if _long(name, kind) else False
    if kind == "unspaced" == other:
        return False if after in "ะาำๅ" or unicodedata.category(after) == "Mn" else _long(name, kind) or None
    if not {kind, other} <= {"han", "hiragana", "katakana"}:
        return True
    if other == "hiragana":
        found = (_KANA_OF_ONE if len(name) == 1 else _KANA).match(text, at)
        return True if found and (kind != "hiragana" or _long(name, kind)) else None
    if kind == "han" == other:
        return True if _long(name, kind) or after in _AFTER_HAN else None
    return True if kind != other and kind != "hiragana" and _is_mixed(name) else None


def _ends_before_a_sign(text: str, at: int, name: str) -> bool | None:
    rest = text[at + 1 : at + 3]
    if name[-1].isdigit() and text[at] in ".," and rest[:1].isdigit():
        return False
    if _kind(name[-1]) == "letter" and text[at] in "+#":
        return False  # C is not C++
    if text[at] == "'" and rest and _kind(rest[0]) and not re.fullmatch("s(?:\\W|$)|s", rest):
        return None
    return True


def _is_particle(rest: str, name: str) -> bool:
    if len(name) > 1:
        return bool(_PARTICLE.fullmatch(rest))
    final = (ord(name) - 0xAC00) % 28  # of one syllable, the particle must also be the one for its final consonant
    fitting = _AFTER_BOTH | (_AFTER_CONSONANT if final else _AFTER_VOWEL) | ({"로"} if final == 8 else set())
    return rest in fitting


# ---- mentions ------------------------------------------------------------------------------------------------------


def find_names(text: str, name: str, others: Iterable[str] = (), small: bool = True) -> list[Mention]:
    """Where the text has the name, in order and without overlaps; of two that overlap, the longer.

    ``others``: the other classes' names. Where one of them holds this name, as "Monarch moth" holds "Monarch", the
    mention is uncertain. ``small``: False if a name with capitals, in small letters, is a common word ("the Peacock has
    peacock eyespots"); such a mention is uncertain too.
    """
    found = [mention for form in _forms(name) for mention in _of_form(text, name, form, small)]
    if not (text.isascii() and name.isascii()):
        loosely = [m for form in _forms(name, loose=True) for m in _of_form(text, name, form, small, loose=True)]
        found += [mention._replace(certain=False) for mention in loosely]
    kept: list[Mention] = []
    for mention in sorted(found, key=lambda one: (not one.certain, one.start - one.end)):
        if all(mention.end <= other.start or other.end <= mention.start for other in kept):
            kept.append(mention)
    longer = list(_longer(text, name, every)) if kept and (every := tuple(others)) else []
    return sorted(_within(mention, longer, text) for mention in kept)


def without_names(text: str, name: str, neutral: str, others: Iterable[str] = (), small: bool = True) -> str:
    """The text with ``neutral``, such as "this butterfly", instead of the name and its English article.

    A plural becomes "these butterflies". Only certain mentions are replaced; for ``others`` and ``small`` see
    `find_names`.
    """
    parts: list[str] = []
    last = 0
    for mention in find_names(text, name, others, small):
        if not mention.certain:
            continue
        article = re.search(r"\b(?:the|an?)\s+$", text[last : mention.start], re.IGNORECASE)
        start, end = last + article.start() if article else mention.start, mention.end
        said = _several(neutral) if mention.plural else neutral
        if said == "this" and re.match(r"['’]s\b", text[end:]):
            said, end = "its", end + 2
        before = text[:start].rstrip()
        parts += [text[last:start], capitalise(said) if not before or before[-1] in ".!?。！？" else said]
        last = end
    return "".join([*parts, text[last:]])


def _several(neutral: str) -> str:
    first, _, thing = neutral.partition(" ")
    return " ".join(filter(None, ("these" if first == "this" else first, thing and plurals(thing)[0])))


def _of_form(text: str, name: str, form: _Form, small: bool, loose: bool = False) -> Iterator[Mention]:
    folded = _fold(text, loose)
    place = 0
    while form.anchor in folded.text and (match := form.pattern.search(folded.text, place)):
        found = _mention(text, name, folded, match, form, small)
        place = match.end() if found and found.certain else match.start() + 1
        if found:
            yield found


def _mention(text: str, name: str, folded: _Folded, match: re.Match[str], form: _Form, small: bool) -> Mention | None:
    said, (first, last) = match["name"], match.span("name")
    start, end = folded.starts[first], folded.ends[last - 1]
    begins, ends = _begins(folded.text, match.start(), match[0]), _ends(folded.text, last, said)
    if text[end : end + 1] == "\u200c" and _PERSIAN.match(folded.text, last):
        ends = True
    signs = (
        not _kind(said[0]) and text[start - 1 : start] == "\u200d",
        not _kind(said[-1]) and text[end : end + 1] == "\u200d",
    )
    amid = begins is ends is None and (len(said) == 1 or _kind(said[0]) == "letter")
    if begins is False or ends is False or amid or any(signs):
        return None
    while start and text[start - 1] in "ʻʼ":
        start -= 1  # a letter of Hawaiian, which the table may leave out
    given = text[start:end]
    capital = any(letter.isupper() for letter in re.sub("^(?:the|an?) ", "", name, flags=re.IGNORECASE))
    common = capital and not small and given == given.lower() != given.upper()
    certain = form.certain and bool(begins and ends) and not common and _is_sure(text, start, end, name, match, form)
    return Mention(start, end, certain, any(match.groups()[2:]), _around(text, start, end))


def _is_sure(text: str, start: int, end: int, name: str, match: re.Match[str], form: _Form) -> bool:
    """Whether the word, alone as it stands, can hardly be anything but the name."""
    said = match["name"]
    if said in _COMMON or (said.isdigit() and len(said) <= 2):
        return False
    if len(said) == 1 and _kind(said) == "letter":  # a letter of an alphabet
        beside = text[max(0, start - 1) : start] + text[end : end + 1]
        return text[start:end] in name and not set(beside) & set("-‑'’")
    inflected = form.script in _CASES and said != form.exact
    return (not inflected or form.stem >= _SHORTEST_STEM) and (not match["prefix"] or len(said) >= _SHORTEST_STEM)


def _around(text: str, start: int, end: int) -> str:
    """The mention with the word around it, or a few characters where words are not set apart."""
    most = 20 if _kind(text[start]) in ("letter", "hangul") else 4
    first, last = start, end
    while first > max(0, start - most) and _kind(text[first - 1]):
        first -= 1
    while last < min(len(text), end + most) and _kind(text[last]):
        last += 1
    return text[first:last]


# ---- names within other names --------------------------------------------------------------------------------------


def _longer(text: str, name: str, others: tuple[str, ...]) -> Iterator[Mention]:
    """Mentions of the other names that may hold this one."""
    joined, starts = _index(others)
    found = {
        bisect_right(starts, match.start()) - 1
        for form in _forms(name)
        for match in re.finditer(re.escape(form.anchor), joined)
    }
    for other in sorted({others[place] for place in found}):
        if same_name(other) != same_name(name):
            yield from find_names(text, other)


@lru_cache(maxsize=8)
def _index(names: tuple[str, ...]) -> tuple[str, list[int]]:
    """All names in one text, and where each begins: ten thousand are searched at once."""
    folded = [f"{_fold(name).text}\n" for name in names]
    return "".join(folded), [0, *accumulate(map(len, folded[:-1]))]


def _within(mention: Mention, longer: list[Mention], text: str) -> Mention:
    for other in longer:
        inside = other.start <= mention.start and mention.end <= other.end
        if other.certain and inside and other.end - other.start > mention.end - mention.start:
            return mention._replace(certain=False, around=text[other.start : other.end])
    return mention
