"""buildkitd's number follows the builds, by KEDA."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _envoy
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit._workload import service_host
from pulumi_buildkit.metadata import labels, metadata, selector

API_VERSION = "keda.sh/v1alpha1"
"""The API by which KEDA is asked."""
COOLDOWN = 900
"""Seconds without a build after which there are fewer buildkitds when nobody says."""
BUILDS = 4
"""Builds for each buildkitd when nobody says."""

# Seconds from one look at the gateway to the next.
_POLLING = 2
# How long one look may last, and how many in turn may fail before what is there is held fast.
_TIMEOUT = "800ms"
_FAILURES = 3
# More than ever wait: what waits calls the first buildkitd, and says nothing of how many there are.
_ENDLESS = 1_000_000_000
# The longest that Kubernetes takes for a window.
_HOUR = 3600
_KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet"}


class AutoscalerArgs(TypedDict):
    """Arguments of `Autoscaler`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it, of the workload and of the gateway."""
    workload: pulumi.Input[str]
    """What is scaled, the output `workload` of a BuildkitDeployment or BuildkitStatefulSet that is
    `autoscaled`: `statefulset/NAME`."""
    gateway: str
    """Name of the `Gateway`, with protocol http2, whose builds are counted."""
    min: NotRequired[int]
    """The fewest daemons; with 0 there is none while nobody builds. Default: 0."""
    max: NotRequired[int]
    """The most daemons. Default: 1."""
    cooldown: NotRequired[int]
    """How long there is no build, or are fewer, until there are fewer daemons, in seconds. Default:
    900."""
    builds: NotRequired[int]
    """Builds for each daemon: with more of them there are more daemons. Default: 4."""


class Autoscaler(pulumi.ComponentResource):
    """As many buildkitds as the builds that run and wait at the gateway need.

    A ScaledObject of KEDA (https://keda.sh/docs/2.21/scalers/metrics-api/), which has to be in the
    cluster. It asks each pod of the gateway, also one that drains.
    """

    def __init__(
        self, name: str, args: AutoscalerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the ScaledObject, and the Service by which it finds the gateway's pods."""
        super().__init__("buildkit:index:Autoscaler", name, {}, reaching_children(opts))
        of_all = labels(name, "autoscaler")
        service = k8s.core.v1.Service(
            name,
            metadata=metadata(name, args["namespace"], of_all, {"pulumi.com/skipAwait": "true"}),
            spec=k8s.core.v1.ServiceSpecArgs(
                cluster_ip="None",
                # A pod that drains is not ready, and has builds.
                publish_not_ready_addresses=True,
                selector=selector(args["gateway"]),
                ports=[k8s.core.v1.ServicePortArgs(port=_envoy.METRICS_PORT)],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        host = service_host(service.metadata.name.apply(str), args["namespace"])
        url = pulumi.Output.format(
            "http://{0}:{1}{2}", host, _envoy.METRICS_PORT, _envoy.BUILDS_PATH
        )
        cooldown = int(args.get("cooldown", COOLDOWN))
        k8s.apiextensions.CustomResource(
            name,
            api_version=API_VERSION,
            kind="ScaledObject",
            metadata=metadata(name, args["namespace"], of_all),
            spec={
                "scaleTargetRef": pulumi.Output.from_input(args["workload"]).apply(_target),
                "minReplicaCount": int(args.get("min", 0)),
                "maxReplicaCount": int(args.get("max", 1)),
                "pollingInterval": _POLLING,
                "cooldownPeriod": cooldown,
                # What was just made, or updated, is there for those who waited for it.
                "initialCooldownPeriod": cooldown,
                # While nobody answers, what is there stays, and one at least is there.
                "fallback": {
                    "failureThreshold": _FAILURES,
                    "replicas": max(1, int(args.get("min", 0))),
                    "behavior": "currentReplicasIfHigher",
                },
                "advanced": {
                    # Without it a workload that goes back to a fixed number may stay at none.
                    "restoreToOriginalReplicaCount": True,
                    "horizontalPodAutoscalerConfig": {"behavior": _slowly(cooldown)},
                },
                "triggers": [
                    _trigger("waiting", url, _envoy.WAITING_METRIC, _ENDLESS),
                    _trigger("builds", url, _envoy.RUNNING_METRIC, int(args.get("builds", BUILDS))),
                ],
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _target(workload: str) -> dict[str, str]:
    kind, _, name = workload.partition("/")
    return {"apiVersion": "apps/v1", "kind": _KINDS[kind], "name": name}


def _slowly(cooldown: int) -> dict[str, object]:
    return {"scaleDown": {"stabilizationWindowSeconds": min(cooldown, _HOUR)}}


def _trigger(name: str, url: pulumi.Input[str], metric: str, each: int) -> dict[str, object]:
    """One number of the gateway's pods together; a daemon for *each* so many of it."""
    return {
        "type": "metrics-api",
        "name": name,
        "metadata": {
            "url": url,
            "format": "prometheus",
            "valueLocation": metric,
            "aggregateFromKubeServiceEndpoints": "true",
            "aggregationType": "sum",
            "targetValue": str(each),
            "activationTargetValue": "0",
            "timeout": _TIMEOUT,
        },
    }
