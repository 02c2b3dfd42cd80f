"""The pause that a server asks for."""

from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(value: str) -> float | None:
    """Seconds to wait by a Retry-After header, a number or a date (RFC 9110, 10.2.3); None if it is neither."""
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(TypeError, ValueError, OverflowError):  # the last: a year that no calendar has
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None
