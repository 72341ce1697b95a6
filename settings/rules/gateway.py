"""How the gateway can be exposed, what it can hold, and whom it can tell apart."""

from collections.abc import Iterator
from enum import Enum

from pulumi_buildkit import Role, ServiceType
from pydantic.alias_generators import to_camel

from settings.mistakes import Mistake, listed
from settings.rules.rule import Rule
from settings.stack import START, Settings


def _host(settings: Settings) -> Iterator[Mistake]:
    service = settings.gateway.service
    exposed = settings.has_gateway and service is not ServiceType.CLUSTER_IP
    if exposed and settings.gateway.host is None:
        yield Mistake(
            ("gateway", "host"),
            f"is missing: with service {service.value} give the name or address that clients dial, "
            "or no certificate is valid for it",
        )


_OF_SERVICES = {
    "node_port": (ServiceType.NODE_PORT,),
    "load_balancer_class": (ServiceType.LOAD_BALANCER,),
    "source_ranges": (ServiceType.LOAD_BALANCER,),
    "external_traffic_policy": (ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER),
}
"""Keys that only some Services have."""


def _of_another_service(settings: Settings) -> Iterator[Mistake]:
    service = settings.gateway.service
    for key, services in _OF_SERVICES.items():
        value = getattr(settings.gateway, key)
        if value and service not in services:
            needed = listed([one.value for one in services])
            yield Mistake(
                ("gateway", to_camel(key)),
                f"needs service {needed}, and service is {service.value}; take it away, or set "
                f"service: {needed}",
                value.value if isinstance(value, Enum) else value,
            )


def _roles(settings: Settings) -> Iterator[Mistake]:
    """A right that nobody could withhold must not look as if somebody did."""
    if settings.sees_requests:
        return
    for name, client in settings.clients.items():
        if client.gives("role") and client.role is not Role.ADMIN:
            yield Mistake(
                ("clients", name, "role"),
                "needs a gateway with protocol: http2, since nothing else sees RPCs; take it away, "
                "or write admin, which everybody is here",
                client.role.value,
            )


def _waits(settings: Settings) -> str:
    starts = f"{START} s for its start"
    drains = settings.longest_gap - START
    return f"drain.timeout, {drains} s, for the old one's builds and {starts}" if drains else starts


def _hold(settings: Settings) -> Iterator[Mistake]:
    hold, gap = settings.gateway.hold, settings.longest_gap
    if settings.has_gateway and hold is not None and hold < gap:
        yield Mistake(
            ("gateway", "hold"),
            f"is shorter than builds may have to wait for a pod: {_waits(settings)}; take {gap} at "
            "least",
            hold,
        )


RULES = (
    Rule(("mode", "gateway.enabled", "gateway.service", "gateway.host"), _host),
    Rule(
        ("gateway.service", *(f"gateway.{to_camel(key)}" for key in _OF_SERVICES)),
        _of_another_service,
    ),
    Rule(("mode", "gateway.enabled", "gateway.protocol", "clients"), _roles),
    Rule(("mode", "gateway", "replicas", "autoscaling", "farm", "volume.kind", "drain"), _hold),
)
