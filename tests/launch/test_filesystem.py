"""Stores on file systems and of users that cannot take what a sweep writes: known before the first trial."""

import errno
import fcntl
import os
import re
import stat

import pytest

from raypeft.core.errors import PreflightError
from raypeft.launch.doctor import examine
from raypeft.launch.filesystem import unfit
from raypeft.launch.preflight import check_store
from raypeft.store import Store

SWEEP = """
from raypeft.core.spec import Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="tiny",
    cells=grid(method=("linear",), model=("vit_nano",), dataset=("digits",), fraction=(0.1,)),
    search=Search(trials=1),
    recipe=Recipe(epochs=1),
)
"""


def refuse(number: int):
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def no_links(monkeypatch) -> None:
    """exFAT, and folders of Google Drive."""
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))


def no_locks(monkeypatch) -> None:
    """Lustre without -o flock."""
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOSYS))


def idle_locks(monkeypatch) -> None:
    """NFS with nolock, on two machines."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)


def no_folder_sync(monkeypatch) -> None:
    """Some of FUSE."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


UNFIT = [
    (no_links, "hard links, by which a trial is committed once (Operation not permitted)"),
    (no_locks, "locks (flock), by which one driver holds a store (Function not implemented)"),
    (idle_locks, "locks (flock), by which one driver holds a store (locks do not lock)"),
    (no_folder_sync, "fsync of a folder, by which a committed trial outlives a crash (Invalid argument)"),
]


@pytest.mark.parametrize(("lacks", "words"), UNFIT, ids=[lacks.__name__ for lacks, _ in UNFIT])
def test_a_file_system_that_cannot_hold_a_store_is_refused_before_anything_and_by_doctor(
    cli, tmp_path, monkeypatch, lacks, words
):
    (tmp_path / "tiny.py").write_text(SWEEP)
    store = tmp_path / "store"
    lacks(monkeypatch)
    for command in (("run",), ("run", "--dry-run"), ("plan",)):
        code, _, err = cli(*command, tmp_path / "tiny.py", "--store", store)
        assert (code, words in err, "choose with store= (--store) a folder on a local disk" in err) == (
            4,
            True,
            True,
        ), err
    assert [path.name for path in store.iterdir()] == []
    found = [finding for finding in examine(store, tracking_uri=None, port=0) if finding.level == "FAIL"]
    assert any(words in finding.what and "--store" in finding.fix for finding in found)


def test_the_temporary_folder_needs_locks_alone(tmp_path, monkeypatch):
    no_links(monkeypatch)
    asked = {"with_option": "TMPDIR", "tries": ("locks",)}
    assert [*unfit("temporary folder", tmp_path, **asked)] == []
    no_locks(monkeypatch)
    (problem,) = unfit("temporary folder", tmp_path, **asked)
    assert "choose with TMPDIR" in problem


def test_a_store_with_files_of_another_user_is_refused_and_says_whose(open_folder, another_user):
    store = open_folder / "store"
    folders = [store, *(store / name for name in ("ledger", "checkpoints", "checkpoints/abc"))]
    files = [store / name for name in ("lease.json", "mlflow.db")]
    for path in folders:
        path.mkdir()
        path.chmod(0o777)
    for path in files:
        path.write_text("{}")
        path.chmod(0o666)
    with another_user():
        check_store(Store(store))
    for path in (*folders[1:], *files):
        before = path.stat().st_mode
        path.chmod(0o555)
        told = re.escape(f"{path} belongs to user root, and this user may not write to it")
        with another_user(), pytest.raises(PreflightError, match=told):
            check_store(Store(store))
        path.chmod(before)
