"""What commands print: foreign text as written, to readers that may be narrow, poor in letters, or gone."""

import csv
import os
import re
import subprocess
import sys

import pytest
from rich.text import Text

from raypeft.core.terminal import Grid, SafeStream, Terminal

CLOSE = {"stdout": (1,), "stderr": (2,), "both": (1, 2)}


def raypeft(*words: str, **options) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "raypeft", *words]
    return subprocess.run(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options)


@pytest.fixture
def printed(capsys):
    """What a terminal makes of what it is given."""

    def show(content) -> str:
        Terminal(width=80).print(content)
        return capsys.readouterr().out

    return show


@pytest.fixture
def printed_at(capsys):
    """Lines of what a terminal of some width makes of it."""

    def show(content, width: int) -> list[str]:
        Terminal(width=width).print(content)
        return capsys.readouterr().out.splitlines()

    return show


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[normal] [/x] [red]a[/red] :heart: 'b' 0.5", "[normal] [/x] [red]a[/red] :heart: 'b' 0.5"),
        ("\x1b[31mred\x1b[0m\x07\x9b1m", r"\x1b[31mred\x1b[0m\x07\x9b1m"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        (os.fsdecode(b"scan_\xc8\xe9"), r"scan_\xc8\xe9"),
        ("half \ud83d", r"half \ud83d"),
        ("正常 naïve می‌روم 🫁", "正常 naïve می‌روم 🫁"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_text_is_shown_as_it_is_written_and_hidden_characters_are_spelled(printed, text, shown):
    assert printed(text) == shown + "\n"


@pytest.mark.parametrize("which", CLOSE)
def test_closed_streams_do_not_change_how_a_command_ends(which):
    def close() -> None:
        for descriptor in CLOSE[which]:
            os.close(descriptor)

    assert raypeft("table", "dutt2024", stdout=None, stderr=None, preexec_fn=close).returncode == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [(("table", "dutt2024"), 0), (("rank", "absent[/x].csv"), 2), (("--help",), 0), (("rank",), 2)],
)
def test_a_full_disk_and_a_reader_that_left_do_not_change_how_a_command_ends(words, code):
    with open("/dev/full", "w") as full:
        assert raypeft(*words, stdout=full, stderr=full).returncode == code
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert raypeft(*words, stdout=writing, stderr=writing).returncode == code
    finally:
        os.close(writing)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_an_output_of_few_letters_gets_them_spelled(encoding):
    done = raypeft("table", "dutt2024", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0
    assert b"0." in done.stdout
    done.stdout.decode(encoding)


def test_a_stream_spells_what_its_encoding_lacks_and_stays_silent_once_its_reader_left(tmp_path):
    path = tmp_path / "out"
    with path.open("w", encoding="latin-1") as file:
        stream = SafeStream(file)
        print("0.9 ± 0.1", "正", "a ≤ b", os.fsdecode(b"\xe9"), file=stream, flush=True)
        assert path.read_bytes() == rb"0.9 " + b"\xb1" + rb" 0.1 \u6b63 a <= b \xe9" + b"\n"
    print("too late", file=stream, flush=True)


@pytest.mark.parametrize("width", [20, 30, 50, 80, 200])
def test_no_score_is_cut_or_broken_however_narrow_the_terminal(width):
    """80 columns cut each of ten scores to `0.…`."""
    env = {**os.environ, "COLUMNS": str(width), "PYTHONUTF8": "1"}
    out = raypeft("table", "dutt2024", env=env).stdout.decode()
    assert "…" not in out
    with open("raypeft/analysis/published/table3_vit_f1.csv") as file:
        scores = [float(row["f1_macro"]) for row in csv.DictReader(file)]
    shown = re.findall(r"\d\.\d{3}(?= ± \d\.\d{3})", out)
    for score in scores:
        assert f"{score:.3f}" in shown


@pytest.mark.parametrize("width", [14, 40, 80])
def test_a_grid_shows_each_column_under_its_heading_beside_the_first(printed_at, width):
    numbers = [[f"{row}.{column:03d}" for column in range(10)] for row in range(3)]
    rows = [[Text(f"method{row}"), *map(Text, own)] for row, own in enumerate(numbers)]
    lines = printed_at(Grid(columns=["method", *(f"c{n}" for n in range(10))], rows=rows), width)
    assert all(len(line.rstrip()) <= width for line in lines)
    seen, columns = {}, []
    for line in lines:
        first, *cells = line.split()
        if first == "method":
            columns = cells
        else:
            seen |= {(first, column): cell for column, cell in zip(columns, cells, strict=True)}
    assert seen == {(f"method{r}", f"c{c}"): numbers[r][c] for r in range(3) for c in range(10)}
