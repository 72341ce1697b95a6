"""What goes with each mode, as `MODES` says."""

from collections.abc import Callable, Iterator

from settings.mistakes import Mistake, Place, listed
from settings.modes import MODES, Traits
from settings.rules.rule import Rule
from settings.stack import Settings


def _modes(suit: Callable[[Traits], object]) -> list[str]:
    return [mode.value for mode, traits in MODES.items() if suit(traits)]


def unsuited(
    settings: Settings, suit: Callable[[Traits], object], place: Place, value: object = None
) -> Iterator[Mistake]:
    """That what stands at *place* goes with other modes only, unless it suits this one."""
    if not suit(settings.traits):
        yield Mistake(
            place,
            f"needs mode {listed(_modes(suit))}, and mode is {settings.mode.value}; "
            "take it away, or change the mode",
            value,
        )


def _replicas(settings: Settings) -> Iterator[Mistake]:
    if settings.gives("replicas"):
        yield from unsuited(
            settings, lambda traits: traits.replicas, ("replicas",), settings.replicas
        )


def _gateway(settings: Settings) -> Iterator[Mistake]:
    if settings.gateway.enabled:
        yield from unsuited(
            settings, lambda traits: traits.gateway is not None, ("gateway", "enabled"), True
        )


def _volume(settings: Settings) -> Iterator[Mistake]:
    kind = settings.volume.kind
    if kind:
        place = ("volume", "kind")
        yield from unsuited(settings, lambda traits: kind in traits.volumes, place, kind.value)
    elif settings.volume.model_fields_set:
        yield from unsuited(settings, lambda traits: traits.volumes, ("volume",))


def _drain(settings: Settings) -> Iterator[Mistake]:
    if settings.gives("drain"):
        yield from unsuited(settings, lambda traits: not traits.builds, ("drain",))


def _metrics(settings: Settings) -> Iterator[Mistake]:
    if settings.monitoring.buildkitd:
        place = ("monitoring", "buildkitd")
        yield from unsuited(settings, lambda traits: not traits.builds, place, True)


def _shared_claim(settings: Settings) -> Iterator[Mistake]:
    if settings.shares_a_claim and settings.replicas > 1:
        own = listed(_modes(lambda traits: traits.replicas and not traits.shared_claim))
        yield Mistake(
            ("replicas",),
            f"is too many for one claim, which all pods of mode {settings.mode.value} share; "
            f"set replicas: 1, volume.kind: emptyDir, or mode: {own}",
            settings.replicas,
        )


def _clients(settings: Settings) -> Iterator[Mistake]:
    if settings.serves_clients and not settings.clients:
        lack = "empty" if settings.gives("clients") else "missing"
        yield Mistake(("clients",), f"is {lack}; write at least one name below it, as `dev: {{}}`")


def _job(settings: Settings) -> Iterator[Mistake]:
    if settings.job is not None:
        yield from unsuited(settings, lambda traits: traits.builds, ("job",))
    elif settings.traits.builds:
        yield Mistake(
            ("job",),
            f"is missing, and mode is {settings.mode.value}; say below it what to build, as "
            "`context: https://HOST/PATH.git`",
        )


def _namespace(settings: Settings) -> Iterator[Mistake]:
    if not settings.create_namespace and settings.namespace is None:
        yield Mistake(
            ("namespace",), "is missing, and createNamespace is false; name one that there is"
        )


RULES = (
    Rule(("mode", "replicas"), _replicas),
    Rule(("mode", "gateway.enabled"), _gateway),
    Rule(("mode", "volume.kind"), _volume),
    Rule(("mode", "drain"), _drain),
    Rule(("mode", "monitoring.buildkitd"), _metrics),
    Rule(("mode", "replicas", "volume.kind"), _shared_claim),
    Rule(("mode", "gateway.enabled", "clients"), _clients),
    Rule(("mode", "job"), _job),
    Rule(("namespace", "createNamespace"), _namespace),
)
