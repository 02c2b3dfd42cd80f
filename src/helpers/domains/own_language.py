"""``domain.yaml`` of a folder of classes: the words of its questions, and the encoding of its tables."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from helpers.config import Settings
from helpers.config.profiles import parse_yaml
from helpers.domains.encodings import KEY, certain_encoding, decoded, encoding_fault
from helpers.domains.findings import Findings
from helpers.rows import Text
from helpers.schemas import Said, chat_mark

LANGUAGE = "domain.yaml"
PHRASE = re.compile(r"[^{}<>\n]{1,100}")  # becomes part of a sentence with {option}
_LARGEST = 100_000  # bytes
_TEMPLATE = "see data/own/template/domain.yaml"
_OF_FACTS = ("fact_questions", "fact_answers")


class Language(Settings):
    """How questions refer to the classes. Everything is optional."""

    noun: Said | None = None  # "butterfly": questions then say "this butterfly"
    name_form: Said | None = None  # the name as used in a sentence, such as "the {name}"
    naming_question: Said | None = None
    naming_answer: Said | None = None  # with {option}, such as "This is the {option}."
    fact_questions: dict[str, Said] = Field(default_factory=dict)
    fact_answers: dict[str, Said] = Field(default_factory=dict)  # with {option}
    encoding: Text | None = None  # of tables that are neither UTF-8 nor UTF-16, such as cp949


def read_language(folder: Path, findings: Findings) -> Language:
    """The file's settings. A faulty one is a problem, and left out; capitals in a key make no difference."""
    path = folder / LANGUAGE
    if not path.is_file():
        return Language()
    try:
        values = _keys(_content(path), findings)
    except (yaml.YAMLError, ValueError, OSError) as error:
        findings.problem(LANGUAGE, None, f"not readable as YAML ({error})", _TEMPLATE)
        return Language()
    try:
        language = Language.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            rule = f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
            findings.problem(LANGUAGE, None, rule, _TEMPLATE)
        faulty = {fault["loc"][0] for fault in error.errors()}
        language = Language.model_validate({key: value for key, value in values.items() if key not in faulty})
    return _checked(language, findings)


def _content(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"has {path.stat().st_size} bytes, more than {_LARGEST}")
    content = path.read_bytes()
    if certain_encoding(content) is None:
        raise ValueError("it is not UTF-8; save it as plain text in UTF-8")
    values = parse_yaml(decoded(content, None)) or {}
    if not isinstance(values, dict):
        raise ValueError(f"it holds {str(values)[:60]!r}, not keys with values such as `noun: butterfly`")
    return values


def _keys(values: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """The values under the keys as `Language` has them."""
    found = _folded(values, "", findings)
    for key in [key for key in found if key not in Language.model_fields]:
        del found[key]
        findings.problem(LANGUAGE, None, f"no key is called {key!r}", _meant(key, Language.model_fields))
    for key in _OF_FACTS:
        if isinstance(found.get(key), dict):
            found[key] = _folded(found[key], f"{key}.", findings)
    return found


def _folded(values: dict[str, Any], where: str, findings: Findings) -> dict[str, Any]:
    """Keys in lower case, as columns are; ``fact:home`` counts as ``home``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).strip().lower().removeprefix("fact:").strip()
        if name in found:
            findings.problem(LANGUAGE, None, f"{where}{name} is there twice: capitals make no difference", "remove one")
        found.setdefault(name, value)
    return found


def _meant(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


def check_fact_keys(language: Language, facts: Iterable[str], findings: Findings) -> None:
    """Words for a fact that has no column would never be used."""
    known = sorted(set(facts))
    for where in _OF_FACTS:
        for key in getattr(language, where):
            if key not in known:
                findings.problem(LANGUAGE, None, f"{where}.{key}: no column is called 'fact:{key}'", _meant(key, known))


def _checked(language: Language, findings: Findings) -> Language:
    if language.noun and not PHRASE.fullmatch(language.noun):
        findings.problem(
            LANGUAGE, None, f"noun is {language.noun!r}", "a word or two, without braces, such as: butterfly"
        )
    forms = {"naming_answer": (language.naming_answer, "option"), "name_form": (language.name_form, "name")}
    forms |= {f"fact_answers.{fact}": (form, "option") for fact, form in language.fact_answers.items()}
    for where, (form, blank) in forms.items():
        if form is not None and not has_blank(form, blank):
            findings.problem(
                LANGUAGE, None, f"{where} is {form!r}", f"it must hold {{{blank}}} once and no other braces"
            )
        elif form is not None and chat_mark(form.replace(f"{{{blank}}}", "image")):
            rule = f"{where} is {form!r}, which can become a mark of a model's chat"
            findings.problem(LANGUAGE, None, rule, "take < and > out")
    if language.encoding and (fault := encoding_fault(language.encoding)):
        findings.problem(LANGUAGE, None, fault, f"write `{KEY}: cp949`, for instance, or take the line out")
        return language.model_copy(update={"encoding": None})
    return language


def has_blank(form: str, blank: str) -> bool:
    """Whether ``{blank}`` is there once, and no other brace."""
    return form.count("{") == form.count("}") == 1 and f"{{{blank}}}" in form
