"""Stands in for the official tls plugin: https://www.pulumi.com/registry/packages/tls/."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import ClassVar

from lab.providers.computed import Computed, ComputedProvider
from lab.providers.server import ResourceError, serve
from lab.providers.values import UNKNOWN, Properties
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

_Compute = Callable[[Properties], tuple[str, Properties]]


def _refusing(compute: _Compute) -> _Compute:
    """*compute*, which says of what can't be read that it is the resource's mistake."""

    def computed(inputs: Properties) -> tuple[str, Properties]:
        try:
            return compute(inputs)
        except ValueError as error:
            raise ResourceError(str(error)) from None

    return computed


def _due(state: Properties) -> Iterable[str]:
    """A certificate that is due is to be replaced, and so is one that was found so."""
    if is_due(datetime.fromisoformat(state["validityEndTime"]), state["earlyRenewalHours"]):
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
    yield from _one_of(inputs, "algorithm", ALGORITHMS)
    yield from _one_of(inputs, "ecdsaCurve", CURVES)


def _certificate_failures(*required: str) -> Callable[[Properties], Iterable[tuple[str, str]]]:
    def failures(inputs: Properties) -> Iterable[tuple[str, str]]:
        yield from _required(inputs, "validityPeriodHours", "allowedUses", *required)
        yield from _one_of(inputs, "allowedUses", [*KEY_USAGES, *EXTENDED_USAGES])
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
            private_key,
            ("privateKeyPem", "privateKeyPemPkcs8", "publicKeyPem", *OPENSSH),
            {"ecdsaCurve": "P224", "rsaBits": 2048},
            frozenset({"privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"}),
            failures=_key_failures,
        ),
        "tls:index/certRequest:CertRequest": Computed(
            _refusing(request),
            ("certRequestPem", "keyAlgorithm"),
            {},
            frozenset({"privateKeyPem"}),
            failures=lambda inputs: _required(inputs, "privateKeyPem"),
        ),
        "tls:index/selfSignedCert:SelfSignedCert": Computed(
            _refusing(self_signed),
            (*_VALIDITY, "keyAlgorithm"),
            {**_CERTIFICATE_DEFAULTS, "setAuthorityKeyId": False},
            frozenset({"privateKeyPem"}),
            frozenset({"earlyRenewalHours"}),
            _certificate_failures("privateKeyPem"),
            _due,
        ),
        "tls:index/locallySignedCert:LocallySignedCert": Computed(
            _refusing(locally_signed),
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
