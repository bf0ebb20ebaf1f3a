"""predict, adapter and rerun, as typed, on a store with final runs of two methods."""

import csv
import io
import json
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypeft.core.recipe import Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.datasets import open_dataset
from raypeft.datasets.cache import content_digests
from raypeft.datasets.prepared import case_pseudonyms
from raypeft.launch.plan import make_plan
from raypeft.results import open_results
from raypeft.store import Store
from raypeft.store.ledger import Ledger
from raypeft.train import Context, run_trial

RATES = {"linear": 1e-5, "bitfit": 3e-3}  # the first learns nothing in two epochs


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    draw = np.random.default_rng(0)
    for label, base in (("=dark", 0), ("light", 120)):  # the first is a formula to a spreadsheet
        (folder / label).mkdir(parents=True)
        for number in range(24):
            pixels = draw.integers(base, base + 130, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def store(images, tmp_path_factory):
    found = Store(tmp_path_factory.mktemp("store"))
    sweep = Sweep(
        name="m",
        cells=grid(method=tuple(RATES), model=("vit_nano",), dataset=(f"folder:{images}",)),
        search=Search(trials=1),
        recipe=Recipe(epochs=2, batch_size=8, micro_batch_size=8),
        final_seeds=(0, 1),
    )
    plan = make_plan(sweep, store=found)
    found.write_plan(plan.record())
    ledger = Ledger(found)
    for cell in plan.sweep.cells:
        for seed in (0, 1):
            spec = plan.final_spec(cell, seed=seed, lr=RATES[cell.method])
            ledger.commit(run_trial(spec, Context(store=found, sweep="m"), lambda epoch: None))
    return found


@pytest.fixture(scope="module")
def runs(store, images):
    """(method, seed) -> trial id, and the stored probabilities by file."""
    table = open_dataset(f"folder:{images}")
    files = dict(zip(case_pseudonyms(table, content_digests(table)), map(str, table.paths), strict=True))
    found = {}
    for row in store.rows():
        frame = pq.read_table(store.predictions(row.trial_id)).to_pandas()
        frame.index = [files[case] for case in frame["case_id"]]
        found[row.method, row.seed] = row.trial_id, frame[[f"prob/{name}" for name in row.classes]]
    return found


def table_of(text):
    rows = list(csv.DictReader(io.StringIO(text)))
    return [row["file"] for row in rows], np.array(
        [[float(v) for v in list(row.values())[2:]] for row in rows]
    )


def test_the_first_seed_of_the_method_that_ranks_first_is_taken_and_named(cli, store, runs):
    trial_id, stored = runs["bitfit", 0]
    code, out, talk = cli("predict", store, *stored.index)
    assert code == 0
    assert trial_id in talk
    names, found = table_of(out)
    assert names == list(stored.index)
    np.testing.assert_allclose(found, stored.to_numpy(float), atol=2**-11)
    assert out.splitlines()[0] == "file,predicted,prob/=dark,prob/light"
    assert {line.split(",")[1] for line in out.splitlines()[1:]} <= {"'=dark", "light"}


def test_an_ensemble_is_the_mean_of_the_seeds(cli, store, runs, tmp_path):
    (_, first), (_, second) = runs["linear", 0], runs["linear", 1]
    path = tmp_path / "predictions.csv"
    code, out, _ = cli("predict", store, *first.index, "--method", "linear", "--ensemble", "-o", path)
    assert (code, out) == (0, "")
    mean = (first.to_numpy(float) + second.loc[first.index].to_numpy(float)) / 2
    np.testing.assert_allclose(table_of(path.read_text())[1], mean, atol=2**-11)


def test_an_adapter_is_copied_and_predicts_alone(cli, store, runs, tmp_path):
    trial_id, stored = runs["linear", 1]
    assert cli("adapter", store.path / trial_id, "-o", tmp_path / "mine")[0] == 0
    _, out, _ = cli("predict", tmp_path / "mine", *stored.index)
    np.testing.assert_allclose(table_of(out)[1], stored.to_numpy(float), atol=2**-11)
    code, _, talk = cli("predict", tmp_path / "mine", stored.index[0], "--method", "linear")
    assert code == 2
    assert "store" in talk


def test_what_cannot_be_used_is_named_and_the_exit_status_says_which_kind(cli, store, runs, tmp_path):
    good = runs["linear", 0][1].index[0]
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    code, out, talk = cli("predict", store, good, broken)
    assert (code, out) == (4, "")
    assert str(broken) in talk
    code, out, talk = cli("predict", store, good, broken, "--skip-unreadable")
    assert code == 0
    assert out.splitlines()[2] == f"{broken},,,"
    assert f"skipped: {broken}" in talk.replace("\n", "")
    assert cli("predict", store, good, "--seed", 7)[0] == 2
    assert cli("predict", tmp_path / "absent", good)[0] == 2
    assert cli("adapter", store.path / "0123456789ab", "-o", tmp_path / "new")[0] == 2


def test_a_second_run_of_a_trial_is_equal_or_its_differences_are_named(cli, store, runs, tmp_path):
    trial_id, _ = runs["bitfit", 0]
    before = {path: path.stat().st_mtime_ns for path in store.ledger_folder.iterdir()}
    code, out, _ = cli("rerun", store.path / trial_id, "--json")
    assert (code, json.loads(out)["equal"]) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in store.ledger_folder.iterdir()} == before
    row = json.loads(store.row_file(trial_id).read_text())
    row["metrics"]["test/accuracy"] += 0.25
    other = Store(tmp_path / "other")
    other.ledger_folder.mkdir(parents=True)
    other.cache.symlink_to(store.cache)
    other.row_file(trial_id).write_text(json.dumps(row))
    code, out, _ = cli("rerun", other.path / trial_id, "--json")
    assert code == 3
    assert [one["name"] for one in json.loads(out)["differences"]] == ["test/accuracy"]


def test_a_notebook_loads_the_model_that_ranks_first(store, runs):
    trial_id, stored = runs["bitfit", 0]
    model = open_results(store.path).load_model()
    assert model.trial.trial_id == trial_id
    found = model.predict(list(stored.index))
    np.testing.assert_allclose(found[stored.columns].to_numpy(), stored.to_numpy(np.float32), atol=2**-11)
    assert open_results(store.path).load_model(method="linear", seed=1).trial.trial_id == runs["linear", 1][0]


def test_what_was_exported_is_verified_and_predicts_with_the_adapters_in_it(cli, store, runs, tmp_path):
    problems = json.loads(cli("verify", store, "--json")[1])  # no search ran in it
    assert cli("export", store, "-o", tmp_path / "busi.zip", "--adapters", "bitfit")[0] == 0
    with zipfile.ZipFile(tmp_path / "busi.zip") as archive:
        archive.extractall(tmp_path)
    _, stored = runs["bitfit", 1]
    for copy in (tmp_path / "busi", tmp_path / "busi.zip"):
        assert json.loads(cli("verify", copy, "--json")[1]) == problems
        _, out, _ = cli("predict", copy, *stored.index, "--seed", 1)
        np.testing.assert_allclose(table_of(out)[1], stored.to_numpy(float), atol=2**-11)
        code, _, err = cli("predict", copy, *stored.index, "--method", "linear")
        assert (code, f"in {copy}; " in err.replace("\n", " ")) == (2, True)
    assert len(open_results(store.path, tmp_path / "busi.zip").trials) == len(store.rows())
    (tmp_path / "busi" / "adapters" / runs["bitfit", 0][0] / "raypeft.json").write_text("{}")
    (new,) = set(json.loads(cli("verify", tmp_path / "busi", "--json")[1])) - set(problems)
    assert runs["bitfit", 0][0] in new
