"""A farm of buildkitds: a project meets its own again, whatever becomes of the others."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from lab import LabError, keda, lifecycle
from lab.engine import merge
from lab.node import until
from tests.lab.absence import no_buildkitd, nothing_answers_at
from tests.lab.building import (
    BEGUN,
    BUILDCTL,
    BUILDX,
    CLIENTS,
    Build,
    bake,
    build,
    create_builder,
    greets,
    is_let_go,
    waits,
)
from tests.lab.conftest import DOMAIN, Configured, Installation, Record, configuring, install
from tests.lab.gateway_pods import envoys
from tests.lab.load import KINDS, load
from tests.lab.watch import watched

BUILDKITD = "app=buildkitd"
DAEMONS = ["buildkitd-0", "buildkitd-1", "buildkitd-2"]
FIRST, *_, LAST = DAEMONS
PROJECTS = tuple(f"project-{number}" for number in range(30))
STATEFUL: dict[str, Any] = {
    "buildkit:mode": "statefulset",
    "buildkit:volume": {"size": "1Gi", "storageClass": "lab", "protect": False},
    "buildkit:certificates": {"sans": [f"*.{DOMAIN}"]},
    # Steps of a build that a test has left may run on.
    "buildkit:drain": {"timeout": 60},
}
FARM = {**STATEFUL, "buildkit:farm": {"replicas": {"min": 3, "max": 3}}}
FOLLOWING = {
    **STATEFUL,
    "buildkit:farm": {"replicas": {"min": 1, "max": 3}},
    "buildkit:autoscaling": {"builds": 1, "cooldown": 15},
}
GROWN = 60  # seconds; the autoscaler of Kubernetes looks every 15
SHRUNK = 90  # seconds; and takes the most of what it found within the cooldown


@pytest.fixture(scope="module")
def changed(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """The dev stack, which goes from one configuration to the next."""
    yield from configuring(lab, tmp_path_factory.mktemp("farm"))


@pytest.fixture(scope="module")
def three(changed: Configured) -> Installation:
    """A stack with three daemons."""
    return changed(FARM)


@pytest.fixture
def farm(three: Installation) -> Installation:
    """The same when all of them are met."""
    wait_until_met(three, DAEMONS)
    return three


def daemon(project: Installation) -> str:
    """The pod that a client of the project meets."""
    label = "org.mobyproject.buildkit.worker.hostname"
    said = project.buildctl(
        "debug", "workers", f'--format={{{{range .}}}}{{{{index .Labels "{label}"}}}}{{{{end}}}}'
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def daemons(farm: Installation, projects: Sequence[str] = PROJECTS) -> dict[str, str]:
    """The pods that the clients of all projects meet."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: daemon(farm.project(name)), projects)
        return dict(zip(projects, found, strict=True))


def projects_of(pod: str, met: dict[str, str]) -> list[str]:
    """Those whose clients meet a pod."""
    return [project for project, one in met.items() if one == pod]


def wait_until_met(farm: Installation, pods: Sequence[str]) -> None:
    """Wait until all gateways give these pods new clients, and no others."""

    def is_known() -> bool:
        # Behind the pods there is their Service, which is always well.
        well = "cluster.address.membership_healthy"
        return {envoy.statistic(well) for envoy in envoys(farm)} == {len(pods) + 1}

    until(is_known, 60, lambda: LabError(f"a gateway knows more or fewer than {pods}"))
    assert {*daemons(farm).values()} == {*pods}


def scale(farm: Installation, daemons: int) -> None:
    farm.kubectl("scale", farm.outputs["workload"], f"--replicas={daemons}")


DOCKERFILE = """\
FROM debian:bookworm-slim AS steps
RUN echo {project} > /project
FROM scratch
COPY --from=steps /project /greeting
"""
STEP = re.compile(r"(?m)^#(\d+) \[.*\] (?:RUN|COPY) ")


def cached(one: Build) -> list[bool]:
    """Whether each step of a build that has ended well was in the cache."""
    one.result("greeting")
    found = {*re.findall(r"(?m)^#(\d+) CACHED", one.last)}
    return [number in found for number in {*STEP.findall(one.last)}]


def test_a_project_s_second_build_is_cached_whichever_client_builds(
    farm: Installation, record_property: Record
) -> None:
    def built_twice(number: int) -> tuple[list[bool], list[bool]]:
        project = farm.project(PROJECTS[number])
        dockerfile = DOCKERFILE.format(project=PROJECTS[number])
        by, then_by = CLIENTS if number % 2 else reversed(CLIENTS)
        with build(project, by, dockerfile) as first:
            new = cached(first)
        with build(project, then_by, dockerfile) as second:
            return new, cached(second)

    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(built_twice, range(len(PROJECTS)))]
    first = [one for steps, _ in found for one in steps]
    second = [one for _, steps in found for one in steps]
    record_property("cached share of second builds", sum(second) / len(second))
    assert len(first) == len(second) == 2 * len(PROJECTS)
    assert not any(first)
    assert sum(second) >= 0.99 * len(second)
    histories = [
        farm.kubectl("exec", pod, "--", "buildctl", "debug", "histories") for pod in DAEMONS
    ]
    assert sum("COMPLETE" in one for one in histories) > 1


def begin(stack: ExitStack, farm: Installation, projects: Sequence[str]) -> list[Build]:
    """Builds that wait, of which some ask for more when they are let go."""
    builds = [
        stack.enter_context(build(farm.project(projects[0]), BUILDCTL, waits())),
        stack.enter_context(build(farm.project(projects[1]), BUILDX, waits())),
        stack.enter_context(bake(farm.project(projects[2]), waits())),
    ]
    for one in builds:
        one.wait_for(BEGUN)
    return builds


def assert_end_well(builds: Sequence[Build]) -> None:
    *single, baked = builds
    assert [one.result("greeting") for one in single] == [b"let go\n"] * len(single)
    assert baked.result("greeting") == b"let go, second, third\n"


@contextmanager
def one_less(farm: Installation) -> Iterator[None]:
    """The last one is told to go, and comes back at the end; it may have builds until then."""
    scale(farm, 2)
    try:
        yield
    finally:
        farm.kubectl("wait", f"pod/{LAST}", "--for=delete", "--timeout=90s")
        scale(farm, 3)
        farm.kubectl("rollout", "status", farm.outputs["workload"], "--timeout=60s")


def test_a_build_ends_where_it_began_when_a_nearer_daemon_joins(farm: Installation) -> None:
    moving = projects_of(LAST, daemons(farm))
    with ExitStack() as stack:
        with one_less(farm):
            wait_until_met(farm, DAEMONS[:2])
            builds = begin(stack, farm, moving)
        wait_until_met(farm, DAEMONS)
        assert {*daemons(farm, moving).values()} == {LAST}
        for pod in DAEMONS[:2]:
            is_let_go(farm, pod)
        assert_end_well(builds)


def test_a_build_ends_where_it_began_when_its_daemon_drains(farm: Installation) -> None:
    with ExitStack() as stack:
        builds = begin(stack, farm, projects_of(LAST, daemons(farm)))
        with one_less(farm):
            wait_until_met(farm, DAEMONS[:2])
            is_let_go(farm, LAST)
            assert_end_well(builds)


@contextmanager
def unreachable(farm: Installation) -> Iterator[None]:
    """The last one is there, and its node can't be reached."""
    address = farm.kubectl("get", f"pod/{LAST}", "--output=jsonpath={.status.podIP}")
    with nothing_answers_at(farm, address):
        yield


@pytest.mark.parametrize("away", [one_less, unreachable])
def test_the_projects_of_a_daemon_that_is_away_move_and_come_back(
    farm: Installation, away: Callable[[Installation], AbstractContextManager[None]]
) -> None:
    before = daemons(farm)
    with away(farm):
        wait_until_met(farm, DAEMONS[:2])
        meanwhile = daemons(farm)
        moved = [p for p in PROJECTS if meanwhile[p] != before[p] != LAST]
        # Maglev's table moves one of hundreds along.
        assert len(moved) <= 1, moved
        with build(farm.project(projects_of(LAST, before)[0]), BUILDX, greets("moved")) as one:
            assert one.result("greeting") == b"moved\n"
    wait_until_met(farm, DAEMONS)
    assert daemons(farm) == before


def test_builds_wait_while_there_is_no_daemon(farm: Installation) -> None:
    projects = [farm.project(name) for name in PROJECTS[:4]]
    for project in projects:
        create_builder(project)
    with ExitStack() as stack:
        with no_buildkitd(farm):
            held = [
                stack.enter_context(build(project, by, greets("held")))
                for project, by in zip(projects, 2 * CLIENTS, strict=True)
            ]
            for one in held:
                assert one.goes_on(one.submitted + 5), one.last
        assert [one.result("greeting") for one in held] == [b"held\n"] * len(held)


def test_a_rollout_of_the_whole_farm_loses_no_build(
    changed: Configured, farm: Installation, record_property: Record
) -> None:
    with (
        watched(farm, BUILDKITD) as pods,
        load(farm, longest=5, projects=True) as clients,
    ):
        clients.wait_until_each_has_built()
        changed({**FARM, "buildkit:maxParallelism": 7})
        clients.wait_until_each_has_built()
    record_property("builds", len(clients.builds))
    assert sum(pod.gone is not None for pod in pods.seen.values() if pod.name in DAEMONS) == 3
    assert {*clients.kinds} == KINDS
    assert not clients.lost, str(clients)


@pytest.fixture(scope="module")
def pool(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A stack of its own, as for another architecture; it begins with one daemon."""
    keda.install(lab.node)
    pool = replace(lab, name=f"{lab.name}-pool", node_port=lab.node_port + 50)
    stack = pool.stack(overrides=merge(pool.overrides, FOLLOWING))
    stack.up()
    yield install(pool, stack.outputs(), tmp_path_factory.mktemp("pool"))
    stack.destroy()


def test_two_pools_are_one_builder(farm: Installation, pool: Installation) -> None:
    create_builder(farm)
    certificates = farm.directory / f"certs-{pool.lab.name}"
    shutil.copytree(pool.directory / "certs", certificates)
    append = pool.outputs["buildx_append_command"].replace("docker buildx", "docker-buildx")
    assert farm.run("sh", "-c", append).returncode == 0
    said = farm.run("docker-buildx", "inspect", "buildkit").stdout
    assert re.findall(r"(?m)^Status: +(\S+)", said) == ["running", "running"]
    with build(farm, BUILDX, greets("by one of two")) as one:
        assert one.result("greeting") == b"by one of two\n"


def test_a_farm_grows_with_its_builds_and_shrinks_around_one(pool: Installation) -> None:
    assert pool.pods("buildkitd") == [FIRST]
    with ExitStack() as stack:
        many = [
            stack.enter_context(build(pool.project(name), by, waits()))
            for name, by in zip(PROJECTS[:3], [BUILDCTL, BUILDX, BUILDCTL], strict=True)
        ]
        ready = "--for=condition=Ready"
        for pod in DAEMONS[1:]:
            pool.kubectl("wait", f"pod/{pod}", "--for=create", f"--timeout={GROWN}s")
            pool.kubectl("wait", f"pod/{pod}", ready, "--timeout=60s")
        wait_until_met(pool, DAEMONS)
        of_last = pool.project(projects_of(LAST, daemons(pool))[0])
        last = stack.enter_context(build(of_last, BUILDX, waits()))
        last.wait_for(BEGUN)
        pods = stack.enter_context(watched(pool, BUILDKITD))
        is_let_go(pool, FIRST)
        assert [one.result("greeting") for one in many] == [b"let go\n"] * 3
        pods.wait_until_one_drains(SHRUNK)
        until(lambda: pool.pods("buildkitd") == [FIRST], 10, lambda: LabError("it shrinks to more"))
        is_let_go(pool, LAST)
        assert last.result("greeting") == b"let go\n"
        gone = ("--for=delete", "--timeout=60s")
        pool.kubectl("wait", *(f"pod/{pod}" for pod in DAEMONS[1:]), *gone)
