"""What Prometheus reads of the gateway and of buildkitd, and what a collector of traces is sent."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import LabError
from lab.lifecycle import Lab
from lab.network import ADDRESS
from lab.node import until
from tests.lab import collector
from tests.lab.building import BUILDCTL, BUILDX, build, greets, step
from tests.lab.conftest import Installation, configuring

COLLECTOR_PORT = 5004
FINISHED = r'(?m)^envoy_buildkit_builds_finished\{client="\S+/dev",outcome="OK"\} (\d+)$'
DEBUG_LISTENER = ("/debug/pprof/", "/debug/vars", "/debug/cache/all")


@pytest.fixture(scope="module")
def seen(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The dev stack with all that can be seen of it, while there is no collector of traces yet."""
    configured = configuring(lab, tmp_path_factory.mktemp("seen"))
    yield next(configured)(
        {
            "buildkit:monitoring": {"buildkitd": True},
            "buildkit:traces": {"endpoint": f"http://{ADDRESS}:{COLLECTOR_PORT}"},
        }
    )
    next(configured, None)


@pytest.fixture(scope="module")
def collected(seen: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a collector of traces beside the node's pods has said."""
    said = tmp_path_factory.mktemp("traces") / "said"
    command = [sys.executable, collector.__file__, f"{ADDRESS}:{COLLECTOR_PORT}"]
    with (
        said.open("w") as file,
        subprocess.Popen(seen.lab.node.inside(*command), stdout=file) as running,
    ):
        yield said
        running.kill()


def metrics(installation: Installation, pod: str, path: str = "/metrics") -> str:
    """What Prometheus reads of a pod, by its annotations."""
    port_of = r"--output=jsonpath={.metadata.annotations.prometheus\.io/port}"
    port = installation.kubectl("get", "pod", pod, port_of)
    namespace = installation.outputs["namespace"]
    return installation.kubectl(
        "get", f"--raw=/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}"
    )


def finished(installation: Installation) -> int:
    """Builds that ended well, at all gateway pods."""
    pods = installation.pods("buildkit-gateway")
    found = (re.search(FINISHED, metrics(installation, pod)) for pod in pods)
    return sum(int(match[1]) for match in found if match)


# docker buildx asks what BuildKit can do by a Solve of its own, of a few milliseconds.
SOLVES = {BUILDCTL: 1, BUILDX: 2}


@pytest.mark.parametrize("by", SOLVES)
def test_the_gateway_counts_a_client_s_builds(seen: Installation, by: str) -> None:
    before = finished(seen)
    with build(seen, by, greets(by)) as running:
        running.result("greeting")
    after = before + SOLVES[by]
    until(lambda: finished(seen) == after, 30, lambda: LabError(f"{finished(seen)}, not {after}"))


def test_prometheus_reads_buildkitd_s_own_metrics(seen: Installation) -> None:
    (pod,) = seen.pods("buildkitd")
    assert "\ngo_goroutines " in metrics(seen, pod)


def test_a_build_reaches_nothing_else_of_the_debug_listener(seen: Installation) -> None:
    paths = ("/metrics", *DEBUG_LISTENER)
    asked = " && ".join(
        f"exec 3<>/dev/tcp/127.0.0.1/8082 && "
        f"printf 'GET {path} HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n' >&3 && "
        f"head -1 <&3 >> /greeting"
        for path in paths
    )
    sockets = "find / -xdev -type s >> /greeting"
    with build(seen, BUILDCTL, step(f'bash -c "{asked} && {sockets}"')) as running:
        answers = running.result("greeting").decode().split("\r\n")
    assert [answer.split()[1] for answer in answers[:-1]] == ["200", *["404"] * len(DEBUG_LISTENER)]
    assert not answers[-1].strip()


def test_traces_of_a_build_reach_the_collector(seen: Installation, collected: Path) -> None:
    with build(seen, BUILDCTL, greets("traced")) as running:
        running.result("greeting")
    until(
        lambda: "moby.buildkit.v1.Control/Solve" in collected.read_text(),
        30,
        lambda: LabError(f"only {collected.read_text()}"),
    )
