"""`raypeft doctor` tells a sound machine from a broken one, line by line."""

import json
import resource
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from raypeft.launch import doctor
from raypeft.launch.doctor import examine


def lines(store, **more) -> dict[str, str]:
    """What each finding is about -> its level."""
    found = examine(store, **{"tracking_uri": None, "port": 5000, **more})
    return {finding.what.partition(":")[0]: finding.level for finding in found}


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.chdir(tmp_path)


def test_a_sound_machine_has_no_failing_line(tmp_path):
    found = list(examine(tmp_path / "new" / "store", tracking_uri=None, port=0))
    assert not [finding for finding in found if finding.level == "FAIL"]
    assert all(finding.fix for finding in found if finding.level == "WARN")
    assert {finding.what.partition(":")[0] for finding in found} >= {
        "packages", "GPU", "memory", "store", "temporary folder", "clock", "open files", "port 0",
        "Ray's token", "Ray dashboard", "MLflow", "weights not here yet",
    }  # fmt: skip
    assert not list(tmp_path.glob("**/.doctor-*"))


@pytest.mark.parametrize(
    ("limits", "line", "level"),
    [
        ({"GOOD_DISK": 2**60}, "store", "WARN"),
        ({"GOOD_DISK": 2**60, "MIN_DISK": 2**60}, "store", "FAIL"),
        ({"GOOD_DISK": 2**60}, "temporary folder", "WARN"),
        ({"MIN_MEMORY": 2**60}, "memory", "WARN"),
        ({"CLOCK_SECONDS": -1.0}, "clock", "WARN"),
    ],
)
def test_a_machine_below_a_limit_is_told_what_to_do(tmp_path, monkeypatch, limits, line, level):
    for name, value in limits.items():
        monkeypatch.setattr(doctor, name, value)
    found = {one.what.partition(":")[0]: one for one in examine(tmp_path, tracking_uri=None, port=0)}
    assert found[line].level == level
    assert found[line].fix


def test_a_package_of_another_version_fails(tmp_path, monkeypatch):
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1" if name == "ray" else real(name))
    found = {one.what.partition(":")[0]: one for one in examine(tmp_path, tracking_uri=None, port=0)}
    assert found["packages"].level == "FAIL"
    assert "ray 0.0.1 (needs " in found["packages"].what


def test_a_token_that_others_can_read_fails(tmp_path):
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o644)
    assert lines(tmp_path)["Ray's token"] == "FAIL"
    (tmp_path / "token").chmod(0o600)
    assert lines(tmp_path)["Ray's token"] == "OK"


def test_a_cluster_file_that_is_open_to_all_fails(tmp_path):
    (tmp_path / "cluster.yaml").write_text("# 0.0.0.0/0 would be open to all\nCidrIp: 203.0.113.0/24\n")
    assert lines(tmp_path)["cluster.yaml"] == "OK"
    (tmp_path / "cluster.yaml").write_text("CidrIp: 0.0.0.0/0\n")
    assert lines(tmp_path)["cluster.yaml"] == "FAIL"


@pytest.mark.parametrize(("status", "level"), [(200, "FAIL"), (401, "OK")])
def test_a_dashboard_that_takes_jobs_from_anybody_fails(tmp_path, monkeypatch, status, level):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(doctor, "DASHBOARD", f"http://127.0.0.1:{server.server_port}/api/jobs/")
        assert lines(tmp_path)["Ray dashboard"] == level
        server.shutdown()


def test_a_taken_port_and_an_absent_mlflow_are_warnings(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert lines(tmp_path, port=port)[f"port {port}"] == "WARN"
    assert lines(tmp_path, tracking_uri=f"http://127.0.0.1:{port}")["MLflow"] == "WARN"


def test_the_command_exits_4_where_a_line_fails_and_prints_json():
    run = subprocess.run(
        [sys.executable, "-m", "raypeft", "doctor", "--json"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    )
    assert run.returncode == 4
    found = {one["what"].partition(":")[0]: one for one in json.loads(run.stdout)}
    assert found["open files"] == {
        "level": "FAIL",
        "what": "open files: at most 256",
        "fix": "run: ulimit -Hn 65536",
    }
    assert "exit 4 (PREFLIGHT) 1 check failed" in run.stderr
