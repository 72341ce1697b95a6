"""What keeps a server from using a certificate of one's own, said before any client meets it.

The rules are what both sides have in common: Go's crypto/tls and crypto/x509 (buildkitd, buildctl,
buildx) and Envoy.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from pulumi_buildkit.certificates import is_address
from pulumi_buildkit.secret_layout import LAYOUTS, SecretLayout, ServerKeys

_SHOWN = 6
# Whoever renews certificates is to have done so by then: cert-manager does when a third of the time
# is left, at the latest.
_SOON = timedelta(days=14)
_LEFT = 4
# Envoy takes no shorter key, and Go no longer one.
_RSA_BITS = range(2048, 8192 + 1)
_CURVES = {"secp256r1", "secp384r1", "secp521r1"}
_USES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_BOUNDARY = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]+-----")
# What is raised of certificates and keys that can't be read, or not to their end.
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def mistakes(ca: str, cert: str, key: str, hosts: Iterable[str], now: datetime) -> list[str]:
    """What is wrong with these PEM texts for a server that clients dial by *hosts*.

    Behind the server's own certificate *cert* may have those between it and the CA. Each complaint
    begins with `ca:`, `cert:` or `key:`, and none quotes a key.
    """
    pems = ServerKeys(ca, cert, key)
    return _mistakes(ServerKeys("ca", "cert", "key"), pems, hosts, now)


def secret_mistakes(
    data: Mapping[str, bytes | str], layout: SecretLayout, hosts: Iterable[str], now: datetime
) -> list[str]:
    """The same of a Secret's *data*: bytes, or base64 as the Kubernetes API has it.

    Each complaint begins with a key of the Secret.
    """
    keys = LAYOUTS[layout].keys
    # Who writes a Secret in two steps leaves values empty at first.
    there = [key for key, value in data.items() if value]
    missing = [key for key in keys if key not in there]
    if missing:
        return [
            f"{key}: is missing; the Secret has {_some(there)}, and layout {layout.value} is "
            f"{_some(keys)}"
            for key in missing
        ]
    return _mistakes(keys, ServerKeys(*(_text(data[key]) for key in keys)), hosts, now)


def ending(ca: str, cert: str, key: str, now: datetime) -> list[str]:
    """Which certificates of these PEM texts end soon: what `mistakes` lets pass, for days yet."""
    return [*_ending(ServerKeys("ca", "cert", "key"), ServerKeys(ca, cert, key), now)]


def secret_ending(
    data: Mapping[str, bytes | str], layout: SecretLayout, now: datetime
) -> list[str]:
    """The same of a Secret's *data*."""
    keys = LAYOUTS[layout].keys
    pems = ServerKeys(*(_text(data.get(key) or b"") for key in keys))
    return [*_ending(keys, pems, now)]


def _text(value: bytes | str) -> str:
    plain = base64.b64decode(value) if isinstance(value, str) else value
    # PEM is ASCII; whatever else there is, is no PEM for that very reason.
    return plain.decode(errors="replace")


def _some(names: Iterable[str]) -> str:
    listed = [*names]
    if len(listed) > _SHOWN:
        listed[_SHOWN:] = ["…"]
    return ", ".join(listed) or "none"


class _Unreadable(Exception):
    """Says what is wrong with one of the texts."""


@dataclass(frozen=True)
class _Server:
    """What a server shows and has."""

    names: ServerKeys
    """What the three texts are called."""
    certificate: x509.Certificate
    issuers: list[x509.Certificate]
    """From the one that signed it to a CA's. Empty: they don't lead to one."""
    key: PrivateKeyTypes


_Part = TypeVar("_Part")


def _mistakes(
    names: ServerKeys, pems: ServerKeys, hosts: Iterable[str], now: datetime
) -> list[str]:
    complaints: list[str] = []
    server = _server(names, pems, complaints)
    if server is None:
        return complaints
    return [
        *_another_key(server),
        *_weak_key(server),
        *_not_signed(server),
        *_not_usable(server, now),
        *_other_hosts(server, hosts),
    ]


def _server(names: ServerKeys, pems: ServerKeys, complaints: list[str]) -> _Server | None:
    """The server of these texts; of those that can't be read there is one of *complaints* each."""

    def read(load: Callable[[str], _Part], name: str, pem: str) -> _Part | None:
        try:
            return load(pem)
        except _Unreadable as error:
            complaints.append(f"{name}: {error}")
            return None

    authorities = read(_certificates, names.ca, pems.ca)
    shown = read(_certificates, names.cert, pems.cert)
    key = read(_private_key, names.key, pems.key)
    if authorities is None or shown is None or key is None:
        return None
    certificate, *others = shown
    return _Server(names, certificate, _issuers(certificate, others, authorities), key)


def _ending(names: ServerKeys, pems: ServerKeys, now: datetime) -> Iterator[str]:
    server = _server(names, pems, [])
    for name, certificate in _links(server) if server else ():
        ends = certificate.not_valid_after_utc
        left, life = ends - now, ends - certificate.not_valid_before_utc
        if timedelta() <= left < min(_SOON, life / _LEFT):
            yield f"{name} ends in {left.days} days, on {ends}; renew it before that"


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(_lines(pem))
        for certificate in found:
            # They are read no earlier than they are asked for.
            certificate.public_key()
            iter(certificate.extensions)
    except _UNREADABLE:
        raise _Unreadable(
            "is no certificate in PEM; give the file's lines, from -----BEGIN CERTIFICATE----- on"
        ) from None
    return found


def _private_key(pem: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(_lines(pem), password=None)
    except TypeError:
        raise _Unreadable("is encrypted; give it without a passphrase") from None
    except _UNREADABLE:
        raise _Unreadable("is no private key in PEM; give the file's lines") from None


def _lines(pem: str) -> bytes:
    """*pem*, unless its lines are joined or indented: servers want them as they were.

    Raises:
        ValueError: they are.
    """
    boundaries = [line for line in pem.splitlines() if "-----" in line]
    if not all(_BOUNDARY.fullmatch(line.rstrip()) for line in boundaries):
        raise ValueError
    return pem.encode()


def _issuers(
    certificate: x509.Certificate,
    others: list[x509.Certificate],
    authorities: list[x509.Certificate],
) -> list[x509.Certificate]:
    for authority in authorities:
        if _signed(certificate, authority):
            return [authority]
    for other in filter(_is_authority, others):
        if _signed(certificate, other):
            rest = [another for another in others if another is not other]
            if above := _issuers(other, rest, authorities):
                return [other, *above]
    return []


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return bool(constraints and constraints.ca and (usage is None or usage.key_cert_sign))


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    found = (extension.value for extension in certificate.extensions)
    return next((value for value in found if isinstance(value, kind)), None)


def _another_key(server: _Server) -> Iterator[str]:
    if server.key.public_key() != server.certificate.public_key():
        yield f"{server.names.key}: is not the one that {server.names.cert} is for; give that one"


def _weak_key(server: _Server) -> Iterator[str]:
    key = server.certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            kind, fit = f"RSA of {key.key_size} bits", key.key_size in _RSA_BITS
        case ec.EllipticCurvePublicKey():
            kind, fit = f"ECDSA on {key.curve.name}", key.curve.name in _CURVES
        case _:
            kind, fit = type(key).__name__, isinstance(key, ed25519.Ed25519PublicKey)
    if not fit:
        yield (
            f"{server.names.cert}: is for a key that TLS refuses, {kind}; take RSA of "
            f"{_RSA_BITS[0]} to {_RSA_BITS[-1]} bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
        )


def _not_signed(server: _Server) -> Iterator[str]:
    names = server.names
    if not server.issuers:
        yield (
            f"{names.cert}: is not signed by {names.ca}; give the CA that signed it, and behind "
            "the certificate those between it and the CA"
        )
    elif not _is_authority(server.issuers[-1]):
        yield f"{names.ca}: is not a CA's; give that of the CA that signs the clients' too"


def _not_usable(server: _Server, now: datetime) -> Iterator[str]:
    for name, certificate in _links(server):
        if now < certificate.not_valid_before_utc:
            yield f"{name} is not valid before {certificate.not_valid_before_utc}; wait for that"
        ends = certificate.not_valid_after_utc
        if now > ends:
            yield f"{name} ended on {ends}; renew it"
        uses = _extension(certificate, x509.ExtendedKeyUsage)
        if uses is not None and _USES.isdisjoint(uses):
            yield f"{name} is not for servers; take one with the extended key usage serverAuth"


def _links(server: _Server) -> Iterator[tuple[str, x509.Certificate]]:
    """All certificates that a client checks, each with what a complaint of it begins with."""
    yield f"{server.names.cert}:", server.certificate
    for issuer in server.issuers:
        text = server.names.ca if issuer is server.issuers[-1] else server.names.cert
        yield f"{text}: {issuer.subject.rfc4514_string()}", issuer


def _other_hosts(server: _Server, hosts: Iterable[str]) -> Iterator[str]:
    found = _extension(server.certificate, x509.SubjectAlternativeName)
    sans = found or x509.SubjectAlternativeName([])
    others = [host for host in hosts if not _covers(sans, host)]
    if others:
        yield (
            f"{server.names.cert}: is not valid for {_some(others)}; take one with these among its "
            f"SANs, which are {_some(str(san.value) for san in sans)}"
        )


def _covers(sans: x509.SubjectAlternativeName, host: str) -> bool:
    if is_address(host):
        return ip_address(host) in sans.get_values_for_type(x509.IPAddress)
    names = {name.lower() for name in sans.get_values_for_type(x509.DNSName)}
    _, _, parent = host.lower().partition(".")
    return not names.isdisjoint({host.lower(), f"*.{parent}"})
