"""The cluster's certificates, keys and kubeconfigs, as a directory of PEM files."""

import base64
import datetime
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import files
from lab.network import ADDRESS, API, API_SERVICE, DOMAIN, NAME

LIFETIME = datetime.timedelta(days=3650)
BACKDATED = datetime.timedelta(days=1)  # so that a clock put back by hours refuses nobody
_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
API_NAMES = (*_SERVICE_NAMES, f"kubernetes.default.svc.{DOMAIN}", "localhost")


@dataclass(frozen=True)
class Identity:
    """Whom a certificate names. Each serves as client, and as server under its SANs."""

    common_name: str
    organization: str = ""
    sans: tuple[str, ...] = ()
    authority: str = "ca"


@dataclass(frozen=True)
class Issuer:
    """A certificate authority that can sign."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey


AUTHORITIES = ("ca", "etcd-ca", "front-proxy-ca")
IDENTITIES = {
    "etcd": Identity("etcd", sans=("127.0.0.1",), authority="etcd-ca"),
    "etcd-client": Identity("kube-apiserver", authority="etcd-ca"),
    "front-proxy": Identity("front-proxy-client", authority="front-proxy-ca"),
    "apiserver": Identity("kube-apiserver", sans=(*API_NAMES, ADDRESS, API_SERVICE, "127.0.0.1")),
    "apiserver-kubelet": Identity("kube-apiserver-kubelet-client", "system:masters"),
    "kubelet": Identity(f"system:node:{NAME}", "system:nodes", (NAME, ADDRESS)),
    "kube-controller-manager": Identity("system:kube-controller-manager"),
    "kube-scheduler": Identity("system:kube-scheduler"),
    "kube-proxy": Identity("system:kube-proxy"),
    "admin": Identity("buildkit-lab-admin", "system:masters"),
}


def create(directory: Path) -> None:
    """Write every certificate and key; a directory that is complete stays as it is."""
    complete = directory / "complete"
    if complete.exists():
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    issuers = {name: _authority(directory, name) for name in AUTHORITIES}
    for name, identity in IDENTITIES.items():
        _leaf(directory, name, identity, issuers[identity.authority])
    public = (
        _key(directory / "service-account.key")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (directory / "service-account.pub").write_bytes(public)
    complete.touch()


def kubeconfig(directory: Path, name: str) -> str:
    """A kubeconfig with everything in it for one identity (JSON, and so YAML too)."""

    def data(file: str) -> str:
        return base64.b64encode((directory / file).read_bytes()).decode()

    cluster = {"server": API, "certificate-authority-data": data("ca.crt")}
    user = {
        "client-certificate-data": data(f"{name}.crt"),
        "client-key-data": data(f"{name}.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": name}}],
        "current-context": NAME,
    }
    return json.dumps(config, indent=2) + "\n"


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    files.write(path, content, mode=0o600)


def _authority(directory: Path, name: str) -> Issuer:
    key = _key(directory / f"{name}.key")
    issuer = Issuer(_name(f"buildkit-lab {name}"), key)
    extensions = (
        x509.BasicConstraints(ca=True, path_length=None),
        _usage("digital_signature", "key_cert_sign", "crl_sign"),
    )
    _issue(directory / f"{name}.crt", issuer, issuer.name, key, extensions)
    return issuer


def _leaf(directory: Path, name: str, identity: Identity, issuer: Issuer) -> None:
    key = _key(directory / f"{name}.key")
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    extensions: list[x509.ExtensionType] = [_usage("digital_signature")]
    if identity.sans:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        extensions.append(x509.SubjectAlternativeName(map(_general_name, identity.sans)))
    extensions.append(x509.ExtendedKeyUsage(purposes))
    subject = _name(identity.common_name, identity.organization)
    _issue(directory / f"{name}.crt", issuer, subject, key, extensions)


def _issue(
    path: Path,
    issuer: Issuer,
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    extensions: Iterable[x509.ExtensionType],
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
    )
    key_ids = (
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
    )
    for extension in (*key_ids, *extensions):
        critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(issuer.key, hashes.SHA256())
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(path, pem)
    return key


def _name(common_name: str, organization: str = "") -> x509.Name:
    pairs = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs if value])


def _general_name(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def _usage(*allowed: str) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in allowed for name in names})
