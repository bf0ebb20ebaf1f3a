"""cluster.yaml against Ray's schema, and carried by `ray up` to machines that run in an EC2 of moto's."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
import yaml

ROOT = Path(__file__).parents[2]
REGION, HOME_NETWORK = "us-west-2", "203.0.113.0/24"


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster.local.yaml"])
def test_the_file_passes_ray_s_schema_and_its_own_checks(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / name).read_text())
    validate_config(prepare_config(config))
    for target, source in config["file_mounts"].items():
        assert target.startswith("~/")
        assert source.startswith("~/") or (ROOT / source).exists(), source


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster.local.yaml"])
def test_all_machines_need_the_token_and_no_server_listens_to_the_outside(name):
    config = yaml.safe_load((ROOT / name).read_text())
    assert "export RAY_AUTH_MODE=token" in "\n".join(config["setup_commands"])
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert len([line for line in starts if "ray start" in line and ". ~/.raypeft" in line]) == 2
    head = "\n".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert "mlflow server --host 127.0.0.1" in head
    assert "0.0.0.0" not in (ROOT / name).read_text()


@pytest.fixture(scope="module")
def ec2(tmp_path_factory):
    """boto3's client of a moto server, and the environment that leads Ray there and nowhere else."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {
        "HOME": str(home),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "moto",
        "AWS_SECRET_ACCESS_KEY": "moto",
        "AWS_DEFAULT_REGION": REGION,
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("0" * 64)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            assert server.poll() is None
            time.sleep(0.2)
    keys = {"aws_access_key_id": "moto", "aws_secret_access_key": "moto", "region_name": REGION}
    yield boto3.client("ec2", endpoint_url=environment["AWS_ENDPOINT_URL"], **keys), environment
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def filled_in(ec2, tmp_path_factory) -> Path:
    """cluster.yaml with a security group, a subnet and an image that this EC2 has, and no way out by SSH."""
    client, _ = ec2
    subnet = client.describe_subnets()["Subnets"][0]
    group = client.create_security_group(GroupName="raypeft", Description="d", VpcId=subnet["VpcId"])[
        "GroupId"
    ]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": HOME_NETWORK}]}
    within = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    client.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh, within])
    text = (ROOT / "cluster.yaml").read_text()
    for placeholder, value in {
        "ami-00000000000000000": client.describe_images()["Images"][0]["ImageId"],
        "sg-00000000000000000": group,
        "subnet-00000000000000000": subnet["SubnetId"],
    }.items():
        assert text.count(placeholder) == 1, "filled in once, for all machines"
        text = text.replace(placeholder, value)
    path = tmp_path_factory.mktemp("cluster") / "cluster.yaml"
    config = yaml.safe_load(text)
    config["auth"]["ssh_proxy_command"] = "false"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def head(ec2, filled_in) -> dict:
    """The instance that `ray up` launches; it is not waited for, since nothing runs on it."""
    client, environment = ec2
    log = filled_in.with_name("up.log")
    with log.open("w") as file:
        up = subprocess.Popen(
            ["ray", "up", "-y", str(filled_in)], env=environment, cwd=ROOT, stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + 120
        # moto lists an instance before it attaches the disk.
        while not (found := [one for one in instances(client) if one["BlockDeviceMappings"]]):
            assert up.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
    finally:
        up.terminate()
        up.wait()
    return found[0]


def instances(client) -> list[dict]:
    return [one for group in client.describe_instances()["Reservations"] for one in group["Instances"]]


def tags(instance: dict) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


def test_ray_up_launches_one_head_on_demand(ec2, head):
    client, _ = ec2
    assert len(instances(client)) == 1
    assert head["InstanceType"] == "m7i.xlarge"
    assert "InstanceLifecycle" not in head
    assert tags(head)["ray-node-type"] == "head"
    assert tags(head)["ray-cluster-name"] == "raypeft"
    volume = head["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    disk = client.describe_volumes(VolumeIds=[volume])["Volumes"][0]
    assert (disk["Size"], disk["Encrypted"]) == (200, True)


def test_only_the_user_s_network_reaches_ssh_and_nobody_anything_else(ec2, head):
    client, _ = ec2
    ids = [group["GroupId"] for group in head["SecurityGroups"]]
    rules = [
        rule
        for group in client.describe_security_groups(GroupIds=ids)["SecurityGroups"]
        for rule in group["IpPermissions"]
    ]
    from_outside = [rule for rule in rules if rule.get("IpRanges") or rule.get("Ipv6Ranges")]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [(22, 22)]
    assert from_outside[0]["IpRanges"] == [{"CidrIp": HOME_NETWORK}]


LAUNCH = """
import sys, yaml
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

config = _bootstrap_config(yaml.safe_load(open(sys.argv[1])))
provider = _get_node_provider(config["provider"], config["cluster_name"])
tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: "gpu"}
provider.create_node(config["available_node_types"]["gpu"]["node_config"], tags, 1)
"""


def test_a_gpu_machine_is_launched_on_spot_into_the_same_group(ec2, filled_in, head):
    client, environment = ec2
    launch = [sys.executable, "-c", LAUNCH, str(filled_in)]
    launched = subprocess.run(launch, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert launched.returncode == 0, launched.stderr
    (worker,) = [one for one in instances(client) if one["InstanceId"] != head["InstanceId"]]
    assert worker["InstanceType"] == "g6.4xlarge"
    assert worker["InstanceLifecycle"] == "spot"
    assert worker["ImageId"] == head["ImageId"]
    assert worker["SubnetId"] == head["SubnetId"]
    assert worker["SecurityGroups"] == head["SecurityGroups"]
    assert tags(worker)["ray-cluster-name"] == "raypeft"
