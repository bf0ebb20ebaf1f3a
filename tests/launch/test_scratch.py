"""Where Ray's files lie: private, gone at the end, and after a kill gone when the next driver begins."""

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from raypeft.launch.scratch import scratch_folder

HOLDER = """
from raypeft.launch.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_private_whatever_ray_makes_of_its_own_folder_and_gone_at_the_end(temporary):
    with scratch_folder() as folder:
        folder.chmod(0o777)
        (folder / "session").mkdir()
        assert folder.parent.parent == temporary
        assert folder.parent.stat().st_mode & 0o077 == 0
    assert not list(temporary.iterdir())


def test_what_a_killed_driver_left_is_removed_and_what_others_use_stays(temporary):
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            env=os.environ | {"TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    killed, living = (holder.stdout.readline().strip() for holder in holders)
    (temporary / "raypeft-of-somebody").mkdir()
    holders[0].send_signal(signal.SIGKILL)
    holders[0].communicate()
    assert os.path.isdir(killed)
    with scratch_folder():
        assert not os.path.exists(os.path.dirname(killed))
        assert os.path.isdir(living)
        assert (temporary / "raypeft-of-somebody").is_dir()
    assert holders[1].communicate("\n")[0] == ""
    assert not os.path.exists(os.path.dirname(living))
