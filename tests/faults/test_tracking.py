"""Rows 16 to 19: MLflow is absent, killed, cut off again and again, and comes back."""

import random
import socket
import subprocess
import sys
import threading
import time

import pytest

from raypeft.launch.verify import verify_store

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def mlflow_server(tmp_path):
    """Starts MLflow on 127.0.0.1, as often as asked, over one database."""
    started = []

    def start(port: int) -> subprocess.Popen:
        place = f"sqlite:///{tmp_path}/server.db"
        options = ["--backend-store-uri", place, "--artifacts-destination", str(tmp_path / "artifacts")]
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
             "--workers", "1", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        started.append(server)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return server
            time.sleep(0.2)
        raise AssertionError("MLflow did not start")

    yield start
    for server in started:
        stop(server)


def stop(server: subprocess.Popen) -> None:
    import psutil

    if server.poll() is None:
        for one in psutil.Process(server.pid).children(recursive=True):
            one.kill()
        server.kill()
        server.wait()


def sync(store, uri: str) -> str:
    command = [sys.executable, "-m", "raypeft", "sync", str(store), "--tracking-uri", uri]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.fault(
    row=16, expected="MLflow is down at the start: a warning, exit 0; --require-tracking: exit 4"
)
@pytest.mark.fault(row=19, expected="it comes back, sync twice: '8 runs, 0 already there', then '0 runs, 8'")
def test_mlflow_is_absent_for_the_whole_sweep(sweeps, look, mlflow_server, seen):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    code, talk = sweeps.start(None, "--tracking-uri", uri, "--require-tracking").end()
    assert code == 4, talk
    run = sweeps.start(None, "--tracking-uri", uri)
    code, talk = run.end()
    assert code == 0, talk
    assert "warning: tracking server unreachable" in talk
    assert "send later with: raypeft sync" in talk
    mlflow_server(port)
    first, second = sync(run.store, uri), sync(run.store, uri)
    assert first == "synced 8 runs, 0 already there"
    assert second == "synced 0 runs, 8 already there"
    assert verify_store(run.store, tracking_uri=uri) == []
    assert look.science(run.store) == look.science(sweeps.golden())
    seen(f"exit 0 with a warning, 4 where required; '{first}', then '{second}'")


@pytest.mark.slow
@pytest.mark.fault(row=17, expected="MLflow is killed mid-run and stays away: exit 0, warned, no trial waits")
def test_mlflow_is_killed_mid_run(sweeps, look, mlflow_server, seen):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    server = mlflow_server(port)
    run = sweeps.start(None, "--tracking-uri", uri)
    run.until(lambda: len(look.rows(run.store)) >= 2)
    stop(server)
    code, talk = run.end()
    assert code == 0, talk
    assert talk.count("warning: tracking server unreachable") <= 2
    mlflow_server(port)
    sync(run.store, uri)
    assert verify_store(run.store, tracking_uri=uri) == []
    assert look.science(run.store) == look.science(sweeps.golden())
    seen("exit 0; after sync one finished run a trial")


class Flapping(threading.Thread):
    """A proxy that cuts every connection after half a second, stalls some, and answers others with 500."""

    def __init__(self, target: int) -> None:
        super().__init__(daemon=True)
        self.target, self.random = target, random.Random(0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.cuts = 0

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        luck = self.random.random()
        with client:
            if luck < 0.2:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                self.cuts += 1
                return
            if luck < 0.25:
                time.sleep(8)  # longer than raypeft's patience with one call
                self.cuts += 1
                return
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                client.settimeout(0.1)
                server.settimeout(0.1)
                end = time.monotonic() + 0.5
                while time.monotonic() < end:
                    for source, sink in ((client, server), (server, client)):
                        try:
                            content = source.recv(65536)
                        except TimeoutError:
                            continue
                        except OSError:
                            return
                        if not content:
                            return
                        sink.sendall(content)
                self.cuts += 1


@pytest.mark.slow
@pytest.mark.fault(
    row=18, expected="MLflow flaps: exit 0; after sync one finished run a trial, each epoch once"
)
def test_mlflow_flaps(sweeps, look, mlflow_server, seen):
    port = free_port()
    mlflow_server(port)
    proxy = Flapping(port)
    proxy.start()
    run = sweeps.start(None, "--tracking-uri", f"http://127.0.0.1:{proxy.port}")
    code, talk = run.end()
    proxy.listener.close()
    assert code == 0, talk
    assert proxy.cuts > 3
    uri = f"http://127.0.0.1:{port}"
    sync(run.store, uri)
    assert verify_store(run.store, tracking_uri=uri) == []
    seen(f"exit 0; {proxy.cuts} connections cut; after sync one finished run a trial, each epoch once")
