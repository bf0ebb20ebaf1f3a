"""The sweeps that come with raypeft, each known by its name."""

from pathlib import Path

SUFFIX = ".py"


def shipped_sweeps() -> dict[str, Path]:
    """Return the files of the shipped sweeps, by name."""
    package = Path(__file__).parents[1]
    inside = package / "sweeps"  # of an installation; in a clone they lie beside the package
    folder = inside if inside.is_dir() else package.parent / "sweeps"
    files = [*sorted(folder.glob(f"*{SUFFIX}")), package / f"quickstart{SUFFIX}"]
    return {path.stem: path for path in files}
