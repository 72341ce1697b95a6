import dataclasses
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import client, debian, lifecycle, owner, registry
from lab.engine import Stack, StackError, description, merge, official_cli
from lab.network import REGISTRY
from lab.paths import REPO
from tests.lab import machine

CONTEXT = REPO / "lab" / "hello"
DOMAIN = "builds.test"
"""Where projects have their names."""


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the promises are shown with all their counts and waits, which takes hours."""
    return bool(request.config.getoption("--full"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("lab")
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_report_collectionfinish(items: list[pytest.Item]) -> list[str]:
    """Which Pulumi the lab's tests run with; it is installed now if it can be."""
    with_lab = any(item.get_closest_marker("lab") for item in items)
    return [description(official_cli())] if with_lab else []


def make(
    *arguments: str, directory: Path = REPO, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run make as a user would, with the lab's own cluster unless KUBECONFIG is given."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "MAKEFLAGS")}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=directory,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def tracked_changes() -> str:
    git = ["git", "status", "--porcelain", "--untracked-files=no"]
    return subprocess.run(git, cwd=REPO, capture_output=True, text=True, check=True).stdout


Record = Callable[[str, object], None]
Count = Callable[[str, int, int], int]


@pytest.fixture
def count(full: bool, record_property: Record) -> Count:
    """How often to do something: in full, or what `make test` has time for; both are recorded."""

    def counted(what: str, in_full: int, in_make_test: int) -> int:
        record_property(what, in_full if full else in_make_test)
        record_property(f"{what} in make test", in_make_test)
        return in_full if full else in_make_test

    return counted


@pytest.fixture(scope="session")
def jq() -> None:
    """What commands of the pages use, besides Pulumi's and Kubernetes' own."""
    debian.install({"jq"})


@dataclass(frozen=True)
class FirstUp:
    """What the first `make up` of the session did, and the machine before it."""

    result: subprocess.CompletedProcess[str]
    machine_before: dict[str, list[str]]
    tracked_before: str


@pytest.fixture(scope="session")
def first_up() -> Iterator[FirstUp]:
    tracked = tracked_changes()
    with owner.lock("make test"):
        lifecycle.stop()
        before = machine.snapshot()
        result = make("up")
        print(result.stdout, result.stderr)
        yield FirstUp(result, before, tracked)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have the lab run before workers begin that share it (`-n`)."""
    if session.config.getoption("numprocesses"):
        session.config.add_cleanup(_lab_for_workers().close)


def _lab_for_workers() -> ExitStack:
    with ExitStack() as stack:
        # They act on behalf of this process, as far as the lock is concerned.
        stack.enter_context(owner.lock("make test"))
        subprocess.run(["make", "--no-print-directory", "up"], cwd=REPO, check=True)
        return stack.pop_all()


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, worker_id: str) -> Iterator[lifecycle.Lab]:
    """The lab that runs; each worker but the first has a stack of its own instead of dev."""
    if worker_id == "master":
        request.getfixturevalue("first_up")
    running = lifecycle.running()
    assert running is not None, "make up left no lab"
    number = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    if not number:
        yield running
        return
    port = running.node_port + 100 * number
    mine = dataclasses.replace(running, name=f"{running.name}-{number}", node_port=port)
    mine.stack().up()
    yield mine
    mine.stack().destroy()


@dataclass
class Installation:
    """A stack that is up, and a directory with its client's certificates in `certs`."""

    lab: lifecycle.Lab
    outputs: dict[str, Any]
    directory: Path
    server_name: str = ""
    """What its client asks for, as if it had dialled it; on the lab only an address leads there."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": self.lab.engine.environment["PATH"],
            "KUBECONFIG": str(self.lab.node.kubeconfig),
            "BUILDX_CONFIG": str(self.directory / "buildx"),
        }

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a client's command in the directory."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **{"timeout": 300, **options},
        )

    def buildctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(*self.connection(), *arguments)

    def project(self, name: str) -> "Installation":
        """The same for a client that dials a project's name, with builders of its own."""
        client_of_it = install(self.lab, self.outputs, self.directory / name)
        return dataclasses.replace(client_of_it, server_name=f"{name}.{DOMAIN}")

    def is_let_in(self) -> bool:
        """Whether what it dials takes its certificate, and knows it for a client's."""
        return self.buildctl("--timeout=5", "debug", "workers").returncode == 0

    def build(self, name: str, greeting: str) -> subprocess.CompletedProcess[str]:
        """Build the image that greets, and push it to the lab's registry."""
        return self.run(*self.build_command(name, greeting))

    def build_command(self, name: str, greeting: str) -> list[str]:
        return [
            *self.connection(),
            *("build", "--progress=plain", "--frontend=dockerfile.v0"),
            *(f"--local=context={CONTEXT}", f"--local=dockerfile={CONTEXT}"),
            *("--opt", f"build-arg:GREETING={greeting}"),
            *("--output", f"type=image,name={REGISTRY}/{name}:latest,push=true"),
        ]

    def run_inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a client's command, with absolute paths, where the pods' network is."""
        return self.run(*self.lab.node.inside(*command))

    def tls_flags(self) -> list[str]:
        """What presents the client's certificate, for a command anywhere on the machine."""
        certificates = self.directory / "certs"
        return [
            f"--{flag}={certificates / name}"
            for flag, name in (
                ("tlscacert", "ca.pem"),
                ("tlscert", "cert.pem"),
                ("tlskey", "key.pem"),
            )
        ]

    def kubectl(self, *arguments: str) -> str:
        return self.lab.node.kubectl("--namespace", self.outputs["namespace"], *arguments)

    def pods(self, app: str) -> list[str]:
        """The names of an app's pods that are not about to go."""
        each = "{.metadata.name} {.metadata.deletionTimestamp}"
        pods = self.kubectl(
            *("get", "pods", f"--selector=app={app}"),
            f"--output=jsonpath={{range .items[*]}}{each}\n{{end}}",
        )
        return [line.split()[0] for line in pods.splitlines() if len(line.split()) == 1]

    def create_command(self) -> str:
        """What the stack says makes it known to docker buildx, for a shell."""
        command = self.outputs["buildx_command"].replace("docker buildx", "docker-buildx")
        if self.server_name:
            return command.replace("/key.pem", f"/key.pem,servername={self.server_name}")
        return command

    def connection(self, certificates: Path = Path("certs")) -> list[str]:
        """The start of a command line of buildctl, with the client's *certificates*."""
        return client.buildctl(self.outputs["endpoint"], certificates, self.server_name)


def greeting_of(image: str) -> str:
    """What the image that greets holds, read from the lab's registry."""
    return registry.read_file(REGISTRY, image, "latest", "greeting").decode().strip()


def assert_builds(installation: Installation, name: str) -> None:
    """Its client builds the image that greets, and the registry has just that one."""
    greeting = f"hello from {name} at {time.time_ns()}"
    result = installation.build(name, greeting)
    assert result.returncode == 0, result.stderr
    assert greeting_of(name) == greeting


@pytest.fixture(scope="session")
def installation(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The stack as `make up` left it."""
    return install(lab, lab.stack().outputs(), tmp_path_factory.mktemp("dev"))


def install(
    lab: lifecycle.Lab, outputs: dict[str, Any], directory: Path, name: str = "dev"
) -> Installation:
    """What a client of the stack has, in a directory of its own."""
    client.write_certificates(outputs, name, directory / "certs")
    shutil.copy(CONTEXT / "Dockerfile", directory)
    return Installation(lab, outputs, directory)


Configured = Callable[[dict[str, Any]], Installation]


def configuring(lab: lifecycle.Lab, directory: Path) -> Iterator[Configured]:
    """The dev stack with other configuration laid over the lab's; it is put back at the end."""
    stack = lab.stack()

    def configure(overrides: dict[str, Any]) -> Installation:
        stack.configure(merge(lab.overrides, overrides))
        stack.up()
        installation = install(lab, stack.outputs(), directory)
        wait_for_rollout(installation)
        return installation

    yield configure
    stack.configure(lab.overrides)
    stack.up()


def wait_for_rollout(installation: Installation) -> None:
    """Wait until buildkitd's pods have rolled: the Kubernetes provider before 4.26 may not."""
    workload = installation.outputs["workload"]
    if workload.startswith(("deployment/", "statefulset/")):
        installation.kubectl("rollout", "status", workload, "--timeout=300s")


def stack_of(installation: Installation, keys: dict[str, Any]) -> Stack:
    """The dev stack with other *keys*, which nothing is done with yet."""
    lab = installation.lab
    return lab.stack(overrides=merge(lab.overrides, keys))


def refusal(installation: Installation, keys: dict[str, Any]) -> str:
    """What a preview of the dev stack with other *keys* says against them."""
    with pytest.raises(StackError) as failure:
        stack_of(installation, keys).preview()
    return failure.value.output


@pytest.fixture
def configured(lab: lifecycle.Lab, tmp_path: Path) -> Iterator[Configured]:
    """The dev stack with other configuration, for one test."""
    yield from configuring(lab, tmp_path)
