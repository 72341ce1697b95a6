"""The keys of what can be seen of it from outside."""

from pulumi_buildkit import OtlpProtocol

from settings.section import Section
from settings.values import Label, Url


class MonitoringSettings(Section):
    """What Prometheus and Grafana see besides the gateway's metrics, which are always there."""

    buildkitd: bool = False
    """Whether Prometheus sees buildkitd's own metrics, too: an Envoy beside each buildkitd passes
    them on, and nothing else. Kubernetes 1.29 or newer."""
    pod_monitor: bool = False
    """Whether there is a PodMonitor, by which the Prometheus operator finds the pods. Otherwise
    they have the annotations `prometheus.io/scrape`, `port` and `path`."""
    rules: bool = False
    """Whether there is a PrometheusRule with the alerts, for the Prometheus operator."""
    dashboard: bool = False
    """Whether there is a ConfigMap with the dashboard, for the sidecar of Grafana's chart."""
    labels: dict[Label, str] = {}
    """Further labels of these three, by which a Prometheus chooses what it reads, as `release:
    prometheus`. Default: none."""

    @property
    def makes(self) -> bool:
        """Whether there is any of the three."""
        return self.pod_monitor or self.rules or self.dashboard

    @property
    def needs_operator(self) -> bool:
        """Whether the Prometheus operator has to be there."""
        return self.pod_monitor or self.rules


class TracesSettings(Section):
    """Where buildkitd sends what its builds spent their time on, by OpenTelemetry's OTLP."""

    endpoint: Url
    """Address of the collector, as http://collector.tracing:4317; with `protocol: http/protobuf`
    its path too, as http://collector.tracing:4318/v1/traces."""
    protocol: OtlpProtocol = OtlpProtocol.GRPC
    """How it is asked."""
