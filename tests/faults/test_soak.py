"""Row 50: faults at random on a real sweep, for as long as asked; it must end with the undisturbed table.

    uv run pytest tests/faults/test_soak.py -m "" -s

RAYPEFT_SOAK_MINUTES (20) and RAYPEFT_SOAK_SEED (drawn, printed) choose how long, and what befalls it.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("RAYPEFT_SOAK_MINUTES", "20"))
SEED = int(os.environ.get("RAYPEFT_SOAK_SEED", random.randrange(10**6)))
ENDS = (0, 3, 5, 130, 143, -signal.SIGKILL)
EARLY_ENDS = (
    -signal.SIGTERM,
    -signal.SIGABRT,
)  # before it has begun; in the second in which Ray's core starts


class Chaos:
    """Breaks what runs on one store; `run` is the driver of the moment."""

    def __init__(self, sweeps, look, fill, store, chance):
        self.sweeps, self.look, self.fill, self.store, self.chance = sweeps, look, fill, store, chance
        self.damaged: set[str] = set()  # trials that lost a checkpoint

    def start(self, *options):
        self.ends = (*ENDS, *EARLY_ENDS)
        self.run = self.sweeps.start(self.store, *options, faults=f"slow:{self.chance.choice([0.005, 0.02])}")

    def kill_driver(self):
        self.run.kill()

    def kill_worker(self):
        self.run.worker().kill()

    def kill_raylet(self):
        self.run.child("raylet").kill()

    def stop_by_signal(self):
        self.run.process.send_signal(self.chance.choice([signal.SIGTERM, signal.SIGINT]))

    def stop_by_command(self):
        command = [sys.executable, "-m", "raypeft", "stop", str(self.store)]
        subprocess.run(command, check=False, capture_output=True)  # its driver may have ended meanwhile

    def damage_checkpoint(self):
        path = self.chance.choice(sorted((self.store / "checkpoints").glob("*/step-*/state.safetensors")))
        with path.open("r+b") as file:
            file.seek(self.chance.randrange(path.stat().st_size))
            file.write(b"\xff\x00\xff")
        self.damaged.add(path.parent.parent.name)

    def cut_history(self):
        with (self.store / "events.jsonl").open("a") as file:
            file.write('{"event": "sta')

    def fill_disk(self):
        filler = self.fill(self.store.parent)
        self.run.process.wait(timeout=300)
        filler.unlink()
        self.ends = (*self.ends, 4)  # a driver that had only begun starts nothing

    def take_over(self):
        """While the first driver stands still another takes its store; then the first goes on, and ends."""
        first = self.run
        first.process.send_signal(signal.SIGSTOP)
        self.start("--take-over")
        holder = f'"pid": {self.run.process.pid},'
        self.run.until(lambda: holder in (self.store / "lease.json").read_text())
        first.process.send_signal(signal.SIGCONT)
        code, talk = first.end()
        assert code in (*ENDS, *EARLY_ENDS, 6), talk


FAULTS = (
    Chaos.kill_driver, Chaos.kill_worker, Chaos.kill_raylet, Chaos.stop_by_signal, Chaos.stop_by_command,
    Chaos.damage_checkpoint, Chaos.cut_history, Chaos.fill_disk, Chaos.take_over,
)  # fmt: skip


def harass(chaos, look, chance, counts):
    """One driver after another from its start to its end, with a fault every few seconds."""
    chaos.start()
    begun = len(look.events(chaos.store, "start"))
    patience = time.monotonic() + chance.choice([0, 120, 120, 120])
    while chaos.run.process.poll() is None and time.monotonic() < patience:
        time.sleep(0.1)  # mostly until a trial has begun
        if len(look.events(chaos.store, "start")) > begun:
            break
    while chaos.run.process.poll() is None:
        time.sleep(chance.uniform(1, 14))
        fault = chance.choice(FAULTS)
        if chaos.run.process.poll() is None and (chaos.store / "events.jsonl").exists():
            try:
                chaos.run.count()
                fault(chaos)
            except (IndexError, FileNotFoundError, psutil.NoSuchProcess):
                continue  # what it was meant for has ended meanwhile
            counts[fault.__name__] += 1
            print(
                f"{time.strftime('%H:%M:%S')} {len(look.rows(chaos.store))} of 8, {fault.__name__}",
                flush=True,
            )
    talk = "" if chaos.run.process.stderr.closed else chaos.run.process.communicate()[1]
    assert chaos.run.process.returncode in chaos.ends, talk


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of its own: needs root")
@pytest.mark.fault(row=50, expected="faults at random: the undisturbed table at the end, every promise kept")
def test_everything_at_random(sweeps, look, disk, fill, seen):
    print(f"\nRAYPEFT_SOAK_SEED={SEED}, {MINUTES:g} minutes")
    sweeps.golden()
    chance, counts, rounds = random.Random(SEED), Counter(), 0
    until = time.monotonic() + 60 * MINUTES
    place = disk("soak", 400)
    while time.monotonic() < until:
        store = place / f"store-{rounds}"
        rounds += 1
        chaos = Chaos(sweeps, look, fill, store, chance)
        committed: dict[str, str] = {}
        reached: dict[str, int] = {}
        while len(look.rows(store)) < 8 and time.monotonic() < until:
            num_events = len(look.events(store, "start"))
            harass(chaos, look, chance, counts)
            assert committed.items() <= look.science(store).items(), "what was committed stays"
            for start in look.events(store, "start")[num_events:]:
                trial_id = start["trial_id"]
                assert trial_id not in committed, "and never runs again"
                if trial_id not in chaos.damaged:
                    assert start["step"] >= reached.get(trial_id, 0), "others go on from their checkpoint"
            committed, reached = look.science(store), look.saved(store)
        sweeps.finish(store)
        shutil.rmtree(store)
    text = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    seen(f"seed {SEED}: {rounds} sweeps, {sum(counts.values())} faults ({text}); the undisturbed table")
