import re
from xml.etree import ElementTree

from analysis.load import load_results
from analysis.plots import data_score_by_parameters, draw_score_by_parameters

F1 = "test/f1_macro"
SCORES = {
    "full": [0.80, 0.86, 0.92],
    "linear": [0.50, 0.50, 0.56],
    "lora": [0.87, 0.90, 0.93],
    "bitfit": [0.9],
}


def panels_of(store):
    return data_score_by_parameters(load_results(store), F1)


def test_there_is_a_panel_per_scored_block_fewest_parameters_first(write_store, make_row, final_rows):
    rows = [
        *final_rows(SCORES),
        *final_rows({"full": [0.5]}, fraction=0.1),
        make_row(model="efficientnet_lite0", method="bn", status="diverged"),
    ]
    panels = panels_of(write_store(rows))
    assert [p.title for p in panels] == [
        "vit_nano, digits, 10% of the data",
        "vit_nano, digits, 100% of the data",
    ]
    assert [(p.cell.method, p.trainable) for p in panels[1].points] == [
        ("linear", 20), ("bitfit", 50), ("lora", 120), ("full", 1000),
    ]  # fmt: skip
    assert "full 0.860 ± 0.060 at 1,000" in panels[1].describe(F1)


def test_every_method_is_labelled_and_every_seed_is_a_dot(write_store, final_rows):
    (svg,) = draw_score_by_parameters(panels_of(write_store(final_rows(SCORES))), F1)
    texts = {element.text for element in ElementTree.fromstring(svg).iter("text")}
    assert set(SCORES) <= texts
    num_scores = sum(map(len, SCORES.values()))
    dots_and_markers = re.findall(r'<use [^>]*href="#panel0-m[0-9a-f]+"[^>]*fill: currentColor', svg)
    assert len(dots_and_markers) >= num_scores


def test_a_drawing_is_the_same_bytes_each_time_and_refers_to_nothing_outside(write_store, final_rows):
    panels = panels_of(write_store([*final_rows(SCORES), *final_rows(SCORES, fraction=0.1)]))
    first, second = draw_score_by_parameters(panels, F1), draw_score_by_parameters(panels, F1)
    assert first == second
    assert "http" not in "".join(first)
    ids = re.findall(r' id="([^"]+)"', "".join(first))
    assert len(ids) == len(set(ids)), "two panels in one page share an id"
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', "".join(first)):
        assert reference in ids


def test_methods_at_one_place_have_labels_that_do_not_overlap(write_store, final_rows):
    rows = final_rows({"bias": [0.80, 0.82], "bitfit": [0.80, 0.82], "bn": [0.81, 0.82]})
    (svg,) = draw_score_by_parameters(panels_of(write_store(rows)), F1)
    places = [
        element.get("transform") or (element.get("x"), element.get("y"))
        for element in ElementTree.fromstring(svg).iter("text")
        if element.text in ("bias", "bitfit", "bn")
    ]
    assert len(set(places)) == 3


def test_seventeen_methods_differ_in_colour_or_marker():
    from analysis.plots import _COLOURS, _MARKERS

    styles = {(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i in range(17)}
    assert len(styles) == 17
