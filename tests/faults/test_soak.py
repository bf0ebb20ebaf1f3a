"""Row 50: faults at random on a real sweep, for as long as asked; it must end with the undisturbed table.

    uv run pytest tests/faults/test_soak.py -m "" -s

RAYPEFT_SOAK_MINUTES (20) and RAYPEFT_SOAK_SEED (drawn, printed) choose how long, and what befalls it.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("RAYPEFT_SOAK_MINUTES", "20"))
SEED = int(os.environ.get("RAYPEFT_SOAK_SEED", random.randrange(10**6)))


def kill_driver(run, chance):
    run.kill()


def kill_worker(run, chance):
    run.worker().kill()


def kill_raylet(run, chance):
    run.child("raylet").kill()


def stop_by_signal(run, chance):
    run.process.send_signal(chance.choice([signal.SIGTERM, signal.SIGINT]))


def stop_by_command(run, chance):
    import subprocess
    import sys

    subprocess.run([sys.executable, "-m", "raypeft", "stop", str(run.store)], check=True, capture_output=True)


def damage_checkpoint(run, chance):
    found = sorted((run.store / "checkpoints").glob("*/step-*/state.safetensors"))
    if found:
        path = chance.choice(found)
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(chance.randrange(size))
            file.write(b"\xff\x00\xff")


def cut_history(run, chance):
    path = run.store / "events.jsonl"
    with path.open("a") as file:
        file.write('{"event": "sta')


FAULTS = (
    kill_driver, kill_worker, kill_raylet, stop_by_signal, stop_by_command, damage_checkpoint, cut_history,
)  # fmt: skip


@pytest.mark.fault(row=50, expected="faults at random: the undisturbed table at the end, every promise kept")
def test_everything_at_random(sweeps, look, seen):
    print(f"\nRAYPEFT_SOAK_SEED={SEED}, {MINUTES:g} minutes")
    chance, counts, rounds = random.Random(SEED), Counter(), 0
    until = time.monotonic() + 60 * MINUTES
    while time.monotonic() < until:
        store = sweeps.folder / f"store-{rounds}"
        rounds += 1
        before: dict[str, str] = {}
        while len(look.rows(store)) < 8 and time.monotonic() < until:
            run = sweeps.start(store, faults=f"slow:{chance.choice([0.005, 0.02])}")
            begun, patience = (
                len(look.events(store, "start")),
                time.monotonic() + chance.choice([0, 60, 60, 60]),
            )
            while run.process.poll() is None and time.monotonic() < patience:
                time.sleep(0.1)  # mostly until a trial has begun
                if len(look.events(store, "start")) > begun:
                    break
            while run.process.poll() is None:
                time.sleep(chance.uniform(1, 14))
                fault = chance.choice(FAULTS)
                if run.process.poll() is None and (store / "events.jsonl").exists():
                    try:
                        run.count()
                        fault(run, chance)
                        counts[fault.__name__] += 1
                        print(f"{len(look.rows(store))} of 8, {fault.__name__}")
                    except (IndexError, OSError, psutil.NoSuchProcess):
                        continue  # what it was meant for has ended meanwhile
            talk = "" if run.process.stderr.closed else run.process.communicate()[1]
            # the last two: before it has begun, and in the second in which Ray's core starts
            ends = (0, 3, 5, 130, 143, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGABRT)
            assert run.process.returncode in ends, talk
            assert before.items() <= look.science(store).items(), "what was committed stays"
            before = look.science(store)
        sweeps.finish(store)
        shutil.rmtree(store)
    text = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    seen(f"seed {SEED}: {rounds} sweeps, {sum(counts.values())} faults ({text}); the undisturbed table")
