"""After a whole sweep on images full of names, no file that it left and no line that it wrote holds one.

While it runs, nobody can connect to it from another machine.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SWEEP = """
from raypeft.core.spec import Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="names",
    cells=grid(method=("linear",), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=1),
    recipe=Recipe(epochs=1, batch_size=8),
    final_seeds=(0,),
)
"""
NAMES = ("Quorrabel", "Zylphia", "MRN-7741950", "1950-03-17")  # of a patient, in header, EXIF, path and table


def write_scan(path: Path, seed: int) -> None:
    """DICOM for even seeds, JPEG with EXIF for odd ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
    if seed % 2:
        exif = Image.Exif()
        exif[0x010E] = "Zylphia Quorrabel MRN-7741950"  # ImageDescription
        Image.fromarray(pixels).save(path.with_suffix(".jpg"), exif=exif)
        return
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.7",
        generate_uid(),
    )
    scan = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    scan.PatientName, scan.PatientID, scan.PatientBirthDate = "Quorrabel^Zylphia", "MRN-7741950", "19500317"
    scan.Rows = scan.Columns = 32
    scan.SamplesPerPixel, scan.PhotometricInterpretation, scan.PixelRepresentation = 1, "MONOCHROME2", 0
    scan.BitsAllocated = scan.BitsStored = 8
    scan.HighBit = 7
    scan.PixelData = pixels.tobytes()
    scan.save_as(path.with_suffix(".dcm"), enforce_file_format=True)


SECRETS = {
    "HF_TOKEN": "hf_Zk3planted",
    "AWS_SECRET_ACCESS_KEY": "wJalrplanted",
    "MLFLOW_TRACKING_PASSWORD": "mlplanted",
    "RAY_AUTH_TOKEN": "rayplanted0123456789abcdef0123456789",
}


def listens_on(pid: int) -> set[str]:
    """The addresses on which a process, and what it started, take connections."""
    found = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                connections = process.net_connections("tcp")
                found |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    return {address.removeprefix("::ffff:") for address in found}


@pytest.mark.ray
def test_no_name_of_a_patient_and_no_secret_is_left_anywhere(tmp_path, cli):
    root, store = tmp_path / "in", tmp_path / "store"
    rows = ["image,label,patient_id,Patient Name,original_path,birth_date,source,sex,remark"]
    for number in range(24):
        write_scan(root / f"Quorrabel_Zylphia_{number}" / "MRN-7741950", number)
        suffix = ".jpg" if number % 2 else ".dcm"
        label = "ill" if number % 3 else "well"
        scan = f"Quorrabel_Zylphia_{number}/MRN-7741950{suffix}"
        rows.append(
            f"{scan},{label},Zylphia Quorrabel {number},Zylphia,D:\\export\\{scan},1950-03-17,"
            f"/mnt/Zylphia/{number % 2},{'fm'[number % 2]},seen by Quorrabel"
        )
    (root / "scans.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "names.py").write_text(SWEEP)
    assert "Quorrabel" in str(pydicom.dcmread(next(root.rglob("*.dcm"))).PatientName)
    run = subprocess.Popen(
        [sys.executable, "-m", "raypeft", "run", str(tmp_path / "names.py"), "--store", str(store),
         "--datasets", f"csv:{root}/scans.csv"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | SECRETS,
    )  # fmt: skip
    open_to = set()
    while run.poll() is None:
        open_to |= listens_on(run.pid)
        time.sleep(0.5)
    talk = run.communicate()[0]
    assert run.returncode == 0, talk
    assert open_to == {"127.0.0.1"}, "Ray's and raypeft's servers are for this machine alone"
    unwanted = (*NAMES, *SECRETS.values())
    assert not [name for name in unwanted if name in talk]
    for command in (("status", store), ("report", store, "-o", store / "report.html")):
        code, out, err = cli(*command)
        assert code == 0, err
        assert not [name for name in unwanted if name in out + err]
    assert (store / "report.html").stat().st_size > 10_000
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes() + str(path.relative_to(store)).encode()
        if path.suffix == ".parquet":  # compressed
            content += str(pq.read_table(path).to_pydict()).encode()
        assert not [name for name in unwanted if name.encode() in content], path
