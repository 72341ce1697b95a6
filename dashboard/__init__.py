"""The Grafana dashboard, from which `make dashboard` makes the file that the package ships.

By Grafana's own types, https://grafana.github.io/grafana-foundation-sdk/, needed here only.
"""

from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pulumi_buildkit
from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    GraphGradientMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from pulumi_buildkit._queries import GIVEN_UP, Scope, increase, slowest

FILE = Path(pulumi_buildkit.__file__).with_name("dashboard.json")
"""Where the package has it."""

_SCOPE = Scope("$namespace")
_PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
# Rates of builds mean little: there are a few in a minute, and each takes as long.
_COUNTED, _MEASURED = "5m", "15m"
_HALF, _THIRD, _QUARTER, _SIXTH = 12, 8, 6, 4


class Query(NamedTuple):
    """One series or several in a panel."""

    expression: str
    legend: str


class Limits(NamedTuple):
    """From where on a number is amber and red; whether it is so below them instead."""

    amber: float
    red: float
    below: bool = False


def made() -> str:
    """The dashboard, as Grafana imports it."""
    dashboard = (
        Dashboard("BuildKit")
        .uid("buildkit")
        .description("Builds, their gateway, and what they run on.")
        .tags(["buildkit"])
        .refresh("30s")
        .time("now-6h", "now")
        .readonly()
        .variables([_data_source(), _namespace()])
    )
    identifier = count(1)
    for title, panels in _ROWS.items():
        dashboard.with_row(Row(title).id(next(identifier)))
        for panel in panels:
            dashboard.with_panel(panel.id(next(identifier)))
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"


def _data_source() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _namespace() -> QueryVariable:
    """The installations, by what every gateway says."""
    return (
        QueryVariable("namespace")
        .label("Namespace")
        .datasource(_PROMETHEUS)
        .query("label_values(envoy_buildkit_builds, namespace)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _queries(queries: Iterable[Query]) -> list[Dataquery]:
    return [
        Dataquery().expr(query.expression).legend_format(query.legend).ref_id(name).range()
        for name, query in zip("ABCDEFGH", queries, strict=False)
    ]


def _number(title: str, says: str, query: str, unit: str, limits: Limits | None = None) -> Stat:
    """One number of the moment."""
    return (
        Stat()
        .title(title)
        .description(says)
        .datasource(_PROMETHEUS)
        .targets([*_queries([Query(query, "")])])
        .unit(unit)
        .thresholds(_thresholds(limits))
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .span(_SIXTH)
        .height(4)
    )


def _thresholds(limits: Limits | None) -> ThresholdsConfig:
    colours = ["green"]
    values: list[float | None] = [None]
    if limits:
        colours = ["red", "orange", "green"] if limits.below else ["green", "orange", "red"]
        values = [None, *sorted((limits.amber, limits.red))]
    steps = [Threshold(value, colour) for value, colour in zip(values, colours, strict=True)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(title: str, says: str, unit: str, span: int, *queries: Query) -> Timeseries:
    """What there was."""
    return (
        Timeseries()
        .title(title)
        .description(says)
        .datasource(_PROMETHEUS)
        .targets([*_queries(queries)])
        .unit(unit)
        .min(0)
        .fill_opacity(10)
        .gradient_mode(GraphGradientMode.OPACITY)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .span(span)
        .height(8)
    )


def _stacked(title: str, says: str, span: int, query: Query) -> Timeseries:
    """What there was, each on top of the other."""
    return _lines(title, says, "short", span, query).stacking(
        common.StackingConfig().mode(StackingMode.NORMAL)
    )


def _quantiles(histogram: str) -> list[Query]:
    bucket = _SCOPE.metric(f"{histogram}_bucket")
    shares = {"half of them": 0.5, "nineteen of twenty": 0.95, "all": 1}
    return [Query(slowest(share, bucket, _MEASURED), name) for name, share in shares.items()]


def _counted(metric: str, label: str) -> Query:
    query = f"sum by ({label}) ({increase(metric, _COUNTED)})"
    return Query(query, f"{{{{{label}}}}}")


_BUILDS = _SCOPE.metric("envoy_buildkit_builds")
_FAILED = increase(_SCOPE.finished(f"OK|{GIVEN_UP}", "!~"), "1h")
_ENDED = increase(_SCOPE.finished(GIVEN_UP, "!~"), "1h")
_ADDRESS = 'envoy_cluster_name="address"'
_CLIENTS = 'envoy_http_conn_manager_prefix="buildkit"'
_EVICTED = 'reason="Evicted"'
_ROWS = {
    "Now": [
        _number("Builds", "Builds that run or wait.", f"sum({_BUILDS})", "short"),
        _number(
            "Requests that wait",
            "Requests that wait for a buildkitd, of builds or not.",
            f"sum({_SCOPE.waiting})",
            "short",
            Limits(1, 50),
        ),
        _number(
            "Builds that failed, in an hour",
            "Of those that their clients did not give up; those with a mistake of their own are "
            "among them.",
            f"(sum({_FAILED}) or vector(0)) / sum({_ENDED})",
            "percentunit",
            Limits(0.25, 0.5),
        ),
        _number(
            "Gateway pods",
            "Pods of the gateway that Prometheus hears of.",
            f"count({_SCOPE.waiting})",
            "short",
            Limits(2, 1, below=True),
        ),
        _number(
            "Fullest cache",
            "How full the fullest claim is.",
            f"max({_SCOPE.volume_used})",
            "percentunit",
            Limits(0.85, 0.9),
        ),
        _number(
            "Certificates",
            "Days until the first certificate ends that the gateway shows or trusts.",
            f"min({_SCOPE.certificate_days})",
            "d",
            Limits(30, 14, below=True),
        ),
    ],
    "Builds": [
        _lines(
            "Builds in flight",
            "Builds that run or wait, and requests, of builds or not, that wait for a buildkitd.",
            "short",
            _HALF,
            Query(f"sum({_BUILDS})", "builds"),
            Query(f"sum({_SCOPE.waiting})", "requests that wait"),
        ),
        _lines(
            "How long clients wait for a buildkitd",
            "Measured when a client connects. Those that waited in vain are in the next panel.",
            "ms",
            _HALF,
            *_quantiles("envoy_buildkit_hold_milliseconds"),
        ),
        _stacked(
            "Builds that ended, in 5 minutes, by outcome",
            "gRPC's names: Unknown is a build with a mistake of its own, Unavailable is one whose "
            "buildkitd has gone or never came; without a name its client has gone.",
            _THIRD,
            _counted(_SCOPE.finished(), "outcome"),
        ),
        _stacked(
            "Builds that ended, in 5 minutes, by client",
            "By the name in the client's certificate.",
            _THIRD,
            _counted(_SCOPE.finished(), "client"),
        ),
        _stacked(
            "Requests that waited in vain, in 5 minutes",
            "They waited for a buildkitd as long as gateway.hold says.",
            _THIRD,
            _counted(_SCOPE.metric("envoy_buildkit_holds_expired"), "client"),
        ),
        _lines(
            "How long builds take",
            "From the request until its end, the wait for a buildkitd among it.",
            "ms",
            _HALF,
            *_quantiles("envoy_buildkit_build_milliseconds"),
        ),
        _lines(
            "Bytes of builds, in 5 minutes",
            "What builds ask for and answer, counted at their end.",
            "bytes",
            _HALF,
            *(
                Query(
                    f"sum({increase(_SCOPE.metric(f'envoy_buildkit_bytes_{way}'), _COUNTED)})", way
                )
                for way in ("received", "sent")
            ),
        ),
    ],
    "Gateway": [
        _stacked(
            "RPCs that failed, in 5 minutes",
            "Of those that builds are made of.",
            _HALF,
            _counted(_SCOPE.metric("envoy_cluster_grpc_failure", 'rpc!=""'), "rpc"),
        ),
        _lines(
            "Connections to buildkitd",
            "Those that are open, and tries in 5 minutes that failed.",
            "short",
            _HALF,
            Query(f"sum({_SCOPE.metric('envoy_cluster_upstream_cx_active', _ADDRESS)})", "open"),
            Query(
                f"sum(increase({_SCOPE.metric('envoy_cluster_upstream_cx_connect_fail', _ADDRESS)}"
                f"[{_COUNTED}]))",
                "tries that failed",
            ),
        ),
        _lines(
            "Requests that were refused, in 5 minutes",
            "Their client's role has no right to them, or it is no client any more.",
            "short",
            _THIRD,
            Query(
                f"sum(increase({_SCOPE.metric('envoy_http_rbac_denied', _CLIENTS)}[{_COUNTED}]))",
                "refused",
            ),
        ),
        _lines(
            "Days until certificates end",
            "The server's, the clients' CA, the gateway's own towards buildkitd, and buildkitd's "
            "CA.",
            "d",
            _THIRD,
            Query(_SCOPE.certificate_days, "{{envoy_tls_certificate}}"),
        ),
        _lines(
            "Memory of Envoy",
            "What each gateway pod has allocated.",
            "bytes",
            _THIRD,
            Query(_SCOPE.envoy("envoy_server_memory_allocated"), "{{pod}}"),
        ),
    ],
    "Pods": [
        _lines(
            "How full the caches are",
            "The claims of the namespace, by the kubelet. Garbage collection keeps them below four "
            "fifths, where nothing else is configured.",
            "percentunit",
            _HALF,
            Query(_SCOPE.volume_used, "{{persistentvolumeclaim}}"),
        ).max(1),
        _lines(
            "Memory of the pods",
            "As the kernel counts it when it kills, by the kubelet.",
            "bytes",
            _HALF,
            Query(f"max by (pod, container) ({_SCOPE.memory()})", "{{pod}} {{container}}"),
        ),
        _stacked(
            "Restarts, in an hour",
            "Containers that ended and were started again in their pod, by kube-state-metrics.",
            _HALF,
            Query(
                "sum by (pod, container) (increase("
                f"{_SCOPE.metric('kube_pod_container_status_restarts_total')}[1h]))",
                "{{pod}} {{container}}",
            ),
        ),
        _stacked(
            "Pods that were evicted",
            "Those that are there still, by kube-state-metrics: their node had no disk or memory "
            "left, or their emptyDir grew above its size.",
            _HALF,
            Query(f"sum by (pod) ({_SCOPE.metric('kube_pod_status_reason', _EVICTED)})", "{{pod}}"),
        ),
    ],
}
