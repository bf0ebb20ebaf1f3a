import pytest

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.questions.against import cells_against, ranks_against
from raypeft.analysis.questions.claims import check_claims
from raypeft.analysis.read.load import load_results
from raypeft.analysis.report.render import to_csv
from raypeft.analysis.study import open_study

F1 = "test/f1_macro"
DATA, SIZE, SSF, LORA, BIAS = range(5)


def verdicts(store):
    return check_claims(open_study(store))


@pytest.fixture
def gains(write_store, final_rows):
    """gains({share of the data: gain of lora over full tuning}) -> rows on five data sets."""

    def build(by_fraction, **columns):
        rows = []
        for number, dataset in enumerate(("a", "b", "c", "d", "e")):
            for fraction, gain in by_fraction.items():
                base = 0.5 + 0.02 * number
                scores = {
                    "full": [base, base + 0.01],
                    "lora": [base + gain, base + gain + 0.012 + 0.001 * number],
                }
                rows += final_rows(scores, dataset=dataset, fraction=fraction, **columns)
        return rows

    return build


@pytest.mark.parametrize(
    ("by_fraction", "verdict"),
    [
        ({0.01: 0.20, 0.1: 0.12, 1.0: 0.02}, "supports"),
        ({0.01: -0.20, 0.1: -0.08, 1.0: 0.02}, "contradicts"),
        ({1.0: 0.02}, "cannot tell"),
    ],
)
def test_whether_the_gain_grows_as_data_shrink(by_fraction, verdict, gains, write_store):
    claim = verdicts(write_store(gains(by_fraction)))[DATA]
    assert claim.verdict == verdict
    if len(by_fraction) > 1:
        # the slope per tenth of the data, by hand: a straight line through the three gains, nearly
        slope = (by_fraction[0.01] - by_fraction[1.0]) / 2
        assert f"changes by {slope:+.2f}" in claim.because
        assert "over 5 data sets" in claim.because


def test_whether_the_gain_grows_with_the_model(gains, write_store):
    rows = [
        *gains({1.0: 0.02}, model="vit_base", total=10**8),
        *gains({1.0: 0.09}, model="vit_huge", total=10**9),
    ]
    claim = verdicts(write_store(rows))[SIZE]
    assert claim.verdict == "supports"
    assert "changes by +0.070" in claim.because


def test_a_method_is_best_only_where_it_leads_alone(write_store, final_rows):
    many = [f"d{i}" for i in range(12)]
    rows = [
        row
        for name in many
        for row in final_rows({"lora": [0.9], "full": [0.8], "linear": [0.5]}, dataset=name)
    ]
    assert verdicts(write_store(rows, name="s"))[LORA].verdict == "supports"
    rows = [
        row
        for name in many
        for row in final_rows({"lora": [0.5], "full": [0.8], "linear": [0.7]}, dataset=name)
    ]
    claim = verdicts(write_store(rows, name="c"))[LORA]
    assert (claim.verdict, "full ranks first" in claim.because) == ("contradicts", True)
    rows = final_rows({"lora": [0.81, 0.8], "full": [0.8, 0.81], "linear": [0.5, 0.51]})
    assert verdicts(write_store(rows, name="n"))[LORA].verdict == "cannot tell"


def test_what_was_not_run_cannot_be_told(write_store, final_rows):
    claims = verdicts(write_store(final_rows({"full": [0.5], "linear": [0.6]})))
    assert [claim.verdict for claim in claims] == ["cannot tell"] * 5
    assert claims[SSF].because == "no runs of ssf and a rival on resnet50 scored by F1"


def test_the_paper_s_own_tables_settle_none_of_its_claims():
    claims = verdicts("dutt2024")
    assert [claim.verdict for claim in claims] == ["cannot tell"] * 5
    assert "mean rank 2.40 of 8" in claims[LORA].because
    assert "mean rank 1.30 of 6" in claims[SSF].because
    assert "mean rank 1.67 of 8" in claims[BIAS].because


def test_cells_that_both_have_stand_side_by_side(write_store, final_rows):
    rows = final_rows(
        {"full": [0.84, 0.86, 0.85], "linear": [0.60, 0.62, 0.61]}, model="vit_base", dataset="breastus"
    )
    table = cells_against(load_results(write_store(rows)), F1, load_published())
    by_method = {row.texts["method"]: row.texts for row in table.rows}
    assert set(by_method) == {"full", "linear"}
    # table 3: full .82 ± 1.2, linear .79 ± 0.7
    assert by_method["full"]["dutt2024"] == "0.820 ± 0.012"
    assert by_method["full"]["difference"] == "+0.030"
    assert by_method["linear"]["difference"] == "-0.180"
    assert by_method["linear"]["reading"] == "differs"
    assert by_method["full"]["table"] == "3"


def test_without_common_cells_the_order_of_methods_is_compared(write_store, final_rows):
    rows = final_rows({"full": [0.8], "linear": [0.9], "lora": [0.7], "bitfit": [0.6]})
    frame = load_results(write_store(rows))
    assert cells_against(frame, F1, load_published()) is None
    table = ranks_against(frame, F1, load_published())
    assert "vit_nano beside table 3" in to_csv(table)
    own = {row.texts["method"]: row.texts["this store"] for row in table.rows[:4]}
    assert own == {"linear": "1.00", "full": "2.00", "lora": "3.00", "bitfit": "4.00"}
    # convolutional networks are not set beside ViTs, and two methods are no order
    rows = final_rows({"full": [0.8], "linear": [0.9]}, model="resnet18")
    assert ranks_against(load_results(write_store(rows, name="two")), F1, load_published()) is None
