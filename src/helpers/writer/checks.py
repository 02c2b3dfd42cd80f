"""Quality gates that a text must pass before a model is trained on it. Each returns its faults as sentences.

The writer is given the sentences and may try again; what still fails is listed and not used for training. The gates
check words, not meaning: they find plain errors and miss subtle ones.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from rapidfuzz import fuzz, process

from helpers.domains.names import find_names
from helpers.schemas import chat_mark
from helpers.writer.prompts import as_data

_NEAR = 92  # of 100, comparing words in any order: two looks that reach it count as the same
SHORT_WORD = 3  # letters; a word of a name that is no longer gives nothing away on its own


def words(text: str) -> list[str]:
    """Lower-case words without a plural s; "gray" becomes "grey"."""
    return [_stem(word) for word in re.findall(r"\w+", text.lower())]


def _stem(word: str) -> str:
    word = "grey" if word in {"gray", "grays"} else word
    return word[:-1] if word.endswith("s") and len(word) > SHORT_WORD else word


def length_faults(field: str, text: str, shortest: int, longest: int) -> list[str]:
    """Limits are numbers of words."""
    count = len(text.split())
    return [] if shortest <= count <= longest else [f"{field} has {count} words; it must have {shortest} to {longest}"]


def language_faults(text: str, language: str) -> list[str]:
    """Uses py3langid, a small, maintained classifier (97 languages, only numpy); needs about a dozen words."""
    import py3langid

    found = py3langid.classify(text)[0]
    return [] if found == language else [f"the language is {found!r}; it must be {language!r}"]


def mark_faults(field: str, text: str) -> list[str]:
    """A mark of a chat template would be read as one by the model that is trained on the text."""
    mark = chat_mark(text)
    return [f"{field} holds {mark!r}, a mark of a chat template; leave it out"] if mark else []


def name_faults(field: str, text: str, names: Iterable[str], rule: str, generic: Iterable[str] = ()) -> list[str]:
    """``absent``: no name, nor any of its longer words unless generic. ``present``: the first name must occur."""
    names = list(names)
    if rule == "absent":
        found = sorted({word for name in names for word in _given_away(text, name, generic)})
        return [f"{field} gives the name away by {', '.join(found)}; leave it out"] if found else []
    if rule == "present" and not find_names(text, names[0]):
        return [f"{field} does not mention the name; it must"]
    return []


def _given_away(text: str, name: str, generic: Iterable[str]) -> list[str]:
    """The whole name, in any script, or its longer words."""
    if any(mention.certain for mention in find_names(text, name)):
        return [repr(name)]
    said, allowed = set(words(text)), {_stem(word) for word in generic}
    long = {_stem(word) for word in re.findall(r"\w+", name.lower()) if len(word) > SHORT_WORD} - allowed
    return [repr(word) for word in sorted(long & said)]


def _contains(said: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the words of the phrase occur consecutively in the text."""
    span = len(phrase)
    return span > 0 and any(list(said[i : i + span]) == list(phrase) for i in range(len(said) - span + 1))


def fact_faults(text: str, table: Mapping[str, str], must_say: Iterable[str]) -> list[str]:
    """Columns of the facts table whose value the text must mention, unless the value is "none"."""
    said = set(words(text))
    asked = {column: table[column] for column in must_say if table.get(column) not in (None, "", "none")}
    return [
        f"the data says {column} = {value!r}, the look does not"
        for column, value in asked.items()
        if not set(words(value)) <= said
    ]


def contradiction_faults(text: str, column: str, own: str | None, every: Iterable[str]) -> list[str]:
    """The text names another class's value but not its own. Naming both ("meadows near forests") is no fault."""
    said = words(text)
    if not own or _contains(said, words(own)):
        return []
    others = sorted(value for value in set(every) - {own} if _contains(said, words(value)))
    return [f"the data says {column} = {own!r}, the text says {', '.join(map(repr, others))}"] if others else []


def rival_faults(appearance: str, rivals: Iterable[str]) -> list[str]:
    """The look is nearly the same as another class's, which is quoted as data, since a writer wrote it too."""
    near = [rival for rival in rivals if fuzz.token_sort_ratio(appearance, rival) >= _NEAR]
    said = "look is nearly the same as that of another class; say what tells them apart"
    return [f"{said}: <data>{as_data({'appearance': near[0]})}</data>"] if near else []


def near_duplicates(appearances: Sequence[tuple[str, str]]) -> list[int]:
    """Indices of looks that are nearly those of an earlier, *other* class; ``appearances``: (class, text)."""
    if not appearances:
        return []
    texts = [appearance for _, appearance in appearances]
    close = process.cdist(texts, texts, scorer=fuzz.token_sort_ratio, score_cutoff=_NEAR, workers=1)
    return [
        late
        for late in range(len(appearances))
        if any(close[late][early] and appearances[late][0] != appearances[early][0] for early in range(late))
    ]


def option_faults(right: str, wrong: Sequence[str]) -> list[str]:
    """The four options must differ, and the right one must not stand out by being much longer."""
    if len(wrong) != 3 or len({" ".join(words(option)) for option in (right, *wrong)}) != 4:
        return [f"three wrong options are needed, all four different; there are {[right, *wrong]}"]
    longest = max(map(len, wrong))
    if len(right) > 1.5 * longest + 5:
        return [f"the right option {right!r} is much longer than the wrong ones; make them about equal"]
    return []
