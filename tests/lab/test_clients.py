import base64
import json
import subprocess
from pathlib import Path

import pytest

from tests.lab.conftest import Installation
from tests.lab.gateway_log import GatewayLog


@pytest.fixture
def stranger(installation: Installation) -> Installation:
    """A client whose certificate is from a CA of its own; the caller's directory is left alone."""
    directory = installation.directory / "stranger"
    certificates = directory / "certs"
    certificates.mkdir(parents=True, exist_ok=True)
    request = [
        *("openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=dev"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-addext", "subjectAltName=URI:spiffe://buildkit/client/dev"),
        *("-keyout", str(certificates / "key.pem"), "-out", str(certificates / "cert.pem")),
    ]
    subprocess.run(request, check=True, capture_output=True)
    ca = (installation.directory / "certs/ca.pem").read_text()
    (certificates / "ca.pem").write_text(ca)
    return Installation(installation.lab, installation.outputs, directory)


def test_a_client_of_another_ca_is_refused(
    installation: Installation, stranger: Installation
) -> None:
    assert installation.buildctl("debug", "workers").returncode == 0
    log = GatewayLog(installation)
    result = stranger.buildctl("--timeout=5", "debug", "workers")
    assert result.returncode != 0
    assert "Unavailable" in result.stderr
    # Go's clients keep a certificate to themselves that is of no CA which they are asked for.
    log.wait(1, outcome="refused", reason="PEER_DID_NOT_RETURN_A_CERTIFICATE")


def test_a_client_without_a_certificate_is_refused(installation: Installation) -> None:
    assert installation.buildctl("debug", "workers").returncode == 0
    endpoint = f"tcp://{installation.outputs['endpoint']}"
    bare = ("buildctl", "--addr", endpoint, "--tlscacert", "certs/ca.pem", "--timeout=5")
    result = installation.run(*bare, "debug", "workers")
    assert result.returncode != 0
    assert "Unavailable" in result.stderr


def test_buildkitd_itself_answers_nobody_but_the_gateway(installation: Installation) -> None:
    address = installation.kubectl(
        "get", "service/buildkitd", "--output=jsonpath={.spec.clusterIP}"
    )
    gateway = secret_files(installation, "buildkitd-gateway-certs")
    host = f"buildkitd.{installation.outputs['namespace']}.svc"

    def workers(cert: Path, key: Path) -> subprocess.CompletedProcess[str]:
        return installation.run_inside(
            *("buildctl", "--addr", f"tcp://{address}:1234", "--tlsservername", host),
            *("--tlscacert", str(gateway / "ca.pem"), "--tlscert", str(cert), "--tlskey", str(key)),
            *("--timeout=5", "debug", "workers"),
        )

    assert workers(gateway / "cert.pem", gateway / "key.pem").returncode == 0
    client = installation.directory / "certs"
    result = workers(client / "cert.pem", client / "key.pem")
    assert result.returncode != 0
    assert "Unavailable" in result.stderr


def secret_files(installation: Installation, name: str) -> Path:
    """What a Secret of the cluster holds, as files."""
    directory = installation.directory / name
    directory.mkdir(exist_ok=True)
    data = installation.kubectl("get", f"secret/{name}", "--output=jsonpath={.data}")
    for file, text in json.loads(data).items():
        (directory / file).write_bytes(base64.b64decode(text))
    return directory
