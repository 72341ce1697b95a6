"""Overlays that Kubernetes takes, and that break no promise."""

from collections.abc import Callable, Iterator

from pulumi_buildkit._overlay_rules import Effect

from settings import pod_overlay
from settings.mistakes import Mistake
from settings.overlays import OVERLAYS, Overlay
from settings.rules.free import unwritable
from settings.rules.rule import Rule
from settings.stack import Settings


def _of(overlay: Overlay) -> Callable[[Settings], Iterator[Mistake]]:
    def mistakes(settings: Settings) -> Iterator[Mistake]:
        given = overlay.of(settings)
        found = [*unwritable(given, overlay.place)]
        if given and not found:
            (target, base), *_ = overlay.bases(settings)
            found = [
                Mistake((*overlay.place, *path), complaint)
                for path, complaint in pod_overlay.mistakes(given, base, target)
            ]
        yield from found or overlay.conflicts(settings, Effect.REFUSED)

    return mistakes


RULES = tuple(
    Rule((".".join(map(str, overlay.place)), *overlay.reads), _of(overlay)) for overlay in OVERLAYS
)
