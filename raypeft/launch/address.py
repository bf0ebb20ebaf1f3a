"""Check the cluster that RAY_ADDRESS names before anything starts; Ray itself would wait minutes for it."""

import os
import shlex
import socket
import threading
from pathlib import Path

from raypeft.core.errors import ConfigError, PreflightError

ADDRESS = "RAY_ADDRESS"
ANSWER_SECONDS = 10.0  # time to find and reach a cluster's head and get its answer
WANTS_TOKEN = "it asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH as its machines do"
OWN = f"unset {ADDRESS} to use this machine alone"


def cluster_address() -> str | None:
    """Return what RAY_ADDRESS names; None if the sweep starts Ray itself."""
    address = os.environ.get(ADDRESS, "").strip()
    return None if address in ("", "local") else address


def check_cluster(address: str, *, seconds: float = ANSWER_SECONDS) -> str:
    """Return the host:port of the cluster, if it answers and this machine belongs to it.

    Raises: ConfigError if this is not the address of a cluster's head; PreflightError if none answers.
    """
    named = f"{ADDRESS}={shlex.quote(address)}"
    place, told = _latest_cluster(named) if address == "auto" else (address, "")
    host, port = _host_and_port(place, named)
    why = _within(seconds, host, port)
    if why and not (address == "auto" and why == WANTS_TOKEN):  # then Ray itself looks for the token
        raise PreflightError(
            f"{named}: no Ray cluster answers at {place}{told}: {why} (tried for at most {seconds:g} s); "
            f"{OWN}, or start that cluster: ray start --head --port={port}"
        )
    from ray._private.services import find_node_ids

    if not find_node_ids():  # type: ignore[no-untyped-call]
        raise PreflightError(
            f"{named}: that cluster lives, but this machine is not of it (no raylet runs here); "
            f"start one with ray start --address={host}:{port}, or use ray job submit, or {OWN}"
        )
    return f"{host}:{port}"


def _latest_cluster(named: str) -> tuple[str, str]:
    """Return where Ray would look for `auto`, and which file says so."""
    from ray._common.utils import get_ray_address_file
    from ray._private.services import find_gcs_addresses

    if running := sorted(find_gcs_addresses()):  # type: ignore[no-untyped-call]
        return running[0], ""
    path = Path(get_ray_address_file(None))
    if path.is_file() and (place := path.read_text(errors="replace").strip()):
        return place, f", which {path} names"
    raise PreflightError(
        f"{named}: no Ray cluster runs on this machine, and there is no {path}; {OWN}, or start one: "
        "ray start --head"
    )


def _host_and_port(place: str, named: str) -> tuple[str, int]:
    scheme, separator, _ = place.partition("://")
    if separator and scheme in ("http", "https"):
        raise ConfigError(
            f"{named} is a dashboard's address, which `ray job submit` takes (as RAY_API_SERVER_ADDRESS); a "
            f"sweep needs that of the cluster's head, as 10.0.0.1:6379; or {OWN}"
        )
    if separator:
        raise ConfigError(
            f"{named}: a sweep runs on a machine of its cluster and not through Ray Client; submit it with "
            f"ray job submit, or give the head's address, as 10.0.0.1:6379; or {OWN}"
        )
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"{named} is no address of a Ray cluster; give host:port, as 10.0.0.1:6379; or {OWN}"
        )
    return host.strip("[]"), int(port)


def _within(seconds: float, host: str, port: int) -> str:
    """Return why the head does not answer within `seconds`; "" if it does.

    It runs in a thread, because a look-up at an unreachable name server can block for any time.
    """
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(_try(seconds, host, port)), daemon=True)
    thread.start()
    thread.join(seconds)
    return told[0] if told else f"no answer for {seconds:g} s"


def _try(seconds: float, host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=seconds / 2).close()
    except TimeoutError:
        return f"no connection within {seconds / 2:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return _ask_head(host, port, seconds=seconds / 2)


def _ask_head(host: str, port: int, *, seconds: float) -> str:
    """Return why what listens there is not a cluster's head (GCS); "" if it is."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest  # type: ignore[attr-defined]
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    refused = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    with init_grpc_channel(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") as channel:
        try:
            head = NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
            head.CheckAlive(CheckAliveRequest(), timeout=seconds)
        except grpc.RpcError as error:
            if error.code() in refused:
                return WANTS_TOKEN
            return f"what listens there does not answer as a Ray head ({error.code().name})"
    return ""
