"""Stands in for the official tls plugin: https://www.pulumi.com/registry/packages/tls/."""

import base64
import hashlib
import ipaddress
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.providers.computed import Computed, ComputedProvider
from lab.providers.server import ResourceError, serve
from lab.providers.values import UNKNOWN, Properties

_CURVES: dict[str, ec.EllipticCurve] = {
    "P224": ec.SECP224R1(),
    "P256": ec.SECP256R1(),
    "P384": ec.SECP384R1(),
    "P521": ec.SECP521R1(),
}
_ALGORITHMS: dict[str, Callable[[Properties], Any]] = {
    "ECDSA": lambda inputs: ec.generate_private_key(_CURVES[inputs["ecdsaCurve"]]),
    "RSA": lambda inputs: rsa.generate_private_key(65537, inputs["rsaBits"]),
    "ED25519": lambda inputs: ed25519.Ed25519PrivateKey.generate(),
}
# In the order in which Go writes a name, so that subjects compare equal byte for byte.
_SUBJECT = {
    "country": NameOID.COUNTRY_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "province": NameOID.STATE_OR_PROVINCE_NAME,
    "streetAddresses": NameOID.STREET_ADDRESS,
    "postalCode": NameOID.POSTAL_CODE,
    "commonName": NameOID.COMMON_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "emailAddress": NameOID.EMAIL_ADDRESS,
}
# https://www.pulumi.com/registry/packages/tls/api-docs/selfsignedcert/#inputs, allowedUses.
_KEY_USAGES = {
    "digital_signature": "digital_signature",
    "content_commitment": "content_commitment",
    "key_encipherment": "key_encipherment",
    "data_encipherment": "data_encipherment",
    "key_agreement": "key_agreement",
    "cert_signing": "key_cert_sign",
    "crl_signing": "crl_sign",
    "encipher_only": "encipher_only",
    "decipher_only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any_extended": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code_signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email_protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp_signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


def _pem_private(key: Any, form: PrivateFormat) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def _private_key(inputs: Properties) -> tuple[str, Properties]:
    key = _ALGORITHMS[inputs["algorithm"]](inputs)
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pkcs8 = _pem_private(key, PrivateFormat.PKCS8)
    traditional = inputs["algorithm"] != "ED25519"  # it has no form of its own but PKCS 8
    return hashlib.sha1(der).hexdigest(), {
        "privateKeyPem": _pem_private(key, PrivateFormat.TraditionalOpenSSL)
        if traditional
        else pkcs8,
        "privateKeyPemPkcs8": pkcs8,
        "publicKeyPem": public.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ).decode(),
        **_openssh(key),
    }


def _openssh(key: Any) -> Properties:
    try:
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        private = _pem_private(key, PrivateFormat.OpenSSH)
    except (UnsupportedAlgorithm, ValueError):  # OpenSSH has no P224
        return dict.fromkeys(_OPENSSH, "")
    wire = base64.b64decode(line.split()[1])
    sha256 = base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")
    md5 = hashlib.md5(wire, usedforsecurity=False).digest().hex(":")
    return dict(
        zip(_OPENSSH, (line.decode() + "\n", private, md5, f"SHA256:{sha256}"), strict=True)
    )


_OPENSSH = (
    "publicKeyOpenssh",
    "privateKeyOpenssh",
    "publicKeyFingerprintMd5",
    "publicKeyFingerprintSha256",
)


def _load(what: str, loader: Callable[[bytes], Any], pem: str) -> Any:
    try:
        return loader(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ResourceError(f"{what} can't be read as PEM: {error}") from None


def _load_key(what: str, pem: str) -> Any:
    return _load(what, lambda data: load_pem_private_key(data, None), pem)


def _algorithm(key: Any) -> str:
    kinds = {ec.EllipticCurvePrivateKey: "ECDSA", rsa.RSAPrivateKey: "RSA"}
    return next((name for kind, name in kinds.items() if isinstance(key, kind)), "ED25519")


def _hash(key: Any) -> Any:
    """The hash that Go signs with by this key: as strong as its curve."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    by_curve = {"secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
    curve = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else ""
    return by_curve.get(curve, hashes.SHA256())


def _name(subject: Properties | None) -> x509.Name:
    attributes = []
    for field, oid in _SUBJECT.items():
        values = (subject or {}).get(field) or []
        for value in values if isinstance(values, list) else [values]:
            attributes.append(x509.NameAttribute(oid, value))
    return x509.Name(attributes)


def _san(inputs: Properties) -> list[x509.GeneralName]:
    addresses = (ipaddress.ip_address(ip) for ip in inputs.get("ipAddresses") or [])
    return [
        *map(x509.DNSName, inputs.get("dnsNames") or []),
        *map(x509.IPAddress, addresses),
        *map(x509.UniformResourceIdentifier, inputs.get("uris") or []),
    ]


def _request(inputs: Properties) -> tuple[str, Properties]:
    key = _load_key("privateKeyPem", inputs["privateKeyPem"])
    builder = x509.CertificateSigningRequestBuilder(_name(inputs.get("subject")))
    if names := _san(inputs):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(key, _hash(key)).public_bytes(Encoding.PEM).decode()
    outputs = {"certRequestPem": pem, "keyAlgorithm": _algorithm(key)}
    return hashlib.sha1(pem.encode()).hexdigest(), outputs


def _self_signed(inputs: Properties) -> tuple[str, Properties]:
    key = _load_key("privateKeyPem", inputs["privateKeyPem"])
    subject, public = _name(inputs.get("subject")), key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    issuer_id = x509.AuthorityKeyIdentifier(identifier.digest, None, None)
    builder = x509.CertificateBuilder(subject, subject)
    if inputs["setAuthorityKeyId"]:
        builder = builder.add_extension(issuer_id, critical=False)
    id_, outputs = _issue(inputs, builder, key, public, _san(inputs))
    return id_, {**outputs, "keyAlgorithm": _algorithm(key)}


def _locally_signed(inputs: Properties) -> tuple[str, Properties]:
    request = _load("certRequestPem", x509.load_pem_x509_csr, inputs["certRequestPem"])
    issuer = _load("caCertPem", x509.load_pem_x509_certificate, inputs["caCertPem"])
    key = _load_key("caPrivateKeyPem", inputs["caPrivateKeyPem"])
    if key.public_key() != issuer.public_key():
        raise ResourceError("caPrivateKeyPem is not the key of the certificate in caCertPem")
    builder = x509.CertificateBuilder(issuer.subject, request.subject)
    if identifier := _extension(issuer, x509.SubjectKeyIdentifier):
        issuer_id = x509.AuthorityKeyIdentifier(identifier.digest, None, None)
        builder = builder.add_extension(issuer_id, critical=False)
    names = list(_extension(request, x509.SubjectAlternativeName) or [])
    id_, outputs = _issue(inputs, builder, key, request.public_key(), names)
    return id_, {**outputs, "caKeyAlgorithm": _algorithm(key)}


def _extension(source: Any, kind: type) -> Any:
    try:
        return source.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _issue(
    inputs: Properties,
    builder: x509.CertificateBuilder,
    key: Any,
    public: Any,
    names: list[x509.GeneralName],
) -> tuple[str, Properties]:
    """Sign a public key by `key`. Like Go, give every CA a subject key identifier."""
    start = datetime.now(UTC).replace(microsecond=0)
    end = start + timedelta(hours=inputs["validityPeriodHours"])
    serial, is_ca = x509.random_serial_number(), inputs["isCaCertificate"]
    builder = builder.serial_number(serial).not_valid_before(start).not_valid_after(end)
    builder = builder.public_key(public)
    length = inputs.get("maxPathLength") if is_ca else None
    extensions = [(x509.BasicConstraints(is_ca, length), True), *_usages(inputs["allowedUses"])]
    if is_ca or inputs["setSubjectKeyId"]:
        extensions.append((x509.SubjectKeyIdentifier.from_public_key(public), False))
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return str(serial), {
        "certPem": builder.sign(key, _hash(key)).public_bytes(Encoding.PEM).decode(),
        "validityStartTime": start.isoformat().replace("+00:00", "Z"),
        "validityEndTime": end.isoformat().replace("+00:00", "Z"),
        "readyForRenewal": False,
    }


def _usages(uses: Iterable[str]) -> Iterable[tuple[x509.ExtensionType, bool]]:
    uses = list(uses)
    if flags := {_KEY_USAGES[use] for use in uses if use in _KEY_USAGES}:
        yield x509.KeyUsage(**{flag: flag in flags for flag in _KEY_USAGES.values()}), True
    if extended := [_EXTENDED_USAGES[use] for use in uses if use in _EXTENDED_USAGES]:
        yield x509.ExtendedKeyUsage(extended), False


def _due(state: Properties) -> Iterable[str]:
    """A certificate in its early renewal window is to be replaced, and so is one that was found so.

    https://www.pulumi.com/registry/packages/tls/api-docs/locallysignedcert/#earlyrenewalhours_python
    """
    end = datetime.fromisoformat(state["validityEndTime"])
    early = timedelta(hours=state["earlyRenewalHours"])
    if datetime.now(UTC) >= end - early:
        yield "readyForRenewal"


def _one_of(inputs: Properties, name: str, allowed: Iterable[str]) -> Iterable[tuple[str, str]]:
    value, known = inputs.get(name), list(allowed)
    for item in value if isinstance(value, list) else [value]:
        if item is not UNKNOWN and item not in known:
            yield name, f"{name} is {item!r}: it must be one of {', '.join(known)}"


def _required(inputs: Properties, *names: str) -> Iterable[tuple[str, str]]:
    for name in names:
        if inputs.get(name) in (None, ""):
            yield name, f"{name} is missing"


def _key_failures(inputs: Properties) -> Iterable[tuple[str, str]]:
    yield from _one_of(inputs, "algorithm", _ALGORITHMS)
    yield from _one_of(inputs, "ecdsaCurve", _CURVES)


def _certificate_failures(*required: str) -> Callable[[Properties], Iterable[tuple[str, str]]]:
    def failures(inputs: Properties) -> Iterable[tuple[str, str]]:
        yield from _required(inputs, "validityPeriodHours", "allowedUses", *required)
        yield from _one_of(inputs, "allowedUses", [*_KEY_USAGES, *_EXTENDED_USAGES])
        for name in ("validityPeriodHours", "earlyRenewalHours"):
            hours = inputs.get(name, 0)
            if hours is not UNKNOWN and hours < 0:
                yield name, f"{name} is {hours}: it must not be negative"

    return failures


_VALIDITY = ("certPem", "validityStartTime", "validityEndTime", "readyForRenewal")
_CERTIFICATE_DEFAULTS = {"earlyRenewalHours": 0, "isCaCertificate": False, "setSubjectKeyId": False}


class Tls(ComputedProvider):
    """Keys, requests and certificates."""

    package = "tls"
    kinds: ClassVar = {
        "tls:index/privateKey:PrivateKey": Computed(
            _private_key,
            ("privateKeyPem", "privateKeyPemPkcs8", "publicKeyPem", *_OPENSSH),
            {"ecdsaCurve": "P224", "rsaBits": 2048},
            frozenset({"privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"}),
            failures=_key_failures,
        ),
        "tls:index/certRequest:CertRequest": Computed(
            _request,
            ("certRequestPem", "keyAlgorithm"),
            {},
            frozenset({"privateKeyPem"}),
            failures=lambda inputs: _required(inputs, "privateKeyPem"),
        ),
        "tls:index/selfSignedCert:SelfSignedCert": Computed(
            _self_signed,
            (*_VALIDITY, "keyAlgorithm"),
            {**_CERTIFICATE_DEFAULTS, "setAuthorityKeyId": False},
            frozenset({"privateKeyPem"}),
            frozenset({"earlyRenewalHours"}),
            _certificate_failures("privateKeyPem"),
            _due,
        ),
        "tls:index/locallySignedCert:LocallySignedCert": Computed(
            _locally_signed,
            (*_VALIDITY, "caKeyAlgorithm"),
            _CERTIFICATE_DEFAULTS,
            frozenset({"caPrivateKeyPem"}),
            frozenset({"earlyRenewalHours"}),
            _certificate_failures("certRequestPem", "caCertPem", "caPrivateKeyPem"),
            _due,
        ),
    }


if __name__ == "__main__":
    serve(Tls)
