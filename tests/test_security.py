"""No one gets in: pickles are never run, archives do not explode, tokens are private, nobody phones home."""

import gzip
import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from raypeft.core.errors import DataError
from raypeft.core.telemetry import SWITCHES
from raypeft.datasets.csv_table import table
from raypeft.datasets.npz import npz
from raypeft.launch.token import keep_token_private

SOURCES = [path for room in ("raypeft", "sweeps", "benchmarks") for path in Path(room).rglob("*.py")]


class Canary:
    """Sings when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_what_runs_pickled_code_stands_nowhere_but_in_one_wrapper():
    assert len(SOURCES) > 100
    loads = re.compile(
        r"torch\.load\(|pickle\.loads?\(|joblib|Tuner\.restore|allow_pickle=True|trust_remote_code"
        r"|(?:mlflow|keras)\S*\.load_model\(|from (?!raypeft)\S+ import .*load_model"
    )
    found = [(path.as_posix(), line) for path in SOURCES for line in path.read_text().splitlines()
             if loads.search(line)]  # fmt: skip
    assert [path for path, _ in found] == ["raypeft/models/checkpoints.py"]
    assert "weights_only=True" in found[0][1]


def test_foreign_state_of_tune_in_a_store_is_never_loaded(tmp_path, cli):
    """Who restores a Tuner from a folder runs what lies in it; raypeft reads its own plain files."""
    store = tmp_path / "store"
    sweep = tmp_path / "tiny.py"
    sweep.write_text(
        "from raypeft.core.spec import Recipe, Search, Sweep, grid\n"
        "cells = grid(method=('linear',), model=('vit_nano',), dataset=('digits',))\n"
        "SWEEP = Sweep(name='tiny', cells=cells,\n"
        "    search=Search(trials=1), recipe=Recipe(epochs=1))\n"
    )
    assert cli("run", sweep, "--store", store, "--dry-run")[0] == 0
    canary = tmp_path / "canary"
    evil = pickle.dumps(Canary(canary))
    for name in ("tuner.pkl", "trainable.pkl", "searcher-state.pkl", "search_gen_state.json", "ledger/x.pkl"):
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_bytes(evil)
    for command in (("status", store), ("verify", store), ("report", store), ("sync", store)):
        cli(*command)
    assert cli("run", sweep, "--store", store, "--dry-run")[0] == 0
    assert not canary.exists()
    pickle.loads(evil)
    assert canary.exists(), "it does sing"


def test_a_zip_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path):
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", b"\0" * 2**26)
    with pytest.raises(DataError, match="unpacks to 67108864 bytes"):
        npz(str(bomb))


def header_alone(shape: tuple[int, ...]) -> bytes:
    """A .npy file that promises bytes of `shape`, and holds none."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def pickled_array(canary: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Canary(canary)], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["pickled", "endless", "outside"])
def test_a_malicious_archive_is_refused_and_writes_nothing(tmp_path, kind):
    canary, evil = tmp_path / "canary", tmp_path / "in" / "evil.npz"
    evil.parent.mkdir()
    name = "../canary" if kind == "outside" else "train_images.npy"
    content = header_alone((2**50,)) if kind == "endless" else pickled_array(canary)
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr(name, content)
    with pytest.raises(DataError):
        npz(str(evil))
    assert not canary.exists()
    np.load(io.BytesIO(pickled_array(canary)), allow_pickle=True)
    assert canary.exists(), "it does sing"


def test_an_honest_archive_is_read_though_its_images_are_black(tmp_path):
    arrays = {
        f"{split}_{what}": value
        for split in ("train", "val", "test")
        for what, value in (
            ("images", np.random.default_rng(0).integers(0, 2, (20, 28, 28), dtype=np.uint8)),
            ("labels", np.arange(20) % 2),
        )
    }
    np.savez_compressed(tmp_path / "some.npz", **arrays)
    assert len(npz(str(tmp_path / "some.npz")).labels) == 60


def test_a_table_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("raypeft.core.delimited.LARGEST", 2**20)
    (tmp_path / "labels.csv.gz").write_bytes(gzip.compress(b"image,label\n" + b"a.png,x\n" * 2**18))
    with pytest.raises(DataError, match="more than 1 MiB of text"):
        table(str(tmp_path / "labels.csv.gz"))


def test_an_image_of_too_many_pixels_is_refused(tmp_path, cli):
    """A PNG of 400 million black pixels is a few hundred KiB."""
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            scan = Image.linear_gradient("L").rotate(20 * number).resize((16, 16 + (name == "a")))
            scan.save(tmp_path / "images" / name / f"{number}.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "images" / "a" / "bomb.png")
    code, out, _ = cli("data", "check", f"folder:{tmp_path / 'images'}", "--json")
    assert code == 4
    (problem,) = json.loads(out)["problems"]
    assert "bomb.png" in problem
    assert "20,000 x 20,000 pixels; at most 268 megapixels" in problem


def test_the_token_of_ray_is_its_owner_s_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "ray" / "token"))
    before = os.umask(0o022)
    try:
        keep_token_private()
    finally:
        os.umask(before)
    path = tmp_path / "ray" / "token"
    assert path.stat().st_mode & 0o777 == 0o600
    token = path.read_text()
    assert len(token) == 64
    path.chmod(0o644)
    keep_token_private()
    assert (path.stat().st_mode & 0o777, path.read_text()) == (0o600, token)


def test_no_library_phones_home():
    code = (
        f"import os; [os.environ.pop(name, None) for name in {tuple(SWITCHES)}]\n"
        "from raypeft.cli import main\n"
        "try: main(['models'])\n"
        "except SystemExit: pass\n"
        "from huggingface_hub import constants\n"
        "from ray._common.usage.usage_lib import usage_stats_enabled\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print([constants.HF_HUB_DISABLE_TELEMETRY, not usage_stats_enabled(), is_telemetry_disabled()])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[True, True, True]"
