"""Estimate a sweep's speed and the time left, for the live table and for `raypeft status`."""

from collections.abc import Sequence
from datetime import datetime

from raypeft.core.result import Result

RECENT = 20  # trials over which the pace is taken
ENOUGH = 3  # of them, before anything is said


def trials_per_hour(rows: Sequence[Result], *, since: datetime) -> float | None:
    """Return the speed over the last trials committed `since` the driver began; None if they are too few.

    Time in which no driver ran, and Ray's start, do not count.
    """
    ended = sorted(datetime.fromisoformat(row.ended) for row in rows)
    recent = [one for one in ended if one >= since][-RECENT:]
    if len(recent) < ENOUGH:
        return None
    hours = (recent[-1] - recent[0]).total_seconds() / 3600
    return (len(recent) - 1) / hours if hours > 0 else None


def hours_left(rows: Sequence[Result], *, left: int, since: datetime) -> float | None:
    """Return the hours until the `left` trials are committed, at the current pace; None if unknown."""
    pace = trials_per_hour(rows, since=since)
    return left / pace if pace and left else None


def duration(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 8 min, 1 h 6 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def three_digits(number: float) -> str:
    """Return a number as people write it: 4,750, 52.1, 0.52."""
    return f"{float(f'{number:.3g}'):,.10g}"
