"""The keys of what can be seen of it from outside."""

from pulumi_buildkit import OtlpProtocol

from settings.section import Section
from settings.values import Url


class MonitoringSettings(Section):
    """What Prometheus sees besides the gateway, which it always finds."""

    buildkitd: bool = False
    """Whether it sees buildkitd's own metrics, too: an Envoy beside each buildkitd passes them on,
    and nothing else. Kubernetes 1.29 or newer."""


class TracesSettings(Section):
    """Where buildkitd sends what its builds spent their time on, by OpenTelemetry's OTLP."""

    endpoint: Url
    """Address of the collector, as http://collector.tracing:4317; with `protocol: http/protobuf`
    its path too, as http://collector.tracing:4318/v1/traces."""
    protocol: OtlpProtocol = OtlpProtocol.GRPC
    """How it is asked."""
