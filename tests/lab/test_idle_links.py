"""Promise 5: links that forget connections on which nothing is said."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import lifecycle
from tests.lab import building
from tests.lab.both_clients import Build, builds, create_builder
from tests.lab.building import BEGUN, CLIENTS, takes
from tests.lab.conftest import Configured, Installation, configuring
from tests.lab.gateway_pods import envoys
from tests.lab.idle_path import IdlePath, idle_path

BUILDKITD = "deployment/buildkitd"
# What clients say without being asked: a TCP keepalive of docker buildx, and the answer to
# buildkitd, which asks after the session of each build that runs.
OF_BUILDX = 15
OF_A_BUILD = 5
TIMED_OUT = 124  # timeout(1)


@dataclass(frozen=True)
class Seconds:
    """After how long the path forgets a connection, and the gateway's keepalive."""

    limit: int
    keepalive: int

    @property
    def silence(self) -> float:
        return self.limit * 2


@pytest.fixture(scope="module")
def seconds(full: bool) -> Seconds:
    return Seconds(350, 30) if full else Seconds(limit=3, keepalive=1)


@pytest.fixture(scope="module")
def configure(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    yield from configuring(lab, tmp_path_factory.mktemp("idle"))


def gateway(**keys: Any) -> dict[str, Any]:
    """Configuration of the gateway; its old pods don't wait long for clients that are gone.

    Builds are held for longer than a path is silent.
    """
    return {"buildkit:gateway": {"hold": 900, **keys}, "buildkit:drain": {"timeout": 10}}


@pytest.fixture(scope="module")
def kept(configure: Configured, seconds: Seconds) -> Installation:
    return configure(gateway(keepalive=seconds.keepalive))


@pytest.fixture(scope="module")
def unkept(configure: Configured) -> Installation:
    return configure(gateway(keepalive=0))


@pytest.fixture(scope="module")
def kept_by_tcp(configure: Configured, seconds: Seconds) -> Installation:
    return configure(gateway(protocol="tcp", keepalive=seconds.keepalive))


@pytest.fixture
def path(seconds: Seconds) -> Iterator[IdlePath]:
    with idle_path(seconds.limit) as path:
        yield path


def silent_step(installation: Installation, seconds: float) -> Path:
    """A build that says nothing for that long."""
    context = installation.directory / "silent"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM debian:bookworm-slim\nRUN sleep {seconds}\n")
    return context


@contextmanager
def no_buildkitd(installation: Installation) -> Iterator[None]:
    pods = [f"pod/{name}" for name in installation.pods("buildkitd")]
    installation.kubectl("scale", BUILDKITD, "--replicas=0")
    try:
        installation.kubectl("wait", *pods, "--for=delete", "--timeout=60s")
        yield
    finally:
        installation.kubectl("scale", BUILDKITD, "--replicas=1")
        installation.kubectl("rollout", "status", BUILDKITD, "--timeout=60s")


@contextmanager
def held(installation: Installation, path: IdlePath, silence: float) -> Iterator[list[Build]]:
    """Builds that had no buildkitd for that long, and have one now."""
    create_builder(installation)
    with ExitStack() as stack:
        with no_buildkitd(installation):
            step = silent_step(installation, 0)
            running = stack.enter_context(builds(installation, step, path.inside()))
            assert unfinished(running, within=silence) == {"buildctl", "buildx"}
        yield running


@contextmanager
def silent(installation: Installation, path: IdlePath, silence: float) -> Iterator[list[Build]]:
    """Builds of which a step says nothing for that long."""
    with builds(installation, silent_step(installation, silence), path.inside()) as running:
        yield running


def assert_end_well(running: list[Build], within: float) -> None:
    for build in running:
        build.assert_ends_well(within)


def unfinished(running: list[Build], within: float) -> set[str]:
    """The clients that go on building, or hang, for that long."""
    deadline = time.monotonic() + within
    return {build.client for build in running if not build.ends(deadline - time.monotonic())}


def wait_for_tcp_keepalive(installation: Installation) -> None:
    """Until that is what every connection to buildkitd waits for, and there is one."""
    deadline = time.monotonic() + 30
    connections = []
    while not connections or not all("timer:(keepalive," in line for line in connections):
        assert time.monotonic() < deadline, connections
        connections = [c for e in envoys(installation) for c in e.connections_to_buildkitd()]


def goaways(installation: Installation) -> int:
    """How many connections buildkitd has told the gateway to leave."""
    name = "cluster.buildkitd.upstream_cx_close_notify"
    return sum(envoy.statistic(name) for envoy in envoys(installation))


def test_held_builds_survive(kept: Installation, path: IdlePath, seconds: Seconds) -> None:
    with held(kept, path, seconds.silence) as running:
        assert_end_well(running, within=60)


def test_builds_with_a_silent_step_survive(
    kept: Installation, path: IdlePath, seconds: Seconds
) -> None:
    before = goaways(kept)
    with silent(kept, path, seconds.silence) as running:
        wait_for_tcp_keepalive(kept)
        assert_end_well(running, within=seconds.silence + 60)
    assert goaways(kept) == before


def test_held_builds_are_lost_without_keepalive(
    unkept: Installation, path: IdlePath, seconds: Seconds
) -> None:
    lost = {"buildctl"} if seconds.limit > OF_BUILDX else {"buildctl", "buildx"}
    with held(unkept, path, seconds.silence) as running:
        assert unfinished(running, within=5) == lost
        assert path.dropped() > 0


def test_builds_with_a_silent_step_are_lost_without_keepalive(
    unkept: Installation, path: IdlePath, seconds: Seconds
) -> None:
    lost = set() if seconds.limit > OF_A_BUILD else {"buildctl", "buildx"}
    with silent(unkept, path, seconds.silence) as running:
        assert unfinished(running, within=seconds.silence + 5) == lost


def test_builds_with_a_silent_step_survive_by_tcp(
    kept_by_tcp: Installation, path: IdlePath, seconds: Seconds
) -> None:
    with silent(kept_by_tcp, path, seconds.silence) as running:
        assert_end_well(running, within=seconds.silence + 60)


CUT = 15
"""Seconds. After a cut TCP may wait for as long again, and buildkitd ends a session whose client
has not answered for about 40 s. A build that sends its result to the client is lost then."""


def test_builds_with_a_silent_step_survive_a_link_that_loses_all_packets_for_a_while(
    configure: Configured,
) -> None:
    installation = configure(gateway())
    with ExitStack() as stack:
        path = stack.enter_context(idle_path(limit=3600))
        running = [
            stack.enter_context(building.build(installation, by, takes(CUT + 5), path.inside()))
            for by in CLIENTS
        ]
        for one in running:
            one.wait_for(BEGUN)
        with path.cut():
            dial = f": < /dev/tcp/{installation.outputs['endpoint'].replace(':', '/')}"
            dialled = installation.run(*path.inside("timeout", "1", "bash", "-c", dial))
            assert dialled.returncode == TIMED_OUT
            until = time.monotonic() + CUT
            assert all(one.goes_on(until) for one in running)
        for one in running:
            assert one.result("greeting").strip().isdigit()
