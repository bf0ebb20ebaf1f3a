"""`raypeft data`, and how a run refuses each fault of images and tables before any trial starts."""

import csv
import hashlib
import io
import json
import os
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypeft.launch.plan import make_plan
from raypeft.store import Store

SWEEP = """
from raypeft.core.spec import Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="tiny",
    cells=grid(method=("linear",), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=2),
    recipe=Recipe(epochs=3),
)
"""


def write_image(path: Path, seed: int, side: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def scans(tmp_path) -> Path:
    """24 images of two classes, two sites and twelve patients, and their table."""
    root = tmp_path / "scans"
    rows = ["image,label,group,source,sex"]
    for number in range(24):
        write_image(root / f"{number}.png", number)
        label = "ill" if number % 2 else "well"
        rows.append(f"{number}.png,{label},p{number // 2},{'north' if number % 2 else 'south'},{number % 3}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def test_a_check_counts_classes_sides_sources_groups_and_subgroups(cli, scans):
    code, out, _ = cli("data", "check", f"csv:{scans}/labels.csv", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["images"], report["classes"]) == (24, {"ill": 12, "well": 12})
    assert report["groups"] == {
        "named": 12, "units": 12, "of_several_images": 12, "largest": 2, "of_several_classes": 12,
    }  # fmt: skip
    assert report["sources"] == {"north": {"ill": 12, "well": 0}, "south": {"ill": 0, "well": 12}}
    assert report["subgroups"] == {"sex": {"0": 8, "1": 8, "2": 8}}
    assert {side: sum(counts.values()) for side, counts in report["splits"].items()} == {
        "train": 16, "val": 4, "test": 4,
    }  # fmt: skip
    assert report["leakage"]["ours"] == 0 < report["leakage"]["by_image"]
    # the site tells the label: F1 1; one class alone: (2/3 + 0) / 2
    assert report["source_baseline"] == {"by_source": 1.0, "majority": pytest.approx(1 / 3)}
    assert report["problems"] == []
    few = "2 classes have fewer than 5 test images ('ill' 2, 'well' 2): "
    assert [warning.startswith(few) for warning in report["warnings"]] == [True]
    code, text, _ = cli("data", "check", f"csv:{scans}/labels.csv")
    assert "24 images, 2 classes" in text
    assert "the source alone, no image: macro F1 1.000 on test" in text


def test_a_check_names_every_fault_and_goes_on(cli, scans):
    (scans / "3.png").write_bytes(b"")
    (scans / "4.png").write_text("<html>")
    (scans / "5.png").write_bytes((scans / "6.png").read_bytes())
    code, out, err = cli("data", "check", f"csv:{scans}/labels.csv", "--json")
    report = json.loads(out)
    assert code == 4
    assert [problem.rsplit("/", 1)[1] for problem in report["problems"]] == [
        "3.png: empty file (labels.csv:5)",
        "4.png: not an image (labels.csv:6)",
    ]
    assert report["identical"]["across_classes"] == [["5.png", "6.png"]]
    assert report["warnings"][1:] == ["1 set of identical images with different labels"]
    assert "exit 4 (PREFLIGHT) 2 problems in labels" in err


def test_near_duplicates_are_told_apart_from_equal_images(cli, scans):
    noise = np.random.default_rng(4).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC)
    picture.save(scans / "0.png")
    picture.save(scans / "2.png")
    Image.fromarray((np.asarray(picture) * 0.9).astype(np.uint8)).save(scans / "4.png")
    _, out, _ = cli("data", "check", f"csv:{scans}/labels.csv", "--json")
    report = json.loads(out)
    assert report["identical"]["sets"] == [["0.png", "2.png"]]
    assert sorted(map(sorted, report["similar"]["sets"])) == [["0.png", "4.png"], ["2.png", "4.png"]]


def test_flags_are_shorthand_for_the_options_of_one_source(cli, scans, tmp_path):
    text = (scans / "labels.csv").read_text().replace("image,label,group", "file,dx,who")
    table = tmp_path / "other.csv"
    table.write_text(text)
    flags = ("--root", scans, "--image-column", "file", "--label-column", "dx", "--group-column", "who")
    _, shown, _ = cli("data", "check", f"csv:{table}", *flags, "--json")
    whole = f"csv:{table}(image='file', label='dx', group='who', root='{scans}')"
    code, again, _ = cli("data", "check", whole, "--json")
    assert (code, json.loads(shown)) == (0, json.loads(again))
    assert json.loads(shown)["groups"]["named"] == 12
    code, _, err = cli("data", "check", whole, "--label-column", "sex")
    assert (code, "label='dx', the command line 'sex'; say it once" in err) == (2, True)
    code, out, _ = cli("data", "check", "ham10000", "--root", scans)
    assert (code, "ham10000" in out) == (4, True)
    code, _, err = cli("data", "check", f"ham10000:{scans}", "--root", scans)
    assert (code, "which names a folder; write one of them" in err) == (2, True)
    code, _, err = cli("data", "check", "digits", "--label-column", "dx")
    assert (code, "no option 'label'; digits has none" in err) == (2, True)


def test_a_plan_takes_what_a_run_takes_and_flags_go_with_one_data_set(cli, scans, tmp_path):
    (tmp_path / "tiny.py").write_text(SWEEP)
    options = (
        "--store",
        tmp_path / "store",
        "--methods",
        "linear,full",
        "--seeds",
        "3,4",
        "--fractions",
        "1,0.5",
    )
    source = ("--datasets", f"csv:{scans}/labels.csv", "--label-column", "sex")
    code, out, err = cli("plan", tmp_path / "tiny.py", *options, *source, "--candidates", "5", "--json")
    assert code == 0, err
    planned = json.loads(out)
    assert (planned["cells"], planned["candidates"], planned["final_runs"]) == (4, 20, 8)
    assert planned["plan"]["sweep"]["cells"][0]["dataset"] == f"csv:{scans}/labels.csv(label='sex')"
    code, _, err = cli(
        "plan", tmp_path / "tiny.py", "--datasets", f"digits,csv:{scans}/labels.csv", *source[2:4]
    )
    assert (code, "options of one data set (label), but the sweep has several: digits, csv:" in err) == (
        2,
        True,
    )


def test_ten_problems_are_shown_and_all_with_all(cli, scans):
    for number in range(13):
        (scans / f"{number}.png").unlink()
    code, out, _ = cli("data", "check", f"csv:{scans}/labels.csv")
    assert (code, out.count("not found")) == (4, 10)
    assert "and 3 more (--all lists them)" in out
    _, out, _ = cli("data", "check", f"csv:{scans}/labels.csv", "--all")
    assert (out.count("not found"), "more" in out) == (13, False)
    _, out, _ = cli("data", "check", f"csv:{scans}/labels.csv", "--json")
    assert json.loads(out)["problems"][0].count("not found") == 13


@pytest.mark.parametrize("fit", [(), ("--fit", "pad"), ("--fit", "crop")])
def test_what_is_prepared_is_found_by_a_sweep(cli, scans, tmp_path, fit):
    cache = tmp_path / "cache"
    source = f"csv:{scans}/labels.csv"
    code, out, _ = cli("data", "prepare", source, "--cache", cache, "--models", "vit_nano", *fit)
    assert code == 0
    path = Path(out.rsplit(" (", 1)[0])
    assert path.is_relative_to(cache)
    (tmp_path / "tiny.py").write_text(SWEEP)
    store = tmp_path / "store"
    arguments = ("--datasets", source, "--store", store, "--cache", cache, "--dry-run", *fit)
    assert cli("run", tmp_path / "tiny.py", *arguments)[0] == 0
    assert list(cache.rglob("*.arrow")) == [path]
    assert not store.exists()


def test_case_ids_lead_back_to_images(cli, scans, tmp_path):
    source = f"csv:{scans}/labels.csv"
    code, out, _ = cli("data", "cases", source)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert {row["image"] for row in rows} == {f"{number}.png" for number in range(24)}
    (tmp_path / "tiny.py").write_text(SWEEP.replace("digits", source))
    _, out, _ = cli("plan", tmp_path / "tiny.py", "--store", tmp_path / "store", "--json")
    content = json.loads(out)
    (whole, *_) = content["subsets"]["labels"]
    assert (whole["fraction"], whole["seed"], len(whole["case_ids"])) == (1.0, 1000, 16)
    assert set(whole["case_ids"]) < {row["case_id"] for row in rows}
    assert content["plan"]["data"]["labels"]["images"] == {"train": 16, "val": 4, "test": 4}


def test_no_name_number_or_path_of_a_table_is_in_prepared_data_or_in_what_a_run_says(cli, scans, tmp_path):
    header = ",image,label,Patient ID,patient_name,dob,StudyInstanceUID,path,reader,source,remarks,sex"
    rows = [
        f"{number},{number}.png,{('well', 'ill')[number % 2]},MRN4{number // 2:03},Canary{number},"
        f"1950-03-{number + 1:02},1.2.840.99.{number},D:\\Canary\\{number}.png,Dr Canary {number % 2},"
        f"/mnt/Canary{number % 2},canary ok,{'fm'[number % 3 > 0]}"
        for number in range(24)
    ]
    (scans / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "tiny.py").write_text(SWEEP)
    store = tmp_path / "store"
    code, out, err = cli(
        "run", tmp_path / "tiny.py", "--datasets", f"csv:{scans}/labels.csv", "--store", store, "--dry-run"
    )
    assert code == 0, err
    assert "group: column Patient ID (12 values)" in err
    assert not store.exists(), "a dry run leaves nothing behind"
    asked = runpy.run_path(str(tmp_path / "tiny.py"))["SWEEP"]
    cells = tuple(replace(cell, dataset=f"csv:{scans}/labels.csv") for cell in asked.cells)
    make_plan(replace(asked, cells=cells), store=Store(store))
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) == 2  # the images and their table
    contents = {path: path.read_bytes() for path in files}
    for path in files:
        if path.suffix == ".parquet":  # compressed
            contents[path] += str(pq.read_table(path).to_pydict()).encode()
    assert any(b"'subgroup/sex': ['" in content for content in contents.values())
    for planted in ("canary", "mrn4", "1950-03", "1.2.840.99"):
        assert planted not in (out + err).lower()
        assert not [path for path, content in contents.items() if planted.encode() in content.lower()]


def flipped_png(root: Path) -> None:
    content = bytearray((root / "3.png").read_bytes())
    start = content.index(b"IDAT") + 50
    for place in range(start, start + 40):
        content[place] ^= 0xFF
    (root / "3.png").write_bytes(content)


def half_jpeg(root: Path) -> None:
    Image.open(root / "3.png").resize((300, 300)).save(root / "half.jpg")
    (root / "half.jpg").write_bytes((root / "half.jpg").read_bytes()[:5000])
    replace_in_table(root, "3.png", "half.jpg")


def replace_in_table(root: Path, old: str, new: str) -> None:
    table = root / "labels.csv"
    table.write_text(table.read_text().replace(f"\n{old}", f"\n{new}", 1))


def with_split(root: Path, sides: dict[int, str]) -> None:
    lines = (root / "labels.csv").read_text().splitlines()
    rows = [f"{line},{sides.get(number, 'train')}" for number, line in enumerate(lines[1:])]
    (root / "labels.csv").write_text("\n".join([f"{lines[0]},split", *rows]) + "\n")


def same_patient_on_two_sides(root: Path) -> None:
    with_split(root, {0: "test", 3: "test", 4: "val", 5: "val"})


def same_bytes_on_two_sides(root: Path) -> None:
    (root / "0.png").write_bytes((root / "10.png").read_bytes())
    with_split(root, {0: "test", 1: "test", 4: "val", 5: "val"})


def lonely_class(root: Path) -> None:
    replace_in_table(root, "3.png,ill", "3.png,rare")


def not_utf8(root: Path) -> None:
    (root / "labels.csv").write_bytes((root / "labels.csv").read_bytes() + b"x.png,\x81,p,n,0\n")


def flipped_jpeg_with_checksum(root: Path) -> None:
    """One bit: PIL decodes it without a word."""
    lines = (root / "labels.csv").read_text().splitlines()
    sums = [hashlib.sha256((root / line.split(",")[0]).read_bytes()).hexdigest() for line in lines[1:]]
    Image.open(root / "3.png").save(root / "3.jpg")
    sums[3] = hashlib.sha256((root / "3.jpg").read_bytes()).hexdigest()
    lines[4] = lines[4].replace("3.png", "3.jpg")
    rows = [f"{line},{one}" for line, one in zip(lines[1:], sums, strict=True)]
    (root / "labels.csv").write_text("\n".join([f"{lines[0]},sha256", *rows]) + "\n")
    content = bytearray((root / "3.jpg").read_bytes())
    content[-100] ^= 0x01
    (root / "3.jpg").write_bytes(content)
    Image.open(root / "3.jpg").load()


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (flipped_png, "cannot decode"),
    (
        flipped_jpeg_with_checksum,
        "3.jpg: its sha256 differs from the table's; the file was changed or damaged (labels.csv:5)",
    ),
    (half_jpeg, "half.jpg: image file is truncated"),
    (lambda root: (root / "3.png").write_bytes(b""), "3.png: empty file (labels.csv:5)"),
    (lambda root: (root / "3.png").write_text("<html>"), "3.png: not an image (labels.csv:5)"),
    (lambda root: (root / "3.png").unlink(), "labels.csv:5: image '3.png' not found"),
    (
        lambda root: replace_in_table(root, "3.png,ill", "3.png,Ill"),
        "'ill' (labels.csv:3) and 'Ill' (labels.csv:5)",
    ),
    (
        lambda root: replace_in_table(root, "3.png", "4.png"),
        "labels.csv:6: duplicate path '4.png', lines 5 and 6",
    ),
    (not_utf8, "labels.csv:26: not UTF-8"),
    (lonely_class, "class 'rare' has 1 image: cannot appear in train, val and test"),
    (same_patient_on_two_sides, "2 of 2 test images share a patient, a lesion or all pixels"),
    (same_bytes_on_two_sides, "2 of 2 test images share a patient, a lesion or all pixels"),
    (
        lambda root: (root / "labels.csv").write_text("image,lable\n"),
        "column 'label' missing; found: image, lable; did you mean 'lable'?",
    ),
    (lambda root: replace_in_table(root, "3.png", "/etc/passwd"), "/etc/passwd: not an image (labels.csv:5)"),
    (lambda root: os.truncate(root / "labels.csv", 0), "labels.csv: an empty file"),
]


ROWS = (21, 21, 22, 23, 23, 24, 26, 29, 26, 28, 30, 30, 25, None, None)
"""Of the fault matrix."""


def as_case(number: int) -> object:
    row, (damage, message) = ROWS[number], FAULTS[number]
    expected = "refused before any trial, exit 4, with file and line"
    marks = [pytest.mark.fault(row=row, expected=expected)] if row else []
    return pytest.param(damage, message, id=message[:40], marks=marks)


@pytest.mark.parametrize(("damage", "message"), map(as_case, range(len(FAULTS))))
def test_a_run_refuses_each_fault_with_its_place_before_any_trial(
    cli, scans, tmp_path, damage, message, seen
):
    damage(scans)
    (tmp_path / "tiny.py").write_text(SWEEP)
    store = tmp_path / "store"
    code, _, err = cli("run", tmp_path / "tiny.py", "--datasets", f"csv:{scans}/labels.csv", "--store", store)
    assert code == 4
    assert message in err
    assert "raypeft: exit 4 (PREFLIGHT)" in err.splitlines()[-1]
    assert not list(store.rglob("ledger/*.json"))
    assert not (store / "plan.json").exists()
    seen(f"exit 4; '{next(line for line in err.splitlines() if message in line).strip()[-90:]}'")


def test_leakage_may_be_allowed_by_name(cli, scans, tmp_path):
    same_patient_on_two_sides(scans)
    (tmp_path / "tiny.py").write_text(SWEEP)
    arguments = ("--datasets", f"csv:{scans}/labels.csv", "--store", tmp_path / "store", "--dry-run")
    assert cli("run", tmp_path / "tiny.py", *arguments)[0] == 4
    assert cli("run", tmp_path / "tiny.py", *arguments, "--allow-leakage")[0] == 0
    assert cli("run", tmp_path / "tiny.py", *arguments, "--split", "grouped")[0] == 0


def test_an_unknown_split_is_refused(cli, tmp_path):
    (tmp_path / "tiny.py").write_text(SWEEP)
    code, _, err = cli("run", tmp_path / "tiny.py", "--split", "random", "--dry-run")
    assert code == 2
    assert "grouped" in err
