"""How many pods there are, who says it, and who chooses one of them."""

from collections.abc import Iterator

from pulumi_buildkit.volume import VolumeKind

from settings.mistakes import Mistake
from settings.modes import Mode
from settings.rules.modes import unsuited
from settings.rules.rule import Rule
from settings.stack import Settings

HTTP2 = "set gateway.enabled: true and gateway.protocol: http2"
"""What to do where requests have to be seen."""


def _mode(settings: Settings) -> Iterator[Mistake]:
    if settings.autoscaling:
        yield from unsuited(settings, lambda traits: traits.autoscaling, ("autoscaling",))


def _farm(settings: Settings) -> Iterator[Mistake]:
    if settings.farm and settings.mode is not Mode.STATEFULSET:
        yield Mistake(
            ("farm",),
            f"needs mode statefulset, whose pods have a name each, and mode is "
            f"{settings.mode.value}; take it away, or change the mode",
        )


def _gateway(settings: Settings) -> Iterator[Mistake]:
    """Builds are counted, held and given to a pod where requests are seen."""
    if not settings.traits.autoscaling or settings.sees_requests:
        return
    if settings.autoscaling:
        yield Mistake(
            ("autoscaling",),
            "needs a gateway with protocol: http2, which counts builds and holds them; take it "
            f"away, or {HTTP2}",
        )
    if settings.farm:
        yield Mistake(
            ("farm",),
            "needs a gateway with protocol: http2, which chooses a pod for each client; take it "
            f"away, or {HTTP2}",
        )


def _replicas(settings: Settings) -> Iterator[Mistake]:
    saying = "farm.replicas" if settings.farm else "autoscaling" if settings.autoscaling else None
    if saying and settings.gives("replicas"):
        yield Mistake(
            ("replicas",),
            f"is said by {saying}, from min to max; take one of them away",
            settings.replicas,
        )
    for key in ("min", "max"):
        number = getattr(settings.autoscaling, key, None)
        if settings.farm and number is not None:
            yield Mistake(
                ("autoscaling", key),
                f"is said by farm.replicas.{key}; take one of them away",
                number,
            )


def _order(settings: Settings) -> Iterator[Mistake]:
    fewest, most = settings.scale
    place = ("farm", "replicas", "min") if settings.farm else ("autoscaling", "min")
    if fewest > most:
        yield Mistake(place, f"is more than max, {most}; take less, or a larger max", fewest)


def _claim(settings: Settings) -> Iterator[Mistake]:
    """A Deployment that is scaled up again does not wait for the pod that still drains."""
    if settings.autoscaling and settings.shares_a_claim:
        yield Mistake(
            ("volume", "kind"),
            "can't be scaled with this mode, whose pods would meet on one claim; set mode: "
            "statefulset, or volume.kind: emptyDir",
            VolumeKind.CLAIM.value,
        )


RULES = (
    Rule(("mode", "autoscaling"), _mode),
    Rule(("mode", "farm"), _farm),
    Rule(("mode", "autoscaling", "farm", "gateway.enabled", "gateway.protocol"), _gateway),
    Rule(("autoscaling", "farm", "replicas"), _replicas),
    Rule(("autoscaling", "farm"), _order),
    Rule(("mode", "autoscaling", "volume.kind"), _claim),
)
