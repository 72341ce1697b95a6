"""Network policies, enforced: who reaches whom, what builds reach, and that they go on."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from pulumi_buildkit import _envoy, _pod

from lab import LabError, lifecycle, network
from lab.network import HOST_ADDRESS
from lab.node import until
from tests.lab.building import BUILDCTL, build
from tests.lab.conftest import Configured, Installation, assert_builds

METADATA = "169.254.169.254"
WITHIN = 3  # seconds in which somebody who is let in has connected
SOURCE, METRICS, STRANGER = OTHERS = ("source", "metrics", "stranger")
# Where they try to connect.
BUILDKITD, CLIENTS, SERVICE, HEALTH, NUMBERS = EVERYTHING = (
    *("buildkitd", "clients' port", "Service", "health", "numbers"),
)

DOCKERFILE = """\
FROM debian:bookworm-slim AS steps
RUN bash > /greeting <<'EOF'
# {now}: never taken from a cache
{script}
EOF
FROM scratch
COPY --from=steps /greeting /
"""


@pytest.fixture(scope="module")
def others(lab: lifecycle.Lab) -> Iterator[dict[str, str]]:
    """Namespaces with a pod each that can connect somewhere, by what they are to the gateway."""
    namespaces = {other: f"{lab.name}-{other}" for other in OTHERS}
    container = {"name": "shell", "image": lifecycle.BASE_IMAGE, "command": ["sleep", "infinity"]}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0}
    remove = ("delete", "namespace", "--ignore-not-found")
    kind = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shell"}, "spec": pod}
    with ExitStack() as ends:
        ends.callback(lab.node.kubectl, *remove, *namespaces.values())
        for namespace in namespaces.values():
            lab.node.kubectl("create", "namespace", namespace)
            create = ("create", f"--namespace={namespace}", "--filename=-")
            lab.node.kubectl(*create, stdin=json.dumps(kind))
        for namespace in namespaces.values():
            ready = ("--for=condition=Ready", "pod/shell", "--timeout=60s")
            lab.node.kubectl("wait", f"--namespace={namespace}", *ready)
        yield namespaces


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What stands for the clouds' metadata on the node: anybody is told anything."""
    inside = ("nsenter", f"--net={network.NAMESPACE}", "--")
    address = (f"{METADATA}/32", "dev", "lo")
    server = (*inside, sys.executable, "-m", "http.server", "80", f"--bind={METADATA}")
    nothing = tmp_path_factory.mktemp("metadata")
    with ExitStack() as ends:
        subprocess.run([*inside, "ip", "address", "add", *address], check=True)
        ends.callback(subprocess.run, [*inside, "ip", "address", "delete", *address])
        log = ends.enter_context((nothing / "log").open("w"))
        process = ends.enter_context(subprocess.Popen(server, cwd=nothing, stderr=log))
        ends.callback(process.terminate)
        knock = [*inside, "bash", "-c", f": < /dev/tcp/{METADATA}/80"]
        until(
            lambda: not subprocess.run(knock, capture_output=True).returncode,
            10,
            lambda: LabError(f"nobody answers at {METADATA}: {(nothing / 'log').read_text()}"),
        )
        yield


def connects(*addresses: tuple[str, str, int]) -> str:
    """A script for bash that says each name whose host and port it can connect to."""
    tries = [
        f"(timeout {WITHIN} bash -c ': < /dev/tcp/{host}/{port}' 2> /dev/null && echo \"{name}\") &"
        for name, host, port in addresses
    ]
    return "\n".join([*tries, "wait"])


def reached(installation: Installation, namespace: str) -> set[str]:
    """What of buildkitd and the gateway the pod in another *namespace* can connect to."""

    def ip(app: str) -> str:
        pod = installation.pods(app)[0]
        return installation.kubectl("get", f"pod/{pod}", "--output=jsonpath={.status.podIP}")

    gateway = ip("buildkit-gateway")
    script = connects(
        (BUILDKITD, ip("buildkitd"), _pod.PORT),
        (CLIENTS, gateway, _envoy.PORT),
        (SERVICE, f"buildkit-gateway.{installation.outputs['namespace']}.svc", 1234),
        (HEALTH, gateway, _envoy.HEALTH_PORT),
        (NUMBERS, gateway, _envoy.METRICS_PORT),
    )
    shell = ("exec", f"--namespace={namespace}", "shell", "--", "bash", "-c", script)
    return set(installation.lab.node.kubectl(*shell).splitlines())


def reached_by_a_build(installation: Installation) -> set[str]:
    """What a step can connect to: the metadata, the registry, and a pod by its Service's name."""
    script = connects(
        ("metadata", METADATA, 80),
        ("registry", network.ADDRESS, 5000),
        ("pod", f"buildkit-gateway.{installation.outputs['namespace']}.svc", 1234),
    )
    dockerfile = DOCKERFILE.format(now=time.time_ns(), script=script)
    with build(installation, BUILDCTL, dockerfile) as running:
        return set(running.result("greeting").decode().splitlines())


def test_without_further_words_policies_cut_nothing_that_a_team_needs(
    installation: Installation, others: dict[str, str], metadata: None
) -> None:
    assert reached(installation, others[STRANGER]) == {CLIENTS, SERVICE, NUMBERS}
    assert reached_by_a_build(installation) == {"registry", "pod"}
    assert_builds(installation, "policed")


def test_without_policies_everybody_reaches_everything(
    configured: Configured, others: dict[str, str], metadata: None
) -> None:
    installation = configured({"buildkit:networkPolicies": {"enabled": False}})
    assert reached(installation, others[STRANGER]) == {*EVERYTHING}
    assert reached_by_a_build(installation) == {"metadata", "registry", "pod"}


def test_only_those_who_are_named_reach_the_gateway_and_read_its_numbers(
    configured: Configured, others: dict[str, str]
) -> None:
    client = {"network": f"{HOST_ADDRESS}/32"}
    installation = configured(
        {
            "buildkit:networkPolicies": {
                "sources": [client, {"namespace": others[SOURCE]}],
                "metricsNamespaces": [others[METRICS]],
            }
        }
    )
    found = {other: reached(installation, namespace) for other, namespace in others.items()}
    assert found == {SOURCE: {CLIENTS, SERVICE}, METRICS: {NUMBERS}, STRANGER: set()}
    assert_builds(installation, "named")
