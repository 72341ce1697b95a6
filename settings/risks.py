"""What a configuration risks that works all the same: `pulumi preview` warns of it, in one line."""

from collections.abc import Callable, Iterator

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


_RISKS: tuple[Callable[[Settings], Iterator[Mistake]], ...] = (_killed_first,)
