"""Certificates that last long enough, and those of one's own."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pulumi_buildkit.certificates import client_uri
from pulumi_buildkit.secret_layout import SecretLayout
from pydantic.alias_generators import to_camel

from settings import own_certificates
from settings.certificates import CertificateSettings
from settings.mistakes import Mistake
from settings.rules.rule import Rule
from settings.stack import Settings

_PEM = ("ca", "cert", "key")
# What only says something of certificates that are made here.
_OF_MADE_ONES = (
    "sans",
    "validity_hours",
    "early_renewal_hours",
    "ca_validity_hours",
    "authorities",
    "secrets",
)


def _renewal(settings: Settings) -> Iterator[Mistake]:
    of = settings.certificates
    if of.early_renewal_hours >= of.validity_hours:
        yield Mistake(
            ("certificates", "earlyRenewalHours"),
            f"is not less than validityHours, {of.validity_hours}; take fewer hours",
            of.early_renewal_hours,
        )


def _ca_validity(settings: Settings) -> Iterator[Mistake]:
    of = settings.certificates
    least = of.validity_hours + of.early_renewal_hours
    if of.ca_validity_hours <= least:
        yield Mistake(
            ("certificates", "caValidityHours"),
            "is no more than validityHours and earlyRenewalHours together, and a CA must not end "
            f"before what it signs; take more than {least}",
            of.ca_validity_hours,
        )


def _names(settings: Settings) -> Iterator[Mistake]:
    of = settings.certificates.authorities
    for at, name in enumerate(of):
        if name in of[:at] or name in settings.clients:
            other = "a client" if name in settings.clients else "another one"
            yield Mistake(
                ("certificates", "authorities", at),
                f"is what {other} is called, too; take another name",
                name,
            )


def _combined(settings: Settings) -> Iterator[Mistake]:
    if SecretLayout.COMBINED in settings.certificates.secrets and not settings.clients:
        at = settings.certificates.secrets.index(SecretLayout.COMBINED)
        yield Mistake(
            ("certificates", "secrets", at),
            "holds a client's certificate too, and there is no client; name one below clients",
            SecretLayout.COMBINED.value,
        )


def _existing(settings: Settings) -> Iterator[Mistake]:
    of = settings.certificates
    if of.existing_secret is None and of.gives("layout"):
        yield Mistake(
            ("certificates", "layout"),
            "needs existingSecret, whose keys it names; take it away, or name the Secret",
            of.layout.value,
        )
    if of.existing_secret is not None:
        for key in _given(of, _PEM):
            yield Mistake(
                ("certificates", key),
                "is given, and so is existingSecret; take one of them away",
            )


def _complete(settings: Settings) -> Iterator[Mistake]:
    of = settings.certificates
    given = _given(of, _PEM)
    for key in _PEM:
        if given and key not in given:
            yield Mistake(
                ("certificates", key),
                f"is missing, and {given[0]} is given; certificates of your own need ca, cert "
                "and key",
            )


def _made_here(settings: Settings) -> Iterator[Mistake]:
    of = settings.certificates
    for key in _given(of, _OF_MADE_ONES) if of.own else ():
        yield Mistake(
            ("certificates", to_camel(key)),
            "is for certificates that are made here, and yours is given; take it away",
        )


def _pem(settings: Settings) -> Iterator[Mistake]:
    of = settings.certificates
    if of.ca is not None and of.cert is not None and of.key_pem is not None:
        host = settings.gateway.host
        complaints = own_certificates.mistakes(
            of.ca, of.cert, of.key_pem, [host] if host else [], datetime.now(UTC)
        )
        for complaint in complaints:
            key, _, what = complaint.partition(": ")
            yield Mistake(("certificates", key), what)


def _client_sans(settings: Settings) -> Iterator[Mistake]:
    first: dict[str, str] = {}
    for name, client in settings.clients.items():
        place = ("clients", name, "san")
        if client.san is not None and not settings.certificates.own:
            yield Mistake(
                place,
                "is for certificates of your own, and this one is made here; take it away, or "
                "give certificates.existingSecret",
                client.san,
            )
        if client.namespace is not None and settings.certificates.own:
            yield Mistake(
                ("clients", name, "namespace"),
                "is for the Secret of a certificate that is made here, and yours are your own; "
                "take it away",
                client.namespace,
            )
        san = client.san or client_uri(name)
        if first.setdefault(san, name) != name:
            yield Mistake(
                place,
                f"is {first[san]}'s too, and they can't be told apart; take another",
                san,
            )


def _given(of: CertificateSettings, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if of.gives(name)]


_LIFETIMES = ("certificates.validityHours", "certificates.earlyRenewalHours")
_OWN = ("certificates.existingSecret", *(f"certificates.{key}" for key in _PEM))

RULES = (
    Rule(_LIFETIMES, _renewal),
    Rule((*_LIFETIMES, "certificates.caValidityHours"), _ca_validity),
    Rule(("certificates.authorities", "clients"), _names),
    Rule(("certificates.secrets", "clients"), _combined),
    Rule((*_OWN, "certificates.layout"), _existing),
    Rule(_OWN, _complete),
    Rule(_OWN, _made_here),
    Rule((*_OWN, "gateway.host"), _pem),
    Rule((*_OWN, "clients"), _client_sans),
)
