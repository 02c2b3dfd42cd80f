"""Groups of settings, one module each, so that a notebook depends on the group that it is given and on no other.

`helpers.config.profiles` puts them together. All are frozen and forbid unknown fields: a misspelt setting is an error before
any work, never a default that was silently used. The reason for a value stands beside it in `config/profiles/*.yaml`.
"""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator


def _is_number(kind: Any) -> bool:
    """Whether a field's type is a number, one with a limit, one that may be null, or a list of such."""
    return kind in (int, float) or any(_is_number(part) for part in get_args(kind))


class Settings(BaseModel):
    """A group of settings. Unknown fields are refused with the list of the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def known_fields_only(cls, values: Any) -> Any:
        """Pydantic's own message does not say which fields there are; this one does."""
        if isinstance(values, Mapping) and (unknown := [str(key) for key in values if key not in cls.model_fields]):
            raise ValueError(f"unknown field {', '.join(unknown)}; the fields here are {', '.join(cls.model_fields)}")
        return values

    @field_validator("*", mode="before")
    @classmethod
    def no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """To Python, and so to pydantic, true is a 1: ``epochs: yes`` would train for one epoch."""
        given = value if isinstance(value, list) else [value]
        if any(isinstance(one, bool) for one in given) and _is_number(
            cls.model_fields[str(info.field_name)].annotation
        ):
            raise ValueError("must be a number, not true or false (in YAML also yes, no, on, off)")
        return value
