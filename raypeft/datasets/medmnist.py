"""The 2D sets of MedMNIST with one label per image, downloaded on first use.

Source:  Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
         classification", Scientific Data 10:41, 2023; files on Zenodo, record 10519652.
Licence: CC BY 4.0; DermaMNIST CC BY-NC 4.0.
Layout:  $RAYPEFT_DATA/medmnist/<flag>[_<size>].npz, or else ~/.medmnist; 28 pixels have no size in the name.
Splits:  the official ones. DermaMNIST's has images of one lesion on both sides.
Groups:  none: no set tells its patients.
"""

import difflib
import hashlib
import http.client
import logging
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from raypeft.core.errors import DataError, UnknownNameError
from raypeft.core.files import new_file
from raypeft.datasets.base import DATA_ROOT, register_source
from raypeft.datasets.manifest import Table
from raypeft.datasets.npz import read_npz

SIZES = ("64", "128", "224")
TIMEOUT_SECONDS = 30.0  # without a byte
CHUNK_BYTES = 1 << 20

_logger = logging.getLogger(__name__)


@register_source("medmnist", meaning="a set of MedMNIST, with its size unless that is 28: dermamnist_64")
def medmnist(argument: str) -> Table:
    """Return a set's table; its classes are those of the package `medmnist`, in its order.

    A file whose md5 is not the official one is used, with a warning.
    Raises: UnknownNameError; DataError without the package, for a set with several labels per image or
    of volumes, and for a download that failed.
    """
    flag, _, size = argument.partition("_")
    info = _info(flag)
    suffix = f"_{size}" if size else ""
    if argument not in {flag, *(f"{flag}_{side}" for side in SIZES)}:
        raise DataError(
            f"medmnist:{argument}: no size '{size}'; allowed: {', '.join(SIZES)}, or none for 28: {flag}"
        )
    name, md5 = f"{argument}.npz", info[f"MD5{suffix}"]
    path = _find(name) or _download(info[f"url{suffix}"], _home() / name, md5=md5)
    _compare(path, md5)
    classes = tuple(info["label"][str(number)] for number in range(len(info["label"])))
    table = read_npz(path, source=f"medmnist:{argument}", classes=classes)
    return replace(table, is_public=True)  # all sets of 2D images: without names, CC BY or CC BY-NC


def _info(flag: str) -> Mapping[str, Any]:
    """Return the package's facts on a 2D set with one label an image. Raises: UnknownNameError, DataError."""
    try:
        from medmnist import INFO  # takes seconds to import
    except ImportError:
        raise DataError(
            f"medmnist:{flag}: names and addresses of its sets come with a package that is not installed; "
            'pip install "raypeft[medmnist]", or download the file yourself and give npz:FILE'
        ) from None
    if flag not in INFO:
        near = difflib.get_close_matches(flag.lower(), INFO, n=1)
        hint = f" did you mean 'medmnist:{near[0]}'?" if near else ""
        raise UnknownNameError(f"no set of MedMNIST named '{flag}';{hint} known: {', '.join(INFO)}")
    info: Mapping[str, Any] = INFO[flag]
    if flag.endswith("3d"):
        raise DataError(f"medmnist:{flag}: its cases are volumes; only the 2D sets are supported")
    if "multi-label" in info["task"]:
        raise DataError(
            f"medmnist:{flag}: {len(info['label'])} labels per image; only sets with one are supported"
        )
    return info


def _home() -> Path:
    """Return where the package itself keeps its files."""
    return Path.home() / ".medmnist"


def _folders() -> list[Path]:
    """Return where a file may be, in the order of the search."""
    base = os.environ.get(DATA_ROOT)
    return [*([Path(base) / "medmnist", Path(base)] if base else []), _home()]


def _find(name: str) -> Path | None:
    return next((folder / name for folder in _folders() if (folder / name).is_file()), None)


def _compare(path: Path, md5: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, _new_md5).hexdigest()
    if found != md5:
        _logger.warning(
            "medmnist: %s is not the official file (md5 %s, official %s); its scores compare with no others",
            path.name, found, md5,
        )  # fmt: skip


def _download(url: str, path: Path, *, md5: str) -> Path:
    """Download to `path`, completely or not at all; the package itself would leave half a file there.

    Raises: DataError, also if the file has another md5.
    """
    _logger.info("medmnist: downloading %s from %s", path.name, url)

    digest = _new_md5()
    request = urllib.request.Request(url, headers={"User-Agent": "raypeft"})
    try:
        with new_file(path) as file:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                while chunk := response.read(CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != md5:
                raise OSError(f"what came has md5 {digest.hexdigest()}, official is {md5}")
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"medmnist: {path.name} cannot be downloaded: {error}. Try again, or get it from {url} elsewhere "
            f"and put it in {path.parent} or in ${DATA_ROOT}/medmnist; "
            f"looked in {', '.join(map(str, _folders()))}"
        ) from None
    return path


def _new_md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)
