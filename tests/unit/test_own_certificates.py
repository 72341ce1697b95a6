"""Certificates of one's own: what is let through, and what is said of the rest."""

import base64
import ipaddress
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from pulumi_buildkit import SecretLayout
from pulumi_buildkit.secret_layout import LAYOUTS

from settings.own_certificates import ending, mistakes, secret_ending, secret_mistakes

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOSTS = ["build.example.com", "10.0.0.1"]
SANS = [x509.DNSName("build.example.com"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]
SERVER = [ExtendedKeyUsageOID.SERVER_AUTH]
CLIENT = [ExtendedKeyUsageOID.CLIENT_AUTH]


def ecdsa(curve: ec.EllipticCurve) -> Callable[[], Any]:
    return lambda: ec.generate_private_key(curve)


def rsa_key(bits: int) -> Callable[[], Any]:
    return lambda: rsa.generate_private_key(65537, bits)


P256 = ecdsa(ec.SECP256R1())


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key_pem_of(serialization.NoEncryption())

    def key_pem_of(self, encryption: serialization.KeySerializationEncryption) -> str:
        pkcs8 = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, pkcs8, encryption).decode()


def issue(
    name: str,
    issuer: Issued | None = None,
    *extensions: x509.ExtensionType,
    key: Callable[[], Any] = P256,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=1),
) -> Issued:
    """Signed by *issuer*, or by itself."""
    own = key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else own
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(builder.sign(signer, digest), own)


def authority(name: str = "our CA", issuer: Issued | None = None, **how: Any) -> Issued:
    return issue(name, issuer, x509.BasicConstraints(ca=True, path_length=None), **how)


def server(
    ca: Issued,
    sans: Sequence[x509.GeneralName] = SANS,
    uses: Sequence[x509.ObjectIdentifier] = SERVER,
    **how: Any,
) -> Issued:
    extensions = [x509.SubjectAlternativeName(sans)] if sans else []
    purposes = [x509.ExtendedKeyUsage(uses)] if uses else []
    return issue("server", ca, *extensions, *purposes, **how)


def said(ca: Issued, leaf: Issued, hosts: list[str] = HOSTS) -> list[str]:
    return mistakes(ca.pem, leaf.pem, leaf.key_pem, hosts, NOW)


CA = authority()
GOOD = server(CA)


@pytest.mark.parametrize(
    "key",
    [
        P256,
        ecdsa(ec.SECP384R1()),
        ecdsa(ec.SECP521R1()),
        rsa_key(2048),
        ed25519.Ed25519PrivateKey.generate,
    ],
)
def test_a_key_that_tls_takes_is_no_mistake(key: Callable[[], Any]) -> None:
    ca = authority(key=key)
    assert said(ca, server(ca, key=key)) == []


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ecdsa(ec.SECP224R1()), "ECDSA on secp224r1"),
        (ecdsa(ec.SECP256K1()), "ECDSA on secp256k1"),
        (rsa_key(1024), "RSA of 1024 bits"),
    ],
)
def test_a_key_that_tls_refuses_is_a_mistake(key: Callable[[], Any], kind: str) -> None:
    assert said(CA, server(CA, key=key)) == [
        f"cert: is for a key that TLS refuses, {kind}; take RSA of 2048 to 8192 bits, ECDSA on "
        "P-256, P-384 or P-521, or Ed25519"
    ]


@pytest.mark.parametrize(
    "uses", [[], [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], [*CLIENT, *SERVER]]
)
def test_a_certificate_for_more_than_servers_is_no_mistake(
    uses: list[x509.ObjectIdentifier],
) -> None:
    assert said(CA, server(CA, uses=uses)) == []


def test_a_certificate_for_clients_only_is_a_mistake() -> None:
    assert said(CA, server(CA, uses=CLIENT)) == [
        "cert: is not for servers; take one with the extended key usage serverAuth"
    ]


def test_a_ca_for_clients_only_is_a_mistake() -> None:
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    ca = issue("our CA", None, constraints, x509.ExtendedKeyUsage(CLIENT))
    assert said(ca, server(ca)) == [
        "ca: CN=our CA is not for servers; take one with the extended key usage serverAuth"
    ]


NO_CERTIFICATE = (
    "is no certificate in PEM; give the file's lines, from -----BEGIN CERTIFICATE----- on"
)


@pytest.mark.parametrize("text", ["", "no PEM", "ü", GOOD.key_pem, GOOD.pem[:200], GOOD.pem[2:]])
def test_what_is_no_pem_is_a_mistake(text: str) -> None:
    assert mistakes(text, text, "ü", HOSTS, NOW) == [
        f"ca: {NO_CERTIFICATE}",
        f"cert: {NO_CERTIFICATE}",
        "key: is no private key in PEM; give the file's lines",
    ]


def unknown(number: int) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{number}"), b"")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"),  # the version
        (b"\x2a\x03\x08", b"\x2a\x03\x09"),  # an extension's number, which is there twice then
        (b"\x82\x11build", b"\xa3\x11build"),  # the kind of a SAN
    ],
)
def test_a_certificate_that_can_not_be_read_to_its_end_is_none(good: bytes, bad: bytes) -> None:
    sans = x509.SubjectAlternativeName(SANS)
    der = issue("server", CA, sans, unknown(8), unknown(9)).certificate.public_bytes(
        serialization.Encoding.DER
    )
    assert good in der
    pem = ssl.DER_cert_to_PEM_cert(der.replace(good, bad))
    assert mistakes(CA.pem, pem, GOOD.key_pem, HOSTS, NOW) == [f"cert: {NO_CERTIFICATE}"]


@pytest.mark.parametrize("broken", [" ".join, "\n  ".join], ids=["joined", "indented"])
def test_lines_that_are_no_longer_what_they_were_are_a_mistake(
    broken: Callable[[list[str]], str],
) -> None:
    certificate, key = (broken(["", *pem.splitlines()]) for pem in (GOOD.pem, GOOD.key_pem))
    assert mistakes(CA.pem, certificate, key, HOSTS, NOW) == [
        f"cert: {NO_CERTIFICATE}",
        "key: is no private key in PEM; give the file's lines",
    ]


def test_lines_from_another_system_are_no_mistake() -> None:
    ca, cert, key = (pem.replace("\n", "\r\n") for pem in (CA.pem, GOOD.pem, GOOD.key_pem))
    assert mistakes(ca, cert, key, HOSTS, NOW) == []


def test_a_certificate_with_text_around_it_is_none() -> None:
    assert mistakes(f"Issuer: …\n{CA.pem}\n", f"# ours\n{GOOD.pem}", GOOD.key_pem, HOSTS, NOW) == []


def test_an_encrypted_key_is_a_mistake() -> None:
    key = GOOD.key_pem_of(serialization.BestAvailableEncryption(b"secret"))
    assert mistakes(CA.pem, GOOD.pem, key, HOSTS, NOW) == [
        "key: is encrypted; give it without a passphrase"
    ]


def test_another_key_is_a_mistake() -> None:
    assert mistakes(CA.pem, GOOD.pem, server(CA).key_pem, HOSTS, NOW) == [
        "key: is not the one that cert is for; give that one"
    ]


UNSIGNED = (
    "cert: is not signed by ca; give the CA that signed it, and behind the certificate those "
    "between it and the CA"
)


def test_another_ca_is_a_mistake_though_it_has_the_same_name() -> None:
    assert said(authority(), GOOD) == [UNSIGNED]


def test_one_ca_of_a_bundle_is_enough() -> None:
    bundle = authority("former CA").pem + CA.pem
    assert mistakes(bundle, GOOD.pem, GOOD.key_pem, HOSTS, NOW) == []


def test_a_certificate_that_no_ca_signed_is_a_mistake() -> None:
    alone = issue("server", None, x509.SubjectAlternativeName(SANS))
    assert said(alone, alone) == [
        "ca: is not a CA's; give that of the CA that signs the clients' too"
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_intermediates_behind_the_certificate_lead_to_the_ca_in_any_order(order: int) -> None:
    upper = authority("upper", CA)
    lower = authority("lower", upper)
    leaf = server(lower)
    chain = "".join([leaf.pem, *[lower.pem, upper.pem][::order]])
    assert mistakes(CA.pem, chain, leaf.key_pem, HOSTS, NOW) == []
    assert said(CA, leaf) == [UNSIGNED]


def test_a_server_s_certificate_signs_no_other() -> None:
    leaf = server(GOOD)
    assert mistakes(CA.pem, leaf.pem + GOOD.pem, leaf.key_pem, HOSTS, NOW) == [UNSIGNED]


PAST: dict[str, Any] = {"ends": timedelta(hours=-1)}
FUTURE: dict[str, Any] = {"begins": timedelta(hours=1)}


def test_an_expired_certificate_is_a_mistake() -> None:
    assert said(CA, server(CA, **PAST)) == ["cert: ended on 2026-05-31 23:00:00+00:00; renew it"]


def test_a_certificate_of_tomorrow_is_a_mistake() -> None:
    assert said(CA, server(CA, **FUTURE)) == [
        "cert: is not valid before 2026-06-01 01:00:00+00:00; wait for that"
    ]


def test_an_expired_ca_is_a_mistake() -> None:
    ca = authority(**PAST)
    assert said(ca, server(ca)) == ["ca: CN=our CA ended on 2026-05-31 23:00:00+00:00; renew it"]


YEAR_OLD: dict[str, Any] = {"begins": timedelta(days=-300)}


def soon(ca: Issued, leaf: Issued) -> list[str]:
    return ending(ca.pem, leaf.pem, leaf.key_pem, NOW)


def test_what_is_about_to_end_is_told_with_its_days_and_no_mistake() -> None:
    ca = authority(ends=timedelta(days=3, hours=1), **YEAR_OLD)
    leaf = server(ca, ends=timedelta(days=13), **YEAR_OLD)
    assert said(ca, leaf) == []
    assert soon(ca, leaf) == [
        "cert: ends in 13 days, on 2026-06-14 00:00:00+00:00; renew it before that",
        "ca: CN=our CA ends in 3 days, on 2026-06-04 01:00:00+00:00; renew it before that",
    ]


def test_what_lasts_a_while_or_has_ended_is_not_about_to_end() -> None:
    later = authority(ends=timedelta(days=15), **YEAR_OLD)
    assert soon(later, server(later, ends=timedelta(days=15), **YEAR_OLD)) == []
    assert soon(CA, server(CA, **PAST)) == []


def test_what_is_renewed_daily_is_about_to_end_in_its_last_quarter() -> None:
    ca = authority(ends=timedelta(days=900))
    day: dict[str, Any] = {"begins": timedelta(hours=-17), "ends": timedelta(hours=7)}
    assert soon(ca, server(ca, **day)) == []
    (complaint,) = soon(ca, server(ca, begins=timedelta(hours=-19), ends=timedelta(hours=5)))
    assert complaint.startswith("cert: ends in 0 days")


def test_of_what_can_t_be_read_nothing_is_said() -> None:
    assert ending("a", "b", "c", NOW) == []
    assert secret_ending({"ca.crt": b"a"}, SecretLayout.TLS, NOW) == []


def test_a_secret_s_certificate_that_is_about_to_end_is_told_by_its_key() -> None:
    ca = authority(ends=timedelta(days=900))
    leaf = server(ca, ends=timedelta(days=2), **YEAR_OLD)
    keys = LAYOUTS[SecretLayout.TLS].keys
    data = dict(zip(keys, (ca.pem.encode(), leaf.pem.encode(), leaf.key_pem.encode()), strict=True))
    (complaint,) = secret_ending(data, SecretLayout.TLS, NOW)
    assert complaint.startswith("tls.crt: ends in 2 days")


def test_an_expired_intermediate_is_a_mistake() -> None:
    between = authority("between", CA, **PAST)
    leaf = server(between)
    assert mistakes(CA.pem, leaf.pem + between.pem, leaf.key_pem, HOSTS, NOW) == [
        "cert: CN=between ended on 2026-05-31 23:00:00+00:00; renew it"
    ]


@pytest.mark.parametrize(
    ("san", "host"),
    [
        (x509.DNSName("Build.Example.com"), "build.example.com"),
        (x509.DNSName("build.example.com"), "Build.Example.com"),
        (x509.DNSName("*.example.com"), "build.example.com"),
        (x509.DNSName("*.example.com"), "*.example.com"),
        (x509.DNSName("localhost"), "localhost"),
        (x509.IPAddress(ipaddress.ip_address("fd00::1")), "fd00:0::1"),
    ],
)
def test_a_host_that_a_san_covers_is_no_mistake(san: x509.GeneralName, host: str) -> None:
    assert said(CA, server(CA, [san]), [host]) == []


@pytest.mark.parametrize(
    ("san", "host"),
    [
        (x509.DNSName("*.example.com"), "example.com"),
        (x509.DNSName("*.example.com"), "a.build.example.com"),
        (x509.DNSName("example.com"), "build.example.com"),
        (x509.DNSName("build.example.com"), "*.example.com"),
        (x509.DNSName("10.0.0.1"), "10.0.0.1"),
        (x509.UniformResourceIdentifier("https://build.example.com"), "build.example.com"),
    ],
)
def test_a_host_that_no_san_covers_is_a_mistake(san: x509.GeneralName, host: str) -> None:
    assert said(CA, server(CA, [san]), [host]) == [
        f"cert: is not valid for {host}; take one with these among its SANs, which are {san.value}"
    ]


def test_a_certificate_without_sans_is_valid_for_no_host() -> None:
    assert said(CA, server(CA, [])) == [
        "cert: is not valid for build.example.com, 10.0.0.1; take one with these among its SANs, "
        "which are none"
    ]


def test_a_complaint_stays_short_whatever_the_number_of_sans() -> None:
    sans = [x509.DNSName(f"host-{n}.example.com") for n in range(100)]
    (complaint,) = said(CA, server(CA, sans), ["localhost"])
    assert complaint.endswith("host-5.example.com, …")


def test_all_mistakes_are_said_at_once() -> None:
    bad = server(authority(), [x509.DNSName("elsewhere")], CLIENT, key=rsa_key(1024), **PAST)
    complaints = mistakes(CA.pem, bad.pem, GOOD.key_pem, ["build.example.com"], NOW)
    beginnings = ["key: is not", "cert: is for a key", "cert: is not signed", "cert: ended"]
    beginnings += ["cert: is not for servers", "cert: is not valid for build"]
    assert len(complaints) == len(beginnings)
    for complaint, beginning in zip(complaints, beginnings, strict=True):
        assert complaint.startswith(beginning)


def damaged(pem: str) -> st.SearchStrategy[str]:
    """*pem* with some other bytes in the structure that it holds."""
    first, *body, last = pem.splitlines()
    der = base64.b64decode("".join(body))
    position, byte = st.integers(0, len(der) - 1), st.integers(0, 255)

    def damage(changes: dict[int, int]) -> str:
        changed = bytes(changes.get(place, byte) for place, byte in enumerate(der))
        return f"{first}\n{base64.b64encode(changed).decode()}\n{last}\n"

    return st.dictionaries(position, byte, max_size=3).map(damage)


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@given(damaged(CA.pem), damaged(GOOD.pem), damaged(GOOD.key_pem))
def test_whatever_is_given_is_answered_and_no_key_is_quoted(ca: str, cert: str, key: str) -> None:
    complaints = "".join(mistakes(ca, cert, key, HOSTS, NOW))
    assert key.splitlines()[1][:64] not in complaints


def secret(layout: SecretLayout, leaf: Issued = GOOD) -> dict[str, str | bytes]:
    """A Secret's data as the Kubernetes API has it."""
    pems = (CA.pem, leaf.pem, leaf.key_pem)
    return {
        key: base64.b64encode(pem.encode()).decode()
        for key, pem in zip(LAYOUTS[layout].keys, pems, strict=True)
    }


@pytest.mark.parametrize("layout", SecretLayout)
def test_a_secret_of_any_layout_can_be_used(layout: SecretLayout) -> None:
    data = secret(layout)
    assert secret_mistakes(data, layout, HOSTS, NOW) == []
    plain = {key: base64.b64decode(value) for key, value in data.items()}
    assert secret_mistakes(plain, layout, HOSTS, NOW) == []


def test_what_is_wrong_in_a_secret_is_said_by_its_keys() -> None:
    data = secret(SecretLayout.TLS, server(CA, **PAST)) | {"tls.key": GOOD.key_pem.encode()}
    assert secret_mistakes(data, SecretLayout.TLS, HOSTS, NOW) == [
        "tls.key: is not the one that tls.crt is for; give that one",
        "tls.crt: ended on 2026-05-31 23:00:00+00:00; renew it",
    ]


@pytest.mark.parametrize("empty", [{}, {"ca.crt": ""}, {"ca.crt": b""}])
def test_a_key_that_a_secret_lacks_is_named(empty: dict[str, str | bytes]) -> None:
    data = secret(SecretLayout.TLS)
    del data["ca.crt"]
    assert secret_mistakes({**data, **empty}, SecretLayout.TLS, HOSTS, NOW) == [
        "ca.crt: is missing; the Secret has tls.crt, tls.key, and layout tls is ca.crt, tls.crt, "
        "tls.key"
    ]


def test_every_key_that_a_secret_lacks_is_named() -> None:
    complaints = secret_mistakes({}, SecretLayout.DAEMON, HOSTS, NOW)
    assert [complaint.split(":")[0] for complaint in complaints] == [
        "ca.pem",
        "cert.pem",
        "key.pem",
    ]


def test_a_secret_with_something_else_in_it_is_answered() -> None:
    data = dict.fromkeys(LAYOUTS[SecretLayout.TLS].keys, b"\xff\x00")
    complaints = secret_mistakes(data, SecretLayout.TLS, HOSTS, NOW)
    assert [complaint.split(":")[0] for complaint in complaints] == ["ca.crt", "tls.crt", "tls.key"]
