import io
import logging

import pytest
from matplotlib.figure import Figure

from raypeft.core.fonts import families, spell_missing_letters

HIEROGLYPH = "\U00013000"  # of a script that none of the fonts has


@pytest.fixture
def figure():
    figure = Figure()
    axes = figure.add_subplot()
    axes.set_xticks([0, 1, 2], ["Übergang", HIEROGLYPH, "正常"], family=families())
    axes.set_title(f"a{HIEROGLYPH}", family=families())
    return figure


def test_a_letter_without_a_font_is_spelled_and_no_box_is_drawn(figure, caplog):
    with caplog.at_level(logging.WARNING):
        spell_missing_letters(figure)
        spell_missing_letters(figure)
    figure.savefig(io.BytesIO())  # a missing glyph is a warning, and a warning fails the test
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()][:2] == ["Übergang", r"\U00013000"]
    assert axes.get_title() == r"a\U00013000"
    assert len(caplog.messages) <= 1, "said once in a process"
