"""How far the checkpoints of a trial are, for those who look without torch, which takes seconds to import."""

from pathlib import Path


def newest_step(folder: Path) -> int:
    """The step after which the newest checkpoint was written, damaged or not; 0 where there is none."""
    return max((int(path.name.removeprefix("step-")) for path in folder.glob("step-*")), default=0)
