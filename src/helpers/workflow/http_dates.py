"""Dates as servers send them in their answers' headers."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def seconds_until(date: str) -> float | None:
    """How long it is until then, 0 if it is past; None if that is no date (the form is that of RFC 9110, 5.6.7)."""
    try:
        return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):  # the last: a year that no calendar has
        return None
