"""Dates in HTTP response headers."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def seconds_until(date: str) -> float | None:
    """Seconds until the date, 0 if it has passed; None if it is not a date in the format of RFC 9110, 5.6.7."""
    try:
        return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):  # OverflowError: a year outside the calendar
        return None
