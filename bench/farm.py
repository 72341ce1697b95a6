"""What a farm is for, and what it costs that there is no buildkitd while nobody builds."""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import installations
from bench.installations import Installation
from bench.workshop import Workshop, buildctl, buildx, project, small
from lab import LabError, keda, progress
from lab.node import until

DAEMONS = 3
PROJECTS = 30
NAMES = 200
"""So many projects are asked for where they are; to build them all would take long."""
_DOMAIN = "builds.test"
_STATEFUL: dict[str, Any] = {
    "mode": "statefulset",
    "volume": {"size": "1Gi", "storageClass": "lab", "protect": False},
}
_NONE = {"autoscaling": {"min": 0, "max": 1, "cooldown": 5}}
_PATIENCE = 60.0  # seconds
_AT_ONCE = 2  # as many as there are cores
_DAEMON = '{{range .}}{{index .Labels "org.mobyproject.buildkit.worker.hostname"}}{{end}}'


def measure(of: Workshop, rounds: int) -> dict[str, Any]:
    """Shares of the cache, of projects that move, and seconds from none to a built image."""
    with progress.step("farms"):
        cached = {"random": _at_random(of)}
        farm, more = {"min": DAEMONS + 1, "max": DAEMONS + 1}, {"sans": [f"*.{_DOMAIN}"]}
        with installations.program(
            of, of.name("farm"), {}, **_STATEFUL, farm={"replicas": farm}, certificates=more
        ) as way:
            before = _after_scaling(of, way, DAEMONS)
            cached["hostName"] = _cached(of, way, by_name=True)
            more = _after_scaling(of, way, DAEMONS + 1)
            back = _after_scaling(of, way, DAEMONS)
    return {
        "projects": PROJECTS,
        "daemons": DAEMONS,
        "cached": cached,
        "names": NAMES,
        "moved": {
            "up": _moved(before, more),
            "down": _moved(more, back),
            "both": _moved(before, back),
        },
        "zero": _from_none(of, rounds),
    }


def _at_random(of: Workshop) -> dict[str, int]:
    """The same daemons behind their Service, which knows no projects."""
    name = of.name("random")
    with installations.program(of, name, {}, **_STATEFUL, replicas=DAEMONS) as way:
        return _cached(of, way, by_name=False)


def _cached(of: Workshop, way: Installation, by_name: bool) -> dict[str, int]:
    """Build all projects, and again: of the steps of the second builds those in the cache."""

    def built(name: str) -> str:
        connection = _dialling(way, name) if by_name else way.connection
        done = of.run(*buildctl(connection, project(of, name)))
        if done.returncode:
            raise LabError(f"{name} was not built: {done.stderr}")
        return done.stderr

    names = [f"project-{number}" for number in range(PROJECTS)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        new, known = [*pool.map(built, names)], [*pool.map(built, names)]
    if cached := sum(map(_from_cache, new)):
        raise LabError(f"{cached} steps were in the cache before they were built")
    return {
        "steps": sum(len(_steps(said)) for said in known),
        "cached": sum(map(_from_cache, known)),
    }


def _steps(said: str) -> set[str]:
    """The numbers that a client gave to the steps of a build."""
    return {*re.findall(r"(?m)^#(\d+) \[.*\] RUN ", said)}


def _from_cache(said: str) -> int:
    """How many of them were in the cache."""
    return len(_steps(said) & {*re.findall(r"(?m)^#(\d+) CACHED", said)})


def _dialling(way: Installation, name: str) -> tuple[str, ...]:
    """A connection by a project's name, which the lab's node does not have."""
    return (*way.connection, f"--tlsservername={name}.{_DOMAIN}")


def _after_scaling(of: Workshop, way: Installation, daemons: int) -> Sequence[str]:
    """Where each name leads with so many daemons, when all gateway pods say the same."""
    of.kubectl(way.namespace, "scale", "statefulset/buildkitd", f"--replicas={daemons}")
    found: list[list[str]] = [[]]

    def is_known() -> bool:
        found.append(_daemons(of, way))
        return found[-1] == found[-2] and len({*found[-1]}) == daemons

    until(is_known, _PATIENCE, lambda: LabError(f"{daemons} daemons are not met"))
    return found[-1]


def _daemons(of: Workshop, way: Installation) -> list[str]:
    def daemon(number: int) -> str:
        ask = ("debug", "workers", f"--format={_DAEMON}")
        return of.run(*_dialling(way, f"name-{number}"), *ask).stdout

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [*pool.map(daemon, range(NAMES))]


def _moved(before: Sequence[str], after: Sequence[str]) -> int:
    return sum(one != other for one, other in zip(before, after, strict=True))


def _from_none(of: Workshop, rounds: int) -> dict[str, dict[str, Any]]:
    """The seconds of a small build by each client that finds no buildkitd."""
    keda.install(of.lab.node)
    found: dict[str, dict[str, Any]] = {
        client: {"seconds": [], "lost": 0} for client in ("buildctl", "buildx")
    }
    with (
        progress.step("builds that find no buildkitd") as step,
        installations.program(of, of.name("zero"), {}, **_STATEFUL, **_NONE) as way,
    ):
        commands = {
            "buildctl": buildctl(way.connection, small(of)),
            "buildx": buildx(way.builder, small(of)),
        }
        for number in range(rounds):
            step.update(f"round {number + 1} of {rounds}")
            for client, command in commands.items():
                _wait_for_none(of, way)
                started = time.monotonic()
                if of.run(*command).returncode:
                    found[client]["lost"] += 1
                else:
                    found[client]["seconds"].append(time.monotonic() - started)
    return found


def _wait_for_none(of: Workshop, way: Installation) -> None:
    every = ("pods", "--selector=app=buildkitd")
    of.kubectl(way.namespace, "wait", *every, "--for=delete", f"--timeout={_PATIENCE:.0f}s")
