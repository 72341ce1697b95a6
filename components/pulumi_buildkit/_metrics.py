"""What Prometheus asks for, and what of buildkitd it may see.

buildkitd's `/metrics` comes from its debug listener, which serves profiles and caches as well, to
anybody who asks (https://github.com/moby/buildkit/blob/master/cmd/buildkitd/debug.go). Build steps
share the pod's network, so it listens at a Unix socket, and an Envoy passes on that one path.
"""

import json
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _envoy

CONTAINER = "metrics"
"""What the container beside buildkitd is called; overlays know it by this name."""

PORT = k8s.core.v1.ContainerPortArgs(name="metrics", container_port=_envoy.METRICS_PORT)
"""Of a container that answers Prometheus."""

# https://github.com/prometheus/prometheus/blob/main/documentation/examples/prometheus-kubernetes.yml
SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(_envoy.METRICS_PORT),
    "prometheus.io/path": _envoy.METRICS_PATH,
}
"""Annotations by which Prometheus' own example finds such a pod, and most of its charts."""

_DIRECTORY = "/debug"
_SOCKET = f"{_DIRECTORY}/buildkitd.sock"

ARGUMENTS = ("--debugaddr", f"unix://{_SOCKET}")
"""Of a buildkitd that has metrics."""
VOLUME = k8s.core.v1.VolumeArgs(name="debug", empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs())
MOUNT = k8s.core.v1.VolumeMountArgs(name="debug", mount_path=_DIRECTORY)


def sidecar(image: pulumi.Input[str], group: int) -> k8s.core.v1.ContainerArgs:
    """An Envoy of that *image* beside a buildkitd whose socket belongs to *group*.

    It starts before buildkitd and ends after it, as an init container that goes on
    (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/).
    """
    return k8s.core.v1.ContainerArgs(
        name=CONTAINER,
        image=image,
        restart_policy="Always",
        command=["envoy"],
        args=["--config-yaml", json.dumps(_envoy.metrics_of(_SOCKET)), *_envoy.ENVOY_OPTIONS],
        ports=[PORT],
        security_context=unprivileged(
            run_as_non_root=True,
            run_as_user=_envoy.ENVOY_USER,
            run_as_group=group,
            seccomp_profile=k8s.core.v1.SeccompProfileArgs(type="RuntimeDefault"),
        ),
        volume_mounts=[MOUNT],
    )


def unprivileged(**further: Any) -> k8s.core.v1.SecurityContextArgs:
    """Of an Envoy's container."""
    return k8s.core.v1.SecurityContextArgs(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=k8s.core.v1.CapabilitiesArgs(drop=["ALL"]),
        **further,
    )
