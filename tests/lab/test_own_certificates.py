"""Certificates of one's own: a server's that there is already, and clients that its CA signed."""

import ipaddress
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pulumi_buildkit import SecretLayout
from pulumi_buildkit.secret_layout import FILES, LAYOUTS

from lab import lifecycle
from lab.engine import Stack, StackError
from lab.network import ADDRESS
from tests.envoy_gateway import Authority, rsa_key
from tests.lab.conftest import Installation, assert_builds
from tests.lab.test_engine import namespace_of

NAMESPACE = "own-certificates"
SANS = (x509.DNSName("build.example.com"), x509.IPAddress(ipaddress.ip_address(ADDRESS)))


@dataclass(frozen=True)
class Own:
    """A stack whose server has a certificate of a CA that Pulumi knows nothing of."""

    lab: lifecycle.Lab
    stack: Stack
    ca: Authority
    directory: Path

    def configure(self, certificates: dict[str, Any], host: str = ADDRESS) -> None:
        exposed = {"host": host, "service": "NodePort", "nodePort": self.lab.node_port + 10}
        self.stack.configure(
            {
                "buildkit:namespace": NAMESPACE,
                "buildkit:createNamespace": False,
                "buildkit:registries": lifecycle.REGISTRIES,
                "buildkit:gateway": {**exposed, "replicas": 1},
                "buildkit:certificates": certificates,
                # As upstream's create-certs.sh has it.
                "buildkit:clients": {"dev": None, "ci": {"san": "client"}},
            }
        )

    def server(self, name: str = "server", **how: Any) -> Path:
        """The files of a server that clients dial by the node's address."""
        return self.ca.issue(self.directory / name, *SANS, **how)

    def secret(self, layout: SecretLayout, files: Path) -> str:
        """A Secret of *layout* with the *files* of a server."""
        name = f"{layout.value}-{files.name}"
        keys = zip(LAYOUTS[layout].keys, FILES, strict=True)
        data = [f"--from-file={key}={files / file}" for key, file in keys]
        create = ("create", "secret", "generic", name, f"--type={LAYOUTS[layout].type}")
        self.kubectl(*create, *data)
        return name

    def kubectl(self, *arguments: str) -> str:
        return self.lab.node.kubectl("--namespace", NAMESPACE, *arguments)

    def client(self, san: str) -> Installation:
        """One who has a certificate of the CA."""
        directory = self.directory / san
        self.ca.issue(directory / "certs", x509.DNSName(san))
        return Installation(self.lab, self.stack.outputs(), directory)

    def refused(self) -> str:
        """What a preview refuses the configuration with."""
        with pytest.raises(StackError) as failure:
            self.stack.preview()
        return failure.value.output


@pytest.fixture(scope="module")
def module_own(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    with namespace_of(lab, NAMESPACE):
        stack = lab.stack("own")
        # mkcert makes RSA keys.
        yield Own(lab, stack, Authority("our own CA", rsa_key), tmp_path_factory.mktemp("own"))
        stack.destroy()


@pytest.fixture
def own(module_own: Own, tmp_path: Path) -> Own:
    return replace(module_own, directory=tmp_path)


def assert_only_the_client_builds(own: Own) -> None:
    client, other = own.client("client"), own.client("other")
    assert_builds(client, "own")
    refused = other.buildctl("--timeout=5", "debug", "workers")
    assert refused.returncode != 0
    assert "Unavailable" in refused.stderr
    assert client.buildctl("debug", "workers").returncode == 0


@pytest.mark.parametrize("layout", [SecretLayout.ENVOY, SecretLayout.TLS])
def test_a_secret_that_there_is_serves_the_clients_of_its_ca(
    own: Own, layout: SecretLayout
) -> None:
    secret = own.secret(layout, own.server())
    own.configure({"existingSecret": secret, "layout": layout.value})
    own.stack.up()
    assert_only_the_client_builds(own)


def pem(files: Path) -> dict[str, str]:
    """The certificates that a stack's file has; the key is set by `set_key`."""
    ca, cert, _ = ((files / name).read_text() for name in FILES)
    return {"ca": ca, "cert": cert}


def set_key(own: Own, files: Path) -> str:
    """Set the private key as a user does; a line of it, which nobody is to see."""
    key = (files / FILES.key).read_text()
    own.stack.outputs()  # there is such a stack now
    own.stack.cli("config", "set", "--secret", "--path", "buildkit:certificates.key", stdin=key)
    return max(key.splitlines(), key=len)


def test_pem_from_the_configuration_serves_the_clients_of_its_ca_and_its_key_stays_secret(
    own: Own,
) -> None:
    files = own.server()
    own.configure(pem(files))
    key = set_key(own, files)
    printed = own.stack.preview(), own.stack.up()
    assert_only_the_client_builds(own)

    exported = own.stack.cli("stack", "export")
    outputs = json.dumps(own.stack.outputs())
    stack_file = (own.stack.directory / f"Pulumi.{own.stack.name}.yaml").read_text()
    logs = [
        own.kubectl("logs", f"deployment/{name}", "--all-containers")
        for name in ("buildkit-gateway", "buildkitd")
    ]
    assert all(logs)
    for place in (*printed, exported, outputs, stack_file, *logs):
        assert key not in place


Certificates = Callable[[Own], dict[str, Any]]


def of_secret(name: str, **how: Any) -> Certificates:
    """Those of an existing Secret."""
    return lambda own: {"existingSecret": own.secret(SecretLayout.TLS, own.server(name, **how))}


def of_two_servers(own: Own) -> dict[str, Any]:
    files, other = own.server("half"), own.server("other")
    (other / FILES.key).rename(files / FILES.key)
    return {"existingSecret": own.secret(SecretLayout.TLS, files)}


@pytest.mark.parametrize(
    ("certificates", "host", "line"),
    [
        (
            lambda own: {"existingSecret": "nowhere"},
            ADDRESS,
            "'nowhere': is no Secret in the namespace own-certificates; make it first",
        ),
        (
            of_two_servers,
            ADDRESS,
            "'tls-half': tls.key: is not the one that tls.crt is for; give that one",
        ),
        (
            of_secret("old", ends=timedelta(minutes=-1)),
            ADDRESS,
            "'tls-old': tls.crt: ended on ",
        ),
        (
            of_secret("elsewhere"),
            "other.example.com",
            "'tls-elsewhere': tls.crt: is not valid for other.example.com; take one with these "
            f"among its SANs, which are build.example.com, {ADDRESS}",
        ),
    ],
    ids=["missing", "another-key", "expired", "another-host"],
)
def test_a_secret_that_could_not_serve_is_refused_at_preview(
    own: Own, certificates: Certificates, host: str, line: str
) -> None:
    own.configure(certificates(own), host)
    assert f"buildkit:certificates.existingSecret: {line}" in own.refused()


def test_pem_that_could_not_serve_is_refused_at_preview_without_showing_the_key(own: Own) -> None:
    own.configure(pem(own.server(ends=timedelta(minutes=-1))), "other.example.com")
    key = set_key(own, own.server("other"))
    refused = own.refused()
    for line in (
        "buildkit:certificates.key: is not the one that cert is for; give that one",
        "buildkit:certificates.cert: ended on ",
        "buildkit:certificates.cert: is not valid for other.example.com; ",
    ):
        assert line in refused
    assert key not in refused
