"""BuildKit rolls beneath four clients that build without a pause, and loses them nothing."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from pulumi_buildkit import Security
from pulumi_buildkit.security import VARIANTS

from lab import LabError, lifecycle
from lab.node import until
from tests.lab.conftest import Configured, Count, Record, configuring
from tests.lab.load import CLIENTS, KINDS, Build, Load, Machine, load
from tests.lab.watch import Pods, watched

pytestmark = pytest.mark.alone

OFFICIAL = VARIANTS[Security.ROOTLESS].image
RETAGGED = "docker.io/moby/buildkit:of-another-name"
CLAIM: dict[str, Any] = {
    "buildkit:volume": {"kind": "claim", "storageClass": "lab", "size": "1Gi", "protect": False}
}


@dataclass(frozen=True)
class Way:
    """One way to roll, and how often it is shown."""

    keys: dict[str, Any]
    first: int
    """Which of the changes is the first."""
    rollouts: tuple[int, int]
    """In full, and in `make test`."""


WAYS = {
    "without a volume": Way({}, 0, (20, 2)),
    "a Deployment with a claim": Way(CLAIM, 2, (20, 1)),
    "a StatefulSet with a claim": Way({**CLAIM, "buildkit:mode": "statefulset"}, 1, (20, 1)),
}


def changes(first: int) -> Iterator[dict[str, Any]]:
    """What rolls BuildKit: in turn another image, configuration, and request."""
    images = itertools.cycle([RETAGGED, OFFICIAL])
    for number in itertools.count(first):
        match number % 3:
            case 0:
                yield {"buildkit:image": next(images)}
            case 1:
                yield {"buildkit:maxParallelism": 10 + number}
            case _:
                yield {"buildkit:resources": {"requests": {"memory": f"{64 + number}Mi"}}}


@pytest.fixture(scope="module")
def configured(
    lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Configured]:
    """The dev stack, which goes from one configuration to the next."""
    lab.node.ctr("images", "tag", "--force", OFFICIAL, RETAGGED)
    yield from configuring(lab, tmp_path_factory.mktemp("rollouts"))


def test_a_drain_has_a_limit_and_says_what_it_cuts(
    configured: Configured, record_property: Record
) -> None:
    limit = 5
    installation = configured({"buildkit:drain": {"timeout": limit}})
    (pod,) = installation.pods("buildkitd")
    machines = [Machine(installation, client, 120) for client in CLIENTS if "slow" in client.kinds]

    def all_build() -> bool:
        histories = installation.kubectl("exec", pod, "--", "buildctl", "debug", "histories")
        return histories.count("STARTED") == len(machines)

    with ThreadPoolExecutor() as pool:
        building = [pool.submit(machine.build, "slow") for machine in machines]
        until(all_build, 30, lambda: LabError("the builds have not started"))
        log = pool.submit(installation.kubectl, "logs", "--follow", pod)
        begun = time.monotonic()
        installation.kubectl("delete", f"pod/{pod}", "--wait=false")
        builds = [build.result() for build in building]
    assert f"cuts {len(machines)} builds" in log.result()
    assert f"the limit of {limit} s is over" in log.result()
    for build in builds:
        assert build.failure
        # The drain counts whole seconds.
        assert limit - 1 < build.ended - begun < limit + 10
        record_property(f"{build.client} says", build.failure.splitlines()[-1].strip())
    assert machines[0].build("small").failure == ""


@dataclass(frozen=True)
class Rolled:
    """What there was while BuildKit rolled."""

    way: Way
    load: Load
    pods: Pods

    def on_pods_that_drained(self) -> list[tuple[float, Build]]:
        """The builds that ended on a pod which drained, and how long it had when they began.

        Those that were there before have a time below zero.
        """
        return [
            (build.started - pod.draining, build)
            for build in self.load.builds
            for pod in (self.pods.at(address, build.started) for address in build.ran_in)
            if pod.draining and build.ended > pod.draining
        ]


@pytest.fixture(scope="module", params=WAYS)
def rolled(request: pytest.FixtureRequest, configured: Configured, full: bool) -> Rolled:
    """BuildKit after some rollouts; with a claim it was scaled to zero and back too."""
    way = WAYS[request.param]
    count = way.rollouts[0 if full else 1]
    keys = dict(way.keys)
    installation = configured(keys)
    workload = installation.outputs["workload"]
    # The pods of the test before may still drain.
    drained = ("get", "pods", "--selector=app=buildkitd", "--output=name")
    until(
        lambda: len(installation.kubectl(*drained).split()) == 1,
        120,
        lambda: LabError("the pods of the test before do not go"),
    )
    with (
        watched(installation, "app=buildkitd") as pods,
        load(installation, longest=25 if full else 6) as clients,
    ):
        clients.wait_until_each_has_built()
        for change in itertools.islice(changes(way.first), count):
            keys |= change
            configured(keys)
            installation.kubectl("rollout", "status", workload, "--timeout=300s")
        if way.keys:
            installation.kubectl("scale", workload, "--replicas=0")
            pods.wait_until_one_drains()
            installation.kubectl("scale", workload, "--replicas=1")
            clients.wait_until_each_has_built()
    return Rolled(way, clients, pods)


def test_a_rollout_of_buildkit_loses_no_build(
    rolled: Rolled, count: Count, record_property: Record
) -> None:
    rollouts = count("rollouts", *rolled.way.rollouts)
    record_property("builds", len(rolled.load.builds))
    record_property("lost", len(rolled.load.lost))
    scaled_up = 1 if rolled.way.keys else 0
    assert len(rolled.pods.seen) == 1 + rollouts + scaled_up, rolled.pods.seen
    assert {*rolled.load.kinds} == KINDS
    assert not rolled.load.lost, str(rolled.load)


def test_a_build_ends_where_it_began_and_none_starts_on_a_pod_that_has_been_draining(
    rolled: Rolled, full: bool, record_property: Record
) -> None:
    # It is up to the kubelet, the API server and kube-proxy how soon clients go elsewhere, and they
    # share two processors with all that builds here.
    soon = 2 if full else 4
    found = rolled.on_pods_that_drained()
    record_property("builds that ended on a pod that drained", len(found))
    record_property("the last one began so many s after the drain", f"{max(found)[0]:.1f}")
    assert "slow" in {build.kind for _, build in found}
    late = [f"{after:.1f} s into the drain: {build}" for after, build in found if after > soon]
    assert not late, "\n".join(late)


@pytest.mark.parametrize("rolled", [*WAYS][1:], indirect=True)
def test_two_daemons_never_meet_on_one_volume(rolled: Rolled) -> None:
    assert rolled.pods.most_alive == 1
    assert {pod.restarts for pod in rolled.pods.seen.values()} == {0}
