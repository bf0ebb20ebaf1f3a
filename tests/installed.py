"""raypeft as people install it: a wheel in an environment of its own, which knows nothing of this clone."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = ("analysis", "sweeps", "tests")
"""Folders that people have, and that a checkout of raypeft has too."""


def install(folder: Path) -> Path:
    """Build the wheel; return the Python of a new environment that has it, beside the packages from here."""
    uv = shutil.which("uv")
    assert uv, "the wheel is built by uv: pip install uv"
    _call(uv, "build", "--quiet", "--wheel", "--out-dir", folder / "wheel", ROOT)
    _call(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    # A line of a .pth file is searched as it is: the .pth that names this checkout is not read from there
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = (folder / "wheel").glob("*.whl")
    _call(uv, "pip", "install", "--quiet", "--no-deps", "--target", packages, wheel)
    return folder / "env" / "bin" / "python"


def fill_with_traps(folder: Path) -> Path:
    """Make packages named as ours, which nobody may import; return the folder."""
    for name in NAMES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('imported {name}')")
    return folder


def _call(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
