"""What somebody should look at, as rules of Prometheus.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from enum import Enum
from typing import Any, NamedTuple

from pulumi_buildkit._pod import CONTAINER
from pulumi_buildkit._queries import GIVEN_UP, LOST, Scope, increase, slowest

# Below it garbage collection keeps a volume free, where nobody says otherwise.
_FULL = 0.9
_CERTIFICATE_DAYS = 14
# Fewer builds than these prove nothing.
_ENOUGH = 5
_SHARE = 0.5
# In which a build is lost and its pod goes, if the two belong together.
_RECENT = "5m"
# The bounds of Envoy's histograms between which a hold may end, in seconds:
# https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/stats_overview
_BOUNDS = (1, 2.5, 5, 10, 30, 60, 300, 600, 1800)


class Severity(str, Enum):
    """How soon somebody should look."""

    CRITICAL = "critical"
    """Now: builds wait or fail."""
    WARNING = "warning"
    """Today: it may come to that."""


class Installation(NamedTuple):
    """What is watched."""

    namespace: str
    workload: str
    """What buildkitd's claims are named after."""
    hold: int
    """Seconds that a build waits for a buildkitd at most."""


def groups(watched: Installation) -> list[dict[str, Any]]:
    """The groups of a rule file, or of a PrometheusRule."""
    scope = Scope(watched.namespace, rf".+-{watched.workload}(-.+)?")
    of_one = (_presence, _holds, _builds, _farm, _limits)
    return [{"name": "buildkit", "rules": [r for make in of_one for r in make(scope, watched)]}]


def _presence(scope: Scope, watched: Installation) -> list[dict[str, Any]]:
    half = max(60, watched.hold // 2)
    return [
        _rule(
            "BuildKitGatewayDown",
            Severity.CRITICAL,
            f"absent({scope.waiting})",
            "5m",
            "No BuildKit gateway answers in {{ $labels.namespace }}",
            "Prometheus has heard of no gateway pod for 5 minutes: clients can't connect, or "
            "Prometheus does not find the pods.",
        ),
        _rule(
            "BuildKitDown",
            Severity.CRITICAL,
            f"sum by (namespace) (avg_over_time({scope.waiting}[3m])) > 0.5",
            f"{half}s",
            "Builds wait in {{ $labels.namespace }}, and no BuildKit takes them",
            f"Requests have waited for a buildkitd for {half} s. A build fails when it has waited "
            f"for {watched.hold} s (gateway.hold).",
        ),
    ]


def _holds(scope: Scope, watched: Installation) -> list[dict[str, Any]]:
    expired = increase(scope.metric("envoy_buildkit_holds_expired"), "15m")
    long = max((b for b in _BOUNDS if b < watched.hold), default=_BOUNDS[0])
    waited = scope.metric("envoy_buildkit_hold_milliseconds_bucket")
    return [
        _rule(
            "BuildKitHoldsExpired",
            Severity.CRITICAL,
            f"sum by (namespace) ({expired}) > 0",
            "0s",
            "Builds failed in {{ $labels.namespace }}, since no BuildKit was ready",
            f"{{{{ $value }}}} requests of the last 15 minutes waited for {watched.hold} s "
            "(gateway.hold) in vain.",
        ),
        _rule(
            "BuildKitHoldsNearLimit",
            Severity.WARNING,
            f"{slowest(1, waited, '30m', 'namespace, le')} > {long * 1000:g}",
            "0s",
            "Builds in {{ $labels.namespace }} wait nearly as long as they may",
            f"In the last 30 minutes a client waited for a buildkitd longer than {long:g} s; after "
            f"{watched.hold} s (gateway.hold) it fails.",
        ),
    ]


def _builds(scope: Scope, _: Installation) -> list[dict[str, Any]]:
    # A build whose hold was over ends alike, and has an alert of its own.
    expired = scope.metric("envoy_buildkit_holds_expired")
    lost = (
        f"sum by (namespace) ({increase(scope.finished(LOST), _RECENT)}) > 0 unless on (namespace) "
        f"sum by (namespace) ({increase(expired, _RECENT)}) > 0"
    )
    buildkitd = scope.memory(CONTAINER)
    gone = (
        f"count by (namespace) (count by (namespace, pod) (last_over_time({buildkitd}[{_RECENT}])) "
        f"unless count by (namespace, pod) ({buildkitd}))"
    )
    ended = increase(scope.finished(GIVEN_UP, "!~"), "30m")
    failed = increase(scope.finished(f"OK|{GIVEN_UP}", "!~"), "30m")
    return [
        _rule(
            "BuildKitDrainCutsBuilds",
            Severity.WARNING,
            f"({lost}) and on (namespace) {gone}",
            "0s",
            "A BuildKit pod in {{ $labels.namespace }} went before its builds had ended",
            "{{ $value }} builds of the last 5 minutes were cut off, and a buildkitd pod has "
            "gone: its drain was over (drain.timeout), or its node is.",
        ),
        _rule(
            "BuildKitBuildsLost",
            Severity.WARNING,
            f"({lost}) unless on (namespace) {gone}",
            "0s",
            "Builds in {{ $labels.namespace }} were cut off",
            "{{ $value }} builds of the last 5 minutes ended by the installation's doing, not by "
            "their own: buildkitd was killed, or could not be reached.",
        ),
        _rule(
            "BuildKitBuildsFail",
            Severity.WARNING,
            f"sum by (namespace) ({failed}) / sum by (namespace) ({ended}) > {_SHARE} and "
            f"sum by (namespace) ({failed}) >= {_ENOUGH}",
            "0s",
            "Most builds in {{ $labels.namespace }} fail",
            "{{ $value | humanizePercentage }} of the builds of the last 30 minutes failed.",
        ),
    ]


def _farm(scope: Scope, _: Installation) -> list[dict[str, Any]]:
    # The cluster's DNS lists the ready pods. Without a farm nothing is checked and all is healthy.
    listed, healthy = (
        scope.metric(f"envoy_cluster_membership_{kind}", 'envoy_cluster_name="address"')
        for kind in ("total", "healthy")
    )
    return [
        _rule(
            "BuildKitFarmFallback",
            Severity.WARNING,
            f"max by (namespace) ({listed} - {healthy}) > 0",
            "10m",
            "A gateway in {{ $labels.namespace }} passes over pods of its farm that are ready",
            "For 10 minutes {{ $value }} ready pods have not passed the gateway's health check. "
            "Their projects build elsewhere, with a cold cache; if no pod passes, each build goes "
            "to any of them.",
        ),
    ]


def _limits(scope: Scope, _: Installation) -> list[dict[str, Any]]:
    resets = increase(
        scope.metric("envoy_envoy_overload_actions_reset_high_memory_stream_count"), "15m"
    )
    refuses = scope.metric("envoy_overload_envoy_overload_actions_stop_accepting_requests_active")
    return [
        _rule(
            "BuildKitGatewayOverloaded",
            Severity.CRITICAL,
            f"sum by (namespace) ({resets}) > 0 or max by (namespace) ({refuses}) > 0",
            "0s",
            "The BuildKit gateway in {{ $labels.namespace }} is short of memory, and ends builds",
            "It reset its largest requests, or refuses new ones, to stay below its limit "
            "(gateway.resources.limits.memory).",
        ),
        _rule(
            "BuildKitCacheFull",
            Severity.WARNING,
            f"{scope.volume_used} > {_FULL}",
            "15m",
            "BuildKit's volume {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} is "
            "nearly full",
            "{{ $value | humanizePercentage }} are used for 15 minutes: garbage collection does "
            "not keep up, or may not keep as much free as builds need.",
        ),
        _rule(
            "BuildKitCertificateEnds",
            Severity.WARNING,
            f"{scope.certificate_days} < {_CERTIFICATE_DAYS}",
            "15m",
            "The gateway's certificate {{ $labels.envoy_tls_certificate }} in "
            "{{ $labels.namespace }} ends soon",
            "It ends in {{ $value | humanize }} days. Then clients are refused.",
        ),
    ]


def _rule(
    name: str,
    severity: Severity,
    expression: str,
    lasting: str,
    summary: str,
    description: str,
) -> dict[str, Any]:
    """An alert, once *expression* has had a value for as long as *lasting*."""
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity.value},
        "annotations": {
            "summary": summary,
            "description": description,
            "action": f"see docs/monitoring.md#{name.lower()}",
        },
    }
