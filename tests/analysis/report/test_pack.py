"""What one hands to a colleague: whole enough to be read as a store, and without places, images or caches."""

import json
import zipfile

import pytest

from raypeft.analysis.report.pack import pack_store
from raypeft.core.errors import ConfigError
from raypeft.results import open_results
from raypeft.store import Store

SKILLS = {"full": 1.0, "linear": 0.5, "lora": 1.5}


@pytest.fixture
def store(predicted_store):
    """With what an export holds, and what it must not hold."""
    found = predicted_store(SKILLS)
    for row in Store(found).rows():
        folder = found / "adapters" / row.trial_id
        folder.mkdir(parents=True)
        (folder / "raypeft.json").write_text(row.method)
    for name in ("cache/images.arrow", "checkpoints/a/b", "samples/a.png", "mlflow.db", "predictions/.a.tmp"):
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text("x")
    return found


def unpacked(path, folder):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder / path.stem


def test_every_command_that_reads_a_store_says_the_same_of_what_was_packed(store, tmp_path, cli):
    code, out, _ = cli("export", store, "-o", tmp_path / "busi.zip")
    assert (code, out.strip()) == (0, str(tmp_path / "busi.zip"))
    folder = unpacked(tmp_path / "busi.zip", tmp_path / "there")
    for copy in (folder, tmp_path / "busi.zip"):
        for command in (["rank"], ["table"], ["table", "--parameters"], ["recommend", "--images", 100]):
            name, *options = command
            assert cli(name, copy, *options, "--json")[:2] == cli(name, store, *options, "--json")[:2]
        assert said_of(copy, cli("status", copy, "--json")) == said_of(store, cli("status", store, "--json"))
        assert cli("report", copy, "-o", tmp_path / "again.html")[0] == 0
        ours, theirs = (open_results(one).trials.drop(columns="store") for one in (store, copy))
        assert ours.equals(theirs)


def said_of(store, told):
    """The facts of `status --json` without the store's name."""
    code, out, _ = told
    found = json.loads(out)
    assert found.pop("store") == str(store)
    return code, found


def test_the_report_on_an_archive_is_written_where_one_says(store, tmp_path, cli):
    assert cli("export", store, "-o", tmp_path / "busi.zip")[0] == 0
    code, _, err = cli("report", tmp_path / "busi.zip")
    assert (code, "-o FILE" in err) == (2, True)
    assert cli("export", store, "-o", tmp_path / "busi.tar")[0] == 2


def test_a_package_holds_report_tables_ledger_and_predictions_and_the_adapters_asked_for(store, tmp_path):
    names = pack_store(Store(store), tmp_path / "busi.zip", methods=["lora"])
    copy = unpacked(tmp_path / "busi.zip", tmp_path / "there")
    assert {name.split("/")[1] for name in names} == {
        "ledger", "predictions", "plan.json", "plan.bak", "package.json", "report.html", "tables", "adapters",
    }  # fmt: skip
    assert {path.suffix for path in (copy / "tables").iterdir()} == {".csv"}
    assert [path.read_text() for path in (copy / "adapters").glob("*/raypeft.json")] == ["lora"] * 3
    assert not [name for name in names if name.endswith((".png", ".arrow", ".tmp"))]


def test_where_data_and_store_lie_is_not_told_and_equal_stores_give_equal_bytes(store, tmp_path):
    for number in range(2):
        pack_store(Store(store), tmp_path / f"{number}" / "busi.zip")
    first, second = (tmp_path / f"{number}" / "busi.zip" for number in range(2))
    assert first.read_bytes() == second.read_bytes()
    copy = unpacked(first, tmp_path / "there")
    for path in (copy / "plan.json", copy / "report.html"):
        assert "/home/someone" not in path.read_text()
        assert "/tmp" not in path.read_text()


def test_nothing_is_replaced_and_a_method_that_was_not_run_is_named(store, tmp_path):
    (tmp_path / "there.zip").write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        pack_store(Store(store), tmp_path / "there.zip")
    assert (tmp_path / "there.zip").read_text() == "mine"
    with pytest.raises(ConfigError, match=r"--adapters tsa.*full, linear, lora"):
        pack_store(Store(store), tmp_path / "busi.zip", methods=["tsa"])
    with pytest.raises(ConfigError):
        pack_store(Store(tmp_path / "absent"), tmp_path / "busi.zip")
