"""A lost cluster is told once; a process that was suspended is not taken for one."""

import os
import signal
import subprocess
import sys
import time

CODE = """
import sys, threading, time
import ray
from raypeft.launch.lifeline import Lifeline

told = []
answers = True
ray.nodes = lambda: [{"Alive": True}] if answers else threading.Event().wait()
with Lifeline(told.append, seconds=6):
    print("up", flush=True)
    sys.stdin.readline()
    time.sleep(5)
    print("suspended:", told, flush=True)
    answers = False
    time.sleep(10)
    print("silent:", [str(why).split(": ")[1].split(" for ")[0] for why in told], flush=True)
"""


def test_silence_is_told_once_and_a_suspension_is_no_silence():
    run = subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "up\n"
    time.sleep(3)
    os.kill(run.pid, signal.SIGSTOP)
    time.sleep(12)
    os.kill(run.pid, signal.SIGCONT)
    out, _ = run.communicate("on\n", timeout=60)
    assert out.splitlines() == ["suspended: []", "silent: ['the Ray head (GCS) has not answered']"]
