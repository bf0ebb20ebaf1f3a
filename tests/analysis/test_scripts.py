"""The scripts of the top-level analysis/ run as their first lines say."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "analysis").glob("*.py"))


def run(script: str, *arguments: object, cwd: Path) -> str:
    command = [sys.executable, str(ROOT / "analysis" / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_a_table_of_the_paper_holds_every_method_it_prints(number, tmp_path):
    (path,) = (ROOT / "raypeft" / "analysis" / "published").glob(f"table{number}_*.csv")
    with path.open(newline="") as file:
        methods = {row["method"] for row in csv.DictReader(file)}
    out = run(f"table{number}", cwd=tmp_path)
    assert {line.split()[0] for line in out.splitlines() if line.strip()} >= methods


def test_claims_are_the_paper_s_five(tmp_path):
    out = run("claims", cwd=tmp_path)
    assert sum(line.endswith(": cannot tell") for line in out.splitlines()) == 5


def test_a_ranking_and_its_costs_are_drawn_where_one_says(tmp_path):
    run("rankings", "dutt2024:3", "drawn", cwd=tmp_path)
    run("figure3", "dutt2024:3", "drawn", cwd=tmp_path)
    assert sorted(path.suffix for path in (tmp_path / "drawn").iterdir()) == [".png"] * 3 + [".svg"] * 3


def test_the_crossing_of_two_lines_is_printed_and_drawn(tmp_path):
    scores = {("full", 0.1): 0.5, ("full", 1.0): 0.9, ("lora", 0.1): 0.7, ("lora", 1.0): 0.8}
    rows = [
        f"vit,skin,{method},{fraction},{seed},{score + 0.001 * seed}"
        for (method, fraction), score in scores.items()
        for seed in range(3)
    ]
    (tmp_path / "scores.csv").write_text("\n".join(["model,dataset,method,fraction,seed,f1_macro", *rows]))
    out = run("figure1", "scores.csv", "drawn", cwd=tmp_path)
    # on a log scale the gain falls from +0.2 to -0.1 over one decade: it is 0 at two thirds of it
    assert f"{10 ** (2 / 3 - 1):.0%}" in out
    assert len(list((tmp_path / "drawn").iterdir())) == 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_opens_with_its_question_and_its_command(script):
    question, _, rest = script.read_text().split('"""')[1].partition("\n")
    assert "?" in question
    assert f"python analysis/{script.name}" in rest
