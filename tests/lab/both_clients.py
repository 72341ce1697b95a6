"""The same build by both clients, for as long as a test needs it."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import client
from tests.lab.conftest import Installation

BUILDER = "both-clients"


@dataclass(frozen=True)
class Build:
    """A client's build that was started, and the file with all that it says."""

    client: str
    process: subprocess.Popen[bytes]
    output: Path

    def ends(self, within: float) -> bool:
        """Whether it has ended in that many seconds, by then well."""
        try:
            returncode = self.process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        assert returncode == 0, f"{self.client}: {self.output.read_text()}"
        return True

    def assert_ends_well(self, within: float) -> None:
        assert self.ends(within), f"{self.client} goes on: {self.output.read_text()}"


def commands(installation: Installation, context: Path) -> dict[str, list[str]]:
    """Each client's command that builds *context* and throws the result away."""
    buildctl = client.buildctl(installation.outputs["endpoint"], Path("certs"))
    frontend = ("--frontend=dockerfile.v0", "--no-cache", "--progress=plain")
    buildx = ("docker-buildx", "build", f"--builder={BUILDER}", "--no-cache", "--progress=plain")
    return {
        "buildctl": [
            *(*buildctl, "build", *frontend),
            *(f"--local=context={context}", f"--local=dockerfile={context}"),
        ],
        "buildx": [*buildx, "--output=type=cacheonly", "--provenance=false", str(context)],
    }


def from_stdin(installation: Installation) -> list[str]:
    """The same of buildx, with a context that it is given as a tar file."""
    create_builder(installation)
    *command, _ = commands(installation, Path())["buildx"]
    return [*command, "-"]


def create_builder(installation: Installation) -> None:
    """Let buildx know the gateway, which it doesn't connect to yet."""
    if (installation.directory / "buildx/instances" / BUILDER).exists():
        return
    options = client.driver_options(installation.directory / "certs")
    create = ("docker-buildx", "create", f"--name={BUILDER}", "--driver=remote")
    endpoint = f"tcp://{installation.outputs['endpoint']}"
    result = installation.run(*create, f"--driver-opt={options}", endpoint)
    assert result.returncode == 0, result.stderr


@contextmanager
def builds(
    installation: Installation, context: Path, through: Sequence[str] = ()
) -> Iterator[list[Build]]:
    """Builds of *context* by both clients at once; what still runs at the end is killed."""
    create_builder(installation)
    with ExitStack() as stack:
        yield [
            stack.enter_context(started(installation, name, [*through, *command]))
            for name, command in commands(installation, context).items()
        ]


@contextmanager
def started(
    installation: Installation,
    name: str,
    command: Sequence[str],
    stdin: int = subprocess.DEVNULL,
) -> Iterator[Build]:
    """A client's build, which is killed at the end if it still runs."""
    output = installation.directory / f"{name}.log"
    with (
        output.open("wb") as log,
        subprocess.Popen(
            command,
            cwd=installation.directory,
            env=installation.environment,
            stdin=stdin,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield Build(name, process, output)
        finally:
            process.kill()
