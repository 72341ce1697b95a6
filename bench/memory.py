"""What the gateway's memory grows to with clients that are connected and idle."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.installations import Installation, wait_until_ready
from bench.workshop import Workshop
from lab import LabError, progress
from lab.network import NAME
from lab.node import until

CLIENTS = 1000
GATEWAY = "buildkit-gateway"
# The kubelet measures every ten seconds or so, and what it has measured before says nothing.
_PATIENCE = 60.0  # seconds


def measure(of: Workshop, way: Installation) -> dict[str, float]:
    """Megabytes of one gateway pod, with no client and with a thousand."""
    with progress.step(f"{CLIENTS} idle clients"), _one_pod(of, way):
        none = _megabytes(of, way)
        with _connected(of, way):
            return {"0": none, str(CLIENTS): _megabytes(of, way)}


@contextmanager
def _one_pod(of: Workshop, way: Installation) -> Iterator[None]:
    """A single gateway pod, to which all of them connect."""
    scale = ("scale", f"deployment/{GATEWAY}")
    replicas = of.kubectl(way.namespace, "get", scale[1], "--output=jsonpath={.spec.replicas}")
    of.kubectl(way.namespace, *scale, "--replicas=1")
    until(lambda: len(_pods(of, way)) == 1, _PATIENCE, lambda: LabError("two gateway pods stay"))
    try:
        yield
    finally:
        of.kubectl(way.namespace, *scale, f"--replicas={replicas}")
        wait_until_ready(of, way.namespace, GATEWAY)


@contextmanager
def _connected(of: Workshop, way: Installation) -> Iterator[None]:
    """A thousand clients; all of them must be connected at the end too."""
    endpoint = way.connection[2].removeprefix("tcp://")
    certificates = of.directory / way.builder
    with subprocess.Popen(
        [sys.executable, "-m", "bench.idle", endpoint, str(certificates), str(CLIENTS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as clients:
        assert clients.stdin and clients.stdout
        if clients.stdout.readline() != "connected\n":
            raise LabError(f"{CLIENTS} clients could not connect to {endpoint}")
        yield
        clients.stdin.close()
        connected = int(clients.stdout.readline())
    if connected < CLIENTS:
        raise LabError(f"{connected} of {CLIENTS} idle clients were still connected at the end")


def _megabytes(of: Workshop, way: Installation) -> float:
    """The pod's memory as the kubelet measures it, from now on."""
    after = datetime.now(UTC) + timedelta(seconds=1)
    until(
        lambda: _measured_at(_memory(of, way)) > after,
        _PATIENCE,
        lambda: LabError("the kubelet does not measure the gateway's memory"),
    )
    return _memory(of, way)["workingSetBytes"] / 1e6


def _measured_at(memory: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(memory["time"])


def _memory(of: Workshop, way: Installation) -> dict[str, Any]:
    summary = of.lab.node.kubectl("get", "--raw", f"/api/v1/nodes/{NAME}/proxy/stats/summary")
    (name,) = _pods(of, way)
    pods = {pod["podRef"]["name"]: pod for pod in json.loads(summary)["pods"]}
    return pods[name]["memory"]


def _pods(of: Workshop, way: Installation) -> list[str]:
    selected = (f"--selector=app={GATEWAY}", "--output=jsonpath={.items[*].metadata.name}")
    return of.kubectl(way.namespace, "get", "pods", *selected).split()
