"""A real kube-state-metrics, for the state of Kubernetes' objects; built when first wanted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lab import LabError, build
from lab.lifecycle import Lab
from lab.network import ADDRESS
from lab.node import http_ok, until

_TOOL = build.Tool("kube-state-metrics", "kube-state-metrics", "k8s.io/kube-state-metrics/v2", 120)
_STARTS = 30.0  # seconds


@contextmanager
def kube_state_metrics(lab: Lab) -> Iterator[str]:
    """The address of one that runs in the lab's network."""
    port, own = lab.node_port - 19_000, lab.node_port - 18_000
    command = lab.node.inside(
        str(build.tools((_TOOL,)) / _TOOL.name),
        f"--kubeconfig={lab.node.kubeconfig}",
        "--resources=pods",
        f"--host={ADDRESS}",
        f"--port={port}",
        f"--telemetry-port={own}",
    )
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            until(
                lambda: _answers(f"http://{ADDRESS}:{port}/healthz"),
                _STARTS,
                lambda: LabError("kube-state-metrics does not start"),
            )
            yield f"{ADDRESS}:{port}"
        finally:
            process.kill()


def _answers(url: str) -> bool:
    with suppress(OSError):
        return http_ok(url)
    return False
