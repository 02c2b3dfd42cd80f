"""Shapes and licences of the models that the profiles name, known without a network: ``data/models/shapes.yaml``."""

from functools import cache
from typing import Any

import yaml

from helpers.paths import DATA

LISTED = DATA / "models" / "shapes.yaml"


@cache
def shapes() -> dict[str, dict[str, Any]]:
    """What `LISTED` says, by hub id."""
    listed: dict[str, dict[str, Any]] = yaml.safe_load(LISTED.read_text(encoding="utf-8"))
    return listed
