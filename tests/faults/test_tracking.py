"""Rows 16 to 19: MLflow is absent, killed, cut off again and again, and comes back."""

import random
import socket
import threading
import time

import pytest

from raypeft.launch.verify import verify_store
from raypeft.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.fault(
    row=16, expected="MLflow is down at the start: a warning, exit 0; --require-tracking: exit 4"
)
@pytest.mark.fault(row=19, expected="it comes back, sync twice: '8 runs, 0 already there', then '0 runs, 8'")
def test_mlflow_is_absent_for_the_whole_sweep(sweeps, look, mlflow_server, seen):
    uri = mlflow_server.uri
    code, talk = sweeps.start(None, "--tracking-uri", uri, "--require-tracking").end()
    assert code == 4, talk
    run = sweeps.start(None, "--tracking-uri", uri)
    code, talk = run.end()
    assert code == 0, talk
    assert "warning: tracking server unreachable" in talk
    assert "send later with: raypeft sync" in talk
    mlflow_server.start()
    first, second = sweeps.sync(run.store, uri), sweeps.sync(run.store, uri)
    assert first == "synced 8 runs, 0 already there"
    assert second == "synced 0 runs, 8 already there"
    assert verify_store(Store(run.store), tracking_uri=uri) == []
    assert look.science(run.store) == look.science(sweeps.golden())
    seen(f"exit 0 with a warning, 4 where required; '{first}', then '{second}'")


@pytest.mark.fault(row=17, expected="MLflow is killed mid-run and stays away: exit 0, warned, no trial waits")
def test_mlflow_is_killed_mid_run(sweeps, look, mlflow_server, seen):
    uri = mlflow_server.uri
    mlflow_server.start()
    run = sweeps.start(None, "--tracking-uri", uri)
    run.until(lambda: len(look.rows(run.store)) >= 2)
    mlflow_server.stop()
    code, talk = run.end()
    assert code == 0, talk
    assert talk.count("warning: tracking server unreachable") <= 2
    mlflow_server.start()
    sweeps.sync(run.store, uri)
    assert verify_store(Store(run.store), tracking_uri=uri) == []
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


@pytest.mark.fault(
    row=18, expected="MLflow flaps: exit 0; after sync one finished run a trial, each epoch once"
)
def test_mlflow_flaps(sweeps, look, mlflow_server, seen):
    mlflow_server.start()
    proxy = Flapping(mlflow_server.port)
    proxy.start()
    run = sweeps.start(None, "--tracking-uri", f"http://127.0.0.1:{proxy.port}")
    code, talk = run.end()
    proxy.listener.close()
    assert code == 0, talk
    assert proxy.cuts > 3
    uri = mlflow_server.uri
    sweeps.sync(run.store, uri)
    assert verify_store(Store(run.store), tracking_uri=uri) == []
    seen(f"exit 0; {proxy.cuts} connections cut; after sync one finished run a trial, each epoch once")
