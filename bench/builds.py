"""How long builds take by each way, one build of each way after the other."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from bench import installations
from bench.installations import Installation
from bench.order import rotated
from bench.workshop import Build, Workshop, buildctl, buildx, large, small
from lab import progress

SMALL_BUILDS = 8
"""In each round: one takes a twentieth of a second, and a few would say little."""

Seconds = dict[str, dict[str, list[float]]]
"""By what is built with which client, and by the way to BuildKit."""

Ways = Mapping[str, Installation]


@contextmanager
def all_ways(of: Workshop, hold: int) -> Iterator[dict[str, Installation]]:
    """Every way to BuildKit at once, each idle while another one is measured."""
    http2, tcp = {"protocol": "http2", "hold": hold}, {"protocol": "tcp", "hold": hold}
    with ExitStack() as ends:
        yield {
            "plaintext": ends.enter_context(
                installations.upstream(of, of.name("plaintext"), tls=False)
            ),
            "upstream": ends.enter_context(installations.upstream(of, of.name("upstream"))),
            "http2": ends.enter_context(installations.program(of, of.name("http2"), http2)),
            "tcp": ends.enter_context(installations.program(of, of.name("tcp"), tcp)),
            "driver": ends.enter_context(installations.driver(of, of.name("driver"))),
        }


def measure(of: Workshop, ways: Ways, rounds: int) -> Seconds:
    """The seconds of both builds with both clients, after one round that is not counted."""
    found: Seconds = {}
    with progress.step("builds by each way") as step:
        for number in range(rounds + 1):
            step.update(f"round {number} of {rounds}")
            for title, way, command in _round(of, rotated([*ways.items()], number)):
                seconds = of.seconds(*command)
                if number:
                    found.setdefault(title, {}).setdefault(way, []).append(seconds)
    return found


def _round(
    of: Workshop, ways: list[tuple[str, Installation]]
) -> Iterator[tuple[str, str, list[str]]]:
    kinds: tuple[tuple[str, Callable[[Workshop], Build], int], ...] = (
        ("small build", small, SMALL_BUILDS),
        ("600 MB", large, 1),
    )
    for title, build, times in kinds:
        for _ in range(times):
            for name, way in ways:
                if way.connection:
                    yield f"{title}, buildctl", name, buildctl(way.connection, build(of))
                yield f"{title}, buildx", name, buildx(way.builder, build(of))
