"""Groups of settings, one module each, so that a notebook depends on the group that it is given and on no other.

`helpers.profiles` puts them together. All are frozen and forbid unknown fields: a misspelt setting is an error before
any work, never a default that was silently used. The reason for a value stands beside it in `profiles/*.yaml`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """A group of settings. Unknown fields are refused with the list of the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def known_fields_only(cls, values: Any) -> Any:
        """Pydantic's own message does not say which fields there are; this one does."""
        if isinstance(values, Mapping) and (unknown := [str(key) for key in values if key not in cls.model_fields]):
            raise ValueError(f"unknown field {', '.join(unknown)}; the fields here are {', '.join(cls.model_fields)}")
        return values
