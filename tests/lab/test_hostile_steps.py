"""A build step shares its pod's network, and gets nowhere near buildkitd's API, in any variant."""

import shutil

import pytest
from pulumi_buildkit import Security
from pulumi_buildkit.security import VARIANTS

from tests.lab.building import BUILDCTL, build, greets
from tests.lab.conftest import Configured, Installation

# What a step tries, by the name of the file with what it was told. It has a client's certificate,
# as CI's builds may, and knows where buildkitd listens.
BY_TLS = "--addr tcp://127.0.0.1:1234 --tlsservername $SERVER"
ATTEMPTS = {
    "plaintext": "--addr tcp://127.0.0.1:1234",
    "another address": '--addr "tcp://$(hostname -i):1234"',
    "no certificate": f"{BY_TLS} --tlscacert /certs/ca.pem",
    "a certificate of a client": f"{BY_TLS} --tlsdir /certs",
    "the socket": "--addr $SOCKET",
    "the socket of a process": "--addr unix:///proc/1/root${SOCKET#unix://}",
}
TRY = "(buildctl {how} --timeout 3 debug workers > '{name}' 2>&1 && touch reached) &"
DOCKERFILE = """\
FROM debian:bookworm-slim AS steps
COPY buildctl /usr/bin/
COPY certs /certs
WORKDIR /said
RUN <<EOF
SERVER={server}
SOCKET={socket}
{tries}
wait
EOF
FROM scratch
COPY --from=steps /said /
"""


def hostile(installation: Installation, security: Security) -> str:
    """A Dockerfile whose step does all that at once."""
    return DOCKERFILE.format(
        server=f"buildkitd.{installation.outputs['namespace']}.svc",
        socket=VARIANTS[security].socket,
        tries="\n".join(TRY.format(name=name, how=how) for name, how in ATTEMPTS.items()),
    )


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
    assert {file.name for file in (context / "said").iterdir()} == {*ATTEMPTS}
    said = {name: (context / "said" / name).read_text() for name in ATTEMPTS}
    assert all("error: " in text for text in said.values()), said
    # It did meet buildkitd there, which asked for a certificate of another CA.
    assert "certificate" in said["no certificate"]
    assert "certificate" in said["a certificate of a client"]
    with build(installation, BUILDCTL, greets("next")) as following:
        assert following.result("greeting") == b"next\n"
