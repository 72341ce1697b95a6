"""Values of one word or one number, and what is said of a wrong one."""

import json
import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Annotated, LiteralString

from cryptography import x509
from pulumi_buildkit.certificates import RESERVED_NAMES, is_address
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_NAME = rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*"
# Digits and dots alone would be a mistyped address.
_HOST = rf"(?![\d.]+$){_DNS_NAME}"
_REGISTRY = r"([a-zA-Z0-9][a-zA-Z0-9.-]*|\[[0-9a-f:]+\])(:\d{1,5})?"
_PATH = r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*"
_TAG_AND_DIGEST = r"(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"


def like(pattern: str) -> Callable[[str], object]:
    """Whether a text is as *pattern* says, from its beginning to its end."""
    return re.compile(pattern, re.ASCII).fullmatch


def check(allowed: Callable[[str], object], complaint: LiteralString) -> AfterValidator:
    """Refuse a text that is not *allowed*, with this *complaint*."""

    def checked(value: str) -> str:
        if allowed(value):
            return value
        raise PydanticCustomError("form", complaint)

    return AfterValidator(checked)


def shown_as(kind: str) -> WithJsonSchema:
    """What the reference page calls such a text."""
    return WithJsonSchema({"type": "string", "format": kind})


def _no_truth_value(value: object) -> object:
    # Python takes true for 1.
    return json.dumps(value) if isinstance(value, bool) else value


def _is_host(value: str) -> bool:
    return is_address(value) or bool(like(_HOST)(value))


def _is_san(value: str) -> bool:
    return _is_host(value) or bool(like(r"[a-z][a-z0-9+.-]*://[!-~]+")(value))


def _is_url(value: str) -> bool:
    url = like(r"https?://([^/?#@:]+|\[[^\]]+\])(:(\d{1,5}))?(/[!-~]*)?")(value)
    return isinstance(url, re.Match) and _is_host(url[1].strip("[]").lower())


def _is_network(value: str) -> bool:
    try:
        ip_network(value)
    except ValueError:
        return False
    return "/" in value and "%" not in value


def _holds_certificates(pem: str) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return False


Host = Annotated[
    str,
    check(
        _is_host,
        "is no DNS name (lower case) and no IP address; give one of them, without scheme or port",
    ),
    shown_as("DNS name or IP address"),
]
San = Annotated[
    str,
    check(
        lambda value: _is_host(value.removeprefix("*.")),
        "is no DNS name (lower case, `*.` in front allowed) and no IP address; give one of them, "
        "without scheme or port",
    ),
]
ClientSan = Annotated[
    str,
    check(
        _is_san,
        "is no URI, DNS name or IP address; give the one that stands in the client's certificate",
    ),
    shown_as("URI, DNS name or IP address"),
]
Name = Annotated[
    str,
    check(
        like(_LABEL),
        "is no name; take lower-case letters, digits and hyphens inside, 63 characters at most",
    ),
    shown_as("name"),
]
ObjectName = Annotated[
    str,
    check(
        like(_DNS_NAME),
        "is no name of a Kubernetes object; take lower-case letters, digits, and hyphens and dots "
        "inside, 253 characters at most",
    ),
    shown_as("name"),
]
DataKey = Annotated[
    str,
    check(
        like(r"(?!\.\.?$)[-._a-zA-Z0-9]{1,253}"),
        "is no key of a Secret or ConfigMap; take letters, digits, dots, hyphens and underscores",
    ),
    shown_as("name"),
]
CertificateName = Annotated[
    Name,
    check(
        lambda value: value not in RESERVED_NAMES,
        "is a name that the server's own certificates have; take another",
    ),
]
Image = Annotated[
    str,
    check(
        like(rf"({_REGISTRY}/)?{_PATH}{_TAG_AND_DIGEST}"),
        "is no image; write it as REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST",
    ),
    shown_as("image"),
]
Registry = Annotated[
    str,
    check(like(_REGISTRY), "is no registry; write it as HOST or HOST:PORT, without a scheme"),
]
Mirror = Annotated[
    str,
    check(
        like(rf"{_REGISTRY}(/{_PATH})?"),
        "is no mirror; write it as HOST[:PORT][/PATH], without a scheme",
    ),
]
Certificate = Annotated[
    str,
    check(
        _holds_certificates,
        "is no certificate in PEM; give the file's lines, from -----BEGIN CERTIFICATE----- on",
    ),
    shown_as("PEM"),
]
ResourceName = Annotated[
    str,
    check(
        like(
            r"cpu|memory|ephemeral-storage|hugepages-[1-9]\d*[KMG]i"
            rf"|(?!(.*\.)?kubernetes\.io/){_DNS_NAME}/{_KEY}"
        ),
        "is no resource of a container; take cpu, memory, ephemeral-storage, hugepages-SIZE or "
        "DOMAIN/NAME",
    ),
]
Url = Annotated[
    str,
    check(
        _is_url,
        "is no address of a web server; write it as http://HOST:PORT or https://HOST:PORT/PATH, "
        "without a password",
    ),
    shown_as("URL"),
]
Network = Annotated[
    str,
    check(
        _is_network,
        "is no network; write it as ADDRESS/BITS, as 192.0.2.0/24, with no bit of a host in it",
    ),
    shown_as("network"),
]
Label = Annotated[
    str,
    check(
        like(rf"({_DNS_NAME}/)?{_KEY}"),
        "is no name of a label or annotation; write it as NAME or DOMAIN/NAME",
    ),
    shown_as("name"),
]
LabelValue = Annotated[
    str,
    check(
        like(rf"({_KEY})?"),
        "is no value of a label; take letters, digits, and hyphens, underscores and dots inside, 63"
        " characters at most",
    ),
]
_WHOLE = BeforeValidator(_no_truth_value)
Port = Annotated[int, Field(ge=1, le=65535), _WHOLE]
NodePort = Annotated[int, Field(ge=1024, le=65535), _WHOLE]
Replicas = Annotated[int, Field(ge=1, le=1000), _WHOLE]
Fewest = Annotated[int, Field(ge=0, le=1000), _WHOLE]
Builds = Annotated[int, Field(ge=1, le=1000), _WHOLE]
Parallelism = Annotated[int, Field(ge=1, le=1000), _WHOLE]
Retries = Annotated[int, Field(ge=0, le=100), _WHOLE]
Seconds = Annotated[int, Field(ge=0, le=86_400), _WHOLE]
Keepalive = Annotated[int, Field(ge=0, le=3600), _WHOLE]
KeepaliveTimeout = Annotated[int, Field(ge=3, le=3600), _WHOLE]
Deadline = Annotated[int, Field(ge=1, le=604_800), _WHOLE]
# A Job that is gone sooner may be gone before it was seen to have ended.
Keeping = Annotated[int, Field(ge=60, le=604_800), _WHOLE]
Patience = Annotated[int, Field(ge=10, le=86_400), _WHOLE]
Hours = Annotated[int, Field(ge=1, le=876_000), _WHOLE]
# The kernel holds it in 32 bits, with sign.
NamespaceCount = Annotated[int, Field(ge=1, le=2_147_483_647), _WHOLE]
