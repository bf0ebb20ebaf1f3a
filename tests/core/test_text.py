from hypothesis import given
from hypothesis import strategies as st

from raypeft.core.text import LONGEST_NAME, count, csv_cell, file_name, shorten, visible

TEXT = st.text(alphabet=st.characters())  # lone surrogates among them


@given(TEXT)
def test_what_is_visible_is_valid_unicode_on_one_line_and_never_spelled_twice(text):
    once = visible(text)
    assert once.encode().decode() == once == visible(once)
    assert len(once.splitlines()) <= 1
    assert "\x1b" not in once


def test_a_count_agrees_with_its_noun():
    assert [count(n, "image") for n in (0, 1, 2, 1200)] == ["0 images", "1 image", "2 images", "1,200 images"]
    assert [count(n, "class", "classes") for n in (1, 3)] == ["1 class", "3 classes"]


def test_a_plain_name_is_its_file_s_and_parts_are_joined():
    assert file_name("ham10000") == "ham10000"
    assert file_name("fig1", "vit_base", "", "busi", "0.1") == "fig1-vit_base-busi-0.1"


@given(TEXT, TEXT)
def test_names_of_files_are_safe_short_and_differ_where_the_texts_do(one, other):
    names = [file_name("fig1", text) for text in (one, other)]
    for name in names:
        assert 0 < len(name.encode()) <= LONGEST_NAME
        assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert (one == other) == (names[0] == names[1])


def test_names_that_a_file_system_refuses_or_hides_become_others():
    for text in (
        "CON",
        "nul.old",
        "-rf",
        ".hidden",
        "..",
        "a/b",
        "a\0b",
        "c:\\d",
        "trailing.",
        "x" * 228,
        "正" * 76,
    ):
        name = file_name(text)
        assert name != text
        assert not name.startswith(("-", "."))
        assert len(name) <= LONGEST_NAME
        assert name.lower().split(".")[0] not in ("con", "nul", "com1")


def test_a_formula_becomes_text_and_numbers_stay_numbers():
    formulas = ["=HYPERLINK(1)", "+1+cmd|' /C calc'!A0", "-2+3*A1", "@SUM(A1)", "\t=1", "\r=1", "-rf", "＝1"]
    assert [csv_cell(text) for text in formulas] == ["'" + text for text in formulas]
    plain = [
        "0.5",
        "-0.5",
        "+0.02",
        "-1e-05",
        "+0.012 (-0.003 to 0.030)",
        "-3%",
        "a=b",
        "",
        "0.9 ± 0.1",
        "-.5",
    ]
    assert [csv_cell(text) for text in plain] == plain


def test_a_long_text_keeps_both_its_ends():
    assert shorten("benign", 8) == "benign"
    assert shorten("abcdefghijklmnopqrst", 10) == "abcd...rst"
