"""The short set: one sweep that one fault after another befalls; the other files try each by itself."""

import signal

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]


@pytest.mark.fault(
    row=50,
    expected="killed worker, second driver, SIGTERM, killed driver, damage, moved store, no MLflow: no loss",
)
def test_one_fault_after_another(sweeps, look, mlflow_server, seen):
    nowhere = ("--tracking-uri", mlflow_server.uri)  # nobody listens there yet
    run = sweeps.start(None, *nowhere, faults="slow:0.02")
    run.until(lambda: look.saved(run.store))
    run.worker().kill()
    code, talk = sweeps.start(run.store).end()
    assert code == 6, talk
    assert f"is in use by pid {run.process.pid}" in talk
    run.until(lambda: look.events(run.store, "retry") and look.saved(run.store))
    run.process.send_signal(signal.SIGTERM)
    code, talk = run.end()
    assert code == 143, talk
    assert "worker died" in talk
    assert "warning: tracking server unreachable" in talk
    left = {event["trial_id"]: event["step"] for event in look.events(run.store, "leave")}
    before, num_starts = look.science(run.store), len(look.events(run.store, "start"))

    run = sweeps.start(None, *nowhere, faults="slow:0.02")
    run.until(lambda: len(look.rows(run.store)) > len(before) and len(checkpoints(run.store)) == 2)
    run.kill()
    assert before.items() <= look.science(run.store).items()
    again = {event["trial_id"]: event["step"] for event in look.events(run.store, "start")[num_starts:]}
    assert left.keys() & again.keys()
    assert all(step >= left.get(trial_id, 0) for trial_id, step in again.items()), "not a step is lost"
    older, newest = checkpoints(run.store)
    (newest / "state.safetensors").write_bytes(b"damaged")
    (run.store / "lease.json").write_text("{dama")
    with (run.store / "events.jsonl").open("a") as file:
        file.write('{"event": "sta')

    moved = run.store.rename(sweeps.folder / "elsewhere")
    run = sweeps.start(moved, *nowhere)
    code, talk = run.end()
    assert code == 0, talk
    row = look.rows(moved)[newest.parent.name]
    assert row["resumed_step"] == int(older.name.removeprefix("step-"))
    assert f"checkpoint {newest.name} is damaged" in row["remarks"][0]
    mlflow_server.start()
    assert sweeps.sync(moved, mlflow_server.uri) == "synced 8 runs, 0 already there"
    assert sweeps.sync(moved, mlflow_server.uri) == "synced 0 runs, 8 already there"
    sweeps.check(moved, tracking_uri=mlflow_server.uri)
    seen(
        "exits 6, 143, 137, 0; left at " + ", ".join(map(str, left.values())) + "; one run a trial in MLflow"
    )


def checkpoints(store):
    """Of a trial in flight that has two: the older and the newer."""
    both = (sorted(path.glob("step-*")) for path in (store / "checkpoints").glob("*"))
    return next((found for found in both if len(found) == 2), [])
