"""Show letters of every script in figures, as far as this machine has fonts for them."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_logger = logging.getLogger(__name__)

FAMILIES = (
    "DejaVu Sans",  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK TC", "Source Han Sans SC"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Unifont", "Arial Unicode MS"),
    *("PingFang SC", "Hiragino Sans", "Heiti SC", "Apple SD Gothic Neo", "Microsoft YaHei", "SimHei"),
    *("Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Telugu", "Noto Sans Thai"),
)
"""Tried in this order, letter by letter."""


@functools.cache
def families() -> list[str]:
    """Return the installed fonts among FAMILIES, for matplotlib's `font.family`."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in FAMILIES if name in installed]


def spell_missing_letters(figure: Figure) -> None:
    r"""Replace letters that no installed font has by their codes (``\u6b63``), and warn once.

    Call it before a figure becomes pixels; readers of an SVG use their own fonts.
    """
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            drawn = [_drawable(label) for label in labels]
            if drawn != labels:
                axis.set_ticklabels(drawn)
    for text in figure.findobj(Text):
        text.set_text(_drawable(text.get_text()))


def _drawable(text: str) -> str:
    if text.isascii() or all(ord(letter) in _letters() for letter in text):
        return text
    _say_once()
    return "".join(
        letter if ord(letter) in _letters() else letter.encode("ascii", "backslashreplace").decode()
        for letter in text
    )


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib import font_manager

    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in families()]
    return frozenset(code for font in fonts for code in font.get_charmap())


@functools.cache
def _say_once() -> None:
    import matplotlib

    _logger.warning(
        "warning: no font here has some letters of the names in figures, which are spelled there; install "
        "one (Debian, Ubuntu: apt install fonts-noto-cjk), then remove %s",
        matplotlib.get_cachedir(),
    )
