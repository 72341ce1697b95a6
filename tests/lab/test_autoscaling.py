"""With KEDA there is a buildkitd while somebody builds, and none while nobody does."""

import itertools
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab import LabError, keda, lifecycle
from tests.lab.absence import no_replicas
from tests.lab.building import (
    BEGUN,
    BUILDCTL,
    BUILDX,
    CLIENTS,
    build,
    create_builder,
    greets,
    takes,
)
from tests.lab.conftest import (
    Configured,
    Count,
    Installation,
    Record,
    configuring,
    stack_of,
)
from tests.lab.gateway_pods import active
from tests.lab.idle_clients import idle_clients
from tests.lab.load import load
from tests.lab.page_commands import said
from tests.lab.terminal import Terminal
from tests.lab.watch import watched

COOLDOWN = 3  # seconds
LONG = 3 * COOLDOWN  # what is not counted is taken for nothing long before
AT_ONCE = 20
BUILDKITD = "app=buildkitd"
CLAIM = {"size": "1Gi", "storageClass": "lab", "protect": False}
SCALED: dict[str, Any] = {
    "buildkit:mode": "statefulset",
    "buildkit:volume": CLAIM,
    "buildkit:autoscaling": {"min": 0, "max": 1, "cooldown": COOLDOWN},
}
# Of a mode whose replacement is quick.
THREE: dict[str, Any] = {"buildkit:replicas": 3}
UP_TO_THREE: dict[str, Any] = {"buildkit:autoscaling": {"max": 3, "cooldown": COOLDOWN}}


@pytest.fixture(scope="module")
def changed(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """The dev stack, which goes from one configuration to the next, where KEDA is."""
    keda.install(lab.node)
    yield from configuring(lab, tmp_path_factory.mktemp("autoscaling"))


@pytest.fixture(scope="module")
def scaled(changed: Configured) -> Installation:
    """A StatefulSet with a claim, of one pod or none."""
    installation = changed(SCALED)
    create_builder(installation)
    return installation


@pytest.fixture
def asleep(scaled: Installation) -> Installation:
    """The same without a pod."""
    wait_for_none(scaled)
    return scaled


def wait_for_none(installation: Installation) -> None:
    """Wait until there is no buildkitd, not even one that drains."""
    every = ("pods", f"--selector={BUILDKITD}")
    installation.kubectl("wait", *every, "--for=delete", "--timeout=60s")


@pytest.mark.parametrize("by", CLIENTS)
def test_a_build_finds_no_buildkitd_and_gets_one(
    asleep: Installation, by: str, count: Count, record_property: Record
) -> None:
    seconds: list[float] = []
    for _ in range(count("builds that find none", 10, 1)):
        wait_for_none(asleep)
        with build(asleep, by, greets("awake")) as one:
            assert one.result("greeting") == b"awake\n"
        seconds.append(time.monotonic() - one.submitted)
    record_property(f"seconds from none to built by {by}", round(statistics.median(seconds), 1))


def test_builds_that_find_no_buildkitd_at_once_all_get_one(asleep: Installation) -> None:
    with ExitStack() as stack:
        builds = [
            stack.enter_context(build(asleep, by, greets(str(number))))
            for number, by in enumerate(itertools.islice(itertools.cycle(CLIENTS), AT_ONCE))
        ]
        for number, one in enumerate(builds):
            assert one.result("greeting") == f"{number}\n".encode()


def test_builds_that_come_when_buildkitd_goes_succeed(asleep: Installation) -> None:
    with watched(asleep, BUILDKITD) as pods:
        with build(asleep, BUILDCTL, greets("in time")) as one:
            one.result("greeting")
        going = pods.wait_until_one_drains()
        # First it takes them still, then they wait for the next one.
        for by in itertools.cycle(CLIENTS):
            with build(asleep, by, greets("late")) as late:
                assert late.result("greeting") == b"late\n"
            if going.gone:
                break
        assert len(pods.seen) == 2


def test_a_client_that_asks_for_nothing_keeps_no_buildkitd(scaled: Installation) -> None:
    with idle_clients(scaled, 1) as idle:
        with build(scaled, BUILDX, greets("built")) as one:
            one.result("greeting")
        wait_for_none(scaled)
        assert idle.connected() == 1


def test_a_client_that_follows_the_history_keeps_no_buildkitd(asleep: Installation) -> None:
    buildctl = asleep.connection()
    monitor = Terminal([*buildctl, "debug", "monitor"], asleep.directory, asleep.environment)
    with watched(asleep, BUILDKITD) as pods, monitor:
        with build(asleep, BUILDX, greets("followed")) as one:
            one.result("greeting")
        monitor.wait_for("COMPLETE")
        pods.wait_until_one_drains()
        assert active(asleep)  # its request, to the end


def test_a_build_that_its_client_left_keeps_no_buildkitd(asleep: Installation) -> None:
    """Whatever its step has started runs on for as long as it likes."""
    with build(asleep, BUILDCTL, takes(600)) as left:
        left.wait_for(BEGUN)
    wait_for_none(asleep)


def test_a_build_that_says_nothing_for_long_keeps_its_buildkitd(asleep: Installation) -> None:
    with watched(asleep, BUILDKITD) as pods, build(asleep, BUILDCTL, takes(LONG)) as quiet:
        quiet.result("greeting")
        assert [pod.draining for pod in pods.seen.values()] == [None]


def test_a_build_in_a_gateway_that_drains_keeps_its_buildkitd(asleep: Installation) -> None:
    with watched(asleep, BUILDKITD) as pods, build(asleep, BUILDX, takes(LONG)) as carried:
        carried.wait_for(BEGUN)
        asleep.kubectl("delete", "pods", "--selector=app=buildkit-gateway", "--wait=false")
        carried.result("greeting")
        assert [pod.draining for pod in pods.seen.values()] == [None]


def test_while_nobody_says_how_many_builds_there_are_there_is_a_buildkitd(
    asleep: Installation,
) -> None:
    daemon = "pod/buildkitd-0"
    with no_replicas(asleep, asleep.outputs["gateway"]):
        asleep.kubectl("wait", daemon, "--for=create", "--timeout=60s")
        with pytest.raises(LabError, match="timed out"):
            asleep.kubectl("wait", daemon, "--for=delete", f"--timeout={LONG}s")
    wait_for_none(asleep)


def test_the_cluster_says_what_keda_does(asleep: Installation, tmp_path: Path) -> None:
    with build(asleep, BUILDCTL, greets("seen")) as one:
        one.result("greeting")
    gateway, *_ = asleep.pods("buildkit-gateway")
    seen = said(asleep, tmp_path, "scale-to-zero.md", "get scaledobject", POD=gateway)
    for words in ("scaledobject.keda.sh/buildkitd-autoscaler", "KEDAScaleTargetActivated"):
        assert words in seen
    assert re.search(r"(?m)^envoy_buildkit_builds\S* \d+$", seen)
    assert re.search(r"(?m)^envoy_cluster_upstream_rq_pending_active\S* \d+$", seen)
    assert "Scaler" in said(asleep, tmp_path, "troubleshooting.md", "describe scaledobject")


def test_pulumi_sees_no_change_while_there_is_no_buildkitd(asleep: Installation) -> None:
    stack = stack_of(asleep, SCALED)
    stack.preview("--expect-no-changes")
    stack.refresh()
    stack.preview("--expect-no-changes")
    stack.up("--expect-no-changes")
    assert asleep.pods("buildkitd") == []


def test_an_update_needs_no_buildkitd_and_the_next_build_gets_it(
    asleep: Installation, changed: Configured
) -> None:
    with watched(asleep, BUILDKITD) as pods:
        changed({**SCALED, "buildkit:maxParallelism": 3})
        assert not pods.seen
    with build(asleep, BUILDCTL, greets("updated")) as one:
        assert one.result("greeting") == b"updated\n"
    (pod,) = asleep.pods("buildkitd")
    file = asleep.kubectl("exec", pod, "--", "cat", "/etc/buildkit/buildkitd.toml")
    assert "max-parallelism = 3" in file


FARM: dict[str, Any] = {
    "buildkit:mode": "statefulset",
    "buildkit:volume": CLAIM,
    "buildkit:farm": {"replicas": {"min": 1, "max": 2}},
}


def test_an_update_ends_when_a_farm_that_scales_has_rolled(changed: Configured) -> None:
    installation = changed(FARM)
    # Not `changed`, which waits for the rollout where the provider does not.
    stack_of(installation, {**FARM, "buildkit:maxParallelism": 3}).up()
    status = "{.metadata.generation} {.status.observedGeneration} {.status.currentRevision}"
    now = f"--output=jsonpath={status} {{.status.updateRevision}}"
    generation, observed, current, update = installation.kubectl(
        "get", installation.outputs["workload"], now
    ).split()
    assert (observed, current) == (generation, update)


def replicas(installation: Installation) -> str:
    """How many buildkitds are wanted, and how many are ready."""
    numbers = "--output=jsonpath={.spec.replicas} {.status.readyReplicas}"
    return installation.kubectl("get", installation.outputs["workload"], numbers)


def test_a_fixed_number_begins_and_comes_back_under_load(changed: Configured) -> None:
    installation = changed(THREE)
    workload = installation.outputs["workload"]
    with load(installation, longest=5) as clients:
        clients.wait_until_each_has_built()
        changed(UP_TO_THREE)
        fewer = ("--for=jsonpath={.spec.replicas}=1", "--timeout=180s")
        installation.kubectl("wait", workload, *fewer)
        changed(THREE)
    assert not clients.lost, str(clients)
    assert replicas(installation) == "3 3"
    stack_of(installation, THREE).preview("--expect-no-changes")


def test_a_fixed_number_comes_back_where_there_was_none(changed: Configured) -> None:
    changed(THREE)
    installation = changed(UP_TO_THREE)
    wait_for_none(installation)
    changed(THREE)
    installation.kubectl("rollout", "status", installation.outputs["workload"], "--timeout=60s")
    assert replicas(installation) == "3 3"
