"""Attempts to start Ray that are called off: at a limit, for a dead raylet, because the sweep is to stop."""

import shutil
import subprocess
import time

import pytest

from raypeft.launch import starting
from raypeft.launch.starting import StoppedWhileStartingError, Supervisor
from raypeft.launch.waits import Wait, Waits


def supervisor(*, stops=lambda: False) -> Supervisor:
    return Supervisor(stops=stops, stuck=lambda error: pytest.fail(str(error)), waits=Waits())


def called_off(*, check=lambda: None, seconds=0.0, limit=90.0, stops=lambda: False) -> Exception:
    """What an attempt that would last for ever ends with."""
    wait = Wait("starting Ray", limit, clock=lambda: seconds)
    with starting._CallingOff(check, wait, supervisor(stops=stops)) as attempt:
        end = time.monotonic() + 10
        while attempt.why is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        with pytest.raises(starting._CalledOffError):
            attempt.get_node("address", "node")  # what Ray asks again and again while it starts
    with pytest.raises(type(attempt.why)):
        attempt.raise_why()
    return attempt.why


def test_an_attempt_ends_at_its_limit():
    assert str(called_off(seconds=91)) == "not up within 90 s"


def test_an_attempt_ends_when_the_sweep_is_to_stop():
    assert isinstance(called_off(stops=lambda: True), StoppedWhileStartingError)


def test_an_attempt_whose_raylet_died_ends_within_ten_seconds(tmp_path):
    program = shutil.copy(shutil.which("sleep"), tmp_path / "raylet")
    raylet, check = subprocess.Popen([program, "60"]), starting._Raylet()
    end = time.monotonic() + 5
    while time.monotonic() < end and not check._was_there:
        check()
        time.sleep(0.1)
    assert check._was_there
    raylet.kill()
    killed = time.monotonic()
    error = called_off(check=check)
    assert time.monotonic() - killed < 10
    assert str(error) == "its raylet ended while it started"
    raylet.wait()


def test_an_attempt_that_ends_well_is_not_called_off():
    with starting._CallingOff(lambda: None, Wait("starting Ray", 90), supervisor()) as attempt:
        time.sleep(1)
    attempt.raise_why()


def test_a_group_with_little_memory_gets_a_small_object_store(monkeypatch):
    assert starting._object_store_bytes() is None, "Ray's own choice where nothing is limited"
    monkeypatch.setattr(starting, "memory_limit", lambda: 2**30)
    assert starting._object_store_bytes() == int(0.3 * 2**30)
    monkeypatch.setattr(starting, "memory_limit", lambda: 2**27)
    assert starting._object_store_bytes() == 80 * 2**20
