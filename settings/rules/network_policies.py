"""What network policies can say of somebody, and where somebody could come."""

from collections.abc import Iterator

from settings.mistakes import Mistake
from settings.rules.rule import Rule
from settings.stack import Settings

_SECTION = "networkPolicies"


def _sources(settings: Settings) -> Iterator[Mistake]:
    for number, source in enumerate(settings.network_policies.sources or []):
        if bool(source.network) is bool(source.namespace or source.pods):
            yield Mistake(
                (_SECTION, "sources", number),
                "has to be either a network or pods; give `network`, or `namespace` and `pods`, or "
                "one of these two",
            )


def _nobody_comes(settings: Settings) -> Iterator[Mistake]:
    if settings.network_policies.sources is not None and not settings.serves_clients:
        yield Mistake(
            (_SECTION, "sources"),
            "needs a gateway, or a buildkitd that clients reach by TLS, and there is neither; "
            f"{_remedy(settings)}",
        )


def _nothing_to_read(settings: Settings) -> Iterator[Mistake]:
    shown = settings.has_gateway or settings.monitoring.buildkitd
    if settings.network_policies.metrics_namespaces is not None and not shown:
        yield Mistake(
            (_SECTION, "metricsNamespaces"),
            f"needs metrics to read, a gateway's or buildkitd's; {_remedy(settings)}",
        )


def _remedy(settings: Settings) -> str:
    if settings.traits.gateway is None:
        return f"take it away, since mode {settings.mode.value} has none"
    return "take it away, or set gateway.enabled: true"


RULES = (
    Rule((f"{_SECTION}.sources",), _sources),
    Rule(("mode", "gateway.enabled", f"{_SECTION}.sources"), _nobody_comes),
    Rule(
        ("mode", "gateway.enabled", "monitoring", f"{_SECTION}.metricsNamespaces"),
        _nothing_to_read,
    ),
)
