"""What the gateway says of builds: a line of JSON for each, on standard output, and their number.

From https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage and
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/access_loggers/stats/v3/stats.proto.
"""

import json
from typing import Any

from pulumi_buildkit._message import extension

# A build is one Solve; its files, secrets and progress are in its session.
BUILD = "/moby.buildkit.v1.Control/Solve"
SESSION = "/moby.buildkit.v1.Control/Session"
# What a client asks first, and what waits where there is no buildkitd.
_FIRST = ("/moby.buildkit.v1.Control/Info", "/moby.buildkit.v1.Control/ListWorkers")
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
"""The RPC by which a client sends its traces. The client waits for it before it ends."""
HEALTH = "/grpc.health.v1.Health/Check"
"""The RPC of load balancers' probes, which want an answer at once."""
NOT_HELD = (EXPORT, HEALTH)
_UNTIL_CONNECTED = "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)%"


def first_of(*operators: str) -> str:
    """The value of the first of Envoy's command *operators* that has one."""
    return f"%COALESCE({json.dumps({'operators': operators})})%"


SANS = ("DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_PEER_DNS_SAN", "DOWNSTREAM_PEER_IP_SAN")
"""Where the name in a client's certificate stands, for `first_of`."""
CLIENT = first_of(*SANS)
"""That name."""
_WHO = {
    "time": "%START_TIME%",
    "client": CLIENT,
    "address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "pod": "%HOSTNAME%",
    "connection": "%CONNECTION_ID%",
}
# Of a request, the same when it begins and when it ends.
_STREAM = "%STREAM_ID%"
_HOW_MUCH = {
    "milliseconds": "%DURATION%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
}
# None of it is there when a load balancer asks: it connects, says nothing and goes.
_NO_HANDSHAKE = "has(connection.transport_failure_reason) || has(connection.termination_details)"
# What a client said was no HTTP/2 from the beginning. Later errors are ends: clients that are in a
# hurry reset streams which have gone.
_NO_HTTP2 = "!has(request.protocol)"


# Of a request Envoy says when it begins, too, which is what counts builds while they run.
_BEGINS, _ENDS = "DownstreamStart", "DownstreamEnd"
_NEVER = "DownstreamTunnelSuccessfullyEstablished"
BEGINNINGS = {"flush_access_log_on_new_request": True}
"""Options of an HTTP connection manager that counts builds."""
_SCOPE = "buildkit"
BUILDS = f"{_SCOPE}.builds"
"""The statistic of the builds that run or wait at the moment."""


def requests() -> list[dict[str, Any]]:
    """A line for each build, each session, and each RPC that is refused, reset or waited in vain.

    Of a build there is one when it begins, too, so that it can be read who builds.
    """
    fields = {
        **_WHO,
        "stream": _STREAM,
        "rpc": "%REQ(:PATH)%",
        "outcome": "%GRPC_STATUS%",
        "reason": "%RESPONSE_CODE_DETAILS%",
        **_HOW_MUCH,
    }
    begins = _all({"log_type_filter": {"types": [_BEGINS]}}, _path(BUILD))
    ends = {"log_type_filter": {"types": [_ENDS]}}
    refused = (_status("PERMISSION_DENIED"), HOLD_IS_OVER, OVERLOADED)
    said = _all(ends, _any(_A_BUILD_S, *refused))
    return [_log({**_WHO, "begins": _STREAM}, begins), _log(fields, said)]


def number_of_builds() -> dict[str, Any]:
    """Counts the builds that run or wait."""
    return _statistics(_path(BUILD), gauges=[_gauge(_BEGINS, _ENDS)])


def no_build() -> dict[str, Any]:
    """Counts nothing: a number that is asked for before there was any build has to be there."""
    return _statistics(None, gauges=[_gauge(_NEVER, _BEGINS)])


def metrics() -> list[dict[str, Any]]:
    """What there was of builds, and of holds that were over before a buildkitd came."""
    ends = {"log_type_filter": {"types": [_ENDS]}}
    build = {
        "counters": [_counter("builds_finished", 1, client=CLIENT, outcome="%GRPC_STATUS%")],
        "histograms": [_histogram("build_milliseconds", "%DURATION%")],
    }
    passed = {
        "counters": [
            _counter("bytes_received", "%BYTES_RECEIVED%", client=CLIENT),
            _counter("bytes_sent", "%BYTES_SENT%", client=CLIENT),
        ]
    }
    expired = {"counters": [_counter("holds_expired", 1, client=CLIENT)]}
    held = {"histograms": [_histogram("hold_milliseconds", _UNTIL_CONNECTED)]}
    return [
        _statistics(_all(ends, _path(BUILD)), **build),
        _statistics(_all(ends, _A_BUILD_S), **passed),
        _statistics(_all(ends, HOLD_IS_OVER), **expired),
        _statistics(_all(ends, _any(*map(_path, _FIRST))), **held),
    ]


def connections() -> list[dict[str, Any]]:
    """A line for each connection whose bytes went through."""
    return [_log({**_WHO, **_HOW_MUCH})]


def refusals() -> list[dict[str, Any]]:
    """A line for each connection that never became a client's."""
    reason = first_of(
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON", "CONNECTION_TERMINATION_DETAILS", "RESPONSE_FLAGS"
    )
    no_protocol = _all({"response_flag_filter": {"flags": ["DPE"]}}, _cel(_NO_HTTP2))
    refused = _any(_cel(_NO_HANDSHAKE), no_protocol)
    return [_log({**_WHO, "outcome": "refused", "reason": reason}, refused)]


def _log(fields: dict[str, str], only: dict[str, Any] | None = None) -> dict[str, Any]:
    """Log *only* what passes that filter; without one, all."""
    log = extension(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": fields},
    )
    return {**log, "filter": only} if only else log


def _statistics(only: dict[str, Any] | None, **kinds: list[dict[str, Any]]) -> dict[str, Any]:
    """Count and measure *only* what passes that filter; without one, all."""
    log = extension(
        "envoy.access_loggers.stats",
        "envoy.extensions.access_loggers.stats.v3.Config",
        stats_scope={"prefix": _SCOPE},
        **kinds,
    )
    return {**log, "filter": only} if only else log


def _gauge(added: str, subtracted: str) -> dict[str, Any]:
    """Add one to the number of builds when Envoy says the one, take it away when the other."""
    return {
        "stat": {"name": BUILDS.removeprefix(f"{_SCOPE}.")},
        "value_fixed": 1,
        "add_subtract": {"add_log_type": added, "sub_log_type": subtracted},
    }


def _counter(name: str, add: int | str, **labels: str) -> dict[str, Any]:
    tags = [{"name": label, "value_format": value} for label, value in labels.items()]
    value = {"value_format": add} if isinstance(add, str) else {"value_fixed": add}
    return {"stat": {"name": name, "tags": tags}, **value}


def _histogram(name: str, value: str) -> dict[str, Any]:
    return {"stat": {"name": name}, "unit": "Milliseconds", "value_format": value}


def _any(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"or_filter": {"filters": [*filters]}}


def _all(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": [*filters]}}


def _path(path: str) -> dict[str, Any]:
    return {"header_filter": {"header": _header(path)}}


def _header(path: str) -> dict[str, Any]:
    return {"name": ":path", "string_match": {"exact": path}}


def _status(status: str) -> dict[str, Any]:
    return {"grpc_status_filter": {"statuses": [status]}}


def _cel(expression: str) -> dict[str, Any]:
    return {
        "extension_filter": extension(
            "envoy.access_loggers.extension_filters.cel",
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression=expression,
        )
    }


_A_BUILD_S = _any(_path(BUILD), _path(SESSION))
# Envoy sets no flag for it.
OVERLOADED = _cel("response.code_details == 'overload'")
"""A filter of requests that were refused, and of streams that were reset, to save memory."""
HOLD_IS_OVER = _all(
    {"response_flag_filter": {"flags": ["UF", "URX"]}},
    *({"header_filter": {"header": {**_header(path), "invert_match": True}}} for path in NOT_HELD),
)
"""A filter of requests that waited for a buildkitd in vain."""
