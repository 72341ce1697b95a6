"""Four clients that build without a pause while something is done to what they build on."""

import itertools
import json
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.conftest import Installation

PATIENCE = 300  # seconds; a build that has not ended by then is lost
LAST_LINES = 15

# Every build of it but a check has a step that no other one has, in the network of the pod.
DOCKERFILE = """\
FROM debian:bookworm-slim AS small
ARG UNIQUE
RUN echo "$UNIQUE ran in $(hostname -I)" | tee /ran

FROM small AS slow
ARG SECONDS
RUN sleep "$SECONDS"

FROM slow AS waited
COPY docker-bake.json /

FROM scratch AS late
COPY --from=waited /ran /docker-bake.json /
"""
RAN_IN = re.compile(r" ran in (\d+\.\d+\.\d+\.\d+)")
DEPENDENT = """\
FROM base AS waited
RUN sleep 2
FROM scratch
COPY --from=waited /ran /
"""
BAKE = {
    "group": {"default": {"targets": ["dependent", "other"]}},
    "target": {
        "base": {"target": "small"},
        "dependent": {
            "contexts": {"base": "target:base"},
            "dockerfile-inline": DEPENDENT,
            "output": ["type=local,dest=dependent"],
        },
        "other": {
            "target": "late",
            "args": {"SECONDS": "1"},
            "output": ["type=local,dest=other"],
        },
    },
}


@dataclass(frozen=True)
class Client:
    """One that builds these kinds, one after the other and over again."""

    name: str
    tool: str
    kinds: tuple[str, ...]


CLIENTS = (
    Client("buildctl", "buildctl", ("small", "late")),
    Client("slow-buildctl", "buildctl", ("small", "slow")),
    Client("buildx", "docker-buildx", ("small", "check", "bake", "late")),
    Client("slow-buildx", "docker-buildx", ("check", "slow", "bake")),
)
KINDS = {kind for client in CLIENTS for kind in client.kinds}


@dataclass(frozen=True)
class Build:
    """One command of a client, with its times on the monotonic clock."""

    client: str
    kind: str
    started: float
    ended: float
    failure: str
    """How it ended, if not well."""
    ran_in: frozenset[str]
    """The addresses of the pods that its steps ran in."""

    def __str__(self) -> str:
        where = ", ".join(self.ran_in) or "no pod"
        seconds = self.ended - self.started
        return f"{self.kind} of {self.client}, {seconds:.1f} s, in {where}: {self.failure}"


class Load:
    """What the clients have built up to now."""

    def __init__(self) -> None:
        self.builds: list[Build] = []
        self._changed = threading.Condition()

    def add(self, build: Build) -> None:
        with self._changed:
            self.builds.append(build)
            self._changed.notify_all()

    def wait_until_each_has_built(self, times: int = 1) -> None:
        """Wait until each client has ended so many builds that it began from now on."""
        now = time.monotonic()

        def done() -> bool:
            count = Counter(build.client for build in self.builds if build.started >= now)
            return all(count[client.name] >= times for client in CLIENTS)

        with self._changed:
            if not self._changed.wait_for(done, PATIENCE):
                raise AssertionError(f"a client does not go on within {PATIENCE} s: {self}")

    @property
    def kinds(self) -> Counter[str]:
        return Counter(build.kind for build in self.builds)

    @property
    def lost(self) -> list[Build]:
        return [build for build in self.builds if build.failure]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        said = "".join(f"\n\n{build}" for build in self.lost)
        return f"{len(self.builds)} builds ({kinds}), {len(self.lost)} of them lost{said}"


@contextmanager
def load(installation: Installation, longest: int, projects: bool = False) -> Iterator[Load]:
    """Have the clients build while this lasts; a slow build of theirs takes *longest* seconds.

    What they have begun they build to its end. With *projects* each of them is another one.
    """
    done = Load()
    stopped = threading.Event()
    machines = [
        Machine(installation.project(client.name) if projects else installation, client, longest)
        for client in CLIENTS
    ]

    def build_on(machine: Machine) -> None:
        for kind in itertools.cycle(machine.client.kinds):
            if stopped.is_set():
                return
            done.add(machine.build(kind))

    with ThreadPoolExecutor(len(machines)) as pool:
        building = [pool.submit(build_on, machine) for machine in machines]
        try:
            yield done
        finally:
            stopped.set()
    for ended in building:
        ended.result()


class Machine:
    """Where a client builds: a directory with its certificates, and its own builder.

    It keeps the certificates and the environment of the moment, which an update may touch.
    """

    def __init__(self, installation: Installation, client: Client, longest: int) -> None:
        self.client = client
        self._longest = longest
        self._directory = installation.directory / "load" / client.name
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.copytree(installation.directory / "certs", self._directory / "certs")
        (self._directory / "Dockerfile").write_text(DOCKERFILE)
        (self._directory / "docker-bake.json").write_text(json.dumps(BAKE))
        self._environment = {
            **installation.environment,
            "BUILDX_CONFIG": str(self._directory / "buildx"),
        }
        self._connection = installation.connection()
        self._run(["sh", "-c", installation.create_command()])

    def build(self, kind: str) -> Build:
        started, failure = time.monotonic(), ""
        unique = f"{kind} of {self.client.name}, {time.time_ns()}"
        try:
            said = self._run(self._command(kind, unique))
        except subprocess.CalledProcessError as error:
            said, failure = error.stdout, f"exit code {error.returncode}"
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode()
            failure = f"no end within {error.timeout} s"
        if failure:
            failure = "\n    ".join([failure, *said.splitlines()[-LAST_LINES:]])
        ran_in = frozenset(RAN_IN.findall(said))
        return Build(self.client.name, kind, started, time.monotonic(), failure, ran_in)

    def _command(self, kind: str, unique: str) -> list[str]:
        seconds = self._longest if kind == "slow" else 1
        if self.client.tool == "buildctl":
            return [*self._connection, *_buildctl(kind, unique, seconds)]
        return ["docker-buildx", *_buildx(kind, unique, seconds)]

    def _run(self, command: list[str]) -> str:
        return subprocess.run(
            command,
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout


def _buildctl(kind: str, unique: str, seconds: int) -> list[str]:
    return [
        *("build", "--progress=plain", "--frontend=dockerfile.v0"),
        *("--local=context=.", "--local=dockerfile=.", f"--opt=target={kind}"),
        *(f"--opt=build-arg:UNIQUE={unique}", f"--opt=build-arg:SECONDS={seconds}"),
        *(["--output=type=local,dest=late"] if kind == "late" else []),
    ]


def _buildx(kind: str, unique: str, seconds: int) -> list[str]:
    if kind == "bake":
        # Two targets with two values, so that neither is the other's step.
        values = (f"--set=base.args.UNIQUE={unique}", f"--set=other.args.UNIQUE={unique} too")
        return ["bake", "--builder=buildkit", "--progress=plain", *values]
    return [
        *("build", "--builder=buildkit", "--progress=plain", *_BUILDX[kind], "."),
        *(f"--build-arg=UNIQUE={unique}", f"--build-arg=SECONDS={seconds}"),
    ]


_BUILDX = {
    "small": ("--target=small", "--output=type=cacheonly"),
    "slow": ("--target=slow", "--output=type=cacheonly"),
    "check": ("--call=check",),
    # Its provenance is fetched when it is done.
    "late": (
        *("--target=late", "--output=type=local,dest=late"),
        *("--provenance=mode=max", "--metadata-file=late.json"),
    ),
}
