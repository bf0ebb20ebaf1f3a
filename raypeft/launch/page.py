"""Open a page once its server answers: `python -m raypeft.launch.page URL PORT`, beside a starting server."""

import os
import socket
import subprocess
import sys
import time
import webbrowser

PATIENCE_S = 60.0


def open_when_up(url: str, port: int) -> None:
    """In a process of its own, where there is a desktop; a browser in the terminal would take it over."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, url, str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def wait_for(port: int, *, patience_s: float = PATIENCE_S) -> bool:
    """Whether something listens on this machine's port before the time is up."""
    end = time.monotonic() + patience_s
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
