"""Groups of settings, one module each, so that a notebook depends on the group that it is given and on no other.

`helpers.config.profiles` puts them together. All are frozen and forbid unknown fields: a misspelt setting is an error
before any work, never a default that was silently used. A field's default is the demo's value where it has one; its
description says what it means and why. `config/profiles/*.yaml` names what differs, with the reason beside it.

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

Dtype = Literal["float32", "bfloat16"]  # of computation
RENAMED = {  # group.field that there was once: its new name, or what to do
    "jobs.keep_model": "kept kernels are gone; leave it out",
}
SECRET = "writer"  # the group whose values no message repeats: a key may have been put there by mistake
_SHORT = reprlib.Repr()  # a value in a message: cut in depth and length, as a file can hold anything
_SHORT.maxlist, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlevel = 5, 200, 200, 2


class SettingsError(ValueError):
    """Settings that cannot be used; the message names the field, the value received, the rule and the remedy."""


class Settings(BaseModel):
    """A group of settings. Unknown fields are refused with the list of the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def known_fields_only(cls, values: Any) -> Any:
        """Pydantic's own message does not say which fields there are; this one does."""
        if isinstance(values, Mapping) and (unknown := [str(key) for key in values if key not in cls.model_fields]):
            raise ValueError(f"unknown field {', '.join(unknown)}; {advice(unknown, cls.model_fields, _group(cls))}")
        return values

    @field_validator("*", mode="before")
    @classmethod
    def as_the_field_needs_it(cls, value: Any, info: ValidationInfo) -> Any:
        """Text is read by the field's kind, and a switch is no number.

        To Python, and so to pydantic, true is a 1: ``epochs: yes`` would train for one epoch.
        """
        kind = cls.model_fields[str(info.field_name)].annotation
        value = _from_text(value, kind)
        given = value if isinstance(value, list) else [value]
        if any(isinstance(one, bool) for one in given) and _is_number(kind):
            raise ValueError("must be a number, not true or false (in YAML also yes, no, on, off)")
        return value


_Group = TypeVar("_Group", bound=Settings)


def advice(unknown: Iterable[str], known: Collection[str], group: str = "") -> str:
    """What to write in place of unknown names: what a renamed one is called now, else the closest, and all that exist.

    ``group``: whose fields they are, as in the table of renamed settings.
    """
    if renamed := [RENAMED[f"{group}.{name}"] for name in unknown if f"{group}.{name}" in RENAMED]:
        return "; ".join(renamed)
    near = dict.fromkeys(close for name in unknown for close in difflib.get_close_matches(name, known, 1))
    return (f"did you mean {', '.join(near)}? " if near else "") + f"the fields here are {', '.join(known)}"


def validated(kind: type[_Group], values: Any, what: str, where: str) -> _Group:
    """The values as a group. Raises `SettingsError`: what cannot be used, a line per problem, where to correct it."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        secret = _group(kind) == SECRET
        problems = "\n".join(f"  {_described(problem, secret)}" for problem in error.errors())
        raise SettingsError(f"{what} cannot be used:\n{problems}\nCorrect {where}.") from None


def merged(base: _Group, changes: Mapping[str, Any], what: str = "", where: str = "the parameters") -> _Group:
    """``base`` with some fields replaced, such as ``{"lora_rank": 4}``, all checked again.

    A field of a group inside has a dotted name: ``{"printed.canvas": 224}``. What ``base`` has by default counts as a
    default still. Raises `SettingsError`.
    """
    values = base.model_dump(exclude_unset=True)
    set_fields(type(base), values, changes, where)
    return validated(type(base), values, what or f"the {_group(type(base))} settings", where)


def set_fields(kind: type[Settings], values: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    """Set some fields of a group's plain ``values``, before they are checked.

    A group given as a whole leaves those of its fields as they are that it does not name.
    """
    for field, value in changes.items():
        inner = _group_at(kind, field)
        with suppress(ValueError):  # what is no JSON is named with its field when all are checked
            value = _from_text(value, inner)
        if inner is not None and isinstance(value, Mapping):
            set_fields(kind, values, {f"{field}.{name}": one for name, one in value.items()}, where)
        else:
            _replace(values, field, value, where)


def _group(kind: type[Settings]) -> str:
    """A class's name as a profile writes it: ``BaseModels`` is base_models."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def _group_at(kind: type[Settings] | None, field: str) -> type[Settings] | None:
    """The group that a dotted name stands for, if it is one."""
    for part in field.split("."):
        found = kind.model_fields.get(part) if kind else None
        kind = next(filter(_is_group, _alternatives(found.annotation)), None) if found else None
    return kind


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _alternatives(kind: Any) -> list[Any]:
    """The members of a union, without what `Annotated` adds to them; of any other kind that kind alone."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [member for part in get_args(kind) for member in _alternatives(part)]
    return [kind]


def _is_number(kind: Any) -> bool:
    """Whether a field's type is a number, one with a limit, one that may be null, or a list of such."""
    return kind in (int, float) or any(_is_number(part) for part in get_args(kind))


def _from_text(value: Any, kind: Any) -> Any:
    """Text as a list, a group or nothing, where the field takes one; a single number as a list of one.

    Raises ``ValueError`` for text that begins like JSON and is none.
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
            raise ValueError('is not JSON, such as ["a", "b"] or {"a": 1}; a list can also be written a,b') from None
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
    """One of pydantic's problems in a line. A whole group is not repeated, as its fields are in the file."""
    field = ".".join(str(part) for part in problem["loc"])
    hidden = secret or isinstance(problem["input"], Mapping) or problem["loc"][:1] == (SECRET,)
    received = "" if hidden else f" = {_SHORT.repr(problem['input'])}"
    return f"{field}{received}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")
