"""A pod overlay that Kubernetes takes."""

from collections.abc import Iterator

from settings import pod_overlay
from settings.mistakes import Mistake
from settings.rules.free import unwritable
from settings.rules.rule import Rule
from settings.stack import Settings


def _overlay(settings: Settings) -> Iterator[Mistake]:
    mistakes = [*unwritable(settings.pod, ("pod",))]
    yield from mistakes
    if not mistakes:
        for path, complaint in pod_overlay.mistakes(settings.pod):
            yield Mistake(("pod", *path), complaint)


RULES = (Rule(("pod",), _overlay),)
