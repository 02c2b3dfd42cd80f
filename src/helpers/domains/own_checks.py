"""What a folder of classes says: content that is well-formed, and yet teaches nothing or measures something else.

What cannot be meant is a problem: a key that contradicts the image's folder, a question that counts twice, "n/a" as a
description. What may be meant is a note: a description that names another class to tell the two apart.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

from helpers.domains.names import find_names, same_name, without_names, words_of
from helpers.domains.near_copies import near_copies
from helpers.domains.own_rows import CLASSES, QUESTIONS, OwnClass, OwnFolder
from helpers.schemas import Question

_LISTED = 5  # names or rows in one message
# Said instead of nothing. "none" and "unknown" are not among them: as the value of a column they may be meant
_EMPTY_WORDS = frozenset(
    "n/a|n.a|n/k|tbd|tba|tbc|to be determined|todo|to do|to-do|fixme|xxx|null|nan|nil|#n/a|#na|#value!|#ref!|#name?|"
    "#div/0!|lorem ipsum|not available|not applicable|undefined|placeholder|k.a|s.o|нет|неизвестно|없음|미정|해당없음|"
    "해당 없음|无|無|暂无|待定|未定|なし|不明".split("|")
)
_EMPTY_TEXTS = _EMPTY_WORDS | {"na", "none", "unknown", "same", "ditto", "see above", "idem", "nothing", "unbekannt"}


def is_placeholder(cell: str, text: bool = False) -> bool:
    """Whether a cell says nothing, like "-" or "TBD"; ``text``: it should be a sentence, not a value or a name."""
    if all(unicodedata.category(letter)[0] in "PZ" for letter in cell):  # punctuation and spaces
        return bool(cell)
    return cell.strip(" ()[].").casefold() in (_EMPTY_TEXTS if text else _EMPTY_WORDS)


def check_content(own: OwnFolder) -> None:
    """Everything below, in the order of the files."""
    _check_names(own)
    _check_texts(own)
    _check_distinct(own)
    _check_appearances(own)
    _check_mentions(own)
    _check_keys(own)
    _check_repeated(own)
    _check_near(own)


# ---- classes and texts ----------------------------------------------------------------------------------------------


def _check_names(own: OwnFolder) -> None:
    for thing in own.classes:
        if is_placeholder(thing.name):
            rule = f"name is {thing.name!r}, which names nothing"
            own.findings.problem(CLASSES, thing.row, rule, "write the name that the questions will ask for")


def _check_texts(own: OwnFolder) -> None:
    seen: dict[Hashable, int] = {}
    for text in own.texts:
        for part, words in (("look", text.appearance), ("background", text.background)):
            if is_placeholder(words, text=True):
                rule = f"{part} of {text.class_id!r} is {words!r}, which says nothing"
                remedy = f"describe it, or delete the row: it is then made from {CLASSES} or by the writer"
                own.findings.problem(text.file, text.row, rule, remedy)
        row = seen.setdefault((text.class_id, _plain(text.appearance), _plain(text.background)), text.row)
        if row != text.row:
            rule = f"says of {text.class_id!r} what row {row} says"
            own.findings.note(text.file, text.row, rule, "delete it: the same words would count as a second wording")


class _Described(NamedTuple):
    """One description of a class, and where it stands."""

    thing: OwnClass
    appearance: str
    file: str
    row: int


def _descriptions(own: OwnFolder) -> Iterator[_Described]:
    """The looks of the texts; of classes without one, the columns that a text is made from."""
    things = {thing.class_id: thing for thing in own.classes}
    for text in own.texts:
        yield _Described(things[text.class_id], text.appearance, text.file, text.row)
    with_text = {text.class_id for text in own.texts}
    for thing in own.classes:
        if thing.appearance and thing.class_id not in with_text:
            yield _Described(
                thing, "; ".join(f"{part} {value}" for part, value in thing.appearance.items()), CLASSES, thing.row
            )


def _check_distinct(own: OwnFolder) -> None:
    """Descriptions of different classes that say the same, once each class's own name is taken out."""
    groups: dict[str, list[_Described]] = defaultdict(list)
    for one in _descriptions(own):
        groups[_plain(without_names(one.appearance, one.thing.name, ""))].append(one)
    for alike in groups.values():
        ids = list(dict.fromkeys(one.thing.class_id for one in alike))
        if len(ids) < 2:
            continue
        first, rest = alike[0], _rows(one for one in alike[1:])
        if len(ids) == len(own.classes) and first.file != CLASSES:
            rule = f"look is the same for all {len(ids)} classes: {first.appearance[:60]!r}"
            own.findings.problem(first.file, first.row, rule, "say what tells each class from the others")
        else:
            rule = f"look of {_listed(ids)} is the same ({rest}): nothing tells them apart"
            own.findings.note(first.file, first.row, rule, "say what tells each from the others")


def _check_mentions(own: OwnFolder) -> None:
    """A look that names another class: as a prompt, it suggests that class's name as the answer."""
    names, every = {same_name(thing.name): thing for thing in own.classes}, own.names()
    for one in _descriptions(own):
        rest = without_names(one.appearance, one.thing.name, "", every)
        folded = same_name(rest)
        near = (other for name, other in names.items() if name in folded and other is not one.thing)
        others = [other.name for other in near if any(m.certain for m in find_names(rest, other.name, every))]
        if others:
            rule = f"look of {one.thing.class_id!r} names {_listed(others)}, another class"
            own.findings.note(one.file, one.row, rule, "say the difference without the name, unless you mean it")


def _check_appearances(own: OwnFolder) -> None:
    """Notes where a look may hold the class's name. Where it certainly does, `helpers.domains.own` takes it out."""
    called = {thing.class_id: thing.name for thing in own.classes}
    appearances = [(text.file, text.row, called[text.class_id], text.appearance) for text in own.texts]
    appearances += [
        (CLASSES, thing.row, thing.name, value) for thing in own.classes for value in thing.appearance.values()
    ]
    names = own.names()
    holders: dict[str, set[str]] = defaultdict(set)  # word -> names of the classes with it in their looks
    for *_, name, appearance in appearances:
        for word in words_of(appearance):
            holders[word].add(name)
    for place, row, name, appearance in appearances:
        unsure = [mention.around for mention in find_names(appearance, name, names) if not mention.certain]
        rest = words_of(without_names(appearance, name, "", names))
        telling = [word for word in words_of(name) if word in rest and holders[word] == {name}]
        for found, what in (
            (unsure, f"possibly the name {name!r}"),
            (telling, f"part of the name {name!r}, and in no other look"),
        ):
            if found:
                rule = f"the look keeps {', '.join(map(repr, dict.fromkeys(found)))}: {what}"
                own.findings.note(place, row, rule, "if it gives the name away, say it in other words")


def _plain(text: str) -> str:
    """Case, spaces and punctuation make no other text."""
    return " ".join(re.findall(r"\w+", text.casefold()))


# ---- questions ------------------------------------------------------------------------------------------------------


def _row_of(question: Question) -> int:
    return int(question.question_id.rpartition(":")[2])


def _check_keys(own: OwnFolder) -> None:
    """Answers that contradict the folder of the image, or the table."""
    of_image = own.class_of()
    names = {thing.name.casefold(): thing for thing in own.classes}
    for question in own.questions:
        thing = of_image.get(question.image or "")
        if thing is not None:
            for rule, remedy in _contradictions(question, thing, names):
                own.findings.problem(QUESTIONS, _row_of(question), rule, remedy)
            _note_fact(question, thing, own)
        for letter, option in zip("abcd", question.options, strict=True):
            if is_placeholder(option):
                rule = f"option_{letter} is {option!r}, which is no answer"
                own.findings.note(QUESTIONS, _row_of(question), rule, "write an answer that could be right")


def _contradictions(question: Question, thing: OwnClass, names: Mapping[str, OwnClass]) -> Iterator[tuple[str, str]]:
    where = f"its picture lies in the folder of {thing.class_id!r}"
    if question.class_id != thing.class_id:
        yield f"class_id is {question.class_id!r}, but {where}", "correct it, or leave the cell empty"
    if question.question_type != 1:
        return
    said = names.get(question.right_option.casefold())
    if said is not None and said is not thing:
        yield f"the answer is {said.name!r}, but {where}", "correct the answer, or move the picture"
    elif said is None and thing.name.casefold() in {option.casefold() for option in question.options}:
        yield (
            f"the answer is {question.right_option!r}, but {where}, and {thing.name!r} is another option",
            "correct the answer, or move the picture",
        )


def _note_fact(question: Question, thing: OwnClass, own: OwnFolder) -> None:
    """A type-2 answer that is another class's value, while this class's own value is among the wrong options."""
    if question.question_type != 2:
        return
    wrong = {option.casefold() for option in question.options} - {question.right_option.casefold()}
    for fact, value in thing.facts.items():
        if value.casefold() not in wrong:
            continue
        others = {other.facts[fact].casefold() for other in own.classes if fact in other.facts}
        if question.right_option.casefold() in others:
            rule = f"the answer is {question.right_option!r}, but fact:{fact} of {thing.class_id!r} is {value!r}"
            own.findings.note(QUESTIONS, _row_of(question), rule, f"correct one of the two ({CLASSES}:{thing.row})")


def _check_repeated(own: OwnFolder) -> None:
    first: dict[Hashable, Question] = {}
    for question in own.questions:
        options = frozenset(option.casefold() for option in question.options)
        key = (_plain(question.question) or question.question, question.image, options)
        other = first.setdefault(key, question)
        if other is question:
            continue
        if other.right_option.casefold() == question.right_option.casefold():
            rule, remedy = f"asks what row {_row_of(other)} asks", "delete one: it would count twice"
        else:
            rule = f"asks what row {_row_of(other)} asks, and has another answer: {question.right_option!r}"
            rule, remedy = f"{rule}, not {other.right_option!r}", "correct one of the two"
        own.findings.problem(QUESTIONS, _row_of(question), rule, remedy)


# ---- images ---------------------------------------------------------------------------------------------------------


def _check_near(own: OwnFolder) -> None:
    """Test images that are training images under another name: what is learned by heart would count as recognised."""
    if own.findings.problems:
        return  # an image may be unreadable, or missing
    train = sorted(name for thing in own.classes for name in thing.train)
    test = sorted(own.test_images() - set(train))
    pairs = near_copies(own.folder, train, test)
    if not pairs:
        return
    shown = ", ".join(f"{pair.test} ~ {pair.train}{' (mirrored)' if pair.mirrored else ''}" for pair in pairs[:_LISTED])
    more = f" and {len(pairs) - _LISTED} more" if len(pairs) > _LISTED else ""
    number = len({pair.test for pair in pairs})
    rule = f"{number} of {len(test)} test pictures look like copies of a training picture: {shown}{more}"
    own.findings.note("pictures/", None, rule, "unless they are different photographs, take them out of one of the two")


# ---- words ----------------------------------------------------------------------------------------------------------


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(map(repr, every[:_LISTED])) + (f" and {len(every) - _LISTED} more" if len(every) > _LISTED else "")


def _rows(found: Iterable[_Described]) -> str:
    every = [one.row for one in found]
    shown = ", ".join(map(str, every[:_LISTED])) + (f" and {len(every) - _LISTED} more" if len(every) > _LISTED else "")
    return f"row{'s' if len(every) > 1 else ''} {shown}"
