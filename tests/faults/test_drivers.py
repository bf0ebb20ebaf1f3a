"""Rows 35 to 43 and 46 to 48: two drivers, changed code and clocks, limits of the system, wrong names."""

import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raypeft.store import Store

pytestmark = pytest.mark.timeout(3600)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.fault(
    row=41, expected="two drivers: the second exits 6 and names the first; each trial runs once"
)
@pytest.mark.fault(
    row=42, expected="a stopped driver's store is taken over: it exits 6, its rows stay, no doubles"
)
def test_two_drivers(sweeps, look, seen):
    first = sweeps.start(faults="slow:0.02")
    first.until(lambda: look.saved(first.store))
    code, talk = sweeps.start(first.store).end()
    assert code == 6, talk
    assert f"is in use by pid {first.process.pid} on {socket.gethostname()}" in talk
    assert "--take-over" in talk
    first.until(lambda: len(look.rows(first.store)) >= 1)
    os.kill(first.process.pid, signal.SIGSTOP)
    before = look.science(first.store)
    second = sweeps.start(first.store, "--take-over", faults="slow:0.02")
    second.until(lambda: len(look.rows(first.store)) >= 3)
    os.kill(first.process.pid, signal.SIGCONT)
    code, talk = first.end()
    assert code == 6, talk
    assert "lease lost (epoch 1 < 2)" in talk
    code, told = second.end()
    assert code == 0, told
    sweeps.check(first.store)
    assert before.items() <= look.science(first.store).items()
    commits = [event["trial_id"] for event in look.events(first.store, "commit")]
    assert len(commits) == len(set(commits)) == 8
    seen("second: exit 6; after --take-over the first: exit 6, 'lease lost (epoch 1 < 2)'; 8 commits")


@pytest.mark.fault(row=39, expected="other settings than the rows': exit 7, what differs, nothing lost")
def test_a_changed_plan(sweeps, cli, seen):
    store = sweeps.folder / "store"
    sweeps.write_plan(store)
    sweeps.commit_first(store)
    code, _, talk = cli("run", sweeps.sweep, "--store", store, "--epochs", 7)
    assert code == 7
    assert "holds 1 trial trained otherwise" in talk
    assert "epochs 6 there, 7 asked" in talk
    assert len(Store(store).rows()) == 1
    seen("exit 7; what differs, in three lines")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.fault(row=40, expected="other library versions: a warning, exit 0; with --strict exit 7")
@pytest.mark.fault(row=43, expected="the clock is moved by ten years: the same table; no negative duration")
def test_other_versions_and_another_clock(sweeps, look, seen):
    run = sweeps.start(faults="slow:0.02,clock:315360000")
    run.until(lambda: len(look.rows(run.store)) >= 2)
    run.kill()
    code, talk = sweeps.start(None, "--strict", faults="version:torch").end()
    assert code == 7, talk
    assert "torch: 2." in talk
    assert "-> 0.0.1" in talk
    talk = sweeps.finish(faults="version:torch,clock:-86400")
    assert "warning: results in this store were made with other versions" in talk
    assert all(row["seconds"] > 0 and row["device_seconds"] >= 0 for row in look.rows(run.store).values())
    status = subprocess.run(
        [sys.executable, "-m", "raypeft", "status", str(run.store)], capture_output=True, text=True
    )
    assert status.returncode == 0
    assert "8 of 8 trials committed" in status.stdout
    seen("--strict: exit 7; else a warning, exit 0; clock +10 years, then -1 day: the same table")


@pytest.mark.ray
@pytest.mark.fault(
    row=46, expected="there is no Optuna database: the study is rebuilt from the ledger at each start"
)
def test_no_database_of_a_search(golden, seen):
    store = golden()
    assert not [path for path in store.rglob("*") if "optuna" in path.name.lower()]
    seen("no such file; the next suggestion depends on the ledger alone (tests/launch/test_search.py)")


@pytest.mark.fault(row=47, expected="weights not cached and no network: exit 4, how to fetch them")
def test_no_network(cli, sweeps, monkeypatch, seen):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, _, talk = cli("run", sweeps.sweep, "--models", "vit_base", "--store", sweeps.folder / "s")
    assert code == 4
    assert "vit_base" in talk
    seen(f"exit 4; '{talk.splitlines()[0][:110]}'")


@pytest.mark.fault(row=47, expected="the port of the MLflow UI is taken: exit 2, names --port")
def test_a_taken_port(cli, sweeps, seen):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, talk = cli("ui", sweeps.folder, "--port", taken.getsockname()[1])
    assert code == 2
    assert "--port" in talk
    seen(f"exit 2; '{talk.splitlines()[0][:100]}'")


@pytest.mark.fault(row=48, expected="256 open files allowed: exit 4, names ulimit")
def test_too_few_open_files(sweeps, seen):
    run = subprocess.run(
        [sys.executable, "-m", "raypeft", "run", str(sweeps.sweep), "--store", str(sweeps.folder / "s")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    )
    assert run.returncode == 4, run.stderr
    assert "open-file limit 256 < 4096" in run.stderr
    assert "ulimit -Hn 65536" in run.stderr
    seen("exit 4; 'open-file limit 256 < 4096: ... ulimit -Hn 65536'")


@pytest.mark.fault(row=35, expected="a method that does not fit the model: exit 2, says which it fits")
def test_a_method_that_does_not_fit(cli, sweeps, seen):
    code, _, talk = cli("run", sweeps.sweep, "--methods", "tsa", "--store", sweeps.folder / "s")
    assert code == 2
    assert "'tsa' does not fit model 'vit_nano'" in talk
    seen(f"exit 2; '{talk.splitlines()[1].strip()[:100]}'")


@pytest.mark.parametrize(
    ("option", "name", "meant"),
    [("--methods", "lroa", "lora"), ("--models", "vit_nana", "vit_nano"), ("--datasets", "digit", "digits")],
)
@pytest.mark.fault(row=36, expected="an unknown name: exit 2, and the nearest")
def test_an_unknown_name(cli, sweeps, seen, option, name, meant):
    code, _, talk = cli("run", sweeps.sweep, option, name, "--store", sweeps.folder / "s")
    assert code == 2
    assert f"did you mean '{meant}'" in talk.lower()
    seen(f"exit 2; did you mean '{meant}'")


class Canary:
    """Sings when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.fault(row=37, expected="a text file as weights: exit 4, named")
def test_a_text_file_as_weights(cli, sweeps, seen):
    (sweeps.folder / "w.pth").write_text("not weights")
    model = f"vit_nano(weights='{sweeps.folder / 'w.pth'}', normalize='half')"
    code, _, talk = cli("run", sweeps.sweep, "--models", model, "--store", sweeps.folder / "s")
    assert code == 4
    assert "w.pth: text, not weights" in talk
    seen(f"exit 4; '{talk.splitlines()[0][-100:]}'")


@pytest.mark.parametrize("container", ["pickle", "zip"])
@pytest.mark.fault(row=38, expected="a malicious pickle as weights: exit 4, never run")
def test_a_malicious_pickle_as_weights(cli, sweeps, seen, container):
    weights, canary = sweeps.folder / "w.pth", sweeps.folder / "canary"
    if container == "zip":
        torch.save({"w": Canary(canary)}, weights)
    else:
        weights.write_bytes(pickle.dumps({"w": Canary(canary)}, protocol=2))
    model = f"vit_nano(weights='{weights}', normalize='half')"
    code, _, talk = cli("run", sweeps.sweep, "--models", model, "--store", sweeps.folder / "s")
    assert code == 4
    assert "UnpicklingError" in talk, "refused for what it is, not for a warning"
    assert "never runs pickled code" in talk
    assert not canary.exists()
    torch.load(weights, weights_only=False) if container == "zip" else pickle.loads(weights.read_bytes())
    assert canary.exists(), "the canary does sing"
    seen(f"exit 4; '{talk.splitlines()[0][-100:]}'")


@pytest.mark.fault(row=27, expected="an empty class: exit 4, named with its folder")
def test_an_empty_class(cli, sweeps, seen):
    for name in ("well", "ill"):
        (sweeps.folder / "images" / name).mkdir(parents=True)
    source = f"folder:{sweeps.folder / 'images'}"
    code, _, talk = cli("run", sweeps.sweep, "--datasets", source, "--store", sweeps.folder / "s")
    assert code == 4
    assert "empty folder: ill, well" in talk
    seen("exit 4; empty folder: ill, well")
