"""Groups of settings, one module per group, so that a notebook depends only on the groups that it uses.

`helpers.config.profiles` combines them. All are frozen and forbid unknown fields: a misspelt setting is an error before
any work starts, never a silent default. A field's default is the demo's value if there is one; its description says
what it means and why. `config/profiles/*.yaml` lists only what differs, each with its reason.

A value may be text, as on a command line: ``a,b`` or JSON for a list, JSON for a group, ``null`` for an optional field.
"""

import difflib
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import from_json

Dtype = Literal["auto", "float32", "bfloat16", "float16"]  # of computation
RENAMED = {
    "jobs.keep_model": "kept kernels are gone; leave it out",
    "data.test_pictures_per_class": "it is called data.test_images_per_class now",
    "data.picture_size": "it is called data.image_size now",
    "writer.with_picture": "it is called writer.with_image now",
}  # a former group.field: its new name, or what to do
RENAMED_VALUES = {
    "answering": {"describe": "describe_then_answer", "describe_tuned": "describe_then_answer_tuned"},
    "parts": {"look": "appearance"},
}  # by field: a former value and its new name
SECRET = "writer"  # messages never repeat this group's values: a key may have been put there by mistake
_SHORT = reprlib.Repr()  # shortens a value for a message, in depth and length, as a file can hold anything
_SHORT.maxlist, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlevel = 5, 200, 200, 2


class SettingsError(ValueError):
    """Unusable settings; the message names the field, the value received, the rule and the remedy."""


class Settings(BaseModel):
    """A group of settings. Unknown fields are refused with a list of the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def known_fields_only(cls, values: Any) -> Any:
        """Pydantic's own message does not list the known fields; this one does."""
        if isinstance(values, Mapping) and (unknown := [str(key) for key in values if key not in cls.model_fields]):
            raise ValueError(f"unknown field {', '.join(unknown)}; {advice(unknown, cls.model_fields, _group(cls))}")
        return values

    @field_validator("*", mode="before")
    @classmethod
    def as_the_field_needs_it(cls, value: Any, info: ValidationInfo) -> Any:
        """Text is parsed according to the field's type, and a boolean does not count as a number.

        To Python, and so to pydantic, true equals 1: ``epochs: yes`` would train for one epoch.
        """
        kind = cls.model_fields[str(info.field_name)].annotation
        value = from_text(value, kind)
        given = value if isinstance(value, list) else [value]
        for old, new in RENAMED_VALUES.get(str(info.field_name), {}).items():
            if old in given:
                raise ValueError(f"{old!r} is called {new!r} now; write that")
        if any(isinstance(one, bool) for one in given) and _is_number(kind):
            raise ValueError("must be a number, not true or false (or, in YAML, yes, no, on, off)")
        return value


_Group = TypeVar("_Group", bound=Settings)


def advice(unknown: Iterable[str], known: Collection[str], group: str = "") -> str:
    """What to write for unknown names: a renamed one's new name, else the closest match, and the known names.

    ``group``: the group of these fields, as written in `RENAMED`.
    """
    if renamed := [RENAMED[f"{group}.{name}"] for name in unknown if f"{group}.{name}" in RENAMED]:
        return "; ".join(renamed)
    near = dict.fromkeys(close for name in unknown for close in difflib.get_close_matches(name, known, 1))
    return (f"did you mean {', '.join(near)}? " if near else "") + f"the fields here are {', '.join(known)}"


def validated(kind: type[_Group], values: Any, what: str, where: str) -> _Group:
    """The values as a group. Raises `SettingsError`, which lists every problem on its own line, and where to fix it."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        secret = _group(kind) == SECRET
        problems = "\n".join(f"  {_described(problem, secret)}" for problem in error.errors())
        raise SettingsError(f"{what} cannot be used:\n{problems}\nCorrect {where}.") from None


def merged(base: _Group, changes: Mapping[str, Any], what: str = "", where: str = "the parameters") -> _Group:
    """``base`` with some fields replaced, such as ``{"lora_rank": 4}``; everything is validated again.

    A field of a nested group has a dotted name: ``{"printed.canvas": 224}``. Fields that ``base`` leaves at their
    default still count as defaults. Raises `SettingsError`.
    """
    values = base.model_dump(exclude_unset=True)
    set_fields(type(base), values, changes, where)
    return validated(type(base), values, what or f"the {_group(type(base))} settings", where)


def set_fields(kind: type[Settings], values: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    """Set some fields of a group's plain ``values``, before they are validated.

    A nested group given as a whole only changes the fields that it names.
    """
    for field, value in changes.items():
        inner = _group_at(kind, field)
        with suppress(ValueError):  # validation reports invalid JSON, together with its field
            value = from_text(value, inner)
        if inner is not None and isinstance(value, Mapping):
            set_fields(kind, values, {f"{field}.{name}": one for name, one in value.items()}, where)
        else:
            _replace(values, field, value, where)


def _group(kind: type[Settings]) -> str:
    """A class's name as written in a profile: ``BaseModels`` becomes base_models."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def _group_at(kind: type[Settings] | None, field: str) -> type[Settings] | None:
    """The group that a dotted name refers to; None if it is not a group."""
    for part in field.split("."):
        found = kind.model_fields.get(part) if kind else None
        kind = next(filter(_is_group, _alternatives(found.annotation)), None) if found else None
    return kind


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _alternatives(kind: Any) -> list[Any]:
    """The members of a union, stripped of `Annotated`; for any other type, just that type."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [member for part in get_args(kind) for member in _alternatives(part)]
    return [kind]


def _is_number(kind: Any) -> bool:
    """Whether a field's type is a number, possibly with limits, possibly null, or a list of numbers."""
    return kind in (int, float) or any(_is_number(part) for part in get_args(kind))


def from_text(value: Any, kind: Any) -> Any:
    """Text parsed as a list, a group or None where the field takes one; a single number becomes a list of one.

    Raises ``ValueError`` for text that looks like JSON but is not.
    """
    kinds = {get_origin(one) or one for one in _alternatives(kind)}
    if isinstance(value, int | float) and list in kinds:
        return [value]
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in ("null", "None") and NoneType in kinds:
        return None
    grouped = dict in kinds or any(map(_is_group, kinds))
    if (list in kinds and text.startswith("[")) or (grouped and text.startswith("{")):
        try:
            return from_json(text)
        except ValueError:
            raise ValueError('is not JSON, such as ["a", "b"] or {"a": 1}; a list may also be written a,b') from None
    return [part.strip() for part in text.split(",") if text] if list in kinds else value


def _replace(settings: Any, field: str, value: Any, where: str) -> None:
    *groups, last = field.split(".")
    for group in groups:
        settings = settings.setdefault(group, {})
        if not isinstance(settings, dict):
            received = "" if groups[0] == SECRET else f" ({_SHORT.repr(settings)})"
            raise SettingsError(
                f"cannot set {field}: {group} is a single value{received}, not a group. Correct {where}."
            )
    settings[last] = value


def _described(problem: Any, secret: bool) -> str:
    """One of pydantic's problems, as one line. A whole group is not repeated, as its fields are in the file."""
    field = ".".join(str(part) for part in problem["loc"])
    hidden = secret or isinstance(problem["input"], Mapping) or problem["loc"][:1] == (SECRET,)
    received = "" if hidden else f" = {_SHORT.repr(problem['input'])}"
    return f"{field}{received}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")
