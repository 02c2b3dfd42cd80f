"""The function that a model, or a part of it, computes attention with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def attention(config: Any, name: str) -> Iterator[None]:
    """Within the block, the part of a model with this configuration uses the attention function of that name."""
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before
