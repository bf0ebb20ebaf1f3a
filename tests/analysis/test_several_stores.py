"""Several stores read as one: equal cells are compared, equal trials count once, contradictions are named."""

import json
from dataclasses import replace

import pytest

from raypeft.analysis.read.predictions import PredictionStore
from raypeft.analysis.study import open_study
from raypeft.core.errors import ConfigError, PlanDiffersError
from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Cell, LogUniform, Preprocessing, Search, Sweep, TrialSpec
from raypeft.results import open_results, rank
from raypeft.store import Store
from raypeft.store.ledger import Ledger
from raypeft.store.plan import DataRecord, PlannedCell, PlanRecord

RATES = (1e-3, 1e-2, 1e-4)  # of candidates 0, 1, 2
VAL = (0.7, 0.6, 0.8)  # their scores: of two candidates the first is best, of three the last
SCORES = {"full": 0.8, "linear": 0.5, "lora": 0.9}  # of seed 0; each further seed scores 0.01 more
TIMES = {"started": "2026-11-20T10:00:00.000+00:00", "ended": "2026-11-20T10:00:02.000+00:00"}
PLAIN = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear")


def final_score(method: str, seed: int) -> float:
    return round(SCORES[method] + 0.01 * seed, 2)


@pytest.fixture
def build(tmp_path):
    """build(name, methods=..., ...) -> a store of a finished sweep, its rows as the engine writes them."""

    def write(
        name: str,
        *,
        methods: tuple[str, ...] = ("full", "linear"),
        model: str = "vit_nano",
        seeds: tuple[int, ...] = (0, 1),
        candidates: int = 2,
        epochs: int = 9,
        search: Search | None = None,
        **spec: object,
    ) -> str:
        path = tmp_path / name
        sweep = Sweep(
            name=f"sweep-{name}",
            cells=tuple(Cell(method=method, model=model, dataset="digits") for method in methods),
            search=search or Search(trials=candidates, lr=LogUniform(low=1e-5, high=1e-1)),
            recipe=Recipe(epochs=epochs),
            final_seeds=seeds,
        )
        common = {
            "recipe": sweep.recipe, "preprocessing": PLAIN, "split": "grouped", "split_seed": 0,
            "weights_digest": "weights", "data_digest": "images",
        } | spec  # fmt: skip
        ledger = Ledger(Store(path))
        Store(path).ledger_folder.mkdir(parents=True)
        for cell in sweep.cells:
            for number in range(candidates):
                one = TrialSpec(
                    cell=cell, stage="search", seed=1000, lr=RATES[number], search=sweep.search,
                    candidate=number, **common,
                )  # fmt: skip
                score = {"val/f1_macro": VAL[number]}
                ledger.commit(Result.of(one, sweep=sweep.name, status="done", metrics=score, **TIMES))
            for seed in seeds:
                one = TrialSpec(
                    cell=cell, stage="final", seed=seed, lr=RATES[2 if candidates == 3 else 0], **common
                )
                score = {"test/f1_macro": final_score(cell.method, seed)}
                ledger.commit(Result.of(one, sweep=sweep.name, status="done", metrics=score, **TIMES))
        Store(path).write_plan(
            PlanRecord(
                sweep=sweep,
                cells=tuple(
                    PlannedCell(cell=cell, candidates=candidates, final_seeds=seeds) for cell in sweep.cells
                ),
                weights_digests={model: "weights"},
                data_digests={"digits": "images"},
                data={
                    "digits": DataRecord(
                        split="grouped", images={"train": 9, "val": 3, "test": 3}, subsets=()
                    )
                },
            )
        )
        return str(path)

    return write


def trial_of(store: str, **wanted: object) -> Result:
    """The one row with these columns."""
    (found,) = [
        row
        for row in Store(store).rows()
        if all(getattr(row, name) == value for name, value in wanted.items())
    ]
    return found


def test_methods_of_two_stores_are_ranked_against_each_other_and_each_row_says_where_it_lies(build):
    one, other = build("one"), build("other", methods=("lora",))
    table = rank(one, other).table.set_index("method")
    assert list(table.index) == ["lora", "full", "linear"]
    assert table.loc["lora", "mean_score"] == pytest.approx((0.9 + 0.91) / 2)
    trials = open_results(one, other).trials
    assert dict(trials.groupby("method")["store"].unique().map(list)) == {
        "full": [one], "linear": [one], "lora": [other],
    }  # fmt: skip
    assert "Sources: one (8 trials), other (4 trials)." in rank(one, other).summary.splitlines()


def test_a_trial_that_lies_in_both_counts_once_and_seeds_of_equal_settings_are_pooled(build):
    one, other = (
        build("one", methods=("full",), seeds=(0, 1)),
        build("other", methods=("full",), seeds=(1, 2)),
    )
    trials = open_results(one, other).trials
    assert len(trials) == 2 + 3
    assert sorted(trials.loc[trials["stage"] == "final", "seed"]) == [0, 1, 2]
    (method,) = rank(one, other).table.itertuples()
    assert method.mean_score == pytest.approx((0.8 + 0.81 + 0.82) / 3)
    (study,) = open_study(one, other)
    assert "other (4 trials, 3 of them counted before)" in study.read.describe()


def test_one_store_twice_says_what_it_says_once(build):
    one = build("one")
    assert rank(one, one).table.equals(rank(one).table)


def test_a_failure_gives_way_to_the_row_that_another_store_committed(build):
    one, other = build("one"), build("other")
    row = trial_of(one, method="full", stage="final", seed=1)
    Store(one).row_file(row.trial_id).unlink()
    Store(one).failures_folder.mkdir()
    failed = row.to_dict() | {"status": "failed", "metrics": {}, "error": "OutOfMemoryError"}
    Store(one).failure_file(row.trial_id).write_text(json.dumps(failed))
    for stores in ((one, other), (other, one)):
        trials = open_results(*stores).trials.set_index("trial_id")
        assert trials.loc[row.trial_id, ["status", "store"]].tolist() == ["done", other]
        (study,) = open_study(*stores)
        counted = dict(zip(map(str, study.read.stores), study.read.counted, strict=True))
        assert sum(counted.values()) == len(trials)
        assert counted[one] == (len(trials) - 1 if stores[0] == one else 0), "the failure counts nowhere"


CONTRADICTIONS = [
    ({"epochs": 20}, "vit_nano on digits: epochs 9 in {one}, 20 in {other}"),
    ({"data_digest": "moved"}, "digits: images images in {one}, moved in {other}"),
    ({"split": "paper"}, "digits: split grouped in {one}, paper in {other}"),
    ({"split_seed": 4}, "vit_nano on digits: split_seed 0 in {one}, 4 in {other}"),
    ({"weights_digest": "tuned"}, "vit_nano: weights weights in {one}, tuned in {other}"),
    (
        {"search": Search(trials=2, lr=LogUniform(low=1e-4, high=1e-1))},
        "search of full / vit_nano / digits / 1: search lr low 1e-05 in {one}, 0.0001 in {other}",
    ),
    (
        {"plugins": ("abcd",)},
        "final of full / vit_nano / digits / 1: plug-ins [] in {one}, ['abcd'] in {other}",
    ),
    (
        {"candidates": 3},
        "full / vit_nano / digits / 1: final runs at rate 1.00e-03 in {one} (of 2 candidates), "
        "at rate 1.00e-04 in {other} (of 3 candidates)",
    ),
]


@pytest.mark.parametrize(("changes", "told"), CONTRADICTIONS, ids=[next(iter(c)) for c, _ in CONTRADICTIONS])
def test_what_contradicts_is_told_in_one_message_with_both_stores(build, changes, told):
    one, other = build("one"), build("other", **changes)
    with pytest.raises(ConfigError) as error:
        open_results(one, other)
    assert told.format(one=one, other=other) in str(error.value)
    assert f"{one} and {other}" in str(error.value)
    assert rank(other).table["method"].tolist() == ["full", "linear"]


def test_methods_that_were_trained_by_other_recipes_are_not_compared(build):
    with pytest.raises(ConfigError, match="vit_nano on digits: epochs 9 in"):
        open_results(build("one"), build("other", methods=("lora",), epochs=20))


def test_a_trial_that_came_out_differently_is_named_with_what_each_store_says(build):
    one, other = build("one"), build("other")
    row = trial_of(other, method="linear", stage="final", seed=0)
    Store(other).row_file(row.trial_id).write_text(
        json.dumps(replace(row, metrics={"test/f1_macro": 0.4}).to_dict())
    )
    with pytest.raises(ConfigError) as error:
        open_results(one, other)
    told = f"done, test/f1_macro 0.5 in {one}, done, test/f1_macro 0.4 in {other}"
    assert f"trial {row.trial_id} of linear / vit_nano / digits / 1: {told}" in str(error.value)


def test_rows_of_one_trial_may_differ_in_time_and_hardware(build):
    one, other = build("one"), build("other")
    row = trial_of(other, method="linear", stage="final", seed=0)
    Store(other).row_file(row.trial_id).write_text(
        json.dumps(replace(row, seconds=9.0, hardware="another CPU", git="fedcba").to_dict())
    )
    assert len(open_results(one, other).trials) == 8


def test_final_runs_that_a_larger_search_superseded_stay_so_and_count_in_no_other_store(build):
    one = build("one", methods=("full",))
    grown = build("grown", methods=("full",), candidates=3)
    for seed in (0, 1):  # those of the search as it was, beside those that the larger one asked for
        row = trial_of(one, stage="final", seed=seed)
        Ledger(Store(grown)).commit(row)
    assert open_results(grown).trials["superseded"].sum() == 2
    lora = build("lora", methods=("lora",))
    assert open_results(grown, lora).trials["superseded"].sum() == 2
    for seed in (0, 1):  # the new final runs are still to come
        Store(grown).row_file(trial_of(grown, stage="final", seed=seed, lr=RATES[2]).trial_id).unlink()
    with pytest.raises(ConfigError, match=f"counts in {one}, and is superseded in {grown} by a larger"):
        open_results(one, grown)


def test_a_store_of_another_protocol_is_refused_with_both_names(build, cli):
    one, other = build("one"), build("other")
    plan = json.loads(Store(other).plan_file.read_text())
    Store(other).plan_file.write_text(json.dumps(plan | {"protocol": 1}))
    with pytest.raises(PlanDiffersError, match=f"{one} and {other} together: .* protocol 1"):
        open_results(one, other)
    assert cli("rank", one, other)[0] == 7


def test_only_stores_are_read_together(build, tmp_path):
    (tmp_path / "scores.csv").write_text("model,dataset,method,f1_macro\na,b,c,0.5\n")
    for source in ("dutt2024:3", str(tmp_path / "scores.csv")):
        with pytest.raises(ConfigError, match="only stores"):
            rank(build(f"with-{len(source)}"), source)


def test_what_lies_beside_rows_is_found_in_the_store_that_has_it(build, write_predictions):
    import numpy as np

    one, other = build("one"), build("other", methods=("lora",))
    trial_id = trial_of(other, stage="final", seed=0).trial_id
    write_predictions(Store(other).path, trial_id, np.array([0, 1]), np.eye(2))
    Store(other).adapter(trial_id).mkdir(parents=True)
    assert PredictionStore(Store(one), Store(other)).get(trial_id).labels.tolist() == [0, 1]
    (study,) = open_study(one, other)
    assert study.adapter(trial_id) == Store(other).adapter(trial_id)


def test_commands_take_several_stores(build, cli):
    one, other = build("one"), build("other", methods=("lora",))
    told = json.loads(cli("rank", one, other, "--json")[1])
    assert told["sources"] == [
        {"store": one, "trials": 8, "counted": 8}, {"store": other, "trials": 4, "counted": 4},
    ]  # fmt: skip
    assert {row["method"] for row in told["rankings"][0]["methods"]} == {"full", "linear", "lora"}
    (printed,) = json.loads(cli("table", one, other, "--json")[1])
    assert [row["method"] for row in printed["rows"]][:3] == ["lora", "full", "linear"]
    assert "Sources: one (8 trials), other (4 trials)." in printed["notes"]
    _, out, _ = cli("status", one, other)
    assert {one, other, "together: 12 trials committed"} <= set(out.splitlines())
    assert [told["committed"] for told in json.loads(cli("status", one, other, "--json")[1])] == [8, 4]


def test_the_report_on_several_stores_says_which_of_them_says_what(build, cli, tmp_path):
    one, other = build("one"), build("other", model="vit_tiny", methods=("lora",), epochs=20)
    code, _, err = cli("report", one, other)
    assert (code, "-o" in err) == (2, True)
    assert not Store(one).report.exists()
    assert cli("report", one, other, "-o", tmp_path / "both.html")[0] == 0
    page = (tmp_path / "both.html").read_text()
    assert "9 (one); 20 (other)" in page  # epochs, under Setup
    assert "Sources: one (8 trials), other (4 trials)." in page
    assert page.count("raypeft run sweep-one.py --store one") == 1
    assert str(tmp_path) not in page
