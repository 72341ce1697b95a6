"""Stands in for the official tls plugin: https://www.pulumi.com/registry/packages/tls/."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import ClassVar

from pulumi.runtime.rpc import UNKNOWN

from lab.providers.computed import ComputedProvider, Failure, Properties, ResourceType
from lab.providers.server import serve
from render.tls import (
    ALGORITHMS,
    CURVES,
    EXTENDED_USAGES,
    KEY_USAGES,
    OPENSSH,
    is_due,
    locally_signed,
    private_key,
    request,
    self_signed,
)


def _due(state: Properties) -> Iterable[str]:
    """A certificate in its early renewal window is replaced."""
    if is_due(datetime.fromisoformat(state["validityEndTime"]), state["earlyRenewalHours"]):
        yield "readyForRenewal"


def _one_of(inputs: Properties, name: str, allowed: Iterable[str]) -> Iterable[Failure]:
    value, known = inputs.get(name), list(allowed)
    for item in value if isinstance(value, list) else [value]:
        if item != UNKNOWN and item not in known:
            yield name, f"{name}: {item!r} is invalid: expected one of {', '.join(known)}"


def _required(inputs: Properties, *names: str) -> Iterable[Failure]:
    for name in names:
        if inputs.get(name) in (None, ""):
            yield name, f"{name} is required: set it"


def _key_failures(inputs: Properties) -> Iterable[Failure]:
    yield from _one_of(inputs, "algorithm", ALGORITHMS)
    yield from _one_of(inputs, "ecdsaCurve", CURVES)


def _certificate_failures(*required: str) -> Callable[[Properties], Iterable[Failure]]:
    def failures(inputs: Properties) -> Iterable[Failure]:
        yield from _required(inputs, "validityPeriodHours", "allowedUses", *required)
        yield from _one_of(inputs, "allowedUses", [*KEY_USAGES, *EXTENDED_USAGES])
        for name in ("validityPeriodHours", "earlyRenewalHours"):
            hours = inputs.get(name, 0)
            if hours != UNKNOWN and hours < 0:
                yield name, f"{name}: {hours} is invalid: expected at least 0"

    return failures


_VALIDITY = ("certPem", "validityStartTime", "validityEndTime", "readyForRenewal")
_CERTIFICATE_DEFAULTS = {"earlyRenewalHours": 0, "isCaCertificate": False, "setSubjectKeyId": False}


class Tls(ComputedProvider):
    """Keys, requests and certificates."""

    package = "tls"
    types: ClassVar = {
        "tls:index/privateKey:PrivateKey": ResourceType(
            private_key,
            ("privateKeyPem", "privateKeyPemPkcs8", "publicKeyPem", *OPENSSH),
            {"ecdsaCurve": "P224", "rsaBits": 2048},
            frozenset({"privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"}),
            failures=_key_failures,
        ),
        "tls:index/certRequest:CertRequest": ResourceType(
            request,
            ("certRequestPem", "keyAlgorithm"),
            {},
            frozenset({"privateKeyPem"}),
            failures=lambda inputs: _required(inputs, "privateKeyPem"),
        ),
        "tls:index/selfSignedCert:SelfSignedCert": ResourceType(
            self_signed,
            (*_VALIDITY, "keyAlgorithm"),
            {**_CERTIFICATE_DEFAULTS, "setAuthorityKeyId": False},
            frozenset({"privateKeyPem"}),
            frozenset({"earlyRenewalHours"}),
            _certificate_failures("privateKeyPem"),
            _due,
        ),
        "tls:index/locallySignedCert:LocallySignedCert": ResourceType(
            locally_signed,
            (*_VALIDITY, "caKeyAlgorithm"),
            _CERTIFICATE_DEFAULTS,
            frozenset({"caPrivateKeyPem"}),
            frozenset({"earlyRenewalHours"}),
            _certificate_failures("certRequestPem", "caCertPem", "caPrivateKeyPem"),
            _due,
        ),
    }


if __name__ == "__main__":
    serve(Tls())
