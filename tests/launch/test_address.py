"""Addresses of clusters that are gone, never were, or are something else: refused soon, and by name."""

import contextlib
import http.server
import socket
import threading
import time

import pytest

from raypeft.core.errors import ConfigError, PreflightError
from raypeft.launch.address import check_cluster, cluster_address

LIMIT = 2.0


@pytest.fixture
def closed_port():
    """One that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return port


@pytest.fixture
def silent_port():
    """One that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def web_port():
    """One of a web server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with contextlib.closing(server.socket):
        yield server.server_port
        server.shutdown()


def refused(address: str, kind=PreflightError) -> str:
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        check_cluster(address, seconds=LIMIT)
    assert time.monotonic() - started < LIMIT + 8, "soon; the rest is Ray's import"
    assert str(caught.value).startswith("RAY_ADDRESS="), "the variable is named"
    assert "unset RAY_ADDRESS" in str(caught.value), "and what to do"
    return str(caught.value)


@pytest.mark.parametrize("value", ["", "  ", "local"])
def test_without_a_cluster_a_sweep_starts_ray_itself(monkeypatch, value):
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert cluster_address() is None
    monkeypatch.delenv("RAY_ADDRESS")
    assert cluster_address() is None


def test_a_port_that_nobody_listens_at(closed_port):
    text = refused(f"127.0.0.1:{closed_port}")
    assert "Connection refused" in text
    assert f"127.0.0.1:{closed_port}" in text
    assert f"tried for at most {LIMIT:g} s" in text
    assert f"ray start --head --port={closed_port}" in text


def test_a_port_that_never_answers(silent_port):
    assert f"tried for at most {LIMIT:g} s" in refused(f"127.0.0.1:{silent_port}")


def test_a_web_server(web_port):
    text = refused(f"127.0.0.1:{web_port}")
    assert "does not answer as a Ray head" in text or "no answer" in text


def test_a_machine_that_takes_no_packets():
    """An address that is for documentation alone (RFC 5737): a firewall that drops, or no route."""
    assert "192.0.2.1:6379" in refused("192.0.2.1:6379")


def test_a_name_that_is_no_machine():
    assert "no-such-machine.invalid:6379" in refused("no-such-machine.invalid:6379")


@pytest.mark.parametrize("address", ["10.0.0.1", "host:", ":6379", "host:port", "host:99999", "a b"])
def test_what_is_no_address(address):
    assert "host:port" in refused(address, ConfigError)


@pytest.mark.parametrize(
    ("address", "word"), [("http://h:8265", "dashboard"), ("ray://h:10001", "Ray Client")]
)
def test_an_address_for_something_else(address, word):
    assert word in refused(address, ConfigError)


@pytest.fixture
def lonely(tmp_path, monkeypatch):
    """No Ray runs here, whatever else does on this machine; the folder of Ray's files."""
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", frozenset)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


def test_auto_without_a_cluster(lonely):
    assert "no Ray cluster runs on this machine" in refused("auto")


def test_auto_with_the_file_of_a_cluster_that_is_gone(lonely, closed_port):
    (lonely / "ray_current_cluster").write_text(f"127.0.0.1:{closed_port}\n")
    text = refused("auto")
    assert "ray_current_cluster" in text
    assert f"127.0.0.1:{closed_port}" in text


SWEEP = """
from raypeft.core.spec import Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="tiny", cells=grid(method=("linear",), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=1), recipe=Recipe(epochs=1), final_seeds=(0,),
)
"""


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_a_sweep_is_refused_before_it_does_anything(cli, tmp_path, monkeypatch, closed_port, options):
    """The dry run too: what it accepts also runs."""
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    (tmp_path / "tiny.py").write_text(SWEEP)
    code, _, talk = cli("run", tmp_path / "tiny.py", "--store", tmp_path / "store", *options)
    assert code == 4
    assert f"RAY_ADDRESS=127.0.0.1:{closed_port}" in talk
    assert not (tmp_path / "store").exists()
