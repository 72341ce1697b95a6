"""The keys of the certificates, and of the clients that have one."""

from typing import Annotated

from pulumi_buildkit import Role
from pulumi_buildkit.certificates import AUTHORITY
from pulumi_buildkit.secret_layout import SecretLayout
from pydantic import BeforeValidator, Field, SecretStr

from settings.section import Section
from settings.values import (
    Certificate,
    CertificateName,
    ClientSan,
    Hours,
    Name,
    ObjectName,
    San,
    shown_as,
)

PrivateKey = Annotated[SecretStr, shown_as("PEM")]


class CertificateSettings(Section):
    """The certificates of the server (the gateway, or buildkitd without one) and its clients.

    They are made here, or are your own: in a Secret that there is, or given as PEM. Then none is
    made for the clients, and whoever signed the server's certificate signs theirs.
    """

    sans: list[San] = []
    """Further names and addresses that the server's certificate is valid for."""
    validity_hours: Hours = 8760
    """How long certificates are valid, in hours."""
    early_renewal_hours: Hours = 720
    """`pulumi up` renews a certificate this many hours before it ends."""
    ca_validity_hours: Hours = 87_600
    """How long a CA is valid, in hours; `pulumi up` renews it before it could end earlier than what
    it signs."""
    authorities: Annotated[list[CertificateName], Field(min_length=1)] = [AUTHORITY]
    """Names of the CAs, from the oldest to the newest. All are trusted; the first signs the
    server's certificate, the last the clients'."""
    secrets: list[SecretLayout] = []
    """Further Secrets to put the server's certificate in, for others to use."""
    existing_secret: ObjectName | None = None
    """Secret with a server's certificate of your own, in the same namespace. Default: none."""
    layout: SecretLayout = SecretLayout.TLS
    """The keys in `existingSecret`."""
    ca: Certificate | None = None
    """PEM of the CA that signs the clients' certificates and yours, with `cert` and `key`. Default:
    none."""
    cert: Certificate | None = None
    """PEM of a server's certificate of your own, and of those between it and its CA. Default:
    none."""
    key: PrivateKey | None = None
    """PEM of its private key: `pulumi config set --secret --path`. Default: none."""

    @property
    def own(self) -> bool:
        """Whether the server's certificate is not made here."""
        return self.existing_secret is not None or self.cert is not None

    @property
    def key_pem(self) -> str | None:
        """The private key, for what must have it in the clear."""
        return None if self.key is None else self.key.get_secret_value()


class ClientSettings(Section):
    """One client that may build: write `{}`, or nothing, for a certificate that is made here."""

    role: Role = Role.BUILDER
    """What it may do at a gateway with `protocol: http2`; elsewhere everybody is an admin."""
    namespace: Name | None = None
    """Namespace of the Secret with its certificate, where there has to be one of that name.
    Default: that of all the others."""
    san: ClientSan | None = None
    """What stands in its certificate, where certificates are your own. Default:
    `spiffe://buildkit/client/NAME`."""


def _nothing_is_empty(value: object) -> object:
    return {} if value is None else value


Clients = dict[CertificateName, Annotated[ClientSettings, BeforeValidator(_nothing_is_empty)]]
