"""Envoy's bootstrap, as a value that is ready for JSON.

Field by field from https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api. What a running Envoy
reads anew is in `_xds`.
"""

import math
import re
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pulumi_buildkit import _access_log, _limits, _overload, _script, _xds
from pulumi_buildkit._farm import Farm
from pulumi_buildkit._message import extension, typed
from pulumi_buildkit.role import RPCS, UPDATE_HISTORY, Role

ENVOY_IMAGE = "docker.io/envoyproxy/envoy:v1.40.0"
"""The official Envoy of the version that the bootstrap is written for."""
# Its access log is there to be read while a build goes wrong; Envoy's own interval is ten seconds.
ENVOY_OPTIONS = ("--disable-hot-restart", "--file-flush-interval-msec", "1000")
"""What Envoy is started with, besides its configuration."""
ENVOY_USER = 101
"""The user and group `envoy` of the official image."""

PORT = 1234
"""Where clients connect."""
HEALTH_PORT = 8081
"""Where the kubelet asks for `HEALTH_PATH`, and nothing else is answered."""
HEALTH_PATH = "/ready"
METRICS_PORT = 8082
"""Where Prometheus asks for `METRICS_PATH`, of a gateway or of buildkitd itself, and whoever scales
buildkitd for `BUILDS_PATH`; nothing else is answered."""
METRICS_PATH = "/metrics"
BUILDS_PATH = "/builds"
ADMIN_PORT = 9901
"""Envoy's admin interface, on the pod's loopback only."""

# gRPC's HTTP/2, and grpc-go refuses a server that doesn't say so.
_ALPN = ["h2"]
# All of Go's, in its order: what buildkitd takes, the gateway takes. Envoy's default has neither
# Ed25519 nor P-521. https://github.com/golang/go/blob/master/src/crypto/tls/defaults.go
_SIGNATURES = [
    "rsa_pss_rsae_sha256",
    "ecdsa_secp256r1_sha256",
    "ed25519",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
]
# What a held request keeps in memory. BuildKit's build definitions may have 16 MiB.
_REQUEST_BYTES = 1024 * 1024
_DEFINITION_BYTES = 32 * _REQUEST_BYTES
_DEFINITIONS = ({"path": _access_log.BUILD}, {"prefix": "/moby.buildkit.v1.frontend.LLBBridge/"})
# Longer than the pauses between a build's last requests.
_UNUSED = "5s"
# How long one try lasts, whether connects are refused, dropped, or taken by a frozen buildkitd.
_TRY_SECONDS = 5.0
# Envoy waits a random part of this before each retry: half of it on average.
_RETRY_SECONDS = 1.0
_BACK_OFF = {"base_interval": "0.25s", "max_interval": f"{_RETRY_SECONDS}s"}
_CONNECTOR = "connector"
# Seconds without a word after which a buildkitd is asked whether it is there.
_SILENCE = 30
# How long a stranger may keep a connection open before it has said who it is.
_HANDSHAKE_SECONDS = 10
# Where bytes are passed on, nobody is asked before buildkitd is there; clients wait that long.
_CLIENTS_PATIENCE_SECONDS = 20
_NOT_HELD_SECONDS = 1


KEEPALIVE_TIMEOUT = 90
"""Default time for an answer to a keepalive ping, in seconds.

Longer than the failover of a firewall, a VPN's change of keys, or a live migration.
"""


class Protocol(str, Enum):
    """What the gateway sees in a client's connection."""

    HTTP2 = "http2"
    """Requests: the gateway answers at once, and holds builds while no buildkitd is there."""
    TCP = "tcp"
    """Bytes: clients give up when buildkitd is not there for 20 seconds."""


# What BuildKit has to be there for, whatever it is: requests that wait for a connection to it.
_WAITING = "cluster.buildkitd.upstream_rq_pending_active"
RUNNING_METRIC = "envoy_buildkit_builds"
"""What `BUILDS_PATH` calls the builds that run or wait."""
WAITING_METRIC = 'envoy_cluster_upstream_rq_pending_active{envoy_cluster_name="buildkitd"}'
"""What `BUILDS_PATH` calls the requests, of builds or not, that wait for a buildkitd."""

# Of Envoy's thousand statistics those that say how builds fare, as regular expressions.
_METRICS = (
    r"buildkit\..+",
    r"cluster\.buildkitd\.grpc\..+",
    r"cluster\.(buildkitd|address)\.membership_(healthy|total)",
    r"cluster\.(buildkitd|address)\.upstream_cx_(active|connect_fail|connect_timeout|total)",
    r"cluster\.buildkitd\.upstream_rq_(active|pending_active|retry|retry_limit_exceeded|total)",
    r"http\.buildkit\.(downstream_(cx|rq)_(active|total)|rbac\.denied)",
    r"tcp\.buildkit\.downstream_cx_.+",
    r"listener\.clients\.downstream_cx_(active|total)",
    r".+\.ssl\.(connection_error|fail_verify_.+|handshake)",
    r".+\.ssl\.certificate\..+",
    r"server\.(concurrency|days_until_first_cert_expiring|live|memory_.+|uptime)",
    *_overload.METRICS,
)
# What becomes a label of Prometheus'. Envoy's own rule for RPCs knows no dots in their services.
_LABELS = {
    "use_all_default_tags": False,
    "stats_tags": [
        *(
            {"tag_name": f"envoy.{name}"}
            for name in (
                "cluster_name",
                "http_conn_manager_prefix",
                "listener_address",
                "tcp_prefix",
                "tls_certificate",
            )
        ),
        {"tag_name": "rpc", "regex": r"^cluster\.buildkitd\.grpc\.((.+)\.)[^.]+$"},
    ],
}

PASSING = {
    Protocol.HTTP2: ("http.buildkit.downstream_rq_active", "http.buildkit.downstream_rq_total"),
    Protocol.TCP: ("listener.clients.downstream_cx_active", "listener.clients.downstream_cx_total"),
}
"""The statistics of what passes through at the moment, and of all that ever did."""


class Upstream(NamedTuple):
    """Where buildkitd is."""

    host: str
    """Name of its ClusterIP Service, in its certificate too: it is there while no pod is."""
    port: int
    farm: Farm | None = None
    """The pods behind it, where the gateway is to choose one for each client."""

    @property
    def address(self) -> dict[str, Any]:
        """Of the Service."""
        return _address(self.host, self.port)


class Downstream(NamedTuple):
    """How clients are met."""

    hold: int
    """Seconds that a build is held while buildkitd can't be reached."""
    keepalive: int
    """Seconds from one question to a client, whether it is there, to the next; 0: never."""
    keepalive_timeout: int = KEEPALIVE_TIMEOUT
    """Seconds without an answer after which a connection is closed: a client's, and buildkitd's."""
    proxy_protocol: bool = False
    """Whether each connection begins with what a load balancer says of its client."""


def bootstrap(
    protocol: Protocol, upstream: Upstream, downstream: Downstream, memory: int | None = None
) -> dict[str, Any]:
    """A gateway in front of buildkitd, whose container may have *memory* bytes; none: any."""
    return {
        # Envoy reads no certificate from a file without a name of its own.
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": _address("127.0.0.1", ADMIN_PORT)},
        "bootstrap_extensions": [
            extension(
                "envoy.bootstrap.internal_listener",
                "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            )
        ],
        "stats_config": _LABELS,
        "layered_runtime": _limits.RUNTIME,
        **({"overload_manager": _overload.manager(memory)} if memory else {}),
        "static_resources": _PASSES[protocol](upstream, downstream),
    }


def metrics_of(socket: str) -> dict[str, Any]:
    """Passes on `METRICS_PATH` of what listens at the Unix *socket*, and nothing else of it."""
    route = {"match": {"path": METRICS_PATH}, "route": {"cluster": "metrics"}}
    manager = _http("metrics", [], [{"name": "metrics", "domains": ["*"], "routes": [route]}])
    return {
        "static_resources": {
            "listeners": [_plain_listener("metrics", METRICS_PORT, manager)],
            "clusters": [_cluster("metrics", "STATIC", {"pipe": {"path": socket}}, _TRY_SECONDS)],
        }
    }


def _passes_requests(upstream: Upstream, downstream: Downstream) -> dict[str, Any]:
    """HTTP/2, with a connection of its own to buildkitd for each client.

    The connector makes it: to it a connect is done when it succeeds, however often it is refused.
    So a try ends by its time alone, and a hold has so and so many of them.
    """
    tries, seconds = _tries(downstream.hold)
    connector = {"envoy_internal_address": {"server_listener_name": _CONNECTOR}}
    tls, farm = _upstream_tls(upstream.host), upstream.farm
    daemons = _cluster("address", "STRICT_DNS", upstream.address, _TRY_SECONDS)
    return {
        "listeners": [
            _client_listener(_requests(downstream, tries), downstream, _HANDSHAKE_SECONDS, farm),
            _connector_listener(farm),
            _health_listener(),
            _metrics_listener(_BUILDS_ROUTE),
        ],
        "clusters": [
            {
                **_cluster("buildkitd", "STATIC", connector, seconds),
                **_UPSTREAM_REQUESTS,
                "transport_socket": farm.transport_socket(tls) if farm else tls,
            },
            {
                **daemons,
                **_upstream_bytes(downstream.keepalive_timeout),
                **(farm.cluster(upstream.port, upstream.address) if farm else {}),
            },
            _ADMIN_CLUSTER,
        ],
    }


def _passes_bytes(upstream: Upstream, downstream: Downstream) -> dict[str, Any]:
    """TCP, as long as it takes to connect; the clients give up before a long hold is over."""
    connect = _bytes(
        "buildkit",
        "buildkitd",
        _attempts(downstream.hold),
        access_log=_access_log.connections(),
    )
    return {
        "listeners": [
            {
                **_client_listener(
                    connect, downstream, _CLIENTS_PATIENCE_SECONDS + _HANDSHAKE_SECONDS
                ),
                **_tcp_keepalive(downstream),
            },
            _health_listener(),
            _metrics_listener(),
        ],
        "clusters": [
            {
                **_cluster("buildkitd", "STRICT_DNS", upstream.address, _TRY_SECONDS),
                **_upstream_bytes(downstream.keepalive_timeout),
                "transport_socket": _upstream_tls(upstream.host),
            },
            _ADMIN_CLUSTER,
        ],
    }


_PASSES = {Protocol.HTTP2: _passes_requests, Protocol.TCP: _passes_bytes}


def _tries(hold: int) -> tuple[int, float]:
    """Of how many tries a hold consists, and how long each of them lasts."""
    pause = _RETRY_SECONDS / 2
    tries = max(1, round((hold + pause) / (_TRY_SECONDS + pause)))
    return tries, round((max(hold, 1) + pause) / tries - pause, 3)


def _attempts(hold: int) -> int:
    """How often a connect is tried that is refused at once."""
    return max(1, round(hold / (_RETRY_SECONDS / 2)))


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _tls(certificate: str, validation: str) -> dict[str, Any]:
    return {
        "alpn_protocols": _ALPN,
        # Envoy as a client takes no more than 1.2 unless it is told to.
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
            "signature_algorithms": _SIGNATURES,
        },
        "tls_certificate_sds_secret_configs": [_secret(certificate)],
        "validation_context_sds_secret_config": _secret(validation),
    }


def _secret(name: str) -> dict[str, Any]:
    return {"name": name, "sds_config": _xds.source(name)}


def _client_listener(
    network_filter: dict[str, Any],
    downstream: Downstream,
    handshake_seconds: int,
    farm: Farm | None = None,
) -> dict[str, Any]:
    downstream_tls = extension(
        "envoy.transport_sockets.tls",
        f"{_xds.TLS}.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=_tls(_xds.SERVER, _xds.CLIENTS),
    )
    return {
        "name": "clients",
        "stat_prefix": "clients",
        "address": _address("0.0.0.0", PORT),
        "listener_filters": [
            *([_PROXY_PROTOCOL] if downstream.proxy_protocol else []),
            *(farm.listener_filters() if farm else []),
        ],
        "listener_filters_timeout": f"{_HANDSHAKE_SECONDS}s",
        "filter_chains": [
            {
                "transport_socket": downstream_tls,
                "transport_socket_connect_timeout": f"{handshake_seconds}s",
                "filters": [*(farm.network_filters() if farm else []), network_filter],
            }
        ],
        "access_log": _access_log.refusals(),
    }


_PROXY_PROTOCOL = extension(
    "envoy.filters.listener.proxy_protocol",
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
)


def _health_listener() -> dict[str, Any]:
    health_check = extension(
        "envoy.filters.http.health_check",
        "envoy.extensions.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": HEALTH_PATH}}],
    )
    return _plain_listener("health", HEALTH_PORT, _http("health", [health_check], []))


def _metrics_listener(*further: dict[str, Any]) -> dict[str, Any]:
    """Numbers of the admin interface, which nobody may see the rest of."""
    routes = [_statistics(METRICS_PATH, *_METRICS), *further]
    manager = _http(
        "metrics",
        [_lua("without_query.lua")],
        [{"name": "admin", "domains": ["*"], "routes": routes}],
        access_log=[_access_log.no_build()],
        access_log_options=_access_log.BEGINNINGS,
    )
    return _plain_listener("metrics", METRICS_PORT, manager)


def _lua(file: str) -> dict[str, Any]:
    """A filter that is a script of this package."""
    return extension(
        "envoy.filters.http.lua",
        "envoy.extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": _script.text(file)},
    )


def _statistics(path: str, *names: str) -> dict[str, Any]:
    """At *path*, in Prometheus' format, the statistics whose names match one of *names*."""
    query = urlencode({"filter": f"^({'|'.join(names)})$"})
    return {
        "match": {"path": path},
        "route": {"cluster": "admin", "prefix_rewrite": f"/stats/prometheus?{query}"},
    }


_BUILDS_ROUTE = _statistics(BUILDS_PATH, re.escape(_access_log.BUILDS), re.escape(_WAITING))


def _plain_listener(name: str, port: int, network_filter: dict[str, Any]) -> dict[str, Any]:
    """For whoever is in the cluster, without TLS."""
    return {
        "name": name,
        "address": _address("0.0.0.0", port),
        # Who asks how the gateway is, is answered when it is overloaded, too.
        "bypass_overload_manager": True,
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [network_filter]}],
    }


def _http(
    name: str, filters: list[dict[str, Any]], virtual_hosts: list[dict[str, Any]], **fields: Any
) -> dict[str, Any]:
    router = extension(
        "envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"
    )
    return extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        http_filters=[*filters, router],
        route_config={"name": name, "virtual_hosts": virtual_hosts},
        **fields,
    )


def _requests(downstream: Downstream, tries: int) -> dict[str, Any]:
    """HTTP/2: answers at once, and tries to connect behind it."""
    not_held = [
        {
            "match": {"path": path},
            "route": {"cluster": "buildkitd", "timeout": f"{_NOT_HELD_SECONDS}s"},
        }
        for path in _access_log.NOT_HELD
    ]
    held = {
        "cluster": "buildkitd",
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": tries - 1,
            "retry_back_off": _BACK_OFF,
        },
    }
    definitions = [
        {"match": match, "route": held, "request_body_buffer_limit": _DEFINITION_BYTES}
        for match in _DEFINITIONS
    ]
    update_history = {
        "match": {"path": UPDATE_HISTORY},
        "route": held,
        "typed_per_filter_config": {each["name"]: _ENABLED for each in _FINALIZE},
    }
    others = {"match": {"prefix": "/"}, "route": held}
    virtual_host = {
        "name": "buildkitd",
        "domains": ["*"],
        "routes": [*not_held, *definitions, update_history, others],
        "request_body_buffer_limit": _REQUEST_BYTES,
    }
    return _http(
        "buildkit",
        [*({**each, "disabled": True} for each in _FINALIZE), _ROLES, _RPC_METRICS],
        [virtual_host],
        codec_type="HTTP2",
        access_log=[
            *_access_log.requests(),
            _access_log.number_of_builds(),
            *_access_log.metrics(),
        ],
        access_log_options=_access_log.BEGINNINGS,
        # A build may be silent for hours.
        stream_idle_timeout="0s",
        request_timeout="0s",
        local_reply_config={
            "mappers": [_said_when_over(downstream.hold), _SAID_WHEN_REFUSED, _SAID_WHEN_OVERLOADED]
        },
        # Keeps load balancers' idle timers away, and finds clients that are gone.
        common_http_protocol_options=_limits.REQUEST_HEADERS,
        http2_protocol_options={**_limits.HTTP2, **_pings(downstream)},
    )


def _pings(downstream: Downstream) -> dict[str, Any]:
    """HTTP/2 options that ask a client whether it is there."""
    if not downstream.keepalive:
        return {}
    return {
        "connection_keepalive": {
            "interval": f"{downstream.keepalive}s",
            "timeout": f"{downstream.keepalive_timeout}s",
        }
    }


def _said_when_over(hold: int) -> dict[str, Any]:
    """What a build is told when its hold is over: what it means, and Envoy's own words."""
    words = f"no buildkitd was ready (gateway.hold: {hold} s): %LOCAL_REPLY_BODY%"
    return _said(_access_log.HOLD_IS_OVER, words)


def _said(instead_of: dict[str, Any], words: str) -> dict[str, Any]:
    return {
        "filter": instead_of,
        "body_format_override": {"text_format_source": {"inline_string": words}},
    }


_SAID_WHEN_REFUSED = _said(
    {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 403}}}},
    f"{_access_log.CLIENT} may not call %REQ(:PATH)%: its role has no such right, or it is no "
    "client any more",
)
_SAID_WHEN_OVERLOADED = _said(
    _access_log.OVERLOADED,
    "the gateway is short of memory (gateway.resources.limits.memory): %LOCAL_REPLY_BODY%",
)
# The second one reads a whole request, which the first one keeps small: a finalize has 36 bytes.
_FINALIZE = [
    extension(
        "envoy.filters.http.buffer",
        "envoy.extensions.filters.http.buffer.v3.Buffer",
        max_request_bytes=4096,
    ),
    _lua("finalize.lua"),
]
# At a route, of filters that are disabled everywhere else.
_ENABLED: dict[str, Any] = {**typed("envoy.config.route.v3.FilterConfig"), "config": {}}
# Who may call what is a file, which changes under the connections that are there.
_ROLES = {
    "name": _xds.ROLES,
    "config_discovery": {
        "config_source": _xds.source(_xds.ROLES),
        "type_urls": [f"type.googleapis.com/{_xds.RBAC}"],
    },
}


# A client could make up any number of others: those are counted together.
_NAMED_RPCS = [path[1:].rsplit("/", 1) for path in RPCS[Role.BUILDER] if not path.endswith("/")]
_RPC_METRICS = extension(
    "envoy.filters.http.grpc_stats",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    individual_method_stats_allowlist={
        "services": [{"name": name, "method_names": [rpc]} for name, rpc in _NAMED_RPCS]
    },
)


def _connector_listener(farm: Farm | None) -> dict[str, Any]:
    """Connects to buildkitd for as long as whoever asked for it waits."""
    connect = _bytes(
        _CONNECTOR,
        "address",
        _limits.UNLIMITED,
        # More than a client's first TLS message. Without it Envoy reads nothing before it is
        # connected, and does not notice that nobody waits any more.
        max_early_data_bytes=65536,
        hash_policy=farm.hash_policy() if farm else [],
    )
    return {
        "name": _CONNECTOR,
        "internal_listener": {},
        "filter_chains": [{"filters": [connect]}],
    }


def _bytes(name: str, cluster: str, attempts: int, **fields: Any) -> dict[str, Any]:
    """Passes on what it gets, once it is connected."""
    return extension(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=name,
        cluster=cluster,
        idle_timeout="0s",
        max_connect_attempts=attempts,
        backoff_options=_BACK_OFF,
        **fields,
    )


_PROBES = 3
_MOST_PROBES = 127  # Linux's limit


def _between_probes(timeout: int) -> int:
    return max(1, timeout // _PROBES)


def _tcp_keepalive(downstream: Downstream) -> dict[str, Any]:
    """Options of a listening socket, which Linux hands on to those of its connections."""
    if not downstream.keepalive:
        return {}
    timeout = downstream.keepalive_timeout
    # Linux waits for the interval after each probe, answered or not: so it is the keepalive, too.
    interval = max(min(downstream.keepalive, timeout), math.ceil(timeout / _MOST_PROBES))
    options = {
        "SO_KEEPALIVE": 1,
        "TCP_KEEPIDLE": downstream.keepalive,
        "TCP_KEEPINTVL": interval,
        "TCP_KEEPCNT": max(1, timeout // interval),
    }
    return _socket_options("STATE_LISTENING", options)


def _socket_options(state: str, values: dict[str, int]) -> dict[str, Any]:
    return {
        "socket_options": [
            {
                "description": option,
                "level": _LINUX[option][0],
                "name": _LINUX[option][1],
                "int_value": value,
                "state": state,
            }
            for option, value in values.items()
        ]
    }


# Levels and names, wherever the program runs.
_LINUX = {
    "SO_KEEPALIVE": (1, 9),
    "TCP_KEEPIDLE": (6, 4),
    "TCP_KEEPINTVL": (6, 5),
    "TCP_KEEPCNT": (6, 6),
    "TCP_USER_TIMEOUT": (6, 18),
}


def _upstream_tls(name: str) -> dict[str, Any]:
    return extension(
        "envoy.transport_sockets.tls",
        f"{_xds.TLS}.UpstreamTlsContext",
        sni=name,
        common_tls_context=_tls(_xds.GATEWAY, _xds.BUILDKITD),
    )


def _cluster(
    name: str, discovery: str, address: dict[str, Any], connect_timeout: float
) -> dict[str, Any]:
    """One address. buildkitd's is its Service's ClusterIP, which is there while no pod is."""
    return {
        "name": name,
        "type": discovery,
        "connect_timeout": f"{connect_timeout}s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        # Envoy's defaults are 1,024, and 3 retries: what is over them fails at once.
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _limits.UNLIMITED,
                    "max_pending_requests": _limits.UNLIMITED,
                    "max_requests": _limits.UNLIMITED,
                    "max_retries": _limits.UNLIMITED,
                }
            ]
        },
    }


_ADMIN_CLUSTER = _cluster("admin", "STATIC", _address("127.0.0.1", ADMIN_PORT), _TRY_SECONDS)


def _upstream_bytes(keepalive_timeout: int) -> dict[str, Any]:
    """Options of a cluster that finds a node that is gone."""
    return {
        # No HTTP/2 pings: buildkitd closes on one oftener than every five minutes.
        "upstream_connection_options": {
            "tcp_keepalive": {
                "keepalive_time": _SILENCE,
                "keepalive_interval": _between_probes(keepalive_timeout),
                "keepalive_probes": _PROBES,
            }
        },
        # The kernel's time for an answer to probes, and to what was sent.
        "upstream_bind_config": _socket_options(
            "STATE_PREBIND", {"TCP_USER_TIMEOUT": keepalive_timeout * 1000}
        ),
    }


_UPSTREAM_REQUESTS: dict[str, Any] = {
    # A build is many requests of one connection, and all must reach the same buildkitd.
    "connection_pool_per_downstream_connection": True,
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            **typed("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {"http2_protocol_options": _limits.UPSTREAM_HTTP2},
            # A connection without a request is nobody's: Envoy keeps it when its client has
            # gone, and buildkitd's drain would take it for a client.
            "common_http_protocol_options": {"idle_timeout": _UNUSED, **_limits.RESPONSE_HEADERS},
        }
    },
}
