"""Rows 2, 11 to 15, 44 and 45: disks that are full, read-only, damaged or moved."""

import json
import os
import shutil
import subprocess
import tempfile

import pytest

pytestmark = pytest.mark.timeout(3600)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems of its own: needs root")


@pytest.mark.ray
@as_root
@pytest.mark.parametrize("all_at_once", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.fault(
    row=11, expected="the disk fills up mid-run: exit 5 once, what is committed stays; resumes"
)
def test_a_disk_that_fills_up(sweeps, look, disk, fill, seen, all_at_once):
    store = disk("small", 200) / "store"
    run = sweeps.start(store, faults="slow:0.02")
    run.until(lambda: len(look.rows(store)) >= 1)
    before = look.science(store)
    if all_at_once:
        filler = fill(store.parent)
    else:  # next to nothing is left, which is seen before a write fails
        filler = store.parent / "filler"
        free = shutil.disk_usage(store).free
        filler.write_bytes(b"\0" * (free - 20 * 2**20))
    code, talk = run.end()
    assert code == 5, talk
    assert talk.count("No space left") == 1
    assert "MiB free" in talk
    assert before.items() <= look.science(store).items()
    assert not list((store / "failed").iterdir()), "no trial is to blame"
    filler.unlink()
    sweeps.finish(store)
    line = next(line for line in talk.splitlines() if "No space left" in line)
    seen(f"exit 5; '{line[:100]}'; resumed, exit 0")


@as_root
@pytest.mark.fault(row=12, expected="the disk is full at the start: exit 4, what is needed and what is free")
def test_a_full_disk_at_the_start(sweeps, cli, disk, seen):
    code, _, talk = cli("run", sweeps.sweep, "--store", disk("tiny", 8) / "store")
    assert code == 4, talk
    assert "8.0 MiB free, at least 64 MiB are needed" in talk
    seen(f"exit 4; '{talk.splitlines()[0][-80:]}'")


@pytest.mark.ray
@as_root
@pytest.mark.fault(row=12, expected="the disk is too small for what is to come: exit 4 before any trial")
def test_a_disk_too_small_for_what_is_to_come(sweeps, cli, disk, seen):
    store = disk("narrow", 150) / "store"
    options = ("--models", "efficientnet_lite0", "--methods", "full", "--image-size", 40)
    code, _, talk = cli("run", sweeps.sweep, "--store", store, *options)
    assert code == 4, talk
    # 3,371,008 numbers of the backbone and 10 x 1,281 of the head; 4 bytes, 4 moments, 3 copies.
    assert "154.9 MiB for checkpoints" in talk
    assert not list((store / "ledger").glob("*.json"))
    seen(f"exit 4; '{talk.splitlines()[0][-110:]}'")


@as_root
@pytest.mark.fault(row=13, expected="the store is read-only at the start: exit 4, not writable")
def test_a_read_only_disk_at_the_start(sweeps, cli, disk, seen):
    path = disk("fixed", 100)
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    code, _, talk = cli("run", sweeps.sweep, "--store", path / "store")
    assert code == 4, talk
    assert "is not writable (Read-only file system)" in talk
    seen(f"exit 4; '{talk.splitlines()[0][-110:]}'")


@pytest.mark.ray
@pytest.mark.slow
@as_root
@pytest.mark.fault(row=14, expected="the disk becomes read-only mid-run: exit 5, told once; resumes")
def test_a_disk_that_becomes_read_only(sweeps, look, disk, seen):
    path = disk("fixing", 300)
    run = sweeps.start(path / "store", faults="slow:0.02")
    run.until(lambda: len(look.rows(run.store)) >= 1)
    before = look.science(run.store)
    # A mount that is read-only already, laid over it at once: open files would hold up a remount.
    aside = path.with_name("aside")
    aside.mkdir()
    for command in (
        ("mount", "--bind", path, aside),
        ("mount", "-o", "remount,ro,bind", aside),
        ("mount", "--bind", aside, path),
        ("umount", aside),
    ):
        subprocess.run(list(map(str, command)), check=True)
    code, talk = run.end()
    assert code == 5, talk
    assert talk.count("raypeft: error:") == 1
    assert "Read-only file system" in talk
    subprocess.run(["umount", "-l", str(path)], check=True)
    assert before.items() <= look.science(run.store).items()
    sweeps.finish(run.store)
    seen("exit 5; 'Read-only file system', one error; resumed, exit 0")


@pytest.mark.ray
@pytest.mark.slow
@as_root
@pytest.mark.fault(row=15, expected="Ray's temporary folder fills up: exit 5, names it and TMPDIR; resumes")
def test_ray_s_temporary_folder_fills_up(sweeps, look, disk, fill, seen):
    temporary = disk(tempfile.mkdtemp(dir="/tmp"), 300)  # short: sockets have short names
    run = sweeps.start(faults="slow:0.02", TMPDIR=str(temporary))
    run.until(lambda: len(look.rows(run.store)) >= 1)
    fill(temporary)
    code, talk = run.end()
    assert code == 5, talk
    assert "TMPDIR" in talk
    sweeps.finish()
    seen("exit 5; 'Ray's temporary folder (choose another with TMPDIR)'; resumed, exit 0")


@pytest.mark.slow
@pytest.mark.fault(row=15, expected="a temporary folder whose name is too long for sockets: exit 4, TMPDIR")
def test_a_temporary_folder_with_a_long_name(sweeps, seen):
    long = sweeps.folder / ("long" * 20)
    long.mkdir()
    code, talk = sweeps.start(TMPDIR=str(long)).end()
    assert code == 4, talk
    assert "choose a shorter TMPDIR" in talk
    seen("exit 4; 'Ray does not start: ... choose a shorter TMPDIR'")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.fault(
    row=44, expected="newest checkpoint, lease and last event damaged: the checkpoint before; exit 0"
)
@pytest.mark.fault(
    row=45, expected="the store is moved: resumes there, exit 0; no absolute path decides anything"
)
def test_damage_and_a_moved_store(sweeps, look, seen):
    run = sweeps.start(faults="slow:0.01")
    run.until(lambda: any(len(list(path.iterdir())) == 2 for path in (run.store / "checkpoints").glob("*")))
    run.kill()
    folder = next(path for path in (run.store / "checkpoints").glob("*") if len(list(path.iterdir())) >= 2)
    older, newest = sorted(folder.glob("step-*"))[-2:]
    (newest / "state.safetensors").write_bytes(b"damaged")
    (run.store / "lease.json").write_text("{dama")
    with (run.store / "events.jsonl").open("a") as file:
        file.write('{"event": "sta')
    moved = run.store.rename(sweeps.folder / "elsewhere")
    for path in moved.glob("mlflow*"):  # the copy names where its artifacts lie; it is written anew
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    sweeps.finish(moved)
    row = look.rows(moved)[folder.name]
    assert row["resumed_step"] == int(older.name.removeprefix("step-"))
    assert f"checkpoint {newest.name} is damaged" in row["remarks"][0]
    seen(f"exit 0; '{row['remarks'][0]}'; store moved before")


@pytest.mark.fault(row=44, expected="plan.json damaged: exit 7, and how to restore it from plan.bak")
def test_a_damaged_plan(sweeps, cli, seen):
    store = sweeps.folder / "store"
    arguments = ("run", sweeps.sweep, "--store", store)
    plan = sweeps.write_plan(store)
    plan.write_text(plan.read_text()[:100])
    code, _, talk = cli(*arguments)
    assert code == 7
    assert f"restore it with: cp {store}/plan.bak {store}/plan.json" in talk
    shutil.copy(store / "plan.bak", plan)
    assert json.loads(plan.read_text())["trials"] == 8
    seen("exit 7; 'restore it with: cp plan.bak plan.json'")
