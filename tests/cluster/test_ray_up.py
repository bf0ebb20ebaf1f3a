"""cluster.local.yaml on a machine of its own: SSH, ray up, ray job submit, stop, submit again, ray down."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOLS = ("sshd", "rsync", "unshare", "nsenter", "ip", "curl")
SMOKE = ("sweeps/vit_grid.py", "--smoke")
NUM_TRIALS = 8 * (2 + 1)
# `ray job stop first` once there is a row. Its imports take longer than the trials: they come before.
STOP = """
import sys, time
from pathlib import Path
import ray.dashboard.modules.job.cli
from ray.scripts.scripts import main
while not any(Path(sys.argv[1]).glob("*.json")):
    time.sleep(0.05)
sys.argv = ["ray", "job", "stop", "first"]
main()
"""

missing = [tool for tool in TOOLS if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin")]
pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}; .ci/run installs them"),
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]


class Machine:
    """A network, a process table and a /tmp/ray of its own, reached by SSH with a throwaway key."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"  # of the user there, and of the one who types `ray up`
        self.key = folder / "key"
        self.home.mkdir(mode=0o700)
        host_key, authorized, config = (folder / name for name in ("host_key", "authorized_keys", "sshd"))
        for key in (self.key, host_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        authorized.write_text(self.key.with_suffix(".pub").read_text())
        config.write_text(
            f"HostKey {host_key}\nAuthorizedKeysFile {authorized}\nSetEnv HOME={self.home}\n"
            "ListenAddress 127.0.0.1\nPermitRootLogin yes\nPasswordAuthentication no\nStrictModes no\n"
            "UsePAM no\nPidFile none\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        boot = f"ip link set lo up && mount -t tmpfs tmpfs /tmp/ray && exec /usr/sbin/sshd -D -f {config}"
        self.process = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--pid",
                "--fork",
                "--mount",
                "--mount-proc",
                "--kill-child",
                "sh",
                "-c",
                boot,
            ]
        )
        deadline = time.monotonic() + 10
        while not (children := psutil.Process(self.process.pid).children()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.init = children[0].pid
        while self.run("ssh-keyscan", "127.0.0.1").returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def start(self, *command: object, **environment: str) -> subprocess.Popen:
        own = {"HOME": str(self.home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYPEFT"))
        }
        folder = self.home / "raypeft" if (self.home / "raypeft").exists() else ROOT
        there = ["--target", str(self.init), "--net", "--pid", "--mount", f"--wdns={folder}"]
        return subprocess.Popen(
            ["nsenter", *there, "--", *map(str, command)],
            env=clean | own | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: object, timeout: float = 300) -> subprocess.CompletedProcess:
        process = self.start(*command)
        out, _ = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(command, process.returncode, out)

    def processes(self) -> list[str]:
        """Command lines of all that runs there, but for the SSH server."""
        found = []
        for process in psutil.Process(self.init).children(recursive=True):
            with_arguments = " ".join(process.cmdline())
            if with_arguments and "sshd" not in with_arguments:
                found.append(with_arguments)
        return found

    def switch_off(self) -> None:
        self.process.send_signal(signal.SIGKILL)  # --kill-child takes everything with it
        self.process.wait()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.switch_off()


@pytest.fixture(scope="module")
def cluster(machine, tmp_path_factory) -> Path:
    """cluster.local.yaml with what is to be filled in, and the packages of this process for those of uv."""
    folder = tmp_path_factory.mktemp("cluster")
    config = yaml.safe_load((ROOT / "cluster.local.yaml").read_text())
    config["provider"] |= {"head_ip": "127.0.0.1", "worker_ips": []}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(machine.key)}
    installs = [line for line in config["setup_commands"] if "pip install" in line or "uv sync" in line]
    assert len(installs) == 2
    venv = f"ln -sfn {Path(sys.prefix)} ~/raypeft/.venv"
    shared = str(folder / "shared")
    config["setup_commands"] = [venv] + [
        line.replace("/mnt/raypeft", shared) for line in config["setup_commands"] if line not in installs
    ]
    path = folder / "cluster.local.yaml"
    path.write_text(yaml.safe_dump(config))
    assert machine.run("ray", "get-auth-token", "--generate").returncode == 0
    up = machine.run("ray", "up", "-y", path)
    assert up.returncode == 0, up.stdout
    return path


@pytest.fixture(scope="module")
def store(cluster) -> Path:
    return cluster.parent / "shared" / "runs" / "vit_grid_smoke"


def ledger(store: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (store / "ledger").glob("*.json")
    }


def test_a_sweep_is_submitted_stopped_submitted_again_and_finished(machine, store):
    first = machine.start("ray", "job", "submit", "--submission-id", "first", "--", *SMOKE)
    stop = machine.run("python", "-c", STOP, store / "ledger")
    assert stop.returncode == 0, stop.stdout
    log = first.communicate(timeout=60)[0]
    first_row = min(path.stat().st_mtime for path in (store / "ledger").glob("*.json"))
    assert (store / "status.json").stat().st_mtime - first_row < 60, log
    kept = ledger(store)
    assert 0 < len(kept) < NUM_TRIALS
    assert f"raypeft: exit 143 (SIGTERM) {len(kept)} of {NUM_TRIALS} trials committed" in log
    assert json.loads((store / "status.json").read_text())["exit_code"] == 143
    assert not [path for path in store.rglob("*.tmp")]

    again = machine.run("ray", "job", "submit", "--", *SMOKE, timeout=600)
    assert again.returncode == 0, again.stdout
    assert f"raypeft: exit 0 (DONE) {NUM_TRIALS} of {NUM_TRIALS} trials committed" in again.stdout
    assert kept.items() <= ledger(store).items(), "what was finished did not run again"
    assert len(ledger(store)) == NUM_TRIALS
    told = [line for line in again.stdout.splitlines() if line.startswith("[") and " trials" in line]
    events = [line for line in told if " / digits / " in line]  # a slow machine also tells that it waits
    assert len(events) == NUM_TRIALS - len(kept), again.stdout
    assert not any("\x1b" in line for line in told), "no colours and no redrawn tables in a log"


def test_the_sweep_is_tracked_by_the_head_s_mlflow(machine, store):
    assert len(ledger(store)) == NUM_TRIALS
    code = (
        "from mlflow import MlflowClient; c = MlflowClient('http://127.0.0.1:5000'); "
        "e = c.get_experiment_by_name('vit_grid_smoke'); "
        "print(sum('raypeft.trial_id' in r.data.tags or 'raypeft.key' in r.data.tags "
        "for r in c.search_runs([e.experiment_id])))"
    )
    asked = machine.run("python", "-c", code)
    assert asked.stdout.splitlines()[-1] == str(NUM_TRIALS), asked.stdout


def test_the_literal_command_finds_the_sweep_and_its_error_is_the_job_s(machine, cluster):
    submitted = machine.run("ray", "job", "submit", "sweeps/vit_grid.py")
    assert submitted.returncode == 1, submitted.stdout
    assert "raypeft: exit 4 (PREFLIGHT)" in submitted.stdout  # neither weights nor data lie here


def test_without_the_token_nobody_gets_in(machine, cluster):
    process = machine.start("ray", "job", "list", RAY_AUTH_MODE="disabled")
    out, _ = process.communicate(timeout=120)
    assert process.returncode != 0, out


def test_ray_down_leaves_nothing_but_mlflow(machine, cluster):
    assert any("raylet" in command for command in machine.processes())
    down = machine.run("ray", "down", "-y", cluster)
    assert down.returncode == 0, down.stdout
    deadline = time.monotonic() + 30
    while left := [
        command for command in machine.processes() if "ray" in command and "mlflow" not in command
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
