import numpy as np
import pytest
from sklearn.metrics import f1_score

from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.ranking.resample import REPLICATES, Replicates
from raypeft.analysis.read.load import load_results
from raypeft.analysis.read.predictions import PredictionStore, read_predictions
from raypeft.analysis.read.scores import cell_scores
from raypeft.core.errors import StorageError
from raypeft.store import Store

F1 = "test/f1_macro"
LABELS = np.array([0, 1, 0])
PROBABILITIES = np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])


def test_predictions_are_read_as_they_were_stored(write_store, write_predictions):
    store = write_store([])
    write_predictions(store, "abc", LABELS, PROBABILITIES, groups=["p", "q", "p"], sex=["f", "m", "f"])
    found = read_predictions(Store(store).predictions("abc"))
    assert found.units.tolist() == [0, 1, 0]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.predicted.tolist() == [0, 0, 1]  # the first of equals
    assert found.probabilities.tolist() == PROBABILITIES.tolist()
    assert found.classes == ("akiec", "bcc")
    assert found.subgroups == {"sex": ("f", "m", "f")}
    assert read_predictions(Store(store).predictions("none")) is None


def test_a_damaged_file_is_named(write_store, write_predictions):
    store = write_store([])
    write_predictions(store, "abc", LABELS, PROBABILITIES)
    path = store / "predictions" / "abc.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"abc\.parquet: not a table of predictions"):
        read_predictions(Store(store).predictions("abc"))
    write_predictions(store, "abc", np.array([0, 1, 7]), PROBABILITIES)
    with pytest.raises(StorageError, match="labels 0 to 7 of 2 classes"):
        read_predictions(Store(store).predictions("abc"))


def test_runs_on_other_cases_are_not_taken_together(write_store, write_predictions):
    store = write_store([])
    for trial_id, first in (("a", "x"), ("b", "x"), ("c", "y")):
        write_predictions(store, trial_id, LABELS, PROBABILITIES, case_ids=[first, "s", "t"])
    predictions = PredictionStore(Store(store))
    assert len(predictions.of_runs(("a", "b"))) == 2
    assert predictions.of_runs(("a", "c")) is None
    assert predictions.of_runs(("a", "missing")) is None
    assert predictions.of_runs(()) is None
    assert PredictionStore().of_runs(("a",)) is None


def test_scores_of_a_store_follow_from_its_predictions(predicted_store):
    store = predicted_store({"full": 2.0, "linear": 1.0})
    predictions = PredictionStore(Store(store))
    for cell in cell_scores(load_results(store), F1):
        for score, run in zip(cell.scores, predictions.of_runs(cell.trial_ids), strict=True):
            assert f1_score(run.labels, run.predicted, average="macro") == pytest.approx(score)


def test_test_cases_are_drawn_again_where_all_runs_have_predictions(predicted_store):
    store = predicted_store({"full": 2.0, "linear": 1.0})
    (pool,) = pools_of(load_results(store), F1)
    found = Replicates(pool, PredictionStore(Store(store)))
    assert found.levels("digits") == ("seeds", "test cases")
    block = pool.blocks[0]
    assert found.of(block, "full").shape == (REPLICATES,)
    assert found.under_cases(block, "full").std() < found.of(block, "full").std()
    only_seeds = Replicates(pool, PredictionStore())
    assert only_seeds.levels("digits") == ("seeds",)
    assert only_seeds.under_cases(block, "full") is None
    middle = [np.subtract(*np.quantile(one.of(block, "linear"), [0.75, 0.25])) for one in (found, only_seeds)]
    assert middle[0] > middle[1]
    # with one file gone they cannot be
    next((store / "predictions").iterdir()).unlink()
    assert Replicates(pool, PredictionStore(Store(store))).levels("digits") == ("seeds",)


def test_the_same_seed_gives_the_same_replicates_whatever_else_is_in_the_store(predicted_store):
    store = predicted_store({"full": 2.0, "linear": 1.0})
    (pool,) = pools_of(load_results(store), F1)
    one, other = (Replicates(pool, PredictionStore(Store(store))) for _ in range(2))
    for key in pool.cells:
        assert one.of(*key).tolist() == other.of(*key).tolist()


def test_a_published_mean_is_redrawn_from_its_standard_error():
    from raypeft.analysis.published.tables import load_published

    table = load_published()[0]
    (pool,) = pools_of(table.frame, table.metric)
    found = Replicates(pool, PredictionStore())
    drawn = found.of(("resnet50", "breastus", 1.0), "full")  # .72 ± 1.1 points over three seeds
    assert np.median(drawn) == pytest.approx(0.72, abs=0.001)
    # quartiles of Student's t at 2 degrees of freedom: ± 0.8165
    quartile = 0.8165 * 0.011 / np.sqrt(3)
    assert np.quantile(drawn, 0.75) - 0.72 == pytest.approx(quartile, rel=0.1)
