"""Whatever program or hand wrote a table: it is read right, or refused with file and line."""

import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypeft.core.errors import ConfigError, DataError
from raypeft.datasets import Table, open_dataset

MISSING = ("", "nan", "NA", "None")
CLASSES = (("benign", "mal, in situ"), ("0", "1"), ("sch\u00e4del", "grade 2"))
NAMES = {  # how a table may spell img/a07.PNG
    "exact": "img/a{:02}.PNG",
    "dotted": "./img/../img/a{:02}.PNG",
    "backslash": "img\\a{:02}.PNG",
    "other case": "IMG/A{:02}.png",
    "no suffix": "img/a{:02}",
    "no folder": "a{:02}.PNG",
    "absolute": "{root}/img/a{:02}.PNG",
    "absent": "img/b{:02}.PNG",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_image) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for number in range(12):
        write_image(folder / "img" / f"a{number:02}.PNG", seed=number)
    return folder


@dataclass(frozen=True)
class Written:
    """A generated file and what is in it."""

    content: bytes
    is_packed: bool
    labels: dict[int, str]  # of each image, a number as a number
    missing: Counter[str]
    absent: list[int]  # lines


@st.composite
def tables(draw) -> Written:
    separator = draw(st.sampled_from([",", ";", "\t", "|", ", "]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]))
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    classes = draw(st.sampled_from(CLASSES))
    has_index, has_tail, quotes = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    spellings = draw(
        st.sampled_from([["exact"], ["exact", "dotted", "absolute"], list(NAMES)[:-1], list(NAMES)])
    )
    header = draw(st.sampled_from([("image", "label"), ("Image", "LABEL"), (" image", "label ")]))

    def line(*cells: str) -> str:
        shown = [
            f'"{cell}"' if cell.strip() and (quotes or separator.strip() in cell) else cell for cell in cells
        ]
        return separator.join([*shown, *([""] * 2 if has_tail else [])])

    lines = [f"sep={separator[0]}"] if draw(st.booleans()) else []
    lines += [""] * draw(st.integers(0, 2))
    lines.append(line(*([""] if has_index else []), *header, "size_mm"))
    written = Written(b"", draw(st.booleans()), {}, Counter(), [])
    shouts = draw(st.booleans())
    for number in range(12):
        if draw(st.integers(0, 5)) == 0:
            lines.append(draw(st.sampled_from(["", line(*[""] * (3 + has_index))])))
        label = text = draw(st.sampled_from(classes))
        if text.isdigit():
            text = draw(st.sampled_from([text, f"{text}.0", f"0{text}"]))
        elif shouts and number % 5 == 0:
            label = text = text.upper()
        if draw(st.integers(0, 5)) == 0:
            text = draw(st.sampled_from(MISSING))
        name = NAMES[kind := draw(st.sampled_from(spellings))].format(number, root="{root}")
        size = f"{number + 0.5}".replace(".", "." if separator.strip() == "," else ",")
        lines.append(line(*([str(number)] if has_index else []), name, text, size))
        if text in MISSING:
            written.missing[text] += 1
            continue
        written.labels[number] = label
        if kind == "absent":
            written.absent.append(len(lines))
    content = newline.join(lines) + newline * draw(st.integers(0, 3))
    return Written(content.encode(encoding), *list(vars(written).values())[1:])


def place(root: Path, written: Written) -> Path:
    is_wide = written.content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in written.content
    own = str(root).encode("utf-16-be" if b"\0{\0r" in written.content else "utf-16-le") if is_wide else b""
    mark = (
        "{root}".encode("utf-16-be" if b"\0{\0r" in written.content else "utf-16-le")
        if is_wide
        else b"{root}"
    )
    content = written.content.replace(mark, own or str(root).encode())
    path = root / ("labels.csv.gz" if written.is_packed else "labels.csv")
    path.write_bytes(gzip.compress(content) if written.is_packed else content)
    return path


def outcome(source: str) -> Table | str:
    """The table, or the message that refuses it. Any other error is one of the code."""
    try:
        return open_dataset(source)
    except (DataError, ConfigError) as error:
        return str(error)


@settings(max_examples=150, deadline=None)
@given(written=tables())
def test_a_generated_table_is_read_right_or_refused_with_its_lines(root, written):
    path = place(root, written)
    table = outcome(f"csv:{path}")
    labels = set(written.labels.values())
    if written.absent:
        expected = [f"{path.name}:{line}: image" for line in written.absent]
    elif len({label.casefold() for label in labels}) < len(labels):
        expected = ["differ only in spelling", f"({path.name}:"]
    elif len(labels) < 2:
        expected = [path.name, "one label only" if labels else "no row has a label"]
    else:
        expected = []
    if expected:
        assert isinstance(table, str), expected
        assert not [text for text in expected if text not in table]
        return
    assert not isinstance(table, str), table
    found = {
        int(case[-6:-4]): table.classes[label]
        for case, label in zip(table.case_ids, table.labels, strict=True)
    }
    assert found == written.labels
    assert sum(part.total for part in table.left_out) == written.missing.total()
    assert len(table) + written.missing.total() == 12
    assert not table.groups


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=200)
    | st.text(st.sampled_from("ab01,;\t|\"'\n\r \0.é/\\"), max_size=80).map(
        lambda text: f"image,label,patient_id\nimg/a00.PNG,x,1\nimg/a01.PNG,y,2\n{text}".encode()
    )
    | st.text(max_size=100).map(lambda text: f"image;label;{text}".encode(errors="surrogatepass")),
    options=st.sampled_from(
        ["", "(label='x')", "(image='label', label='image')", "(group='label')", "(subgroups='a')"]
    ),
)
def test_any_bytes_are_a_table_or_refused_with_the_file(root, content, options):
    path = root / "any.csv"
    path.write_bytes(content)
    table = outcome(f"csv:{path}{options}")
    if isinstance(table, str):
        assert "any.csv" in table
    else:
        assert len(table.classes) > 1
