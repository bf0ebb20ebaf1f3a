"""Open a page once its server answers: `python -m raypeft.launch.page URL PORT`, run next to the server."""

import os
import socket
import subprocess
import sys
import time
import webbrowser

UP_SECONDS = 60.0  # for the server to answer


def open_when_up(url: str, port: int) -> None:
    """Open the page from a separate process, if there is a desktop; a text browser would block it."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, url, str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def wait_for(port: int, *, seconds: float = UP_SECONDS) -> bool:
    """True if something listens on this machine's port before the time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.3)
    return False


if __name__ == "__main__":
    if wait_for(int(sys.argv[2])):
        webbrowser.open(sys.argv[1])
