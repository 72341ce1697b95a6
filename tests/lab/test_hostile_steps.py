"""What a step of a hostile build can do in each security variant, and what it can't."""

import base64
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pulumi_buildkit import Security
from pulumi_buildkit.security import VARIANTS

from lab import lifecycle
from tests.hostile import ATTEMPTS, SECRET, VICTIM, Attempt
from tests.lab.building import BUILDCTL, build, greets
from tests.lab.conftest import Configured, Installation, configuring

# The name of the cache mount is no part of what a cached step is known by: it is said again.
# The step has a client's certificate, as CI's builds may, and knows where buildkitd listens.
HOSTILE = """\
FROM debian:bookworm-slim AS steps
COPY . /
WORKDIR /said
RUN --mount=type=cache,id={shared},target=/shared <<"EOF"
export SERVER={server} ADDRESS={address} SOCKET={socket} SHARED={shared}
until test -e /shared/ready; do sleep 0.1; done
for attempt in /attempts/*; do
    (timeout 20 sh $attempt > ${{attempt#/*/}} 2>&1 && touch ${{attempt#/*/}}-succeeded) &
done
wait
touch /shared/done
EOF
FROM scratch
COPY --from=steps /said /
"""
OTHER = f"""\
FROM debian:bookworm-slim
RUN --mount=type=secret,id=token --mount=type=cache,id={{shared}},target=/shared \\
    sh -c 'touch /shared/ready; until test -e /shared/done; do sleep 0.1; done' {VICTIM} {{shared}}
"""


@dataclass(frozen=True)
class Hostile:
    """What the steps of a hostile build, and of the one after it, were told."""

    installation: Installation
    security: Security
    said: tuple[Path, Path]

    def answers(self, attempt: Attempt) -> str:
        number = str(ATTEMPTS.index(attempt))
        return "\n".join((said / number).read_text() for said in self.said)

    def succeeded(self, attempt: Attempt) -> bool:
        file = f"{ATTEMPTS.index(attempt)}-succeeded"
        return all((said / file).exists() for said in self.said)


def solve(installation: Installation, context: Path, *options: str) -> list[str]:
    return [
        *installation.connection(),
        *("build", "--progress=plain", "--frontend=dockerfile.v0"),
        *(f"--local=context={context}", f"--local=dockerfile={context}", *options),
    ]


@contextmanager
def another_build(installation: Installation, directory: Path, shared: str) -> Iterator[None]:
    """A build with a secret and a cache mount, that goes on until the latter says that it may."""
    directory.mkdir(parents=True)
    (directory / "Dockerfile").write_text(OTHER.format(shared=shared))
    token = installation.directory / "token"
    token.write_text(f"{SECRET} {shared}")
    process = subprocess.Popen(
        solve(installation, directory, f"--secret=id=token,src={token}"),
        cwd=installation.directory,
        env=installation.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def tried(
    installation: Installation, security: Security, directory: Path, commands: Sequence[str]
) -> Path:
    """Run the *commands* in a step, beside another build; what each said, and if it succeeded."""
    shared = f"shared-{time.time_ns()}"
    context, said = directory / "context", directory / "said"
    shutil.copytree(installation.directory / "certs", context / "mine")
    # Whoever connects is shown it.
    its_ca = installation.kubectl(
        "get", "secret/buildkitd-daemon-certs", "--output=jsonpath={.data.ca\\.pem}"
    )
    (context / "mine" / "its-ca.pem").write_bytes(base64.b64decode(its_ca))
    buildctl = shutil.which("buildctl", path=installation.environment["PATH"])
    assert buildctl
    (context / "usr" / "bin").mkdir(parents=True)
    shutil.copy(buildctl, context / "usr" / "bin")
    (context / "attempts").mkdir()
    for number, command in enumerate(commands):
        (context / "attempts" / str(number)).write_text(f"{command}\n")
    server = f"buildkitd.{installation.outputs['namespace']}.svc"
    (pod,) = installation.pods("buildkitd")
    dockerfile = HOSTILE.format(
        shared=shared,
        server=server,
        address=installation.kubectl("get", "pod", pod, "--output=jsonpath={.status.podIP}"),
        socket=VARIANTS[security].socket,
    )
    (context / "Dockerfile").write_text(dockerfile)
    with another_build(installation, directory / "other", shared):
        built = installation.run(*solve(installation, context, f"--output=type=local,dest={said}"))
        assert built.returncode == 0, built.stderr
    return said


@pytest.fixture(scope="module")
def configured(
    lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Configured]:
    """The dev stack with one variant after the other."""
    yield from configuring(lab, tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module", params=[*reversed(Security)], ids=lambda security: security.value)
def hostile(
    request: pytest.FixtureRequest, configured: Configured, tmp_path_factory: pytest.TempPathFactory
) -> Hostile:
    """A build whose step tries everything, and the next one, in one of the variants."""
    security: Security = request.param
    installation = configured({"buildkit:security": security.value})
    directory = tmp_path_factory.mktemp(security.value)
    at_once = tried(installation, security, directory / "1", [each.how for each in ATTEMPTS])
    later = tried(installation, security, directory / "2", [each.later for each in ATTEMPTS])
    return Hostile(installation, security, (at_once, later))


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.what)
def test_a_step_succeeds_where_the_page_says_that_it_does(
    hostile: Hostile, attempt: Attempt
) -> None:
    succeeded = hostile.security in attempt.succeeds
    assert hostile.succeeded(attempt) is succeeded, hostile.answers(attempt)
    # For want of a program it would fail anywhere.
    assert ": not found" not in hostile.answers(attempt)


ENTITLEMENTS = {"security.insecure": "--security=insecure", "network.host": "--network=host"}


def refused(hostile: Hostile, entitlement: str, context: Path) -> str:
    """What a build is told that asks for an entitlement."""
    context.mkdir()
    option = ENTITLEMENTS[entitlement]
    (context / "Dockerfile").write_text(f"FROM debian:bookworm-slim\nRUN {option} true\n")
    installation = hostile.installation
    built = installation.run(*solve(installation, context, f"--allow={entitlement}"))
    assert built.returncode != 0
    return built.stderr


def test_no_build_is_given_an_entitlement(hostile: Hostile, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        asked = {e: pool.submit(refused, hostile, e, tmp_path / e) for e in ENTITLEMENTS}
    assert all(f"{e} is not allowed" in told.result() for e, told in asked.items())


def test_the_build_after_it_succeeds(hostile: Hostile) -> None:
    with build(hostile.installation, BUILDCTL, greets("next")) as following:
        assert following.result("greeting") == b"next\n"
