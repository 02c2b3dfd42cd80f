"""Idefics3 and SmolVLM (arXiv 2408.12637): tiles on the second axis, as a sample may have several images."""

from dataclasses import replace

from helpers.models.family import Family


def as_idefics3(family: Family) -> Family:
    """1 x tiles x colours x height x width: the tiles of several samples are joined along the second axis."""
    return replace(family, tiles_axis=1)
