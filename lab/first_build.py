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
REPOSITORY = "hello"


def here(outputs: Mapping[str, Any], tools: Path) -> str:
    """Build an image on the lab's node, push it and read it back; its reference.

    Raises:
        LabError: one of the three failed.
    """
    greeting = f"built by BuildKit in {outputs['namespace']}, {secrets.token_hex(4)}"
    reference = f"{REGISTRY}/{REPOSITORY}:latest"
    with progress.step("first build through the gateway"):
        _build(
            outputs,
            tools,
            *(f"--local=context={CONTEXT}", f"--local=dockerfile={CONTEXT}"),
            *("--opt", f"build-arg:GREETING={greeting}"),
            *("--output", f"type=image,name={reference},push=true"),
        )
        found = registry.read_file(REGISTRY, REPOSITORY, "latest", "greeting").decode().strip()
    if found != greeting:
        raise LabError(f"{reference} holds {found!r} where {greeting!r} was built")
    return reference


def elsewhere(outputs: Mapping[str, Any], tools: Path, kubeconfig: Path) -> None:
    """Build an image on another cluster, from nothing that it would have to fetch.

    Raises:
        LabError: the build failed, or no way leads to the gateway.
    """
    with progress.step("first build through the gateway"), _way_in(outputs, tools, kubeconfig):
        from_scratch(outputs, tools)


def from_scratch(outputs: Mapping[str, Any], tools: Path, name: str = "") -> None:
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
            *(f"--local=context={directory}", f"--local=dockerfile={CONTEXT}"),
            *("--opt", "filename=scratch.Dockerfile"),
            *("--output", f"type=local,dest={directory}/image"),
            name=name,
        )
        if not Path(directory, "image", "buildctl").exists():
            raise LabError("the build ended well, but its result did not come back")


def _build(outputs: Mapping[str, Any], tools: Path, *arguments: str, name: str = "") -> None:
    with tempfile.TemporaryDirectory() as directory:
        certificates = Path(directory)
        client.write_certificates(outputs, next(iter(outputs["clients"])), certificates)
        buildctl = client.buildctl(outputs["endpoint"], certificates, name)
        result = subprocess.run(
            [*buildctl, "build", "--progress=plain", "--frontend=dockerfile.v0", *arguments],
            executable=tools / "buildctl",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise LabError(f"the first build failed: {lines[-1]}")


@contextmanager
def _way_in(outputs: Mapping[str, Any], tools: Path, kubeconfig: Path) -> Iterator[None]:
    """`kubectl port-forward` while this lasts, where the endpoint is this machine's loopback."""
    host, port = outputs["endpoint"].rsplit(":", 1)
    if host not in ("127.0.0.1", "localhost"):
        yield
        return
    if _answers(host, int(port)):
        raise LabError(f"{host}:{port} is taken by another process: end it, or set gateway.port")
    forward = subprocess.Popen(
        [
            *(str(tools / "kubectl"), "--namespace", outputs["namespace"], "port-forward"),
            *("service/buildkit-gateway", port),
        ],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = forward.stdout.readline() if forward.stdout else ""
        if not said.startswith("Forwarding"):
            raise LabError(f"kubectl port-forward failed: {said.strip()}")
        yield
    finally:
        forward.terminate()
        forward.wait()


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
