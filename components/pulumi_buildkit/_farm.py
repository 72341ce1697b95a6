"""How a gateway in front of several buildkitds chooses one: once for each client's connection.

Of the chosen one a build never leaves: all its requests go through one connection, whatever becomes
of the others meanwhile. Field by field from
https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/load_balancing/load_balancers.
"""

from enum import Enum
from typing import Any, NamedTuple

from pulumi_buildkit._access_log import CLIENT, SANS, first_of
from pulumi_buildkit._drain import READY_PORT
from pulumi_buildkit._message import extension

_KEY = "buildkit.routing"
# How many pods a gateway asks in a second, whether they take new builds.
_CHECKS = 200
_SERVER_NAME = first_of("REQUESTED_SERVER_NAME", *SANS)


class Routing(str, Enum):
    """Which buildkitd of a farm a client meets."""

    HOST_NAME = "hostName"
    """The one of the name that it dials: each project has a name, and finds its cache again. Who
    dials an address is known by its certificate."""
    CLIENT = "client"
    """The one of its certificate: each client finds its cache again."""
    LEAST_REQUEST = "leastRequest"
    """One that has little to do: for those whose cache is in a registry."""


class _Choice(NamedTuple):
    """What one way of routing needs."""

    balancing: dict[str, Any]
    """How a daemon is chosen. In small farms Maglev moves hardly anybody whose daemon stays."""
    key: str
    """What the choice follows from."""
    looks_at_names: bool = False
    """Whether the name that a client asks for has to be found out."""


# What a check finds counts at once.
_AT_ONCE = {"update_merge_window": "0s"}
_BY_NAME = {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}
_MAGLEV = {"lb_policy": "MAGLEV", "common_lb_config": {**_AT_ONCE, **_BY_NAME}}
# Of two, as is Envoy's default, a new pod would hardly ever be one.
_LEAST_REQUEST = {
    "lb_policy": "LEAST_REQUEST",
    "common_lb_config": _AT_ONCE,
    "least_request_lb_config": {"choice_count": 10},
}
_CHOICES = {
    Routing.HOST_NAME: _Choice(_MAGLEV, _SERVER_NAME, looks_at_names=True),
    Routing.CLIENT: _Choice(_MAGLEV, CLIENT),
    Routing.LEAST_REQUEST: _Choice(_LEAST_REQUEST, CLIENT),
}


class Farm(NamedTuple):
    """Several buildkitds, each with a name of its own in the cluster's DNS."""

    hosts: tuple[str, ...]
    """The names of their pods: of all that there may be."""
    routing: Routing

    @property
    def _choice(self) -> _Choice:
        return _CHOICES[self.routing]

    def listener_filters(self) -> list[dict[str, Any]]:
        """What looks at a client's connection before it is one."""
        inspector = extension(
            "envoy.filters.listener.tls_inspector",
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        )
        return [inspector] if self._choice.looks_at_names else []

    def network_filters(self) -> list[dict[str, Any]]:
        """What remembers, when a client is let in, what the choice follows from."""
        remembered = {
            "object_key": _KEY,
            "factory_key": "envoy.hashable_string",
            "format_string": {"text_format_source": {"inline_string": self._choice.key}},
            "shared_with_upstream": "ONCE",
        }
        return [
            extension(
                "envoy.filters.network.set_filter_state",
                "envoy.extensions.filters.network.set_filter_state.v3.Config",
                on_downstream_tls_handshake=[remembered],
            )
        ]

    def hash_policy(self) -> list[dict[str, Any]]:
        """By what the connector chooses."""
        return [{"filter_state": {"key": _KEY}}]

    def transport_socket(self, inner: dict[str, Any]) -> dict[str, Any]:
        """Takes what was remembered to the connector."""
        return extension(
            "envoy.transport_sockets.internal_upstream",
            "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
            transport_socket=inner,
        )

    def cluster(self, port: int, service: dict[str, Any]) -> dict[str, Any]:
        """Its pods that take new builds; while there is none, the *service*, which holds them.

        A place among them is a name's, whatever address it has today.
        """
        pods = [_endpoint(host, port) for host in self.hosts]
        unchecked = {"health_check_config": {"disable_active_health_check": True}}
        interval = f"{max(1, len(pods) // _CHECKS)}s"
        groups = [pods, [{"endpoint": {"address": service, **unchecked}}]]
        return {
            **self._choice.balancing,
            "load_assignment": {
                "cluster_name": "address",
                "endpoints": [
                    {"priority": priority, "lb_endpoints": group}
                    for priority, group in enumerate(groups)
                ],
                # One that is well is enough, of however many.
                "policy": {"overprovisioning_factor": 2**32 - 1},
            },
            # The port that a pod closes first when it is to go.
            "health_checks": [
                {
                    "timeout": "2s",
                    "interval": interval,
                    "no_traffic_interval": interval,
                    "unhealthy_threshold": 1,
                    "healthy_threshold": 1,
                    "tcp_health_check": {},
                }
            ],
            "ignore_health_on_host_removal": True,
        }


def _endpoint(host: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": host, "port_value": port}}
    return {"endpoint": {"address": address, "health_check_config": {"port_value": READY_PORT}}}
