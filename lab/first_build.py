"""The first build of an installation: the proof that all of it works together."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import LabError, client, progress, registry
from lab.network import REGISTRY

CONTEXT = Path(__file__).parent / "hello"
IMAGE = f"{REGISTRY}/hello:latest"
BUILT_BY_A_JOB = "built by a Job"
SAMPLE_JOB: dict[str, Any] = {
    "files": {"Dockerfile": (CONTEXT / "Dockerfile").read_text()},
    "buildArgs": {"GREETING": BUILT_BY_A_JOB},
    "outputs": [{"type": "image", "name": IMAGE, "push": True}],
}
"""What `buildkit:mode: job` builds where the configuration names nothing."""


def here(outputs: Mapping[str, Any], tools: Path, kubeconfig: Path) -> str:
    """Build an image on the lab's node, push it and read it back; what was done.

    A Job has built while the stack was made: then only its image is read.

    Raises:
        LabError: one of the three failed.
    """
    if "endpoint" not in outputs:
        return f"{outputs['workload']} built {_read_back(BUILT_BY_A_JOB)}"
    greeting = f"built by BuildKit in {outputs['namespace']}, {secrets.token_hex(4)}"
    with progress.step(f"first build by {outputs['endpoint']}"):
        _build(
            outputs,
            tools,
            kubeconfig,
            *(f"--local=context={CONTEXT}", f"--local=dockerfile={CONTEXT}"),
            *("--opt", f"build-arg:GREETING={greeting}"),
            *("--output", f"type=image,name={IMAGE},push=true"),
        )
        return f"{_read_back(greeting)} was built, pushed and read back"


def _read_back(greeting: str) -> str:
    """The image's reference, when it holds the *greeting*."""
    name, _, tag = IMAGE.partition("/")[2].partition(":")
    found = registry.read_file(REGISTRY, name, tag, "greeting").decode().strip()
    if found != greeting:
        raise LabError(f"{IMAGE} holds {found!r} where {greeting!r} was built")
    return IMAGE


def elsewhere(outputs: Mapping[str, Any], tools: Path, kubeconfig: Path) -> str:
    """Build an image on another cluster, from nothing that it would have to fetch; what was done.

    Raises:
        LabError: the build failed, or no way leads to the gateway.
    """
    if "endpoint" not in outputs:
        return f"{outputs['workload']} built what buildkit:job says"
    with progress.step(f"first build by {outputs['endpoint']}"):
        from_scratch(outputs, tools, kubeconfig=kubeconfig)
    return f"an image was built in {outputs['namespace']} and fetched"


def from_scratch(
    outputs: Mapping[str, Any], tools: Path, name: str = "", kubeconfig: Path | None = None
) -> None:
    """Build an image from nothing that would have to be fetched, as the first client; fetch it.

    With a *name* the client asks for that server, as if it had dialled it.

    Raises:
        LabError: the build failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(tools / "buildctl", directory)
        _build(
            outputs,
            tools,
            kubeconfig,
            *(f"--local=context={directory}", f"--local=dockerfile={CONTEXT}"),
            *("--opt", "filename=scratch.Dockerfile"),
            *("--output", f"type=local,dest={directory}/image"),
            name=name,
        )
        if not Path(directory, "image", "buildctl").exists():
            raise LabError("the build ended well, but its result did not come back")


def _build(
    outputs: Mapping[str, Any],
    tools: Path,
    kubeconfig: Path | None,
    *arguments: str,
    name: str = "",
) -> None:
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    if kubeconfig:
        environment["KUBECONFIG"] = str(kubeconfig)
    with _connection(outputs, environment, name) as buildctl:
        result = subprocess.run(
            [*buildctl, "build", "--progress=plain", "--frontend=dockerfile.v0", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise LabError(f"the first build failed: {lines[-1]}")


@contextmanager
def _connection(
    outputs: Mapping[str, Any], environment: Mapping[str, str], name: str
) -> Iterator[list[str]]:
    """The start of a buildctl command line, by the way that the stack's own clients go."""
    endpoint = outputs["endpoint"]
    if endpoint.startswith("kube-pod://"):
        yield ["buildctl", "--addr", endpoint]
        return
    with _way_in(outputs, environment) as (address, server), tempfile.TemporaryDirectory() as files:
        certificates = Path(files)
        client.write_certificates(outputs, next(iter(outputs["clients"])), certificates)
        yield client.buildctl(address, certificates, name or server)


@contextmanager
def _way_in(
    outputs: Mapping[str, Any], environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """An address to dial, and the server's name if that is another one.

    `kubectl port-forward` lasts as long where the endpoint is this machine's loopback, or a name
    that only the cluster knows.
    """
    host, port = outputs["endpoint"].rsplit(":", 1)
    loopback = host in ("127.0.0.1", "localhost")
    if not loopback and not host.endswith(".svc"):
        yield outputs["endpoint"], ""
        return
    if loopback and _answers(host, int(port)):
        raise LabError(f"{host}:{port} is taken by another process: end it, or set gateway.port")
    service = outputs.get("gateway", outputs["workload"]).partition("/")[2]
    forward = subprocess.Popen(
        [
            *("kubectl", "--namespace", outputs["namespace"], "port-forward"),
            *(f"service/{service}", port if loopback else f":{port}"),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = forward.stdout.readline() if forward.stdout else ""
        if not said.startswith("Forwarding"):
            raise LabError(f"kubectl port-forward failed: {said.strip()}")
        yield said.split()[2], host
    finally:
        forward.terminate()
        forward.wait()


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
