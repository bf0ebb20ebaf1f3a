"""A source is taken apart the same way however it is spelled, and no path is mistaken for options."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raypeft.core.errors import ConfigError
from raypeft.core.sources import dataset_label, parse_source, split_commas, split_sources
from raypeft.core.spec import Cell


@pytest.mark.parametrize(
    "text",
    [
        "csv:/d/a.csv(label='dx', image='file')",
        'csv:/d/a.csv( image = "file",label="dx" )',
        "csv:/d/a.csv(image='fi' 'le', label='dx',)",
    ],
)
def test_order_blanks_and_quotes_of_options_do_not_matter(text):
    source = parse_source(text)
    assert (source.kind, source.argument) == ("csv", "/d/a.csv")
    assert dict(source.options) == {"image": "file", "label": "dx"}
    assert str(source) == "csv:/d/a.csv(image='file', label='dx')"
    assert Cell(method="a", model="b", dataset=text).dataset == str(source)


@pytest.mark.parametrize(
    "path",
    [
        "/data/set (1)",
        "/data/a(b",
        "/data/f(x)",
        "/data/f(a=b)",
        "/a (1)(2)",
        "/data/#1 x=3, y",
        "/f(x)(1)",
        "a)b(",
    ],
)
def test_a_bracket_that_holds_no_options_is_a_path(path):
    source = parse_source(f"folder:{path}")
    assert (source.argument, source.options) == (path, ())
    source = parse_source(f"folder:{path}(exclude='*/(1)/*')")
    assert (source.argument, source.options) == (path, (("exclude", "*/(1)/*"),))


def test_what_exists_is_a_path_though_it_looks_like_options(tmp_path):
    folder = tmp_path / "set(name='x')"
    folder.mkdir()
    source = parse_source(f"folder:{folder}")
    assert source.argument == str(folder)
    assert parse_source(str(source)) == source
    folder.rmdir()
    assert parse_source(str(source)) == source  # its text says so by itself


def test_the_home_folder_is_found_behind_a_colon(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_source("csv:~/x.csv").argument == "/home/ada/x.csv"
    assert parse_source("ham10000:~/ham").argument == "/home/ada/ham"


FOLDERS = st.text(st.characters(codec="utf-8", exclude_characters="\0~/"), min_size=1)
PATHS = st.lists(FOLDERS.filter(lambda name: name not in (".", "..")), min_size=1).map("/".join)


@given(
    st.sampled_from(["csv", "folder", "ham10000"]),
    PATHS,
    st.dictionaries(st.sampled_from(["label", "image", "root"]), st.text() | st.tuples(st.text())),
)
@example("csv", "0", {"image": "\\"})
@example("csv", "it's (1)", {"label": "a, b')"})
def test_the_text_of_a_source_is_that_source(kind, path, options):
    source = parse_source(f"{kind}:{path}()")
    given_options = ", ".join(f"{name}={value!r}" for name, value in options.items())
    full = parse_source(f"{kind}:{path}({given_options})")
    assert (full.kind, full.argument, dict(full.options)) == (kind, path, options)
    assert parse_source(str(full)) == full
    assert parse_source(str(source)) == source
    assert split_commas(f"digits,{kind}:x({given_options}),b")[0::2] == ["digits", "b"]


def test_a_name_of_one_s_own_tells_two_uses_of_one_table_apart():
    assert dataset_label("csv:/d/a.csv(label='dx', name='a_dx')") == "a_dx"
    assert dataset_label("csv:/d/a.csv(label='dx')") == "a"


def open_it(path: str, *, label: str = "label", image: str | None = None, page: int = 0) -> None:
    """A source's function."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("lable='dx'", "no option 'lable'; did you mean 'label'? csv has label, image, page, name"),
        ("label=3", "label=3 must be text in quotes"),
        ("page='one'", "page='one' must be a whole number"),
    ],
)
def test_a_wrong_option_is_answered_with_the_allowed_ones(options, message):
    with pytest.raises(ConfigError) as caught:
        parse_source(f"csv:a.csv({options})").bind(open_it)
    assert message in str(caught.value)
    assert parse_source("csv:a.csv(label='dx', name='n')").bind(open_it) == {"label": "dx"}


def test_commas_in_brackets_and_quotes_part_nothing():
    assert split_commas("lora(rank=4, alpha=(1, 2)), full,") == ["lora(rank=4, alpha=(1, 2))", "full"]
    assert split_commas("""csv:a.csv(label="a) b, c"),x""") == ["""csv:a.csv(label="a) b, c")""", "x"]
    assert split_commas("folder:/a(b,digits") == ["folder:/a(b", "digits"]
    assert split_commas("folder:/Bob's,digits") == ["folder:/Bob's", "digits"]


def test_a_comma_in_the_path_of_a_file_that_exists_parts_nothing(tmp_path):
    (tmp_path / "a, b.csv").write_text("")
    path = f"csv:{tmp_path}/a, b.csv"
    assert split_sources(f"digits, {path},ham10000") == ["digits", path, "ham10000"]


def test_spellings_of_one_place_are_one_source(tmp_path, monkeypatch):
    (tmp_path / "scans").mkdir()
    monkeypatch.chdir(tmp_path)
    assert {str(parse_source(f"folder:{path}")) for path in ("scans", "./scans", "scans/", "scans//")} == {
        "folder:scans"
    }
    monkeypatch.chdir(tmp_path / "scans")
    for path in (".", "./", "../scans/.", "../scans"):
        assert parse_source(f"folder:{path}").label == "scans"


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_a_list_of_sources_without_any_is_refused(text):
    with pytest.raises(ConfigError, match="names no data set"):
        split_sources(text)
