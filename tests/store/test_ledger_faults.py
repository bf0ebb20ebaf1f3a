"""Ledger and checkpoints on a disk that fails at any call, and forgets what was not synced without power."""

import errno
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from raypeft.core.errors import StorageError, StoreInUseError
from raypeft.core.result import Result
from raypeft.store import Store
from raypeft.store.lease import Lease
from raypeft.store.ledger import Ledger, sweep_up
from raypeft.train.checkpoint import Checkpoints

ROW = Result(
    trial_id="a", sweep="s", stage="final", method="full", model="m", dataset="d", fraction=1.0, seed=0,
    lr=1e-3, status="done", classes=("a", "b"),
)  # fmt: skip


class PowerLostError(BaseException):
    """The process is gone; nothing below it may go on."""


class FaultyDisk:
    """Calls that change the file system, counted; the one that is due fails, or is the process's last.

    Until its folder is synced a name may be lost, and until it is synced a file's bytes: the two things
    that POSIX leaves open.
    """

    CALLS = ("link", "replace", "rename", "fsync", "unlink")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real = {name: getattr(os, name) for name in (*self.CALLS, "open")}
        self.due, self.fault = 0, ""
        self.names: list[tuple[Path, Path, bytes | None]] = []  # folder, changed name, content before
        self.synced: dict[int, int] = {}  # inode -> a descriptor, which keeps other files off the inode
        self.weak: list[Path] = []  # named before they were synced
        for name in self.CALLS:
            setattr(os, name, self._counting(name))

    def close(self) -> None:
        for name in self.CALLS:
            setattr(os, name, self.real[name])
        for descriptor in self.synced.values():
            os.close(descriptor)

    def fail(self, due: int, fault: str) -> None:
        """The call number `due` from now on: a `full` disk, an `io` error, or the `crash` of the process."""
        self.due, self.fault = due, fault

    def _counting(self, name):
        def call(*arguments, **options):
            self.due -= 1
            if self.due == 0:
                if self.fault == "crash":
                    raise PowerLostError
                raise OSError(
                    errno.ENOSPC if self.fault == "full" else errno.EIO, "injected", str(arguments[0])
                )
            return getattr(self, f"_{name}")(*arguments, **options)

        return call

    def _link(self, source, target, **options):
        self.real["link"](source, target, **options)
        self._named(target, None)

    def _replace(self, source, target, **options):
        before = Path(target).read_bytes() if Path(target).is_file() else None
        self.real["replace"](source, target, **options)
        self._named(target, before)

    def _rename(self, source, target, **options):
        self.real["rename"](source, target, **options)
        self._named(target, None)

    def _unlink(self, path, **options):
        if "dir_fd" in options:  # of a folder that goes as a whole
            return self.real["unlink"](path, **options)
        before = Path(path).read_bytes() if Path(path).is_file() else None
        self.real["unlink"](path, **options)
        self._named(path, before)

    def _named(self, path, before) -> None:
        path = Path(path)
        self.names.append((path.parent, path, before))
        files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
        self.weak += [file for file in files if file.stat().st_ino not in self.synced]

    def _fsync(self, descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self.real["fsync"](descriptor)
        if path.is_dir():
            self.names = [one for one in self.names if one[0] != path]
        elif (inode := os.fstat(descriptor).st_ino) not in self.synced:
            self.synced[inode] = os.dup(descriptor)

    def lose_power(self, forgets) -> None:
        """Undo, last first, what was not synced, wherever `forgets` says so."""
        for _, path, before in reversed(self.names):
            if not forgets():
                continue
            if path.is_dir():
                shutil.rmtree(path)
            elif before is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(before)
        for path in self.weak:
            if path.exists() and forgets():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        self.names, self.weak = [], []


@pytest.mark.fault(row=2, expected="the driver dies at any call of a commit: the row is whole or not there")
def test_a_crash_at_every_call_of_a_commit_leaves_the_row_whole_or_none(tmp_path, seen):
    due, finished = 0, False
    while not finished:
        due += 1
        store = tmp_path / str(due)
        Ledger(Store(store))
        disk = FaultyDisk(store)
        try:
            disk.fail(due, "crash")
            Ledger(Store(store), lease=None).commit(ROW)
            finished = True
        except PowerLostError:
            pass
        finally:
            disk.close()
        found = Ledger(Store(store))
        assert len(found) in ((1,) if finished else (0, 1))
        assert all(row == ROW for row in found.rows())
    assert due > 4, "several calls were interrupted"
    seen(f"{due - 1} calls interrupted; each time whole or not there")


@pytest.mark.fault(
    row=2, expected="the power goes at any call of a checkpoint: it, or the one before, is whole"
)
def test_power_lost_at_every_call_of_a_checkpoint_leaves_it_or_the_one_before(tmp_path, seen):
    due, finished, found = 0, False, []
    while not finished:
        due += 1
        folder = tmp_path / str(due)
        Checkpoints(folder, seconds=0).save(1, {"x": torch.full((3,), 1.0)}, {"at": 1})
        disk = FaultyDisk(folder)
        try:
            disk.fail(due, "crash")
            Checkpoints(folder, seconds=0).save(2, {"x": torch.full((3,), 2.0)}, {"at": 2})
            finished = True
        except PowerLostError:
            pass
        finally:
            disk.fail(0, "")
            disk.lose_power(lambda: True)
            disk.close()
        checkpoints = Checkpoints(folder, seconds=0)
        tensors, facts = checkpoints.load()
        assert checkpoints.damaged == []
        assert tensors["x"].tolist() == [facts["at"]] * 3
        found.append(facts["at"])
    assert found[0] == 1
    assert found[-1] == 2
    seen(f"{due - 1} calls interrupted, each time with all that was not synced lost: {found}")


@pytest.mark.parametrize("fault", ["full", "io"])
def test_an_error_at_any_call_of_a_commit_is_a_storage_error_and_the_next_commit_stands(tmp_path, fault):
    for due in range(1, 40):
        store = tmp_path / str(due)
        ledger = Ledger(Store(store))
        disk = FaultyDisk(store)
        told = ""
        try:
            disk.fail(due, fault)
            ledger.commit(ROW)
        except StorageError as error:
            told = str(error)
        finally:
            disk.close()
        if not told:
            break
        assert "injected" in told
        assert Ledger(Store(store)).commit(ROW) == ROW
        assert len(Ledger(Store(store))) == 1
    assert due > 4


class LedgerMachine(RuleBasedStateMachine):
    """Drivers come and go, the disk fails, the power goes: what was committed once stays as it was."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.store = self.root / "store"
        self.store.mkdir()
        self.disk = FaultyDisk(self.store)
        self.committed: dict[str, Result] = {}
        self.fenced: list[Ledger] = []
        self.leases: list[Lease] = []
        self.open()

    def open(self, *, take_over: bool = False) -> None:
        if self.leases and not take_over:
            self.leases[-1].release()
        self.leases.append(Lease(Store(self.store), take_over=take_over))
        self.ledger = Ledger(Store(self.store), lease=self.leases[-1])
        sweep_up(Store(self.store), self.ledger)
        for row in self.ledger.rows():  # seen by a driver, so it counts as done
            self.stands(row)

    @rule(trial=st.sampled_from("abcd"), seed=st.integers(0, 3))
    def commit(self, trial: str, seed: int) -> None:
        row = replace(ROW, trial_id=trial, seed=seed)
        self.stands(self.ledger.commit(row))

    def stands(self, row: Result) -> None:
        """The ledger says so, which it may do first of a row whose commit failed late."""
        assert row == self.committed.setdefault(row.trial_id, row)

    @rule(
        trial=st.sampled_from("abcd"),
        seed=st.integers(0, 3),
        due=st.integers(1, 12),
        fault=st.sampled_from(["full", "io", "crash"]),
        data=st.data(),
    )
    def commit_on_a_bad_day(self, trial: str, seed: int, due: int, fault: str, data) -> None:
        row = replace(ROW, trial_id=trial, seed=seed)
        self.disk.fail(due, fault)
        try:
            self.stands(self.ledger.commit(row))
            self.disk.fail(0, "")
        except StorageError:
            self.disk.fail(0, "")
        except PowerLostError:
            self.disk.fail(0, "")
            self.lose_power(data)

    @rule(data=st.data())
    def lose_power(self, data) -> None:
        self.disk.lose_power(lambda: data.draw(st.booleans()))
        self.open()

    @rule()
    def restart(self) -> None:
        """The process is killed; the machine, and what it has written, stays."""
        self.open()

    @rule()
    def take_over(self) -> None:
        self.fenced.append(self.ledger)
        self.open(take_over=True)

    @rule(trial=st.sampled_from("abcd"))
    def commit_by_a_driver_that_was_taken_over(self, trial: str) -> None:
        for old in self.fenced:
            with pytest.raises(StoreInUseError, match="lease lost"):
                old.commit(replace(ROW, trial_id=trial, seed=9))

    @rule(trial=st.sampled_from("abcd"))
    def fail(self, trial: str) -> None:
        self.ledger.record_failure(replace(ROW, trial_id=trial, status="failed", attempt=1))

    @invariant()
    def what_was_committed_stays(self) -> None:
        found = Ledger(Store(self.store))
        for trial_id, row in self.committed.items():
            assert found[trial_id] == row

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.close()
            for lease in self.leases:
                lease.release()
            shutil.rmtree(self.root)


def test_no_history_of_faults_changes_a_committed_row():
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
