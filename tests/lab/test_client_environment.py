"""Proxies and CAs in a client's environment, with the messages of docs/troubleshooting.md."""

import base64
import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from lab import lifecycle, registry
from lab.network import ADDRESS
from lab.paths import REPO
from tests.lab.building import BUILDCTL, CLIENTS, create_builder
from tests.lab.conftest import Configured, Installation
from tests.lab.test_jobs import serving

PAGE = (REPO / "docs" / "troubleshooting.md").read_text()
CLOSED = "127.0.0.1:1"
PROXY = (f"HTTPS_PROXY=http://{CLOSED}", f"https_proxy=http://{CLOSED}")
HOURS = datetime.timedelta(hours=1)


def pushes(installation: Installation, by: str, image: str) -> list[str]:
    """The command *by* which a client builds what greets, and pushes it as an *image*."""
    push = f"--output=type=image,name={image},push=true"
    if by == BUILDCTL:
        files = ("--local=context=.", "--local=dockerfile=.")
        return [*installation.connection(), "build", "--frontend=dockerfile.v0", *files, push]
    create_builder(installation)
    return ["docker-buildx", "build", "--builder=buildkit", push, "."]


def test_buildctl_dials_the_gateway_through_https_proxy_unless_no_proxy_names_it(
    installation: Installation,
) -> None:
    host = installation.outputs["endpoint"].rpartition(":")[0]
    build = pushes(installation, BUILDCTL, "lab/proxied")[:-1]
    failed = installation.run("env", *PROXY, *build)
    assert failed.returncode != 0
    said = "listing workers for Build: failed to list workers: Unavailable: connection error"
    assert said in failed.stderr
    assert f"Error while dialing: dial tcp {CLOSED}: connect: connection refused" in failed.stderr
    assert said in PAGE
    done = installation.run("env", *PROXY, f"NO_PROXY={host}", *build)
    assert done.returncode == 0, done.stderr


def test_buildctl_says_what_a_proxy_answers_that_refuses_the_gateway(
    installation: Installation,
) -> None:
    build = pushes(installation, BUILDCTL, "lab/proxied")[:-1]
    with serving_here(Refusing) as port:
        failed = installation.run("env", f"HTTPS_PROXY=http://127.0.0.1:{port}", *build)
    assert failed.returncode != 0
    said = "failed to do connect handshake, response: "
    assert f'{said}\\"HTTP/1.1 403 Forbidden' in failed.stderr
    assert said in PAGE


def test_docker_buildx_does_not_look_at_https_proxy(installation: Installation) -> None:
    create_builder(installation)
    build = ("docker-buildx", "build", "--builder=buildkit", "--output=type=cacheonly", ".")
    done = installation.run("env", *PROXY, *build)
    assert done.returncode == 0, done.stderr


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


class Refusing(Handler):
    """A proxy that refuses every connection."""

    def do_CONNECT(self) -> None:
        self.send_error(403)


@contextmanager
def serving_here(handler: type[Handler], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server on this machine, which no pod reaches."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Authority(NamedTuple):
    """A private CA: its certificate is a registry's too, and that of who gives tokens for it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    cert_file: Path
    key_file: Path

    @classmethod
    def made(cls, directory: Path) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "private CA")])
        addresses = (x509.IPAddress(ipaddress.ip_address(it)) for it in (ADDRESS, "127.0.0.1"))
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - HOURS)
            .not_valid_after(now + HOURS)
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        made = cls(key, certificate, directory / "private-ca.pem", directory / "private-ca.key")
        pem = serialization.Encoding.PEM
        plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        made.cert_file.write_bytes(certificate.public_bytes(pem))
        made.key_file.write_bytes(key.private_bytes(pem, *plain))
        return made

    @property
    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def token(self, scopes: list[str]) -> str:
        """A token with these *scopes*, in the form that Docker's registry takes."""
        access = [
            dict(zip(("type", "name", "actions"), it.split(":"), strict=True)) for it in scopes
        ]
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        header = {"alg": "ES256", "typ": "JWT", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": "lab",
            "aud": "lab",
            "exp": int(time.time()) + 300,
            "access": [{**one, "actions": one["actions"].split(",")} for one in access],
        }
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        numbers = utils.decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = b"".join(number.to_bytes(32) for number in numbers)
        return (signed + b"." + _encoded(signature)).decode()


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path)


@pytest.fixture
def token_server(authority: Authority) -> Iterator[str]:
    """Where tokens are fetched, by HTTPS: on this machine, where clients reach it and no pod."""

    class Tokens(Handler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            scopes = " ".join(query["scope"]).split()  # a layer's from another repository, too
            answer = json.dumps({"token": authority.token(scopes)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with serving_here(Tokens, authority.tls) as port:
        yield f"https://127.0.0.1:{port}/token"


@pytest.fixture
def private_registry(
    lab: lifecycle.Lab, authority: Authority, token_server: str, tmp_path: Path
) -> Iterator[tuple[str, str]]:
    """A registry that takes tokens, and the same without: by HTTPS, by HTTP."""
    private, free = f"{ADDRESS}:5004", f"{ADDRESS}:5006"
    roots = {"rootcertbundle": str(authority.cert_file)}
    token = {"token": {"realm": token_server, "service": "lab", "issuer": "lab", **roots}}
    tls = {"certificate": str(authority.cert_file), "key": str(authority.key_file)}
    with ExitStack() as stack:
        for address, http_, auth in ((private, {"tls": tls}, token), (free, {}, {})):
            file = tmp_path / f"{address}.yml"
            configuration = {
                "version": 0.1,
                "storage": {"filesystem": {"rootdirectory": str(tmp_path)}},
                "http": {"addr": address, **http_},
                "auth": auth,
            }
            file.write_text(yaml.safe_dump(configuration))
            command = (str(lab.node.at.tools / "registry"), "serve", str(file))
            quiet = ("env", "OTEL_TRACES_EXPORTER=none")
            stack.enter_context(serving(lab, *quiet, *command, ready="listening on"))
        yield private, free


def test_clients_fetch_registry_tokens_and_need_the_ca_themselves(
    configured: Configured, authority: Authority, private_registry: tuple[str, str]
) -> None:
    private, free = private_registry
    ca = authority.cert_file.read_text()
    installation = configured({"buildkit:registries": {private: {"ca": ca}}})
    for by in CLIENTS:
        image = f"by-{by.split()[-1]}"
        build = pushes(installation, by, f"{private}/{image}:latest")
        failed = installation.run(*build)
        assert failed.returncode != 0
        for said in (
            "failed to authorize: failed to fetch anonymous token: Get ",
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ):
            assert said in failed.stderr
            assert said in PAGE
        done = installation.run("env", f"SSL_CERT_FILE={authority.cert_file}", *build)
        assert done.returncode == 0, done.stderr
        assert registry.read_file(free, image, "latest", "greeting")
    of_buildctl = f"--registry-auth-tlscontext=host={private},ca={authority.cert_file}"
    build = pushes(installation, BUILDCTL, f"{private}/by-option:latest")
    done = installation.run(*build, of_buildctl)
    assert done.returncode == 0, done.stderr
    assert registry.read_file(free, "by-option", "latest", "greeting")
