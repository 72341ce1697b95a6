"""The time from an empty cluster to the first finished build, its images on the node already."""

import time
from contextlib import AbstractContextManager

from bench import installations
from bench.installations import Installation
from bench.order import rotated
from bench.workshop import Workshop, buildctl, buildx, small
from lab import progress


def measure(of: Workshop, rounds: int) -> dict[str, list[float]]:
    """The seconds of each way, one of each after the other; all of it is deleted each time."""
    found: dict[str, list[float]] = {"http2": [], "upstream": [], "driver": []}
    with progress.step("first builds") as step:
        for number in range(rounds):
            for name in rotated([*found], number):
                step.update(f"round {number + 1} of {rounds}, {name}")
                found[name].append(_from_nothing(of, name))
    return found


def _from_nothing(of: Workshop, name: str) -> float:
    started = time.monotonic()
    with _installed(of, name) as way:
        if way.connection:
            of.seconds(*buildctl(way.connection, small(of)))
        else:
            of.seconds(*buildx(way.builder, small(of)))
        return time.monotonic() - started


def _installed(of: Workshop, name: str) -> AbstractContextManager[Installation]:
    if name == "http2":
        return installations.program(of, of.name("first"), {})
    other = {"upstream": installations.upstream, "driver": installations.driver}[name]
    return other(of, of.name("first"))
