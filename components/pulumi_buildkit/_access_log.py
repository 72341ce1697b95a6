"""What the gateway writes to its standard output: a line of JSON a build, and one a refusal.

From https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage.
"""

from typing import Any

from pulumi_buildkit._message import extension

# A build is one Solve; its files, secrets and progress are in its session.
BUILD = "/moby.buildkit.v1.Control/Solve"
SESSION = "/moby.buildkit.v1.Control/Session"

CLIENT = (
    '%COALESCE({"operators":'
    ' ["DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_PEER_DNS_SAN", "DOWNSTREAM_PEER_IP_SAN"]})%'
)
"""The name in the client's certificate."""
_WHO = {
    "time": "%START_TIME%",
    "client": CLIENT,
    "address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "pod": "%HOSTNAME%",
    "connection": "%CONNECTION_ID%",
}
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


def requests() -> list[dict[str, Any]]:
    """A line for each build, each session, and each RPC that its client may not call."""
    fields = {
        **_WHO,
        "rpc": "%REQ(:PATH)%",
        "outcome": "%GRPC_STATUS%",
        "reason": "%RESPONSE_CODE_DETAILS%",
        **_HOW_MUCH,
    }
    return _log(fields, _path(BUILD), _path(SESSION), _status("PERMISSION_DENIED"))


def connections() -> list[dict[str, Any]]:
    """A line for each connection whose bytes went through."""
    return _log({**_WHO, **_HOW_MUCH})


def refusals() -> list[dict[str, Any]]:
    """A line for each connection that never became a client's."""
    reason = (
        '%COALESCE({"operators":'
        ' ["DOWNSTREAM_TRANSPORT_FAILURE_REASON", "CONNECTION_TERMINATION_DETAILS",'
        ' "RESPONSE_FLAGS"]})%'
    )
    no_protocol = {
        "and_filter": {"filters": [{"response_flag_filter": {"flags": ["DPE"]}}, _cel(_NO_HTTP2)]}
    }
    return _log({**_WHO, "outcome": "refused", "reason": reason}, _cel(_NO_HANDSHAKE), no_protocol)


def _log(fields: dict[str, str], *filters: dict[str, Any]) -> list[dict[str, Any]]:
    """Log what passes any of *filters*; without one, all."""
    log = extension(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": fields},
    )
    return [{**log, "filter": {"or_filter": {"filters": [*filters]}}} if filters else log]


def _path(path: str) -> dict[str, Any]:
    return {"header_filter": {"header": {"name": ":path", "string_match": {"exact": path}}}}


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
