"""How the gateway's Service can be exposed."""

from collections.abc import Iterator

from pulumi_buildkit import ServiceType

from settings.mistakes import Mistake
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


def _node_port(settings: Settings) -> Iterator[Mistake]:
    service = settings.gateway.service
    if settings.gateway.node_port is not None and service is not ServiceType.NODE_PORT:
        yield Mistake(
            ("gateway", "nodePort"),
            f"needs service NodePort, and service is {service.value}; take it away, or set "
            "service: NodePort",
            settings.gateway.node_port,
        )


def _hold(settings: Settings) -> Iterator[Mistake]:
    hold, gap = settings.gateway.hold, settings.longest_gap
    if settings.has_gateway and hold is not None and hold < gap:
        yield Mistake(
            ("gateway", "hold"),
            f"is shorter than a rollout may keep builds waiting, drain.timeout and {START} s to "
            f"start; take {gap} at least, or a shorter drain.timeout",
            hold,
        )


RULES = (
    Rule(("mode", "gateway.enabled", "gateway.service", "gateway.host"), _host),
    Rule(("gateway.service", "gateway.nodePort"), _node_port),
    Rule(("mode", "gateway", "replicas", "volume.kind", "drain"), _hold),
)
