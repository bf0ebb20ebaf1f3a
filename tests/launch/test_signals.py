"""Signals while nothing is started yet: a line at once, the exit status of a shell, nothing left behind."""

import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from PIL import Image

from raypeft.launch.signals import Signals

SECONDS = 5.0  # within which a signal is acknowledged
WAITS = """
import sys, time
from raypeft.launch.signals import InterruptedBySignalError, Signals
try:
    with Signals():
        print("up", flush=True)
        time.sleep(4)
except InterruptedBySignalError as error:
    print(error.name, error.exit_code, flush=True)
    sys.exit(error.exit_code)
print("done", flush=True)
"""
CLEANS_UP_FOR_EVER = """
import time
from raypeft.launch.signals import Signals
with Signals():
    try:
        print("up", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep(60)
"""


@pytest.fixture(scope="module")
def large_images(tmp_path_factory):
    """Forty images that take a while each: 36 million pixels, of two greys that differ per file."""
    folder = tmp_path_factory.mktemp("images")
    for label in ("ill", "well"):
        (folder / label).mkdir()
        for number in range(20):
            image = Image.new("L", (6000, 6000), 2 * number + (label == "ill"))
            image.save(folder / label / f"{number}.png", compress_level=1)
    return folder


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_while_images_are_decoded_is_told_at_once_and_leaves_nothing(
    large_images, tmp_path, number, code
):
    cache, told = tmp_path / "cache", tmp_path / "stderr"
    command = [sys.executable, "-m", "raypeft", "data", "prepare", f"folder:{large_images}", "--cache", cache]
    with told.open("wb") as file:
        run = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)
    while not (children := psutil.Process(run.pid).children(recursive=True)) or not list(
        cache.glob("images/.*.tmp")
    ):
        assert run.poll() is None, told.read_text()
        time.sleep(0.1)
    run.send_signal(number)
    sent = time.monotonic()
    while "stopping; Ctrl-C again to stop at once" not in told.read_text():
        assert time.monotonic() - sent < SECONDS
        time.sleep(0.1)
    assert run.wait(timeout=60) == code
    talk = told.read_text()
    assert talk.splitlines()[-1].startswith(f"raypeft: exit {code} ({signal.Signals(number).name})")
    assert "Traceback" not in talk
    assert not [path for path in cache.rglob("*") if path.is_file()], "no lock, no half file"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def start(code: str, *, before: str = "") -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", before + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_the_main_thread_does(number):
    process = start(WAITS)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert out == f"{signal.Signals(number).name} {128 + number}\n"
    assert err == "stopping; Ctrl-C again to stop at once\n"
    assert process.returncode == 128 + number


def test_under_nohup_a_closed_terminal_ends_nothing():
    process = start(WAITS, before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=20) == ("done\n", "")


def test_a_second_signal_ends_at_once_whatever_is_cleaned_up():
    process = start(CLEANS_UP_FOR_EVER)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "second signal: stopping now" in err


def test_a_reader_that_left_does_not_matter_to_a_signal():
    process = start(WAITS)
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "SIGINT 130\n"
    assert process.wait(timeout=20) == 130


def test_in_another_thread_signals_stay_with_whoever_called():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with Signals() as signals:
            signals.install()
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


def test_afterwards_the_handlers_are_those_of_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Signals():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
