"""Quality gates: what a text must pass before a model is trained on it. Each gives its faults as sentences.

The sentences are told to the writer, which may try again; what still fails is listed and not trained on. The gates read
words, not meaning: they find what is plainly wrong and let through what is subtly wrong.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from rapidfuzz import fuzz, process

from helpers.writer.prompts import as_data

_NEAR = 92  # of 100, by the same words in any order: above it two classes' looks are taken for one
SHORT_WORD = 3  # a word of a name that has no more letters gives nothing away by itself


def words(text: str) -> list[str]:
    """Lower-case words without a plural s; "gray" is "grey"."""
    return [_stem(word) for word in re.findall(r"\w+", text.lower())]


def _stem(word: str) -> str:
    word = "grey" if word in {"gray", "grays"} else word
    return word[:-1] if word.endswith("s") and len(word) > SHORT_WORD else word


def length_faults(field: str, text: str, shortest: int, longest: int) -> list[str]:
    """In words."""
    count = len(text.split())
    return [] if shortest <= count <= longest else [f"{field} has {count} words; it must have {shortest} to {longest}"]


def language_faults(text: str, language: str) -> list[str]:
    """By py3langid, a small well-kept classifier (97 languages, numpy alone); meant for a dozen words and more."""
    import py3langid

    found = py3langid.classify(text)[0]
    return [] if found == language else [f"the language is {found!r}; it must be {language!r}"]


def name_faults(field: str, text: str, names: Iterable[str], rule: str, generic: Iterable[str] = ()) -> list[str]:
    """``absent``: neither a name nor one of its longer words, unless generic. ``present``: the first name is there."""
    names = list(names)
    if rule == "absent":
        found = sorted({word for name in names for word in _given_away(text, name, generic)})
        return [f"{field} gives the name away by {', '.join(found)}; leave it out"] if found else []
    if rule == "present" and not _contains(words(text), words(names[0])):
        return [f"{field} does not mention the name; it must"]
    return []


def _given_away(text: str, name: str, generic: Iterable[str]) -> list[str]:
    """The whole name, in any script, or its words; "the" before it is no part of it."""
    said, parts = words(text), [word for word in words(name) if word != "the"]
    if _contains(said, parts) or (not name.isascii() and name.lower() in text.lower()):
        return [repr(name)]
    allowed = {_stem(word) for word in generic}
    long = {_stem(word) for word in re.findall(r"\w+", name.lower()) if len(word) > SHORT_WORD} - allowed
    return [repr(word) for word in sorted(long & set(said))]


def _contains(said: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the words of the phrase stand in the text one after the other."""
    span = len(phrase)
    return span > 0 and any(list(said[i : i + span]) == list(phrase) for i in range(len(said) - span + 1))


def fact_faults(text: str, table: Mapping[str, str], must_say: Iterable[str]) -> list[str]:
    """Columns of the facts table whose value the text must mention; a value of "none" need not be."""
    said = set(words(text))
    asked = {column: table[column] for column in must_say if table.get(column) not in (None, "", "none")}
    return [
        f"the data says {column} = {value!r}, the look does not"
        for column, value in asked.items()
        if not set(words(value)) <= said
    ]


def contradiction_faults(text: str, column: str, own: str | None, every: Iterable[str]) -> list[str]:
    """Another class's value is named and the own one is not. Both named ("meadows near forests") is none."""
    said = words(text)
    if not own or _contains(said, words(own)):
        return []
    others = sorted(value for value in set(every) - {own} if _contains(said, words(value)))
    return [f"the data says {column} = {own!r}, the text says {', '.join(map(repr, others))}"] if others else []


def rival_faults(look: str, rivals: Iterable[str]) -> list[str]:
    """Nearly the same look as another class's, whose words are data here too: they came of what others wrote."""
    near = [rival for rival in rivals if fuzz.token_sort_ratio(look, rival) >= _NEAR]
    said = "look is nearly the same as that of another class; say what tells them apart"
    return [f"{said}: <data>{as_data({'look': near[0]})}</data>"] if near else []


def near_duplicates(looks: Sequence[tuple[str, str]]) -> list[int]:
    """Places of the looks that are nearly the same as an earlier one of *another* class; (class, look) in order."""
    if not looks:
        return []
    texts = [look for _, look in looks]
    close = process.cdist(texts, texts, scorer=fuzz.token_sort_ratio, score_cutoff=_NEAR, workers=1)
    return [
        late
        for late in range(len(looks))
        if any(close[late][early] and looks[late][0] != looks[early][0] for early in range(late))
    ]


def option_faults(right: str, wrong: Sequence[str]) -> list[str]:
    """Four different options, of which the right one is not told by being much the longest."""
    if len(wrong) != 3 or len({_plain(option) for option in (right, *wrong)}) != 4:
        return [f"three wrong options are needed, all four different; there are {[right, *wrong]}"]
    longest = max(map(len, wrong))
    if len(right) > 1.5 * longest + 5:
        return [f"the right option {right!r} is much longer than the wrong ones; make them about equal"]
    return []


def _plain(option: str) -> str:
    return " ".join(words(option))
