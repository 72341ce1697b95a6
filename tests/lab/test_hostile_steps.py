"""A build step shares its pod's network, and gets nowhere near buildkitd's API, in any variant."""

import shutil

import pytest
from pulumi_buildkit import Security
from pulumi_buildkit.security import VARIANTS

from tests.lab.building import BUILDCTL, build
from tests.lab.conftest import Configured, Installation

# What a step tries, by the name of the file with what it was told. It has a client's certificate,
# as CI's builds may, and knows where buildkitd listens.
BY_TLS = "--addr tcp://127.0.0.1:1234 --tlsservername $SERVER"
ATTEMPTS = {
    "plaintext": "--addr tcp://127.0.0.1:1234",
    "another address": '--addr "tcp://$(hostname -i):1234"',
    "no certificate": f"{BY_TLS} --tlscacert /certs/ca.pem",
    "a client's": f"{BY_TLS} --tlsdir /certs",
    "the socket": "--addr $SOCKET",
    "the process's socket": "--addr unix:///proc/1/root${SOCKET#unix://}",
    "the gateway's admin": "--addr tcp://127.0.0.1:9901",
}
DOCKERFILE = """\
FROM debian:bookworm-slim AS steps
COPY buildctl /usr/bin/
COPY certs /certs
ARG SERVER SOCKET
WORKDIR /said
{steps}
FROM scratch
COPY --from=steps /said /
"""


def hostile(installation: Installation, security: Security) -> str:
    """A Dockerfile that ends well where each attempt fails."""
    tries = (
        f"RUN SERVER=buildkitd.{installation.outputs['namespace']}.svc "
        f"SOCKET={VARIANTS[security].socket}; "
        f"! buildctl {how} --timeout 3 debug workers > '{name}' 2>&1"
        for name, how in ATTEMPTS.items()
    )
    return DOCKERFILE.format(steps="\n".join(tries))


@pytest.mark.parametrize("security", [*reversed(Security)])
def test_a_step_reaches_no_api_and_the_next_build_succeeds(
    configured: Configured, security: Security
) -> None:
    installation = configured({"buildkit:security": security.value})
    context = installation.directory / "hostile"
    shutil.copytree(installation.directory / "certs", context / "certs")
    buildctl = shutil.which("buildctl", path=installation.environment["PATH"])
    assert buildctl
    shutil.copy(buildctl, context)
    (context / "Dockerfile").write_text(hostile(installation, security))
    tried = installation.buildctl(
        *("build", "--progress=plain", "--frontend=dockerfile.v0"),
        *(f"--local=context={context}", f"--local=dockerfile={context}"),
        f"--output=type=local,dest={context / 'said'}",
    )
    assert tried.returncode == 0, tried.stderr
    said = {name: (context / "said" / name).read_text() for name in ATTEMPTS}
    for name, text in said.items():
        assert "ID" not in text, f"{name}: {text}"
        assert "error: " in text, f"{name}: {text}"
    # It did meet buildkitd there, who asked for a certificate of another CA.
    assert "certificate" in said["no certificate"]
    assert "certificate" in said["a client's"]
    with build(installation, BUILDCTL, "FROM scratch\nCOPY <<EOF /x\nx\nEOF\n") as following:
        assert following.result("x") == b"x\n"
