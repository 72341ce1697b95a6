"""What Prometheus and Grafana have to know of an installation."""

from importlib import resources
from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _alerts, _envoy
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit.gateway import HOLD
from pulumi_buildkit.metadata import labels, metadata, selector

API_VERSION = "monitoring.coreos.com/v1"
"""The Prometheus operator's API."""

# By this label Grafana's sidecar finds dashboards:
# https://github.com/grafana/helm-charts/tree/main/charts/grafana#sidecar-for-dashboards
_DASHBOARD = {"grafana_dashboard": "1"}


class MonitoringArgs(TypedDict):
    """Arguments of `Monitoring`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it, of the workload and of the gateway."""
    gateway: str
    """Name of the `Gateway`; alerts and dashboard need one with protocol http2."""
    workload: str
    """Name of the component that runs buildkitd: its pods' label `app`, and part of its claims'
    names."""
    hold: NotRequired[int]
    """How long a build waits at the gateway, in seconds; the alerts measure by it. Default: 600."""
    pod_monitor: NotRequired[bool]
    """Whether there is a PodMonitor, by which the Prometheus operator finds the pods of gateway and
    workload; set `scraped` of the gateway, and of the daemon's metrics, to false with it. Default:
    false."""
    rules: NotRequired[bool]
    """Whether there is a PrometheusRule with the alerts. Default: false."""
    dashboard: NotRequired[bool]
    """Whether there is a ConfigMap with the dashboard, for Grafana's sidecar. Default: false."""
    labels: NotRequired[dict[str, str]]
    """Further labels of each of them, by which a Prometheus or a Grafana chooses what it reads.
    Default: none."""


class Monitoring(pulumi.ComponentResource):
    """Has an installation watched, by the Prometheus operator and Grafana's sidecar.

    Both have to be in the cluster (https://prometheus-operator.dev).
    """

    def __init__(
        self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make those of its objects that are asked for."""
        super().__init__("buildkit:index:Monitoring", name, {}, reaching_children(opts))
        self._name = name
        self._args = args
        if args.get("pod_monitor"):
            self._pod_monitor()
        if args.get("rules"):
            self._rules()
        if args.get("dashboard"):
            self._dashboard()
        self.register_outputs({})

    def _pod_monitor(self) -> k8s.apiextensions.CustomResource:
        return k8s.apiextensions.CustomResource(
            f"{self._name}-pods",
            api_version=API_VERSION,
            kind="PodMonitor",
            metadata=self._metadata(self._name),
            spec={
                "selector": {"matchExpressions": [self._pods()]},
                "podMetricsEndpoints": [{"port": "metrics", "path": _envoy.METRICS_PATH}],
            },
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _pods(self) -> dict[str, object]:
        """The pods of gateway and workload; those without a port for metrics are left out."""
        gateway, workload = (selector(self._args[of]) for of in ("gateway", "workload"))
        [key] = gateway
        return {"key": key, "operator": "In", "values": [gateway[key], workload[key]]}

    def _rules(self) -> k8s.apiextensions.CustomResource:
        args = self._args
        groups = pulumi.Output.from_input(args["namespace"]).apply(
            lambda namespace: _alerts.groups(
                _alerts.Installation(namespace, args["workload"], int(args.get("hold", HOLD)))
            )
        )
        return k8s.apiextensions.CustomResource(
            f"{self._name}-rules",
            api_version=API_VERSION,
            kind="PrometheusRule",
            metadata=self._metadata(self._name),
            spec={"groups": groups},
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _dashboard(self) -> k8s.core.v1.ConfigMap:
        text = resources.files("pulumi_buildkit").joinpath("dashboard.json").read_text()
        name = f"{self._name}-dashboard"
        return k8s.core.v1.ConfigMap(
            name,
            metadata=self._metadata(name, _DASHBOARD),
            data={"buildkit.json": text},
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _metadata(
        self, name: str, further: dict[str, str] | None = None
    ) -> k8s.meta.v1.ObjectMetaArgs:
        of_all = labels(self._name, "monitoring")
        given = self._args.get("labels", {})
        return metadata(name, self._args["namespace"], {**given, **(further or {}), **of_all})
