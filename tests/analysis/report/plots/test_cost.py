import re
from xml.etree import ElementTree

import matplotlib
import pytest

from raypeft.analysis.ranking.inference import infer
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.read.load import load_results
from raypeft.analysis.read.predictions import PredictionStore
from raypeft.analysis.report.plots.cost import data_cost, draw_cost, pareto_front
from raypeft.analysis.report.plots.style import COLOURS, RC, log_ticks, new_axes, save, styles_of, to_svg

F1 = "test/f1_macro"
SCORES = {"full": [0.80, 0.86, 0.92], "linear": [0.50, 0.50, 0.56], "lora": [0.87, 0.90, 0.93], "bias": [0.4]}


@pytest.fixture
def drawn(write_store, final_rows):
    """drawn(rows=..., name=...) -> (panels, drawings) of the first ranking."""

    def build(rows=None, name="store"):
        frame = load_results(write_store(rows or final_rows(SCORES), name=name))
        one = infer(pool := pools_of(frame, F1)[0], Replicates(pool, PredictionStore()))
        panels = data_cost(frame, one)
        return panels, draw_cost(panels, one, styles_of(frame["method"]))

    return build


def test_the_front_is_worked_out_by_hand():
    # a is cheapest, b dearer and better, c dearer and worse than b, d as good as b and dearer, e equals b
    assert pareto_front([1, 2, 3, 4, 2], [0.1, 0.5, 0.4, 0.5, 0.5]) == [True, True, False, False, True]


def test_methods_stand_by_their_cost_cheapest_first_with_the_front_marked(drawn):
    panels, _ = drawn()
    by_cost = {panel.cost: panel for panel in panels}
    points = [(p.method, p.cost, p.is_on_front) for p in by_cost["trainable"].points]
    assert points == [("linear", 20, True), ("bias", 50, False), ("lora", 120, True), ("full", 1000, False)]
    assert by_cost["trainable"].points[2].score == pytest.approx(0.9)
    assert by_cost["device_seconds"].points[0].cost == 1.5
    assert "peak_memory_bytes" not in by_cost  # the fixture's rows measured none
    assert "Pareto front: linear, lora." in by_cost["trainable"].describe(F1)


def test_every_method_is_labelled(drawn):
    _, drawings = drawn()
    svg = to_svg(drawings[0].figure, prefix="p-")
    texts = {element.text for element in ElementTree.fromstring(svg).iter("text")}
    assert set(SCORES) <= texts


def test_a_drawing_is_the_same_bytes_each_time_and_refers_to_nothing_outside(drawn):
    pages = [
        "".join(to_svg(d.figure, prefix=f"f{i}-") for i, d in enumerate(drawn(name=name)[1]))
        for name in ("one", "two")
    ]
    assert pages[0] == pages[1]
    assert "http" not in pages[0]
    ids = re.findall(r' id="([^"]+)"', pages[0])
    assert len(ids) == len(set(ids)), "two panels in one page share an id"
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', pages[0]):
        assert reference in ids


def test_numbers_that_are_read_keep_their_digits():
    with matplotlib.rc_context(RC):
        figure, axes = new_axes()
        axes.plot([0, 1.23456], [0, 1])
        axes.set_yticks([0.775], ["0.7753"])
    svg = to_svg(figure, prefix="p-")
    assert "0.7753" in svg
    assert not re.search(r' d="[^"]*\.\d{3}', svg)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((8, 70), ["10", "20", "50"]),
        ((1e-4, 1e-1), ["0.0001", "0.001", "0.01", "0.1"]),
        ((2e3, 4e6), ["10k", "100k", "1M"]),
    ],
)
def test_a_log_axis_has_ticks_in_plain_numbers(limits, expected):
    with matplotlib.rc_context(RC):
        figure, axes = new_axes()
        axes.set(xscale="log", xlim=limits)
        log_ticks(axes)
    texts = [e.text for e in ElementTree.fromstring(to_svg(figure, prefix="p-")).iter("text")]
    assert texts[: len(expected)] == expected
    assert not any("$" in text for text in texts)


def test_methods_at_one_place_have_labels_that_do_not_overlap(drawn, final_rows):
    _, drawings = drawn(final_rows({"bias": [0.80, 0.82], "bitfit": [0.80, 0.82], "bn": [0.81, 0.82]}))
    places = [
        element.get("transform") or (element.get("x"), element.get("y"))
        for element in ElementTree.fromstring(to_svg(drawings[0].figure, prefix="p-")).iter("text")
        if element.text in ("bias", "bitfit", "bn")
    ]
    assert len(set(places)) == 3


def test_seventeen_methods_differ_in_colour_or_marker_and_keep_their_style():
    names = [f"method{i:02d}" for i in range(17)]
    styles = styles_of(names)
    assert len({(style.colour, style.marker) for style in styles.values()}) == 17
    assert styles_of(reversed(names)) == styles


def test_colours_stay_apart_in_grey_or_differ_in_marker_and_dash():
    """Relative luminance (WCAG 2): neighbours of one shade must differ in form."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    styles = list(styles_of([f"m{i}" for i in range(len(COLOURS))]).values())
    for i, one in enumerate(styles):
        for other in styles[i + 1 :]:
            alike = abs(luminance(one.colour) - luminance(other.colour)) < 0.1
            assert not alike or one.marker != other.marker


def test_files_are_png_and_svg(drawn, tmp_path):
    _, drawings = drawn()
    png, svg = save(drawings[0], tmp_path / "figures")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.fromstring(svg.read_text()).tag.endswith("svg")
