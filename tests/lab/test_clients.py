import subprocess

import pytest

from tests.lab.conftest import Installation


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
    result = stranger.buildctl("--timeout=5", "debug", "workers")
    assert result.returncode != 0
    assert "Unavailable" in result.stderr


def test_a_client_without_a_certificate_is_refused(installation: Installation) -> None:
    assert installation.buildctl("debug", "workers").returncode == 0
    endpoint = f"tcp://{installation.outputs['endpoint']}"
    bare = ("buildctl", "--addr", endpoint, "--tlscacert", "certs/ca.pem", "--timeout=5")
    result = installation.run(*bare, "debug", "workers")
    assert result.returncode != 0
    assert "Unavailable" in result.stderr


def test_buildkitd_itself_answers_no_client_of_the_gateway(installation: Installation) -> None:
    address = installation.kubectl(
        "get", "service/buildkitd", "--output=jsonpath={.spec.clusterIP}"
    )
    command = (
        *("buildctl", "--addr", f"tcp://{address}:1234", "--timeout=5"),
        *("--tlscacert", "certs/ca.pem", "--tlscert", "certs/cert.pem", "--tlskey"),
        *("certs/key.pem", "debug", "workers"),
    )
    result = subprocess.run(
        installation.lab.node.inside(*command),
        cwd=installation.directory,
        env=installation.environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert "certificate" in result.stderr, result.stderr
