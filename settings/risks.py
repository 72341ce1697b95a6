"""What a configuration risks that works all the same: `pulumi preview` warns of it, in one line."""

from collections.abc import Callable, Iterator

from pulumi_buildkit import Security
from pulumi_buildkit.role import Role

from settings import room
from settings.mistakes import Mistake, line
from settings.stack import Settings


def warnings(settings: Settings) -> list[str]:
    """A line for each risk that *settings* take: its key, what may happen, and what to do."""
    return [line(risk) for find in _RISKS for risk in find(settings)]


def _killed_first(settings: Settings) -> Iterator[Mistake]:
    # https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior
    if not room.is_requested(settings, "memory"):
        yield Mistake(
            ("resources", "requests", "memory"),
            "is missing: where a node runs short of memory, buildkitd is among the first to be "
            "killed, with its builds. Set it, for example to 4Gi.",
        )


def _steps_meet(settings: Settings) -> Iterator[Mistake]:
    builders = [each for each in settings.clients.values() if each.role is Role.BUILDER]
    if settings.security is Security.ROOTLESS and len(builders) > 1:
        yield Mistake(
            ("security",),
            f"is shared by {len(builders)} builders: a build step can read the secrets of builds "
            "that run beside it. Use userns, or a stack for each team, unless all of them trust "
            "each other.",
            settings.security.value,
        )


_RISKS: tuple[Callable[[Settings], Iterator[Mistake]], ...] = (_killed_first, _steps_meet)
