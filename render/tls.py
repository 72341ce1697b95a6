"""What Pulumi's tls provider makes of a resource's inputs: keys, requests and certificates.

Each function returns the resource's identifier and its outputs, and raises ValueError for what
can't be read. https://www.pulumi.com/registry/packages/tls/
"""

import base64
import hashlib
import ipaddress
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

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

Properties = dict[str, Any]

CURVES: dict[str, ec.EllipticCurve] = {
    "P224": ec.SECP224R1(),
    "P256": ec.SECP256R1(),
    "P384": ec.SECP384R1(),
    "P521": ec.SECP521R1(),
}
ALGORITHMS: dict[str, Callable[[Properties], Any]] = {
    "ECDSA": lambda inputs: ec.generate_private_key(CURVES[inputs["ecdsaCurve"]]),
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
KEY_USAGES = {
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
EXTENDED_USAGES = {
    "any_extended": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code_signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email_protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp_signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


def is_due(valid_until: datetime, early_renewal_hours: int) -> bool:
    """Whether a certificate is in its early renewal window.

    https://www.pulumi.com/registry/packages/tls/api-docs/locallysignedcert/#earlyrenewalhours_python
    """
    return datetime.now(UTC) >= valid_until - timedelta(hours=early_renewal_hours)


def moment(time: datetime) -> str:
    """A *time* of a certificate, in RFC 3339."""
    return time.isoformat().replace("+00:00", "Z")


def _pem_private(key: Any, form: PrivateFormat) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def private_key(inputs: Properties) -> tuple[str, Properties]:
    """A new key."""
    key = ALGORITHMS[inputs["algorithm"]](inputs)
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
        return dict.fromkeys(OPENSSH, "")
    wire = base64.b64decode(line.split()[1])
    sha256 = base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")
    md5 = hashlib.md5(wire, usedforsecurity=False).digest().hex(":")
    return dict(zip(OPENSSH, (line.decode() + "\n", private, md5, f"SHA256:{sha256}"), strict=True))


OPENSSH = (
    "publicKeyOpenssh",
    "privateKeyOpenssh",
    "publicKeyFingerprintMd5",
    "publicKeyFingerprintSha256",
)


def _load(what: str, loader: Callable[[bytes], Any], pem: str) -> Any:
    try:
        return loader(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{what} can't be read as PEM: {error}") from None


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


def request(inputs: Properties) -> tuple[str, Properties]:
    """What a key's owner asks a CA to sign."""
    key = _load_key("privateKeyPem", inputs["privateKeyPem"])
    builder = x509.CertificateSigningRequestBuilder(_name(inputs.get("subject")))
    if names := _san(inputs):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(key, _hash(key)).public_bytes(Encoding.PEM).decode()
    outputs = {"certRequestPem": pem, "keyAlgorithm": _algorithm(key)}
    return hashlib.sha1(pem.encode()).hexdigest(), outputs


def self_signed(inputs: Properties) -> tuple[str, Properties]:
    """A certificate that its own key signed."""
    key = _load_key("privateKeyPem", inputs["privateKeyPem"])
    subject, public = _name(inputs.get("subject")), key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    issuer_id = x509.AuthorityKeyIdentifier(identifier.digest, None, None)
    builder = x509.CertificateBuilder(subject, subject)
    if inputs.get("setAuthorityKeyId"):
        builder = builder.add_extension(issuer_id, critical=False)
    id_, outputs = _issue(inputs, builder, key, public, _san(inputs))
    return id_, {**outputs, "keyAlgorithm": _algorithm(key)}


def locally_signed(inputs: Properties) -> tuple[str, Properties]:
    """A certificate that a CA signed, of what was asked for."""
    asked = _load("certRequestPem", x509.load_pem_x509_csr, inputs["certRequestPem"])
    issuer = _load("caCertPem", x509.load_pem_x509_certificate, inputs["caCertPem"])
    key = _load_key("caPrivateKeyPem", inputs["caPrivateKeyPem"])
    if key.public_key() != issuer.public_key():
        raise ValueError("caPrivateKeyPem is not the key of the certificate in caCertPem")
    builder = x509.CertificateBuilder(issuer.subject, asked.subject)
    if identifier := _extension(issuer, x509.SubjectKeyIdentifier):
        issuer_id = x509.AuthorityKeyIdentifier(identifier.digest, None, None)
        builder = builder.add_extension(issuer_id, critical=False)
    names = list(_extension(asked, x509.SubjectAlternativeName) or [])
    id_, outputs = _issue(inputs, builder, key, asked.public_key(), names)
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
    serial, is_ca = x509.random_serial_number(), bool(inputs.get("isCaCertificate"))
    builder = builder.serial_number(serial).not_valid_before(start).not_valid_after(end)
    builder = builder.public_key(public)
    length = inputs.get("maxPathLength") if is_ca else None
    extensions = [(x509.BasicConstraints(is_ca, length), True), *_usages(inputs["allowedUses"])]
    if is_ca or inputs.get("setSubjectKeyId"):
        extensions.append((x509.SubjectKeyIdentifier.from_public_key(public), False))
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return str(serial), {
        "certPem": builder.sign(key, _hash(key)).public_bytes(Encoding.PEM).decode(),
        "validityStartTime": moment(start),
        "validityEndTime": moment(end),
        "readyForRenewal": False,
    }


def _usages(uses: Iterable[str]) -> Iterable[tuple[x509.ExtensionType, bool]]:
    uses = list(uses)
    if flags := {KEY_USAGES[use] for use in uses if use in KEY_USAGES}:
        yield x509.KeyUsage(**{flag: flag in flags for flag in KEY_USAGES.values()}), True
    if extended := [EXTENDED_USAGES[use] for use in uses if use in EXTENDED_USAGES]:
        yield x509.ExtendedKeyUsage(extended), False
