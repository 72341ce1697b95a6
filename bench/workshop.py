"""Where the measurements work: the lab, a directory of their own, and what they build."""

import json
import os
import secrets
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import image_store, lifecycle
from lab.paths import REPO

BASE_IMAGE = "docker.io/library/busybox:stable"
LARGE_BYTES = 600 * 10**6
LONGEST = 900.0
"""Seconds for one command, such as a build that is held for ten minutes."""
_CHUNK = 2**20

_SMALL = "FROM scratch\nCOPY greeting /\n"
# The directory itself is the image: what is timed is the way of its bytes to buildkitd.
_LARGE = "FROM large\n"
_PROJECT = "FROM base\nARG PROJECT\nRUN echo $PROJECT > /project\nRUN cat /project > /copy\n"
_WAITING = "FROM base\nARG SECONDS\nRUN sleep $SECONDS\n"


@dataclass(frozen=True)
class Workshop:
    """The lab, and a directory with the clients' files and the builds' contexts."""

    lab: lifecycle.Lab
    directory: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(2))

    def name(self, what: str) -> str:
        """What an installation is called; a run that was killed may have left others."""
        return f"bench-{what}-{self.mark}"

    @property
    def environment(self) -> dict[str, str]:
        """What the clients find their programs, their cluster and their builders by."""
        return {
            **os.environ,
            # Of `bench.stack`, which runs in the directory too.
            "PYTHONPATH": str(REPO),
            "PATH": self.lab.engine.environment["PATH"],
            "KUBECONFIG": str(self.lab.node.kubeconfig),
            "BUILDX_CONFIG": str(self.directory / "buildx"),
        }

    def run(
        self, *command: str, timeout: float = LONGEST, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the directory, however it ends."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def seconds(self, *command: str) -> float:
        """How long a command takes, which has to end well.

        Raises:
            RuntimeError: it did not.
        """
        started = time.monotonic()
        done = self.run(*command)
        taken = time.monotonic() - started
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return taken

    def kubectl(self, namespace: str, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in a namespace."""
        return self.lab.node.kubectl(f"--namespace={namespace}", *arguments, stdin=stdin)

    def delete_namespace(self, namespace: str) -> None:
        """Delete a namespace, and wait until nothing of it is left."""
        self.lab.node.kubectl("delete", "namespace", namespace, "--ignore-not-found")


@dataclass(frozen=True)
class Build:
    """What a client is asked to build."""

    directory: Path
    """Has the Dockerfile and the context."""
    contexts: tuple["NamedContext", ...] = ()
    flags: tuple[str, ...] = ()
    """Alike for both clients."""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedContext:
    """A directory that the Dockerfile knows by a name: of files, or an image's OCI layout."""

    name: str
    directory: Path
    digest: str = ""
    """Of the layout's image."""


def prepare(workshop: Workshop) -> None:
    """Make the contexts."""
    _context(workshop.directory / "small", _SMALL)
    (workshop.directory / "small" / "greeting").write_text("hello\n")
    _context(workshop.directory / "large", _LARGE)
    _incompressible(workshop.directory / "large-files" / "data")
    _context(workshop.directory / "waiting", _WAITING)
    _context(workshop.directory / "project", _PROJECT)
    archive = image_store.images(workshop.lab.node.at.tools)[BASE_IMAGE]
    with tarfile.open(archive) as files:
        files.extractall(workshop.directory / "base", filter="data")


def small(workshop: Workshop) -> Build:
    """One file of six bytes, in the cache after the first time."""
    return Build(workshop.directory / "small")


def large(workshop: Workshop) -> Build:
    """600 MB that are sent anew each time."""
    files = workshop.directory / "large-files"
    # Only what changed is sent, which BuildKit tells by the time of the change.
    os.utime(files / "data")
    return Build(workshop.directory / "large", (NamedContext("large", files),))


def waiting(workshop: Workshop, seconds: float) -> Build:
    """A step that takes so long, run anew each time."""
    return Build(
        workshop.directory / "waiting",
        (_base(workshop),),
        ("--no-cache",),
        (f"SECONDS={seconds}",),
    )


def project(workshop: Workshop, name: str) -> Build:
    """Two steps that no other project has."""
    directory = workshop.directory / "project"
    return Build(directory, (_base(workshop),), arguments=(f"PROJECT={name}",))


def _base(workshop: Workshop) -> NamedContext:
    base = workshop.directory / "base"
    digest = json.loads((base / "index.json").read_text())["manifests"][0]["digest"]
    return NamedContext("base", base, digest)


def buildctl(connection: Sequence[str], build: Build) -> list[str]:
    """The command line of BuildKit's own client."""
    return [
        *connection,
        *("build", "--progress=plain", "--frontend=dockerfile.v0"),
        *(f"--local=context={build.directory}", f"--local=dockerfile={build.directory}"),
        *(flag for context in build.contexts for flag in _of_buildctl(context)),
        *build.flags,
        *(f"--opt=build-arg:{argument}" for argument in build.arguments),
    ]


def buildx(builder: str, build: Build) -> list[str]:
    """The command line of docker buildx."""
    return [
        *("docker-buildx", "build", f"--builder={builder}", "--progress=plain"),
        *("--provenance=false", "--output=type=cacheonly"),
        *(f"--build-context={context.name}={_of_buildx(context)}" for context in build.contexts),
        *build.flags,
        *(f"--build-arg={argument}" for argument in build.arguments),
        str(build.directory),
    ]


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a client said last."""
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def _of_buildctl(context: NamedContext) -> list[str]:
    kind, source = "local", f"local:{context.name}"
    if context.digest:
        kind, source = "oci-layout", f"oci-layout://{context.name}@{context.digest}"
    return [
        f"--{kind}={context.name}={context.directory}",
        f"--opt=context:{context.name}={source}",
    ]


def _of_buildx(context: NamedContext) -> str:
    layout = f"oci-layout://{context.directory}@{context.digest}"
    return layout if context.digest else str(context.directory)


def _context(directory: Path, dockerfile: str) -> None:
    directory.mkdir()
    (directory / "Dockerfile").write_text(dockerfile)


def _incompressible(path: Path) -> None:
    path.parent.mkdir()
    with path.open("wb") as file:
        for _ in range(LARGE_BYTES // _CHUNK):
            file.write(secrets.token_bytes(_CHUNK))
