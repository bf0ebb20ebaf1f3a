"""Archives of a store, as `raypeft export` writes them, and as nobody honest does."""

import json
import stat
import zipfile

import pytest

from raypeft.core.errors import ConfigError, DataError, RaypeftError
from raypeft.core.result import Result
from raypeft.store import Store
from raypeft.store.archive import MOST_TIMES

ROW = Result(
    trial_id="0123456789ab", sweep="s", stage="final", method="full", model="m", dataset="d", fraction=1.0,
    seed=0, lr=1e-3, status="done",
)  # fmt: skip


def packed(path, *more: tuple[str | zipfile.ZipInfo, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"busi/ledger/{ROW.trial_id}.json", json.dumps(ROW.to_dict()))
        for name, content in more:
            archive.writestr(name, content)
    return path


def test_an_archive_is_a_store_that_is_called_as_the_archive_and_is_unpacked_once(tmp_path):
    store = Store.open(packed(tmp_path / "busi.zip"))
    assert [row.trial_id for row in store.rows()] == [ROW.trial_id]
    assert (str(store), store.is_archive) == (str(tmp_path / "busi.zip"), True)
    assert Store.open(tmp_path / "busi.zip").path == store.path
    assert not Store(tmp_path).is_archive


def test_an_archive_that_was_replaced_is_read_anew(tmp_path):
    before = Store.open(packed(tmp_path / "busi.zip")).path
    other = json.dumps({**ROW.to_dict(), "trial_id": "other"})
    packed(tmp_path / "busi.zip", ("busi/ledger/other.json", other.encode()))
    assert Store.open(tmp_path / "busi.zip").path != before
    assert len(Store.open(tmp_path / "busi.zip").rows()) == 2


def test_an_archive_that_was_packed_anew_elsewhere_is_read_too(tmp_path):
    path = packed(tmp_path / "Busi.ZIP", ("__MACOSX/busi/._x", b"x"), (".DS_Store", b"x"))
    assert [row.trial_id for row in Store.open(path).rows()] == [ROW.trial_id]


def link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("busi/plan.json")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


EVIL = {
    "up": ("../canary", b"x"),
    "up from within": ("busi/../../canary", b"x"),
    "absolute": ("/canary", b"x"),
    "backslashes": ("busi\\..\\..\\canary", b"x"),
    "a link": (link(), b"/etc/passwd"),
    "a second folder": ("other/plan.json", b"{}"),
}


@pytest.mark.parametrize("entry", EVIL.values(), ids=EVIL)
def test_an_archive_that_leads_elsewhere_is_refused_by_its_path(tmp_path, entry):
    path = tmp_path / "in" / "busi.zip"
    path.parent.mkdir()
    with pytest.raises(ConfigError) as error:
        Store.open(packed(path, entry))
    assert str(error.value).startswith(f"{path}: ")
    assert not list(tmp_path.rglob("canary"))


def test_an_archive_that_explodes_is_refused(tmp_path):
    bomb = packed(tmp_path / "busi.zip", ("busi/plan.json", b"\0" * 2**24))
    with pytest.raises(ConfigError, match=f"more than {MOST_TIMES} times its size"):
        Store.open(bomb)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    """One bit of the first row is another; the directory at the end is whole."""
    place = content.index(b".json") + 40
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda content: b"", lambda content: b"no archive"])
def test_a_damaged_archive_is_told_by_its_path(tmp_path, damage):
    path = packed(tmp_path / "busi.zip")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as error:
        Store.open(path)
    assert str(error.value).startswith(f"{path}: a damaged archive")


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["notes/a.txt"]])
def test_an_archive_of_something_else_holds_no_store(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    with pytest.raises(RaypeftError, match=r"a\.zip"):
        Store.open(tmp_path / "a.zip")
