"""Builds at terminals of their own, by either client, while something happens to BuildKit."""

import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.lab.conftest import Installation
from tests.lab.terminal import Terminal

BUILDCTL = "buildctl"
WAITING_BUILDCTL = "buildctl --wait"
BUILDX = "docker buildx"
CLIENTS = (BUILDCTL, BUILDX)
_LET_GO = 4321  # a port that nobody else has
PATIENCE = 60  # seconds that a build may take when nothing holds it up


class Build(Terminal):
    """A build that runs; its result comes back as files."""

    def __init__(
        self, installation: Installation, directory: Path, command: Callable[[Path], list[str]]
    ) -> None:
        """Submit what the *directory* describes, by the *command* that puts files into another."""
        self._files = directory / "out"
        super().__init__(command(self._files), installation.directory, installation.environment)
        self.submitted = time.monotonic()

    def goes_on(self, until: float) -> bool:
        """Read what it says until that moment; whether it is still there."""
        while self._read(until - time.monotonic()):
            pass
        return time.monotonic() >= until

    def fails(self, reason: str, within: float = PATIENCE) -> float:
        """Wait for a bad end, of which the client says the *reason*; the seconds that it took."""
        assert self.end(within) != 0, self.last
        assert re.search(reason, self.said), self.last
        return time.monotonic() - self.submitted

    def result(self, file: str, within: float = PATIENCE) -> bytes:
        """Wait for a good end, and read a file of what was built."""
        assert self.end(within) == 0, self.last
        return (self._files / file).read_bytes()


def build(
    installation: Installation, by: str, dockerfile: str, through: Sequence[str] = ()
) -> Build:
    """Build a Dockerfile *by* one of the clients, run *through* another command."""
    directory = Path(tempfile.mkdtemp(dir=installation.directory))
    (directory / "Dockerfile").write_text(dockerfile)
    if by == BUILDX:
        command = [*_buildx_build(installation), str(directory)]
    else:
        command = [
            *_buildctl_build(installation, *by.split()[1:]),
            *("--frontend=dockerfile.v0", f"--local=context={directory}"),
            f"--local=dockerfile={directory}",
        ]
    return Build(
        installation,
        directory,
        lambda out: [*through, *command, f"--output=type=local,dest={out}"],
    )


def bake(installation: Installation, first: str) -> Build:
    """Bake a Dockerfile that makes /greeting, then one that builds on it, then one on that.

    Each is asked for when the one before is done, and adds its name.
    """
    directory = Path(tempfile.mkdtemp(dir=installation.directory))
    (directory / "Dockerfile").write_text(first)
    (directory / "docker-bake.json").write_text(json.dumps(_BAKE))
    create_builder(installation)
    command = ("docker-buildx", "bake", "--builder=buildkit", "--progress=plain")
    return Build(
        installation,
        directory,
        lambda out: [
            *(*command, f"--file={directory}/docker-bake.json", f"--set=*.context={directory}"),
            *(f"--set=third.output=type=local,dest={out}", "third"),
        ],
    )


def _on(before: str, name: str) -> dict[str, Any]:
    return {
        "contexts": {"before": f"target:{before}"},
        "dockerfile-inline": (
            "FROM debian:bookworm-slim AS steps\nCOPY --from=before /greeting /before\n"
            f'RUN echo "$(cat /before), {name}" > /greeting\n'
            "FROM scratch\nCOPY --from=steps /greeting /\n"
        ),
    }


_BAKE = {"target": {"first": {}, "second": _on("first", "second"), "third": _on("second", "third")}}


def build_definition(installation: Installation, definition: bytes) -> Build:
    """Build a definition, of which buildctl reads any size."""
    directory = Path(tempfile.mkdtemp(dir=installation.directory))
    (directory / "definition").write_bytes(definition)
    buildctl = _buildctl_build(installation)
    return Build(
        installation,
        directory,
        lambda out: [
            *("sh", "-c", f'exec "$@" < {directory / "definition"}', "sh"),
            *(*buildctl, f"--output=type=local,dest={out}"),
        ],
    )


def _buildctl_build(installation: Installation, *options: str) -> list[str]:
    buildctl = installation.connection(installation.directory / "certs")
    return [*buildctl, *options, "build", "--progress=plain"]


def _buildx_build(installation: Installation) -> list[str]:
    create_builder(installation)
    return ["docker-buildx", "build", "--builder=buildkit", "--progress=plain"]


def create_builder(installation: Installation) -> None:
    """Have docker buildx know the gateway; it asks for 20 seconds whether buildkitd is there."""
    if not (installation.directory / "buildx" / "instances" / "buildkit").exists():
        assert installation.run("sh", "-c", installation.create_command()).returncode == 0


def greets(greeting: str) -> str:
    """A Dockerfile that needs neither a base image nor time."""
    return f"FROM scratch\nCOPY <<EOF /greeting\n{greeting}\nEOF\n"


def takes(seconds: int) -> str:
    """A Dockerfile with a step of so many seconds, never taken from a cache."""
    return step(f"echo begun && sleep {seconds} && echo {time.time_ns()} > /greeting")


def waits() -> str:
    """A Dockerfile with a step that goes on until it `is_let_go`, never taken from a cache."""
    knocks = f"(: < /dev/tcp/127.0.0.1/{_LET_GO}) 2> /dev/null"
    wait = f"until {knocks}; do sleep 0.2; done"
    return step(f"echo begun {time.time_ns()} && bash -c '{wait}' && echo let go > /greeting")


def is_let_go(installation: Installation, *of: str) -> None:
    """End the steps that wait: in the pod's network, which is theirs too, somebody listens."""
    (pod,) = of or installation.pods("buildkitd")
    # No longer than they need to notice: steps to come wait for a listener of their own.
    listen = f"timeout 5 nc -ll -p {_LET_GO} -e true </dev/null >/dev/null 2>&1 &"
    installation.kubectl("exec", pod, "--", "sh", "-c", listen)


def step(command: str) -> str:
    """A Dockerfile with a step that makes /greeting, which is all that comes back."""
    return (
        f"FROM debian:bookworm-slim AS steps\nRUN {command}\n"
        "FROM scratch\nCOPY --from=steps /greeting /\n"
    )


BEGUN = r"(?m)^#\d+ [\d.]+ begun"
"""What a build says when a step that `takes` time runs."""
