"""One reckoning of the time left, by hand."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from raypeft.launch.pace import duration, hours_left, three_digits, trials_per_hour

BEGUN = datetime(2026, 11, 29, 10, tzinfo=UTC)


def rows(*minutes: float) -> list[SimpleNamespace]:
    """Of trials that ended so many minutes after BEGUN; nothing else of them is asked."""
    return [SimpleNamespace(ended=(BEGUN + timedelta(minutes=minute)).isoformat()) for minute in minutes]


def test_the_pace_is_that_of_trials_that_ended_since_the_driver_began():
    assert trials_per_hour(rows(10, 20, 30), since=BEGUN) == pytest.approx(6)
    night = rows(-600, -590, 10, 15, 20)
    assert trials_per_hour(night, since=BEGUN) == pytest.approx(12), "the night counts for nothing"


def test_the_last_twenty_count():
    slow_then_fast = rows(*range(0, 100, 10), *(100 + minute for minute in range(20)))
    assert trials_per_hour(slow_then_fast, since=BEGUN) == pytest.approx(60)


def test_too_few_trials_say_nothing():
    assert trials_per_hour(rows(1, 2), since=BEGUN) is None
    assert hours_left(rows(1, 2), left=5, since=BEGUN) is None
    assert trials_per_hour(rows(1, 1, 1), since=BEGUN) is None


def test_what_is_left_takes_as_long_as_the_pace_says():
    assert hours_left(rows(10, 20, 30), left=3, since=BEGUN) == pytest.approx(0.5)
    assert hours_left(rows(10, 20, 30), left=0, since=BEGUN) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(8, "8 s"), (60, "1 min"), (480, "8 min"), (3960, "1 h 6 min"), (7170, "2 h 0 min")]
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_a_pace_has_three_digits_and_no_exponent():
    assert [three_digits(number) for number in (4753.2, 52.08, 0.5217)] == ["4,750", "52.1", "0.522"]
