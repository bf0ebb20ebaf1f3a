"""Commands that start no sweep; those that do are in integration/."""

import csv
import json
import os
import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

from raypeft.core.sources import dataset_label
from raypeft.models import MODELS

ROOT = Path(__file__).parents[1]
SWEEP = """
from raypeft.core.spec import Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="tiny",
    cells=grid(method=("linear", "bitfit"), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=4),
    recipe=Recipe(epochs=3),
)
"""


@pytest.fixture
def sweep_file(tmp_path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(SWEEP)
    return path


@pytest.mark.parametrize(
    ("command", "key", "expected"),
    [
        ("methods", "method", {"full", "linear", "bitfit", "bias", "bn", "lora"}),
        ("models", "model", {"efficientnet_lite0", "vit_nano"}),
        ("datasets", "dataset", {"digits", "folder:PATH", "csv:PATH"}),
    ],
)
def test_what_exists_is_listed_for_people_and_for_programs(cli, command, key, expected):
    code, out, _ = cli(command, "--json")
    assert code == 0
    assert expected <= {row[key] for row in json.loads(out)}
    code, out, _ = cli(command)
    assert code == 0
    assert all(name.split(":")[0] in out for name in expected)


def test_a_plan_counts_and_starts_nothing(cli, sweep_file, tmp_path):
    code, out, _ = cli("plan", sweep_file, "--store", tmp_path / "s", "--json")
    content = json.loads(out)
    assert code == 0
    assert content["trials"] == 2 * (4 + 3)
    assert content["committed"] == 0
    assert not list((tmp_path / "s").glob("ledger/*"))


def test_a_plan_says_how_a_checkpoint_was_read(cli, sweep_file, tmp_path):
    state = {f"module.{name}": one for name, one in MODELS["vit_nano"].make().state_dict().items()}
    torch.save({"model": state | {"module.queue": torch.zeros(3)}}, tmp_path / "own.pth")
    asked = (
        "plan",
        sweep_file,
        "--store",
        tmp_path / "s",
        "--models",
        f"vit_nano(weights='{tmp_path}/own.pth', normalize='half')",
    )
    code, out, _ = cli(*asked, "--json")
    assert code == 0
    notes = json.loads(out)["weights"]["vit_nano(normalize='half', weights='own.pth')"]
    assert (notes["where"], notes["prefix"], notes["left_out"]) == (["model"], "module.", ["queue"])
    code, out, _ = cli(*asked)
    assert "68 tensors of ['model'] under 'module.'; left out: queue" in " ".join(out.split())


def test_a_plan_takes_paces_from_a_benchmark_and_refuses_another_table(cli, sweep_file, tmp_path):
    steps = tmp_path / "step.csv"
    steps.write_text("model,method,images_per_second,train_flops_per_image\nvit_nano,bitfit,100,2e6\n")
    code, out, _ = cli("plan", sweep_file, "--store", tmp_path / "s", "--rates", steps, "--json")
    bitfit = next(one for one in json.loads(out)["estimate"] if one["cell"]["method"] == "bitfit")
    assert (code, bitfit["basis"]) == (0, "benchmark")
    assert bitfit["device_hours"] == pytest.approx(bitfit["flops"] / 2e8 / 3600)
    steps.write_text("method\nfull\n")
    code, _, err = cli("plan", sweep_file, "--store", tmp_path / "s", "--rates", steps)
    assert (code, "step.csv:2" in err) == (2, True)


def test_options_replace_axes_and_settings(cli, sweep_file, tmp_path):
    code, out, _ = cli(
        "run", sweep_file, "--store", tmp_path / "s", "--dry-run",
        "--methods", "lora", "--seeds", "5,6", "--fractions", "0.1,0.5", "--candidates", 3,
    )  # fmt: skip
    assert code == 0
    assert "2 cells: 6 candidates + 4 final runs = 10 trials, 0 committed" in " ".join(out.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SWEEP = 3", "SWEEP is int; it must be an rp.Sweep"),
        ("x = 1\nSWEEP = undefined", "broken.py:2: NameError"),
        ("", "has no SWEEP"),
    ],
)
def test_a_broken_sweep_file_is_named_with_its_line(cli, tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    code, _, err = cli("plan", tmp_path / "broken.py", "--store", tmp_path / "s")
    assert code == 2
    assert message in err
    assert err.rstrip().endswith("raypeft: exit 2 (CONFIG)")


def test_a_missing_sweep_file_and_wrong_values_are_configuration_errors(cli, sweep_file, tmp_path):
    assert cli("plan", tmp_path / "absent.py")[0] == 2
    code, _, err = cli("run", sweep_file, "--fractions", "0.1,half", "--store", tmp_path / "s")
    assert code == 2
    assert "'0.1,half'" in err
    code, _, err = cli("status", tmp_path)
    assert code == 2
    assert "holds no sweep" in err


def test_two_datasets_of_one_name_are_refused(cli, sweep_file, tmp_path):
    sources = f"folder:{tmp_path}/a/busi,folder:{tmp_path}/b/busi"
    code, _, err = cli("run", sweep_file, "--datasets", sources, "--store", tmp_path / "s")
    assert code == 2
    assert "would both be called 'busi'" in err


@pytest.mark.parametrize(
    ("sweep", "published", "methods"),
    [
        ("vit_grid", "table3_vit_f1", 8),
        ("cnn_grid", "table2_resnet50_f1", 6),
        ("ssl_grid", "table5_ssl_f1", 8),
    ],
)
def test_the_paper_s_grids_hold_the_cells_of_its_tables_and_run_in_small(
    cli, tmp_path, sweep, published, methods
):
    path = ROOT / "sweeps" / f"{sweep}.py"
    with (ROOT / "raypeft" / "analysis" / "published" / f"{published}.csv").open() as file:
        rows = {(row["method"], row["model"], row["dataset"]) for row in csv.DictReader(file)}
    cells = runpy.run_path(str(path))["SWEEP"].cells
    assert {(cell.method, cell.model, cell.dataset) for cell in cells} == rows
    assert os.access(path, os.X_OK)
    code, out, _ = cli("run", path, "--smoke", "--dry-run", "--store", tmp_path / "store")
    assert code == 0
    assert f"{methods} cells: {methods * 2} candidates + {methods} final runs = {methods * 3} trials" in out


def test_the_data_fraction_grid_is_figure_1(cli, tmp_path):
    path = ROOT / "sweeps" / "data_fraction.py"
    sweep = runpy.run_path(str(path))["SWEEP"]
    pairs = {(cell.method, cell.model) for cell in sweep.cells}
    assert pairs == {(m, v) for m in ("full", "bitfit", "lora") for v in ("vit_base", "vit_large")}
    assert {cell.dataset for cell in sweep.cells} == {"ham10000"}
    fractions = {cell.fraction for cell in sweep.cells}
    assert {1.0, 0.8, 0.5, 0.2, 0.01} < fractions, "those that the paper names, and points in between"
    assert len(sweep.cells) == len(fractions) * len(pairs)
    assert len(sweep.final_seeds) == 3
    code, out, _ = cli("run", path, "--smoke", "--dry-run", "--store", tmp_path / "store")
    assert code == 0
    assert "3 cells: 6 candidates + 3 final runs = 9 trials" in out


def test_figure_1_s_cells_at_all_of_the_data_are_cells_of_table_3():
    """So a store of one can serve the other: same recipe, same search."""
    figure, table = (
        runpy.run_path(str(ROOT / "sweeps" / f"{n}.py"))["SWEEP"] for n in ("data_fraction", "vit_grid")
    )
    assert {cell for cell in figure.cells if cell.fraction == 1.0} < set(table.cells)
    assert (figure.recipe, figure.search, figure.final_seeds) == (
        table.recipe,
        table.search,
        table.final_seeds,
    )


def test_the_diffusion_grid_holds_the_cells_of_table_4(cli, tmp_path, monkeypatch):
    path = ROOT / "sweeps" / "diffusion_grid.py"
    with (ROOT / "raypeft" / "analysis" / "published" / "table4_sd_fid.csv").open() as file:
        rows = {(row["method"], row["dataset"], float(row["fraction"])) for row in csv.DictReader(file)}
    cells = runpy.run_path(str(path))["SWEEP"].cells
    assert {(cell.method, dataset_label(cell.dataset), cell.fraction) for cell in cells} == rows
    code, out, _ = cli("run", path, "--smoke", "--store", tmp_path / "store", "--dry-run")
    assert code == 0
    assert "24 cells: 48 candidates + 48 final runs = 96 trials" in out
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, _, err = cli("run", path, "--store", tmp_path / "other", "--dry-run")
    assert code == 4
    assert "hf download stable-diffusion-v1-5/stable-diffusion-v1-5" in err


def test_text_to_image_refuses_what_would_have_no_effect(cli, tmp_path):
    sweep = tmp_path / "own.py"
    sweep.write_text(
        "from raypeft.core.spec import Augmentation, Recipe, Sweep, grid\n"
        "SWEEP = Sweep(name='own', cells=grid(method=('lora',), model=('sd_nano',), dataset=('digits',)),\n"
        "              recipe=Recipe(augmentation=Augmentation(hflip=0.5)))\n"
    )
    code, _, err = cli("run", sweep, "--dry-run", "--store", tmp_path / "store")
    assert code == 2
    assert "augmentation does not reach sd_nano" in err


def test_text_to_image_refuses_too_few_test_images_before_it_trains(cli, tmp_path):
    """18 images a class, two classes: 15% of them are fewer than FID needs for an interval."""
    for name in ("ill", "well"):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(18):
            scan = Image.radial_gradient("L").rotate(10 * number).resize((32 + number, 32 + (name == "ill")))
            scan.save(tmp_path / "scans" / name / f"{number}.png")
    sweep = tmp_path / "own.py"
    sweep.write_text(
        "from raypeft.core.spec import Sweep, grid\n"
        f"SWEEP = Sweep(name='own', cells=grid(method=('lora',), model=('sd_nano',), "
        f"dataset=('folder:{tmp_path / 'scans'}',)))\n"
    )
    code, _, err = cli("run", sweep, "--dry-run", "--store", tmp_path / "store")
    assert code == 4
    assert "scans: 6 test images; FID needs 20 or more" in err


def test_the_paper_s_grids_say_where_their_data_must_lie(cli, tmp_path, monkeypatch):
    monkeypatch.delenv("RAYPEFT_DATA", raising=False)
    path = ROOT / "sweeps" / "cnn_grid.py"
    arguments = ("--models", "efficientnet_lite0", "--store", tmp_path / "store", "--dry-run")
    code, _, err = cli("run", path, *arguments)
    assert code == 4
    for name in ("breastus", "fitzpatrick17k", "ham10000", "smdg", "rsna"):
        assert f"{name}: where does the download lie? Write {name}:FOLDER, or set RAYPEFT_DATA" in err


def test_memory_is_told_for_the_images_that_go_through_at_once(cli, sweep_file, tmp_path):
    for size, told in ((16, 16), (512, 64)):  # 64: the default of micro_batch_size
        out = "".join(cli("plan", sweep_file, "--batch-size", size, "--store", tmp_path / "s")[1:])
        assert f"micro-batches of {told};" in out


def test_a_number_that_is_none_is_named(cli, sweep_file, tmp_path):
    for option, text, needed in (
        ("--seeds", "0,1.0", "'1.0' is no whole number"),
        ("--fractions", "x", "'x' is no number"),
        ("--fractions", "0.1,0.10", "--fractions names 0.1 twice"),
        ("--methods", "lora,full,lora", "--methods names lora twice"),
    ):
        code, _, err = cli("plan", sweep_file, option, text, "--store", tmp_path / "s")
        assert code == 2
        assert needed in err


def test_one_number_of_seeds_above_one_is_asked_about(cli, sweep_file, tmp_path):
    """`--seeds 2` is seed 2, where many expect two seeds."""
    code, out, err = cli("plan", sweep_file, "--seeds", "2", "--store", tmp_path / "s")
    assert code == 0
    assert "--seeds 2 is one final run, with seed 2; for 2 runs write --seeds 0,1" in err
    assert "2 final runs" in out  # of two cells
    for seeds in ("0", "1", "2,3"):
        _, _, err = cli("plan", sweep_file, "--seeds", seeds, "--store", tmp_path / "s")
        assert "final run, with seed" not in err
