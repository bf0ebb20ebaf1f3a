"""Which methods meet in a ranking."""

from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.read.load import load_results
from raypeft.core.spec import Cell

F1 = "test/f1_macro"


def pools(write_store, rows, planned=()):
    return pools_of(load_results(write_store(rows)), F1, planned)


def test_models_with_other_methods_are_ranked_apart_and_together_by_what_both_have(write_store, final_rows):
    vit, conv = {"full": [0.9], "linear": [0.7], "lora": [0.8]}, {"full": [0.9], "linear": [0.7], "bn": [0.6]}
    rows = [*final_rows(vit), *final_rows(vit, model="vit_large"), *final_rows(conv, model="resnet50")]
    found = {(pool.models, pool.methods, pool.is_joint) for pool in pools(write_store, rows)}
    assert found == {
        (("vit_large", "vit_nano"), ("full", "linear", "lora"), False),
        (("resnet50",), ("bn", "full", "linear"), False),
        (("resnet50", "vit_large", "vit_nano"), ("full", "linear"), True),
    }


def test_a_method_of_some_models_alone_is_no_missing_cell_of_the_others(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9], "linear": [0.7], "lora": [0.8]}),
        *final_rows({"full": [0.9], "linear": [0.7]}, model="resnet50"),
    ]
    found = pools(write_store, rows)
    assert [pool.missing for pool in found] == [[], [], []]
    assert any("lora" in pool.methods and pool.models == ("vit_nano",) for pool in found)


def test_what_is_planned_but_has_not_run_keeps_models_together(write_store, final_rows):
    scores = {"full": [0.9], "linear": [0.7], "lora": [0.8]}
    rows = [
        *final_rows(scores),
        *final_rows(scores, model="vit_large"),
        *final_rows({"full": [0.9], "linear": [0.7]}, model="vit_huge"),
    ]
    planned = [Cell(method="lora", model="vit_huge", dataset="digits")]
    (pool,) = pools(write_store, rows, planned)
    assert pool.missing == [(("vit_huge", "digits", 1.0), "lora")]


def test_methods_that_never_met_are_not_in_one_ranking(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.7], "lora": [0.7]}),
        *final_rows({"bn": [0.8], "linear": [0.7]}, dataset="busi"),
    ]
    assert {pool.methods for pool in pools(write_store, rows)} == {("full", "lora"), ("bn", "linear")}


def test_a_chain_of_common_blocks_links_methods(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.7], "lora": [0.7]}),
        *final_rows({"lora": [0.8], "linear": [0.7]}, dataset="busi"),
        *final_rows({"full": [0.8], "linear": [0.7]}, dataset="isic"),
    ]
    (pool,) = pools(write_store, rows)
    assert pool.methods == ("full", "linear", "lora")
    assert len(pool.missing) == 3


def test_a_method_on_half_of_the_blocks_or_fewer_is_left_out_and_named(write_store, final_rows):
    rows = [
        row
        for n in range(6)
        for row in final_rows(
            {"full": [0.9], "linear": [0.5], **({"lora": [0.99]} if n < 3 else {})}, dataset=f"d{n}"
        )
    ]
    (pool,) = pools(write_store, rows)
    assert pool.methods == ("full", "linear")
    assert pool.left_out == {"lora": 3}


def test_a_planned_method_without_any_run_is_named(write_store, final_rows):
    planned = [Cell(method="lora", model="vit_nano", dataset="digits")]
    (pool,) = pools(write_store, final_rows({"full": [0.7], "linear": [0.6]}), planned)
    assert pool.left_out == {"lora": 0}
