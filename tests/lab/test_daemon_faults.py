"""What dies, hangs or is cut off beneath builds: they end or go on, and the next ones succeed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from lab import LabError
from lab.node import until
from tests.lab.building import (
    BEGUN,
    BUILDCTL,
    BUILDX,
    CLIENTS,
    WAITING_BUILDCTL,
    Build,
    build,
    greets,
    step,
    takes,
)
from tests.lab.conftest import Installation, Record, configuring
from tests.lab.containers import BUILDKITD, GATEWAY, buildkitd_is_killed, named, processes
from tests.lab.gateway_pods import active, envoys

pytestmark = pytest.mark.alone

CONFIGURATION = {
    "buildkit:volume": {"kind": "claim", "storageClass": "lab", "size": "1Gi", "protect": False},
    "buildkit:resources": {"limits": {"memory": "512Mi"}},
    # Steps of builds whose clients have gone may run on.
    "buildkit:drain": {"timeout": 20},
}
SOON = 30  # seconds in which a build has to fail when what it runs on died
LOST = "error reading from server: EOF|stream terminated by RST_STREAM|connection termination"
"""What either client says of a server that is gone."""

Fault = Callable[[Installation], None]
Disturbance = Callable[[Installation], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def kept(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The dev stack with its cache on a volume, and a step in it."""
    configured = configuring(installation.lab, tmp_path_factory.mktemp("faults"))
    installation = next(configured)(CONFIGURATION)
    assert not is_cached(installation)
    yield installation
    next(configured, None)


def is_cached(installation: Installation) -> bool:
    """Build what is always the same; whether its step was built before."""
    with build(installation, BUILDCTL, step("echo always the same > /greeting")) as same:
        assert same.result("greeting") == b"always the same\n"
        return "CACHED" in same.said


# Until Kubernetes knows that a gateway is gone, a second or so, half of the clients are sent there
# and refused. docker buildx tries again; buildctl does when it is told to wait.
AGAIN = (WAITING_BUILDCTL, BUILDX)


def submitted(
    stack: ExitStack, installation: Installation, dockerfile: str, by: Sequence[str] = CLIENTS
) -> dict[str, Build]:
    """A build by each client."""
    return {one: stack.enter_context(build(installation, one, dockerfile)) for one in by}


def assert_succeed(following: dict[str, Build], record_property: Record, since: float) -> None:
    """Builds that were submitted right after something had happened."""
    for by, one in following.items():
        assert one.result("greeting") == b"next\n"
        record_property(f"seconds until the next build by {by}", round(time.monotonic() - since, 1))


def delete_without_grace(installation: Installation, *what: str) -> None:
    installation.kubectl("delete", *what, "--grace-period=0", "--force", "--wait=false")


def buildkitd_has_no_memory_left(installation: Installation) -> None:
    """The kernel kills buildkitd and not the step that takes all, as it may.

    With version 2 of cgroups it kills the whole container.
    """
    greedy = "echo begun && sleep 1 && tail /dev/zero"
    with build(installation, BUILDCTL, step(f": {time.time_ns()} && {greedy}")) as taking:
        taking.wait_for(BEGUN)
        (victim,) = named(installation, "buildkitd", *BUILDKITD)
        for pid in processes(installation, *BUILDKITD):
            preference = Path(f"/proc/{pid}/oom_score_adj")
            with suppress(ProcessLookupError, FileNotFoundError):
                preference.write_text("1000" if pid == victim else "0")
        gone = Path(f"/proc/{victim}")
        until(lambda: not gone.exists(), 10, lambda: LabError("the kernel did not kill it"))


def its_pod_is_deleted(installation: Installation) -> None:
    delete_without_grace(installation, *BUILDKITD)


# In this order a container is restarted once only: from the second time on Kubernetes waits.
DIES = {
    "it is killed": buildkitd_is_killed,
    "its pod is deleted": its_pod_is_deleted,
    "it has no memory left": buildkitd_has_no_memory_left,
}


@pytest.mark.parametrize("what", DIES)
def test_builds_on_a_buildkitd_fail_soon_and_the_next_succeed_when(
    kept: Installation, record_property: Record, what: str
) -> None:
    with ExitStack() as stack:
        running = submitted(stack, kept, takes(120))
        for one in running.values():
            one.wait_for(BEGUN)
        DIES[what](kept)
        died = time.monotonic()
        following = submitted(stack, kept, greets("next"))
        for by, one in running.items():
            one.fails(LOST, SOON)
            record_property(f"seconds until {by} fails", round(time.monotonic() - died, 1))
        assert_succeed(following, record_property, died)
    assert is_cached(kept)


def it_is_deleted(installation: Installation, pod: str) -> None:
    delete_without_grace(installation, "pods", pod)


def its_envoy_is_killed(installation: Installation, pod: str) -> None:
    (envoy,) = named(installation, "envoy", "pods", pod)
    os.kill(envoy, signal.SIGKILL)


GATEWAY_DIES = {"is deleted": it_is_deleted, "is killed": its_envoy_is_killed}


@pytest.mark.parametrize("by", CLIENTS)
@pytest.mark.parametrize("what", GATEWAY_DIES)
def test_a_build_fails_soon_and_the_next_succeed_when_its_gateway(
    kept: Installation, record_property: Record, what: str, by: str
) -> None:
    until(lambda: all_gateways_answer(kept), 60, lambda: LabError("a gateway does not come back"))
    kept.kubectl("wait", *GATEWAY, "--for=condition=Ready", "--timeout=60s")
    with ExitStack() as stack:
        running = stack.enter_context(build(kept, by, takes(120)))
        running.wait_for(BEGUN)
        GATEWAY_DIES[what](kept, gateway_of_the_build(kept))
        died = time.monotonic()
        following = submitted(stack, kept, greets("next"), AGAIN)
        running.fails(LOST, SOON)
        record_property(f"seconds until {by} fails", round(time.monotonic() - died, 1))
        assert_succeed(following, record_property, died)


def all_gateways_answer(installation: Installation) -> bool:
    """Whether each pod's Envoy runs: of one that was killed Kubernetes says "ready" for a while."""
    with suppress(ValueError, subprocess.CalledProcessError):
        return all(envoy.statistic("server.live") for envoy in envoys(installation))
    return False


def gateway_of_the_build(installation: Installation) -> str:
    """The pod through which the only build passes that there is."""
    gauges = active(installation)
    (pod,) = (name for name in gauges if "http.buildkit.downstream_rq_active" in gauges[name])
    return pod


@contextmanager
def buildkitd_is_frozen(installation: Installation) -> Iterator[None]:
    """No process that its container had runs while this lasts."""
    stopped = processes(installation, *BUILDKITD)
    try:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def the_api_server_is_away(installation: Installation) -> Iterator[None]:
    node = installation.lab.node
    os.kill(node.processes["kube-apiserver"], signal.SIGKILL)
    try:
        yield
    finally:
        node.start()


DISTURBED: dict[str, Disturbance] = {
    "buildkitd is frozen": buildkitd_is_frozen,
    "the API server is away": the_api_server_is_away,
}


@pytest.mark.parametrize("what", DISTURBED)
def test_builds_go_on_and_the_next_succeed_while(
    kept: Installation, full: bool, record_property: Record, what: str
) -> None:
    seconds = 60 if full else 12
    with ExitStack() as stack:
        running = submitted(stack, kept, takes(5), AGAIN)
        for one in running.values():
            one.wait_for(BEGUN)
        begun = time.monotonic()
        with DISTURBED[what](kept):
            following = submitted(stack, kept, greets("next"))
            # They go on for as long as it lasts, or are done by then.
            time.sleep(seconds)
        for one in running.values():
            assert int(one.result("greeting"))
        assert_succeed(following, record_property, begun)
    assert is_cached(kept)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_pod_stays_in_service_when_the_process_at_its_readiness_port_gets(
    kept: Installation, how: signal.Signals
) -> None:
    (listener,) = named(kept, "nc", *BUILDKITD)
    os.kill(listener, how)
    replaced = partial(is_replaced, kept, listener)
    until(replaced, 60, lambda: LabError("nothing serves the readiness port"))
    kept.kubectl("wait", *BUILDKITD, "--for=condition=Ready", "--timeout=10s")
    with build(kept, BUILDCTL, greets("next")) as following:
        assert following.result("greeting") == b"next\n"


def is_replaced(installation: Installation, listener: int) -> bool:
    """Whether another process serves the readiness port."""
    serving = named(installation, "nc", *BUILDKITD)
    return bool(serving) and listener not in serving


def test_what_hangs_for_ever_serves_again_within_three_minutes(
    kept: Installation, record_property: Record
) -> None:
    # A pod whose container was restarted before is restarted later each time.
    kept.kubectl("delete", *BUILDKITD)
    kept.kubectl("rollout", "status", kept.outputs["workload"], "--timeout=120s")
    (daemon,) = named(kept, "buildkitd", *BUILDKITD)
    os.kill(daemon, signal.SIGSTOP)
    begun = time.monotonic()
    with build(kept, BUILDCTL, greets("next")) as held:
        until(lambda: is_at_a_gateway(kept), 30, lambda: LabError("the build is not held"))
        # The other gateway hangs as well, and the one with the build goes on.
        gateways = named_by_pod(kept, "envoy")
        del gateways[gateway_of_the_build(kept)]
        ((pod, gateway),) = gateways.items()
        os.kill(gateway, signal.SIGSTOP)
        assert held.result("greeting", within=180) == b"next\n"
    record_property("seconds until the build is done", round(time.monotonic() - begun, 1))
    until(
        lambda: named_by_pod(kept, "envoy").get(pod) not in (None, gateway),
        180 - (time.monotonic() - begun),
        lambda: LabError("the gateway's pod does not come back"),
    )
    record_property("seconds until the gateway is back", round(time.monotonic() - begun, 1))


def is_at_a_gateway(installation: Installation) -> bool:
    """Whether exactly one gateway has the build."""
    with suppress(ValueError):
        return bool(gateway_of_the_build(installation))
    return False


def named_by_pod(installation: Installation, name: str) -> dict[str, int]:
    """The process of that name in each of the gateway's pods."""
    pods = installation.pods("buildkit-gateway")
    return {pod: pid for pod in pods for pid in named(installation, name, "pods", pod)}
