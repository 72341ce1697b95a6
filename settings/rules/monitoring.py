"""What can be watched."""

from collections.abc import Iterator

from settings.mistakes import Mistake
from settings.rules.autoscaling import HTTP2
from settings.rules.rule import Rule
from settings.stack import Settings


def _gateway(settings: Settings) -> Iterator[Mistake]:
    if settings.monitoring.makes and not settings.sees_requests:
        yield Mistake(
            ("monitoring",),
            f"needs a gateway with protocol: http2, which counts builds; take it away, or {HTTP2}",
        )


RULES = (
    Rule(
        (
            "mode",
            "monitoring.podMonitor",
            "monitoring.rules",
            "monitoring.dashboard",
            "gateway.enabled",
            "gateway.protocol",
        ),
        _gateway,
    ),
)
