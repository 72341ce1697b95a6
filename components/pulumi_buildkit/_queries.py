"""PromQL of what the gateway and the kubelets say, for the alerts and the dashboard.

The gateway's own names are those of `_access_log` and `_envoy`. Of a kubelet two endpoints are
asked, which every usual installation of Prometheus scrapes: /metrics
(https://kubernetes.io/docs/reference/instrumentation/metrics/) and /metrics/cadvisor
(https://github.com/google/cadvisor/blob/master/docs/storage/prometheus.md).
"""

from pulumi_buildkit._pod import CONTAINER

ENVOY = "envoy"
"""The gateway's container."""
LOST = "Aborted|DataLoss|Internal|ResourceExhausted|Unavailable|Unimplemented"
"""How builds end that the installation lost, by gRPC's name; the others end by their own doing."""
GIVEN_UP = "Canceled|"
"""How builds end whose client gave them up."""


class Scope:
    """The series of one installation."""

    def __init__(self, namespace: str, claims: str = ".+") -> None:
        """Take its namespace, and a regular expression for the names of its claims."""
        self._namespace = f'namespace="{namespace}"'
        self._claims = f'persistentvolumeclaim=~"{claims}"'

    def metric(self, name: str, *matchers: str) -> str:
        """A metric that has a namespace."""
        return f"{name}{{{', '.join((self._namespace, *matchers))}}}"

    def envoy(self, name: str, *matchers: str) -> str:
        """A metric of any Envoy's, of which only the gateways' are meant."""
        return f"{self.metric(name, *matchers)} and on (namespace, pod) {self.waiting}"

    @property
    def waiting(self) -> str:
        """Requests that wait for a buildkitd; each gateway pod says it, from its beginning."""
        return self.metric(
            "envoy_cluster_upstream_rq_pending_active", 'envoy_cluster_name="buildkitd"'
        )

    def finished(self, outcomes: str = "", operator: str = "=~") -> str:
        """Builds that have ended, of some *outcomes* only."""
        matchers = (f'outcome{operator}"{outcomes}"',) if outcomes else ()
        return self.metric("envoy_buildkit_builds_finished", *matchers)

    def volume(self, name: str) -> str:
        """A kubelet's statistic of the claims."""
        return self.metric(f"kubelet_volume_stats_{name}", self._claims)

    @property
    def volume_used(self) -> str:
        """How full each claim is, from 0 to 1."""
        return (
            f"max by (namespace, persistentvolumeclaim) ({self.volume('used_bytes')} / "
            f"{self.volume('capacity_bytes')})"
        )

    def memory(self, containers: str = f"{CONTAINER}|{ENVOY}") -> str:
        """The memory of *containers*, as the kernel counts it when it kills."""
        return self.metric("container_memory_working_set_bytes", f'container=~"{containers}"')

    @property
    def certificate_days(self) -> str:
        """Days until the certificates end that the gateway shows or trusts, by their name."""
        ends = self.metric(
            "",
            '__name__=~"envoy_(cluster|listener)_ssl_certificate_expiration_unix_time_seconds"',
        )
        return f"(min by (namespace, envoy_tls_certificate) ({ends}) - time()) / 86400"


def increase(series: str, window: str) -> str:
    """By how much counters grew, also those that began with their first event.

    https://github.com/prometheus/prometheus/issues/1673: to `increase` a new series grew by nothing
    yet.
    """
    return f"({series} unless {series} offset {window} or increase({series}[{window}]))"


def slowest(share: float, histogram: str, window: str, labels: str = "le") -> str:
    """What *share* of a histogram's values lies below."""
    return f"histogram_quantile({share}, sum by ({labels}) ({increase(histogram, window)}))"
