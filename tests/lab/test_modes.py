"""Every mode in every security variant builds a real image, and a switch is one `pulumi up`."""

import itertools
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pulumi_buildkit import Security

from lab.network import REGISTRY
from settings import Mode
from tests.lab.conftest import CONTEXT, Configured, Installation, configuring, greeting_of, install
from tests.lab.objects import live, recorded

# A claim that the next switch may delete: test_volumes.py shows what protects one.
LET_GO: dict[str, Any] = {"size": "1Gi", "storageClass": "lab", "protect": False}


def job(image: str, greeting: str) -> dict[str, Any]:
    """The build of the image that greets, as a Job's."""
    return {
        "files": {"Dockerfile": (CONTEXT / "Dockerfile").read_text()},
        "buildArgs": {"GREETING": greeting},
        "outputs": [{"type": "image", "name": f"{REGISTRY}/{image}:latest", "push": True}],
    }


def push(installation: Installation, image: str, greeting: str, *more: str) -> None:
    """Build the image that greets by the command that the stack puts out."""
    command = [
        installation.outputs["buildctl_command"],
        f"--opt build-arg:GREETING='{greeting}'",
        f"--output type=image,name={REGISTRY}/{image}:latest,push=true",
        *more,
    ]
    result = installation.run("sh", "-c", " ".join(command))
    assert result.returncode == 0, result.stderr


# Forth and back, so that each variant meets each mode after another one.
CHAIN = [
    (mode, security)
    for security, modes in zip(Security, itertools.cycle([[*Mode], [*Mode][::-1]]), strict=False)
    for mode in modes
]


@pytest.fixture(scope="module")
def before(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the client's certificate as it was before the first switch."""
    directory = tmp_path_factory.mktemp("before")
    return install(installation.lab, installation.outputs, directory).directory


@pytest.fixture(scope="module")
def switched(installation: Installation) -> Iterator[Configured]:
    """The dev stack, which goes from one step of the chain to the next."""
    yield from configuring(installation.lab, installation.directory)


@pytest.mark.parametrize(("mode", "security"), CHAIN)
def test_a_switch_builds_and_leaves_nothing_behind(
    switched: Configured, before: Path, mode: Mode, security: Security
) -> None:
    name, greeting = f"{mode.value}-{security.value}", f"hello at {time.time_ns()}"
    keys: dict[Mode, dict[str, Any]] = {
        Mode.STATEFULSET: {"buildkit:volume": LET_GO, "buildkit:replicas": 2},
        Mode.JOB: {"buildkit:job": job(name, greeting)},
    }
    switch = {"buildkit:mode": mode.value, "buildkit:security": security.value}
    installation = switched({**switch, **keys.get(mode, {})})
    if mode is not Mode.JOB:
        push(Installation(installation.lab, installation.outputs, before), name, greeting)
    assert greeting_of(name) == greeting
    assert live(installation) == recorded(installation)


@pytest.fixture(scope="module")
def without_gateway(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Two daemons that clients dial themselves."""
    directory = tmp_path_factory.mktemp("without-gateway")
    configured = configuring(installation.lab, directory)
    yield next(configured)({"buildkit:gateway": {"enabled": False}, "buildkit:replicas": 2})
    next(configured, None)


def test_buildkitd_s_own_mtls_is_reached_by_port_forward(without_gateway: Installation) -> None:
    with port_forward(without_gateway, "service/buildkitd") as port:
        endpoint = without_gateway.outputs["endpoint"]
        command = without_gateway.outputs["buildctl_command"].replace(endpoint, f"127.0.0.1:{port}")
        result = without_gateway.run("sh", "-c", command)
    assert result.returncode == 0, result.stderr


def test_buildkitd_s_own_mtls_is_reached_by_its_service(without_gateway: Installation) -> None:
    host, port = without_gateway.outputs["endpoint"].split(":")
    service = host.partition(".")[0]
    address = without_gateway.kubectl(
        "get", f"service/{service}", "--output=jsonpath={.spec.clusterIP}"
    )
    command = ("buildctl", "--addr", f"tcp://{address}:{port}", "--tlsservername", host)
    result = without_gateway.run_inside(*command, *without_gateway.tls_flags(), "debug", "workers")
    assert result.returncode == 0, result.stderr


def test_buildkitd_s_own_mtls_lets_no_stranger_in(without_gateway: Installation) -> None:
    with port_forward(without_gateway, "service/buildkitd") as port:
        bare = ("buildctl", "--addr", f"tcp://127.0.0.1:{port}", "--tlscacert=certs/ca.pem")
        result = without_gateway.run(*bare, "--timeout=5", "debug", "workers")
    assert result.returncode != 0
    assert "certificate required" in result.stderr, result.stderr


@contextmanager
def port_forward(installation: Installation, target: str) -> Iterator[str]:
    """A port of this machine that leads to *target*, as `kubectl port-forward` finds one."""
    namespace = ("--namespace", installation.outputs["namespace"])
    forward = subprocess.Popen(
        ["kubectl", *namespace, "port-forward", target, ":1234"],
        env=installation.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert forward.stdout is not None
    try:
        yield forward.stdout.readline().partition(" -> ")[0].rpartition(":")[2]
    finally:
        forward.terminate()
        forward.wait()
        forward.stdout.close()


def test_a_client_chooses_its_pod_by_consistent_hashing(
    installation: Installation, tmp_path: Path
) -> None:
    volume = {"kind": "emptyDir"}
    keys = {"buildkit:mode": "statefulset", "buildkit:replicas": 3, "buildkit:volume": volume}
    configured = configuring(installation.lab, tmp_path)
    stateful = next(configured)(keys)
    namespace = stateful.outputs["namespace"]
    chosen = {}
    for project in ("apple", "banana", "cherry"):
        hashed = f"kube-pod://$(buildkit-pod {project} --namespace {namespace})"
        address = f"{hashed}?namespace={namespace}"
        build = (
            f'buildctl --addr "{address}" build --frontend dockerfile.v0 --local context=. '
            "--local dockerfile=."
        )
        result = stateful.run("sh", "-c", build)
        assert result.returncode == 0, result.stderr
        pod = stateful.run("buildkit-pod", project, "--namespace", namespace)
        chosen[project] = pod.stdout.strip()
    histories = {
        pod: stateful.kubectl("exec", pod, "--", "buildctl", "debug", "histories")
        for pod in ("buildkitd-0", "buildkitd-1", "buildkitd-2")
    }
    built = {pod: text.count("\nCOMPLETE") for pod, text in histories.items()}
    assert built == {pod: [*chosen.values()].count(pod) for pod in histories}
    next(configured, None)
