"""The keys and certificates of the rendered Secrets, kept from one rendering to the next."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from render import RenderError, tls
from render.files import write_private
from render.tls import Properties

_KEY = "-key"  # what the names of keys end with, and those of certificates do not


class Keyring:
    """A directory with a PEM file for each key and certificate, called as Pulumi's resource is.

    A certificate that would be made anew just as it is stays, until it is to be renewed.
    """

    def __init__(self, directory: Path) -> None:
        """Read what there is; what is made is written by `save`.

        Raises:
            RenderError: something there can't be read.
        """
        self._directory = directory
        self._pems = {file.stem: _read(file) for file in sorted(directory.glob("*.pem"))}
        self._made: list[str] = []

    @property
    def issued(self) -> list[str]:
        """Names of the certificates that were made now."""
        return sorted(name for name in self._made if not name.endswith(_KEY))

    def save(self) -> None:
        """Write what was made."""
        for name in self._made:
            write_private(self._file(name), self._pems[name])

    def private_key(self, name: str, inputs: Properties) -> Properties:
        """The key *name*."""
        if name not in self._pems:
            self._keep(name, tls.private_key(inputs)[1]["privateKeyPem"])
        return {"privateKeyPem": self._pems[name]}

    def certificate(
        self,
        name: str,
        inputs: Properties,
        issue: Callable[[Properties], tuple[str, Properties]],
    ) -> Properties:
        """The certificate *name*, as *issue* makes it."""
        made: str = issue(inputs)[1]["certPem"]
        kept = self._pems.get(name)
        if kept is None or not _serves(kept, made, inputs["earlyRenewalHours"]):
            self._keep(name, made)
        pem = self._pems[name]
        return {"certPem": pem, "validityEndTime": tls.moment(_loaded(pem).not_valid_after_utc)}

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.pem"

    def _keep(self, name: str, pem: str) -> None:
        self._pems[name] = pem
        self._made.append(name)


def _read(file: Path) -> str:
    pem = file.read_text(errors="replace")
    try:
        if file.stem.endswith(_KEY):
            load_pem_private_key(pem.encode(), password=None)
        else:
            _loaded(pem)
    except (ValueError, TypeError):
        what = "private key" if file.stem.endswith(_KEY) else "certificate"
        raise RenderError(
            f"{file} is no {what} in PEM; put back what it was, or delete it to have another"
        ) from None
    return pem


def _loaded(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _serves(kept: str, made: str, early_renewal_hours: int) -> bool:
    there = _loaded(kept)
    due = tls.is_due(there.not_valid_after_utc, early_renewal_hours)
    return not due and _said(there) == _said(_loaded(made))


def _said(certificate: x509.Certificate) -> tuple[Any, ...]:
    """All that a certificate says, whenever it was made."""
    return (
        certificate.subject,
        certificate.issuer,
        certificate.public_key(),
        {each.oid: (each.critical, each.value) for each in certificate.extensions},
        certificate.not_valid_after_utc - certificate.not_valid_before_utc,
    )
